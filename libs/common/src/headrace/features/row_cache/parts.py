"""The stored form of a reading: frames of requests and outcomes, or of a source's events, and the known repeats."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import SourceDefinition
from headrace.events.features import IdentitiesSeen
from headrace.features.events import AVAILABLE, EventTable
from headrace.features.origins import Origins
from headrace.features.own import Own
from headrace.features.plan import SLACK_S
from headrace.features.repeats import BUCKET_S, Repeats

# Length and CRC-32 of a part, its newest instant, and whether it holds requests and outcomes.
FRAME = struct.Struct("<QId?")
# The number of requests and outcomes in one part.
OWN = 20_000
Column = bytes | list[Any]


class Part(msgspec.Struct, array_like=True):
    """Requests and outcomes, or events of the source topic `topic`. Columns are bytes of float64 or int64, else
    lists.
    """

    own: list[Own] = []
    topic: str = ""
    columns: dict[str, Column] = {}


class Marks(msgspec.Struct):
    """The known repeats of a source's events, by partition."""

    marked: dict[int, dict[str, int]] = {}
    sparse: dict[int, dict[str, list[int]]] = {}
    topic_ids: dict[int, dict[str, str]] = {}
    seen: list[IdentitiesSeen] = []


def of_own(own: list[Own]) -> bytes:
    """A part of requests and outcomes, framed."""
    return framed(max(found.at_s for found in own), msgspec.msgpack.encode(Part(own=own)), is_own=True)


def of_events(topic: str, columns: Mapping[str, NDArray[Any]]) -> bytes:
    """A part of a source's events, framed."""
    stored = {name: _storable(values) for name, values in columns.items()}
    return framed(float(columns[AVAILABLE].max()), msgspec.msgpack.encode(Part(topic=topic, columns=stored)))


def framed(newest_s: float, body: bytes, *, is_own: bool = False) -> bytes:
    """A body with its length, checksum and newest instant."""
    return FRAME.pack(len(body), zlib.crc32(body), newest_s, is_own) + body


def checked(data: bytes) -> bytes:
    """The body of a single frame. Raises `ValueError` for a torn one."""
    if len(data) < FRAME.size:
        raise ValueError("the state is torn")
    length, crc, *_ = FRAME.unpack_from(data)
    body = data[FRAME.size :]
    if len(body) != length or zlib.crc32(body) != crc:
        raise ValueError("the state is torn")
    return body


_NUMBERS = {"d": np.dtype("<f8"), "q": np.dtype("<i8")}


def _storable(values: NDArray[Any]) -> Column:
    """The bytes of numbers after a letter for their type, else a list."""
    for letter, dtype in _NUMBERS.items():
        if values.dtype == dtype:
            return letter.encode() + values.tobytes()
    return values.tolist()


def _column(stored: Column) -> NDArray[Any]:
    if isinstance(stored, bytes):
        return np.frombuffer(stored, _NUMBERS[stored[:1].decode()], offset=1)
    column = np.empty(len(stored), dtype=np.object_)
    column[:] = stored
    return column


def joined(parts: Sequence[Mapping[str, Column]]) -> dict[str, NDArray[Any]]:
    """The columns of several parts, one after the other."""
    return {name: np.concatenate([_column(part[name]) for part in parts]) for name in parts[0]}


def marks_of(table: EventTable, needed_from_s: float) -> Marks:
    """The known repeats of a source's events, as far as they matter to events from `needed_from_s` on.

    NB: identities that can only repeat events that are too old are dropped, one day later than possible.
    """
    oldest_s = needed_from_s - table.source.dedupe_within_s - SLACK_S
    seen = [found for partition, repeats in table.repeats.items() for found in repeats.take_all(partition)]
    return Marks(
        {partition: origins.marked for partition, origins in table.origins.items()},
        {
            partition: {place: sorted(codes) for place, codes in origins.sparse.items()}
            for partition, origins in table.origins.items()
        },
        {partition: origins.topic_ids for partition, origins in table.origins.items()},
        [found for found in seen if (found.bucket + 1) * BUCKET_S >= oldest_s],
    )


def restored(source: SourceDefinition, marks: Marks) -> tuple[dict[int, Origins], dict[int, Repeats]]:
    """The known repeats as event tables hold them."""
    origins = {
        partition: Origins(
            marked,
            {place: set(codes) for place, codes in marks.sparse[partition].items()},
            marks.topic_ids[partition],
        )
        for partition, marked in marks.marked.items()
    }
    repeats: dict[int, Repeats] = {}
    for seen in marks.seen:
        repeats.setdefault(seen.partition, Repeats(source)).restore(seen)
    return origins, repeats
