"""Reading topics up to pinned offsets: what was there is read once, in order, and no more."""

from collections.abc import Callable, Mapping, Sequence

from headrace.bus.port import Log, Record, TopicPartition

Take = Callable[[Record], None]
Progress = Callable[[float], None]

_MOST = 5000


async def pin_offsets(log: Log, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Where every partition of these topics ends now."""
    return await log.end_offsets([tp for topic in topics for tp in await log.partitions(topic)])


async def read_up_to(
    log: Log,
    ends: Mapping[TopicPartition, int],
    take: Take,
    progress: Progress = lambda share: None,
    starts: Mapping[TopicPartition, int] | None = None,
) -> None:
    """Feed every record from `starts` (the beginning where none is given) to `ends` (exclusive) to `take`.

    `progress` is told the share done, 0..1.
    """
    begins = await log.begin_offsets(ends)
    first = {tp: max(begins[tp], (starts or {}).get(tp, 0)) for tp in ends}
    waiting = {tp for tp, end in ends.items() if first[tp] < end}
    if not waiting:
        return progress(1.0)
    reader = await log.reader(list(waiting), {tp: first[tp] for tp in waiting})
    total, done = max(sum(ends[tp] - first[tp] for tp in waiting), 1), 0
    try:
        while waiting:
            records = await reader.fetch(0.5, _MOST)
            for record in records:
                if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    take(record)
            done += len(records)
            progress(min(done / total, 1.0))
            reached = {tp for tp in waiting if await reader.position(tp) >= ends[tp]}
            waiting -= reached
            reader.pause(reached)
    finally:
        await reader.close()
    return None
