"""The number of records of a partition that are not handled yet: not fetched, or in a backlog."""

from collections import Counter
from collections.abc import Iterable

from headrace.log.port import Log, Reader, Record, TopicPartition


async def lag_of(
    log: Log, reader: Reader | None, partitions: Iterable[TopicPartition], waiting: Iterable[Record]
) -> dict[TopicPartition, int]:
    """The lag per partition. `reader`: None while nothing is read, then all records count; `waiting`: fetched, not
    handled.
    """
    ends = await log.end_offsets(list(partitions))
    owned = reader.assignment() if reader is not None else frozenset()
    found = {
        tp: max(end - (await reader.position(tp) if reader is not None and tp in owned else 0), 0)
        for tp, end in ends.items()
    }
    # NB: counted last, since records that were fetched during the query are in the backlog by now.
    backlog = Counter(TopicPartition(record.topic, record.partition) for record in waiting)
    return {tp: count + backlog[tp] for tp, count in found.items()}
