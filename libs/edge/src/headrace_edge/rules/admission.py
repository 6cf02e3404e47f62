"""What is refused before a handler is asked: unknown callers, too many calls, large bodies."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.asking.requests import shown
from headrace_edge.rules.callers import (
    ANYONE,
    Caller,
    RateLimits,
    Unidentified,
    find_caller,
    password,
    presented,
)
from headrace_edge.rules.compression import ENCODINGS
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.rules.replies import Reply, error_reply

BEARER, BASIC = "Bearer", 'Basic realm="Headrace: any name, and an API key as the password", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Doors:
    """Which paths differ from others.

    `open`: they need no key; whoever supervises the process has none. `pages`: paths for browsers, by how they begin. A browser asks its
    user for a name and a password, which is the key. No other path takes a password: a browser sends it along with the requests of
    every page, also with those of another site.
    """

    open: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()


def choose_caller(
    path: str, authorization: bytes, api_key: bytes, callers: Sequence[Caller], now_s: float, doors: Doors
) -> Caller | Reply:
    """Who makes a call, or the 401 with the reason why the caller is not known. `callers`: () lets anyone in."""
    if not callers:
        return ANYONE
    is_page = path.startswith(doors.pages)
    found = find_caller(
        presented(authorization, api_key) or (password(authorization) if is_page else ""), callers, now_s
    )
    if not isinstance(found, Unidentified):
        return found
    if path in doors.open:
        return ANYONE
    return error_reply(401, found.value).with_header("WWW-Authenticate", BASIC if is_page else BEARER)


def refuse_rate(caller: Caller, rates: RateLimits, now_s: float) -> Reply | None:
    """The 429 for a caller who calls too often; None when the call counts and may be made. `now_s`: monotonic."""
    wait_s = rates.take(caller, now_s)
    if wait_s is None:
        return None
    return error_reply(429, f"{caller.name} may call {caller.per_s:g} times a second", wait_s)


def refuse_body(size_bytes: int, encoding: str, limits: EdgeLimits) -> Reply | None:
    """The refusal of a body of this size (so far, or as announced) and encoding; None when it is accepted."""
    if size_bytes > limits.body_bytes:
        return error_reply(413, f"a body may have {limits.body_bytes} bytes at most, uncompressed")
    if encoding not in ENCODINGS:
        return error_reply(415, f"Content-Encoding {shown(encoding)} is not taken: gzip, deflate, or as it is")
    return None
