"""Bytes that did not decode: a second attempt to read them, and the reason when that fails.

The second attempt reads older decisions, whose maps had numeric keys, and units that are written as numbers: 5, 5.0 and
"5" are one unit, on the log as over HTTP.
"""

import json
import math
from typing import Any

import msgspec

from headrace.events.inference import DecisionMade, OutcomeObserved, PredictionRequested
from headrace.log.envelope import JSON, MSGPACK

_BYTES = (bytes, bytearray, memoryview)
_OF_UNITS = (PredictionRequested, OutcomeObserved)
_BOM = b"\xef\xbb\xbf"
_ASCII = 0x80


def second(value: bytes, wanted: type[msgspec.Struct], is_json: bool) -> Any | None:
    """The event of bytes that did not decode at first; None when the second attempt fails too."""
    if wanted is not DecisionMade and wanted not in _OF_UNITS:
        return None
    try:
        found = msgspec.json.decode(value) if is_json else msgspec.msgpack.decode(value)
        made = found | (_numbered(found) if wanted is DecisionMade else _of_unit(found))
        return msgspec.convert(made, wanted, builtin_types=_BYTES)
    except (msgspec.MsgspecError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        return None


def _numbered(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {str(version): found_value for version, found_value in found[name].items()}
        for name in ("failures", "took_ms")
        if name in found
    }


def _of_unit(found: dict[str, Any]) -> dict[str, Any]:
    """The unit of a request or outcome as text. NB: a bool is no number here, and an infinite number names nothing."""
    unit = found.get("unit")
    if isinstance(unit, float) and unit.is_integer():
        unit = int(unit)
    is_number = type(unit) is int or (type(unit) is float and math.isfinite(unit))
    return {"unit": str(unit)} if is_number else {}


def why_not(value: bytes, content_type: str, is_json: bool) -> str | None:
    """What is wrong with bytes, in terms that their writer knows; None where the decoder's message is better.

    >>> why_not(b"hello", "", False)
    'the value is text and no JSON object: it begins with "hello"'
    >>> why_not(b'{"inputs": {"x": NaN}}', "", True)
    'inputs.x: NaN and infinities are no numbers of JSON; null stands for a missing value'
    """
    text = value.lstrip()
    if is_json:
        return "the value is a list: write one record per object" if text[:1] == b"[" else no_number(value)
    if content_type not in ("", MSGPACK) and text[:1] in (b"{", b"[", b'"'):
        return f"content-type is {content_type[:100]!r} but the value looks like JSON: give content-type {JSON}"
    # NB: an ASCII byte is a small number in MessagePack, which is never an event.
    if content_type != MSGPACK and ((value[:1] and value[0] < _ASCII) or value[:3] == _BOM):
        mark = " after a byte order mark" if value[:3] == _BOM else ""
        begins = value.removeprefix(_BOM)[:40].decode("utf-8", "replace")
        return f"the value is text and no JSON object{mark}: it begins with {json.dumps(begins, ensure_ascii=False)}"
    return None


class _NoNumber(float):
    """NaN or an infinity where a number is expected."""


def no_number(body: bytes) -> str | None:
    """The field of an invalid JSON document that holds NaN, Infinity or 1e400; None if that is not what is wrong."""
    try:
        found = _path_of_no_number(json.loads(body, parse_constant=_NoNumber))
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    return f"{found}: NaN and infinities are no numbers of JSON; null stands for a missing value"


def _path_of_no_number(document: Any) -> str | None:
    """
    >>> _path_of_no_number({"inputs": {"miles": float("nan")}}), _path_of_no_number({"a": [1.0]})
    ('inputs.miles', None)
    """
    levels: list[tuple[str, Any]] = [("", document)]
    while levels:
        path, value = levels.pop()
        if isinstance(value, dict):
            # A tensor is named by its name: "inputs[3].data[0]" would not help its sender.
            here = f"input {value['name']}" if isinstance(value.get("name"), str) else path
            levels += [(f"{here}.{name}" if here else str(name), found) for name, found in value.items()]
        elif isinstance(value, list):
            levels += [(f"{path}[{index}]", found) for index, found in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            return path[:200]
    return None
