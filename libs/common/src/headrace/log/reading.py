"""Reads topics up to pinned offsets: every record before them once, in order, and no more."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from headrace.errors import Retryable
from headrace.log.backoff import delays_s
from headrace.log.port import Log, Reader, Record, TopicPartition
from headrace.log.same_topics import SameTopics

Take = Callable[[Record], object]
Progress = Callable[[int, int], None]

_MOST = 5000


async def pin_offsets(log: Log, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """The present end of every partition of these topics."""
    return await log.end_offsets([tp for topic in topics for tp in await log.partitions(topic)])


async def read_up_to(
    log: Log,
    ends: Mapping[TopicPartition, int],
    take: Take,
    progress: Progress = lambda done, total: None,
    starts: Mapping[TopicPartition, int] | None = None,
) -> None:
    """Pass every record from `starts` (the beginning where none is given) to `ends` (exclusive) to `take`.

    `progress`: called after every fetch, even an empty one, with the number of offsets read and their total. When the
    broker goes away, the reading waits and continues where it was: no record is passed twice. Raises `Restart` when a
    topic was deleted and created again meanwhile, since its end will not come, or is another one.
    """
    reading = _Reading(log, ends)
    for delay_s in delays_s(0.5, 10.0):
        try:
            await reading.open(starts or {})
            await reading.to_end(take, progress)
        except Retryable:
            progress(reading.done, reading.total)
            await asyncio.sleep(delay_s)
        else:
            return
        finally:
            await reading.close()


class _Reading:
    """The state of one reading."""

    def __init__(self, log: Log, ends: Mapping[TopicPartition, int]) -> None:
        self._log, self._ends = log, dict(ends)
        self._same, self._topics = SameTopics(log), {tp.topic for tp in ends}
        self._first: dict[TopicPartition, int] | None = None
        self._next: dict[TopicPartition, int] = {}
        self._reader: Reader | None = None

    @property
    def total(self) -> int:
        """The number of offsets between the starts and the ends."""
        return sum(max(self._ends[tp] - first, 0) for tp, first in (self._first or {}).items())

    @property
    def done(self) -> int:
        """The number of offsets that were read."""
        first = self._first or {}
        return sum(min(at, self._ends[tp]) - first[tp] for tp, at in self._next.items() if at > first[tp])

    async def open(self, starts: Mapping[TopicPartition, int]) -> None:
        """Find the starts, once, and open a reader at what is not read yet."""
        await self._same.look(self._topics)
        if self._first is None:
            begins = await self._log.begin_offsets(self._ends)
            self._first = {tp: max(begins[tp], starts.get(tp, 0)) for tp in self._ends}
            self._next = dict(self._first)
        waiting = {tp: at for tp, at in self._next.items() if at < self._ends[tp]}
        self._reader = await self._log.reader(list(waiting), waiting) if waiting else None

    async def to_end(self, take: Take, progress: Progress) -> None:
        """Fetch until every end is reached."""
        reader = self._reader
        if reader is None:
            return progress(self.total, self.total)
        waiting = set(reader.assignment())
        while waiting:
            for record in await reader.fetch(0.5, _MOST):
                tp = TopicPartition(record.topic, record.partition)
                if self._next[tp] <= record.offset < self._ends[tp]:
                    self._next[tp] = record.offset + 1
                    take(record)
            # NB: the last offsets before an end may be control records, or gaps of compaction.
            for tp in waiting:
                self._next[tp] = max(self._next[tp], await reader.position(tp))
            await self._same.look_now_and_then(self._topics)
            progress(self.done, self.total)
            reached = {tp for tp in waiting if self._next[tp] >= self._ends[tp]}
            waiting -= reached
            reader.pause(reached)
            await asyncio.sleep(0)
        # NB: the result is valid only if the topics stayed the same.
        await self._same.look(self._topics)
        return None

    async def close(self) -> None:
        """Close the connection."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
