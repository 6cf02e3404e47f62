"""Which entity an event or a request names: one text, made in the same way wherever tiles are written or looked up.

A part is written by the kind of the source's field, so that 7, 7.0 and "7" of an integer field are one entity. Parts
are joined by `|`; a `|` or `\\` within one of several parts is escaped by `\\`. A missing value names no entity.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from headrace.instants import utc

# A longer text is replaced by its beginning and its hash, so that writers cannot choose the size of keys and memory.
LONGEST_PART = 256
_CHARACTER = re.compile(r"\\?.", re.DOTALL)
_WHOLE = re.compile(r"[+-]?\d{1,40}(\.0*)?")
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0", "-0.0")


def entity_key(kinds: Sequence[str], values: Sequence[Any]) -> str | None:
    """The entity of these values, one per field of the view; None when one is missing. `kinds`: of the source's fields.

    >>> entity_key(["integer"], [7.0]), entity_key(["integer"], ["7"]), entity_key(["text", "text"], ["a|b", "c"])
    ('7', '7', 'a\\\\|b|c')
    """
    parts: list[str] = []
    for kind, value in zip(kinds, values, strict=True):
        part = part_of(kind, value)
        if part is None:
            return None
        parts.append(part)
    return joined(parts) if len(parts) > 1 else "".join(parts)


def joined(parts: Sequence[str]) -> str:
    """Parts joined to one entity."""
    whole = "|".join(parts)
    if whole.count("|") >= len(parts) or "\\" in whole:
        return "|".join([part.replace("\\", "\\\\").replace("|", "\\|") for part in parts])
    return whole


def part_of(kind: str, value: Any) -> str | None:
    """One value as a part of an entity; None for a missing value. `kind`: of the source's field, "" when unknown.

    >>> part_of("number", 7), part_of("number", -0.0), part_of("flag", 1), part_of("text", 7.0), part_of("integer", 2**62)
    ('7.0', '0.0', 'True', '7', '4611686018427387904')
    """
    if value is None or value != value:
        return None
    if type(value) is str and kind in ("text", ""):
        return bounded(value)
    made = _MAKERS.get(kind, _plain)(value)
    return None if made is None else bounded(made)


def text_of(value: float | str | bool) -> str | None:
    """A value as a text field holds it; None for a number that is not finite.

    A whole number becomes its digits; true and false are written as in JSON.

    >>> text_of(7), text_of(7.0), text_of("7"), text_of(7.5), text_of(True)
    ('7', '7', '7', '7.5', 'true')
    """
    return _text(value)


def named_by(kinds: Sequence[str], text: str) -> str | None:
    """The entity that a person wrote, such as `JFK|7.0`, with each part by its kind. None for a wrong number of parts.

    >>> named_by(["text", "integer"], "JFK|7.0"), named_by(["text", "text"], "a\\\\|b|c"), named_by(["text"], "a|b")
    ('JFK|7', 'a\\\\|b|c', 'a|b')
    """
    if not kinds:
        return None if text else ""
    if len(kinds) == 1:
        return entity_key(kinds, [text])
    parts = [""]
    for character in _CHARACTER.findall(text):
        if character == "|":
            parts.append("")
        else:
            parts[-1] += character[-1]
    return entity_key(kinds, parts) if len(parts) == len(kinds) else None


def bounded(text: str) -> str:
    """A short text as it is, a longer one as its beginning and its hash."""
    if len(text) <= LONGEST_PART:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{text[:64]}~{digest}"


def _plain(value: Any) -> str:
    return str(value)


def _integer(value: Any) -> str | None:
    if isinstance(value, str):
        return str(int(value.partition(".")[0])) if _WHOLE.fullmatch(value) else value
    if isinstance(value, float):
        return _of_float(value)
    return str(int(value)) if isinstance(value, bool | int) else str(value)


def _number(value: Any) -> str | None:
    try:
        found = float(value)
    except (OverflowError, TypeError, ValueError):
        return str(value)
    return str(found + 0.0) if math.isfinite(found) else None


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return _of_float(value) if isinstance(value, float) else str(value)


def _of_float(value: float) -> str | None:
    if not math.isfinite(value):
        return None
    return str(int(value)) if float(value).is_integer() else str(value)


def _flag(value: Any) -> str:
    text = str(value).lower()
    return "True" if text in _TRUE else "False" if text in _FALSE else str(value)


def _instant(value: Any) -> str:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif not isinstance(value, datetime):
            value = datetime.fromtimestamp(float(value), UTC)
        return str(utc(value).astimezone(UTC))
    except (ValueError, OverflowError, OSError, TypeError):
        return str(value)


_MAKERS = {"integer": _integer, "number": _number, "text": _text, "flag": _flag, "instant": _instant}
