"""Any bytes can be shown: their content where it can be decoded, else the bytes themselves, and never an error."""

import json
import random

import msgpack
import msgspec
import pytest

from headrace.events import event_types
from headrace.log.untyped import MAX_BYTES, MAX_ITEMS, untyped


def test_a_record_of_ours_is_read_without_its_type() -> None:
    alert = event_types()["alert.changed"]("firing", {"alertname": "X"}, {}, "2013-04-01T00:00:00Z", "", "f1")
    found = untyped(msgspec.msgpack.encode(alert))
    assert found["status"] == "firing"
    assert found["labels"] == {"alertname": "X"}


def test_keys_and_values_that_json_cannot_express_become_text() -> None:
    packed = msgpack.packb({1: b"\xff\x00", None: [b"ok"], "x": msgpack.ExtType(7, b"hi")})
    assert untyped(packed) == {"1": "\\xff\\x00", "None": ["ok"], "x": "ext 7: hi"}
    json.dumps(untyped(packed))


@pytest.mark.parametrize(
    ("value", "content_type", "expected"),
    [
        (None, "", None),
        (b"", "", ""),
        (b"5 apples", "", "5 apples"),
        (b'[{"a": 1}]', "", [{"a": 1}]),
        (b'{"a": }', "", '{"a": }'),
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b"\x93\x01\x02", "", "\\x93\\x01\\x02"),
        (b"\x91" * 5_000, "", None),
    ],
)
def test_complete_values_are_read_and_torn_ones_are_shown(
    value: bytes | None, content_type: str, expected: object
) -> None:
    found = untyped(value, content_type)
    if expected is None and value is not None:
        assert isinstance(found, str)
        assert found.endswith("(5,000 bytes)")
    else:
        assert found == expected


def test_a_false_length_costs_nothing() -> None:
    claimed = b"\xdd\xff\xff\xff\xff\x01"
    assert untyped(claimed) == "\\xdd\\xff\\xff\\xff\\xff\\x01"
    assert isinstance(untyped(msgpack.packb([0] * (MAX_ITEMS + 1))), str)
    assert "more than is decoded here" in untyped(b"\x81" + b"x" * MAX_BYTES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x81\x91\x01\x02", {"[1]": 2}),
        (b"\x81\x81\xa1a\x01\x02", {"{'a': 1}": 2}),
        (b"\x81\xd6\xff\x00\x00\x00\x05\x02", {"5.000000000 s since 1970": 2}),
        (b"\xd6\xff\x00\x00\x00\x05", "5.000000000 s since 1970"),
        (b"\xd6\xff\x00\x00\x00", "\\xd6\\xff\\x00\\x00\\x00"),
    ],
)
def test_keys_that_python_cannot_hash_and_instants_are_read(value: bytes, expected: object) -> None:
    assert untyped(value) == expected


def test_no_bytes_raise() -> None:
    # Bytes that begin maps, lists, extensions and instants, more often than chance would bring them.
    likely = bytes([0x80, 0x81, 0x82, 0x90, 0x91, 0xC0, 0xC4, 0xC7, 0xCB, 0xD4, 0xD6, 0xD7, 0xD9, 0xDC, 0xDE, 0xFF])
    rng = random.Random(11)
    for _ in range(20_000):
        length = rng.randrange(24)
        value = rng.randbytes(length) if rng.random() < 0.5 else bytes(rng.choices(likely + b"\x00\x01a", k=length))
        json.dumps(untyped(value), allow_nan=True)
