"""Single records of the log by their places."""

from collections.abc import Iterable

from headrace.evidence.places import Place
from headrace.log.port import Log, Reader, Record, TopicPartition
from headrace.log.topics import Topics

_FETCH_BYTES = 65_536
# Offsets so near to each other are read through instead of sought.
_NEAR, _AT_ONCE = 200, 500


async def records_at(log: Log, topics: Topics, places: Iterable[Place]) -> dict[Place, Record]:
    """The records that still lie at these places; what retention or compaction removed is left out.

    Raises `Retryable` when the broker is away.
    """
    wanted: dict[TopicPartition, dict[int, Place]] = {}
    for place in places:
        tp = TopicPartition(topics.name(place.topic), place.partition)
        wanted.setdefault(tp, {})[place.offset] = place
    if not wanted:
        return {}
    begins, ends = await log.begin_offsets(wanted), await log.end_offsets(wanted)
    reader = await log.reader(wanted, {tp: min(found) for tp, found in wanted.items()}, fetch_bytes=_FETCH_BYTES)
    found: dict[Place, Record] = {}
    try:
        for tp, of_offset in wanted.items():
            reader.pause(wanted)
            reader.resume([tp])
            there = [offset for offset in sorted(of_offset) if begins[tp] <= offset < ends[tp]]
            for record in await _read(reader, tp, there):
                found[of_offset[record.offset]] = record
    finally:
        await reader.close()
    return found


async def _read(reader: Reader, tp: TopicPartition, offsets: list[int]) -> list[Record]:
    """The records of one partition at these offsets, ascending."""
    found: list[Record] = []
    wanted = iter(offsets)
    offset = next(wanted, None)
    while offset is not None:
        at = await reader.position(tp)
        if not at <= offset < at + _NEAR:
            await reader.seek({tp: offset})
        for record in await reader.fetch(1.0, _AT_ONCE):
            if (record.topic, record.partition) != tp:  # fetched before it was paused
                continue
            while offset is not None and offset < record.offset:  # it is gone
                offset = next(wanted, None)
            if offset == record.offset:
                found.append(record)
                offset = next(wanted, None)
        passed = await reader.position(tp)
        while offset is not None and offset < passed:  # control records, and gaps of compaction
            offset = next(wanted, None)
    return found
