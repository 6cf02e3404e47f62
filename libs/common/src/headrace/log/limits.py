"""The limits of a user's record, by size and number. What exceeds them is `Poison` that names its field."""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.errors import Poison
from headrace.events.inference import PredictionRequested
from headrace.instants import why_not
from headrace.log.envelope import MAX_INT, MAX_TEXT_BYTES
from headrace.log.port import Record

MAX_KEY_BYTES = 1024
# Fields whose text names something. Other texts are limited by the size of the value alone.
_NAMES = frozenset(("deployment", "unit", "id", "model", "alias", "by", "finding", "cause", "tenant", "name"))
# Only a value with too large an integer can hold these: more than 64 bits (JSON), above 2^63 (MessagePack).
BIG_JSON, BIG_MSGPACK = re.compile(rb"\d{19}").search, 0xCF


def refuse_ahead(record: Record, time_s: float, name: str = "ce_time") -> None:
    """Raise `Poison` when an instant lies too far after the append time of its record."""
    reason = why_not(time_s, record.timestamp_ms, name) if record.timestamp_ms > 0 else None
    if reason is not None:
        raise Poison(reason, name)


def refuse_oversized(record: Record) -> None:
    """Raise `Poison` for a record that could not be read whole, or whose key is too long."""
    if record.unread is not None:
        raise Poison(record.unread)
    raise Poison(f"key has {len(record.key or b'')} bytes, at most {MAX_KEY_BYTES} are allowed", "key")


def refuse_unreadable(key: bytes, value: bytes, event: msgspec.Struct) -> None:
    """Raise `Poison` for a record that every reader of a users' topic would refuse."""
    if len(key) > MAX_KEY_BYTES:
        raise Poison(f"key has {len(key)} bytes, at most {MAX_KEY_BYTES} are allowed", "key")
    if len(value) > MAX_TEXT_BYTES or BIG_MSGPACK in value:
        refuse_beyond(event, "")


def bounded_request(event: PredictionRequested, is_long: bool, may_have_big: bool) -> PredictionRequested:
    """Check a request so that it is answered whenever possible: only its names are refused here, its inputs by their
    contract.

    Inputs that are integers beyond 64 bits become floats. `is_long`, `may_have_big`: whether its bytes may hold a name
    that is too long, or an integer that is too large.
    """
    if is_long:
        refuse_beyond(event.deployment, "deployment")
        refuse_beyond(event.unit, "unit")
    if not may_have_big:
        return event
    refuse_beyond(event.deadline_ms, "deadline_ms")
    if not _has_big(event.inputs):
        return event
    inputs = {name: _float(v) if type(v) is int and abs(v) > MAX_INT else v for name, v in event.inputs.items()}
    return msgspec.structs.replace(event, inputs=inputs)


def _has_big(inputs: dict[str, Any]) -> bool:
    for value in inputs.values():  # noqa: SIM110 - once per record: a generator takes three times as long
        if type(value) is int and not -MAX_INT <= value <= MAX_INT:
            return True
    return False


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def refuse_beyond(value: Any, place: str) -> None:
    """Raise `Poison` for an integer beyond 64 bits, or a name that is too long. The types limit the nesting."""
    if isinstance(value, str):
        # NB: a character has at most four bytes.
        is_long = len(value) * 4 > MAX_TEXT_BYTES and len(value.encode()) > MAX_TEXT_BYTES
        if is_long and place.rsplit(".", 1)[-1] in _NAMES:
            raise Poison(f"{place} has {len(value.encode())} bytes, at most {MAX_TEXT_BYTES} are allowed", place)
    elif isinstance(value, int):
        if not -MAX_INT - 1 <= value <= MAX_INT:
            raise Poison(f"{place} must be a whole number of 64 bits, got a larger one", place)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            refuse_beyond(getattr(value, name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_beyond(key, place)
            refuse_beyond(item, f"{place}.{str(key)[:50]}".lstrip("."))
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_beyond(item, place)
