"""How many records of a partition are not handled yet: those that are not fetched, and those that wait in a backlog."""

from collections import Counter
from collections.abc import Iterable

from headrace.log.port import Log, Reader, Record, TopicPartition


async def lag_of(
    log: Log, reader: Reader | None, partitions: Iterable[TopicPartition], waiting: Iterable[Record]
) -> dict[TopicPartition, int]:
    """Records per partition. `reader`: None while nobody reads, then all of them count; `waiting`: fetched and not handled."""
    ends = await log.end_offsets(list(partitions))
    owned = reader.assignment() if reader is not None else frozenset()
    found = {
        tp: max(end - (await reader.position(tp) if reader is not None and tp in owned else 0), 0)
        for tp, end in ends.items()
    }
    # NB: counted last: what was fetched while the log was asked waits in a backlog by now, and is not handled either.
    backlog = Counter(TopicPartition(record.topic, record.partition) for record in waiting)
    return {tp: count + backlog[tp] for tp, count in found.items()}
