"""What an HTTP client receives: an answer as a value, JSON, and a refusal in one form."""

import json
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer: status, body, headers."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE

    def with_header(self, name: str, value: str) -> "Reply":
        """The same answer with one more header."""
        return replace(self, headers=self.headers | {name: value})


_ENCODE = msgspec.json.Encoder().encode
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def as_json(status: int, body: Any, headers: dict[str, str] | None = None) -> Reply:
    """A reply with a JSON body.

    A reason may quote half of a surrogate pair out of a caller's body. No UTF-8 can hold it, so it is escaped.

    >>> as_json(400, {"error": chr(0xDC00)}).body
    b'{"error":"\\\\\\\\udc00"}'
    """
    try:
        content = _ENCODE(body)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(body), ensure_ascii=False, separators=(",", ":"))
        # NB: such a half stands in a text of the document only; the doubled backslash makes it text of six characters there.
        content = _SURROGATE.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()
    return Reply(status, content, headers or {})


def error_reply(status: int, error: str, retry_after_s: float | None = None, **more: str) -> Reply:
    """A refusal: `{"error": ...}`.

    >>> error_reply(503, "busy", 1.0).headers
    {'Retry-After': '1'}
    """
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
    return as_json(status, {"error": error} | more, headers)
