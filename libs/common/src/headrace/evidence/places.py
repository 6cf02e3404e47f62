"""What the index keeps of a record: hashes by which it is found, and its place. Of values only an outcome's unit is read.

| topic                              | found by                                                             |
|------------------------------------|----------------------------------------------------------------------|
| `inference.decisions`              | request id (`ce_causationid`), unit (key); late shadows: request id  |
| `inference.outcomes`               | unit                                                                 |
| `registry.models`, topics of causes| id (`ce_id`) and key                                                 |

A hash is 8 bytes of BLAKE2b over kind and text. Two texts may share one, so whoever looks up compares what he reads.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.events import type_name
from headrace.events.inference import ShadowScored
from headrace.evidence.causes import CAUSES
from headrace.log.port import Record

DECISIONS, OUTCOMES = "inference.decisions", "inference.outcomes"
# The topics of the index. NB: a record's place holds the number of its topic here: another order is another format.
INDEXED = (DECISIONS, OUTCOMES, "registry.models", *CAUSES)
Kind = Literal["request", "unit", "outcome", "id", "key"]
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_PREFIX: dict[Kind, bytes] = {"request": b"r", "unit": b"u", "outcome": b"o", "id": b"i", "key": b"k"}
_OFFSET_BITS, _PARTITION_BITS = 40, 16
MOST_OFFSET = 2**_OFFSET_BITS - 1
_SHADOW = type_name(ShadowScored).encode()
_blake = hashlib.blake2b


class _OfUnit(msgspec.Struct):
    """Of an outcome only its unit, as plain producers may write it."""

    unit: str | int


_MSGPACK, _JSON = msgspec.msgpack.Decoder(_OfUnit).decode, msgspec.json.Decoder(_OfUnit).decode


class Place(NamedTuple):
    """Where a record lies. `topic`: its name without namespace and version."""

    topic: str
    partition: int
    offset: int


class Entries(NamedTuple):
    """Hashes with the packed places that they lead to, shape (n,) each."""

    hashes: Hashes
    places: Numbers


def hash_of(kind: Kind, text: bytes, topic: str = "") -> int:
    """The hash of a text; of a key together with its topic's name (without namespace and version)."""
    return int.from_bytes(_digest(_PREFIX[kind] + topic.encode() + b"\x00" + text), "little")


def packed(place: Place) -> int:
    """A place as a positive 63-bit number, in the order of topic, partition, offset.

    >>> unpacked(packed(Place("inference.outcomes", 3, 17)))
    Place(topic='inference.outcomes', partition=3, offset=17)
    """
    number = INDEXED.index(place.topic)
    return (number << _PARTITION_BITS | place.partition) << _OFFSET_BITS | place.offset


def unpacked(number: int) -> Place:
    """The reverse of `packed`."""
    partition = number >> _OFFSET_BITS & (1 << _PARTITION_BITS) - 1
    topic = INDEXED[number >> _OFFSET_BITS + _PARTITION_BITS]
    return Place(topic, partition, number & (1 << _OFFSET_BITS) - 1)


def entries_of(topic: str, records: Sequence[Record]) -> Entries:
    """The entries of records of one topic (its name without namespace and version)."""
    digests: list[bytes] = []
    places: list[int] = []
    digest_all = _digests_of(topic)
    first = packed(Place(topic, 0, 0))
    for record in records:
        found = digest_all(record)
        digests += found
        places += [first | record.partition << _OFFSET_BITS | record.offset] * len(found)
    return Entries(np.frombuffer(b"".join(digests), "<u8"), np.array(places, np.int64))


def _digest(text: bytes) -> bytes:
    return _blake(text, digest_size=8).digest()


def _digests_of(topic: str) -> Callable[[Record], Sequence[bytes]]:
    if topic == DECISIONS:
        return _of_decision
    if topic == OUTCOMES:
        return _of_outcome
    by_id, by_key = b"i\x00", b"k" + topic.encode() + b"\x00"

    def of_cause(record: Record) -> Sequence[bytes]:
        if record.value is None:
            return ()
        ident = dict(record.headers).get("ce_id") or record.place.encode()
        return _digest(by_id + ident), _digest(by_key + (record.key or b""))

    return of_cause


def _of_decision(record: Record) -> Sequence[bytes]:
    found = dict(record.headers)
    request = _digest(b"r\x00" + (found.get("ce_causationid") or b""))
    if found.get("ce_type") == _SHADOW:
        return (request,)
    return request, _digest(b"u\x00" + (record.key or b""))


def _of_outcome(record: Record) -> Sequence[bytes]:
    value = record.value or b""
    for read in (_MSGPACK, _JSON):
        try:
            return (_digest(b"o\x00" + str(read(value).unit).encode()),)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            continue
    return (_digest(b"o\x00" + (record.key or b"")),)
