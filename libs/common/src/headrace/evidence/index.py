"""The index of decisions: where the log holds a request, a unit, its outcomes and the causes behind its route.

It follows the log by itself, in whatever process opens it. The first one writes, others read what it has written. Find
out by `catch_up` that everything that is on the log now can be found.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from headrace.errors import Retryable
from headrace.evidence.index_file import FEW, MANY, RUN, IndexFile, ReadTopic, is_damaged
from headrace.evidence.places import (
    DECISIONS,
    INDEXED,
    MOST_OFFSET,
    OUTCOMES,
    Entries,
    Kind,
    Place,
    entries_of,
    hash_of,
    packed,
    unpacked,
)
from headrace.log.backoff import delays_s
from headrace.log.port import Log, Reader, Record, TopicPartition
from headrace.log.reading import Progress
from headrace.log.topics import Topics

# How long entries may wait before they are written, and how long a reader waits for the process that writes.
WRITE_EVERY_S, PATIENCE_S = 0.5, 30.0
# Of one id, unit or key: a unit may have millions of decisions.
MOST_FOUND = 10_000
_MOST = 10_000
_LOOK_EVERY_S = 5.0
# A file that is damaged again and again lies on a broken disk.
_TRIES = 2
_FAMILY = {DECISIONS: MANY, OUTCOMES: MANY}

T = TypeVar("T")


class _MadeAnew(Retryable):
    """The file was damaged, and is empty now: by us, or by another process that reads it anew."""


class DecisionIndex:
    """The index of one installation. Close it at the end."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._file = IndexFile(path, most_bytes)
        self._one_at_a_time = asyncio.Lock()
        self._follows = False
        self._again: Callable[[], Awaitable[None]] | None = None

    @staticmethod
    def open(path: Path, most_bytes: int) -> "DecisionIndex":
        """The index in this file, which is made when it is first used. `most_bytes`: its limit, at least 8 MiB."""
        return DecisionIndex(path, most_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def follow(self, log: Log, topics: Topics, stop: asyncio.Event) -> None:
        """Keep the index at the end of the log until `stop` is set. Waits while the broker is away."""
        self._again = lambda: self._caught_up(log, topics, lambda done, total: None)
        delays = delays_s(0.5, 10.0)
        while not stop.is_set():
            try:
                self._follows = await asyncio.to_thread(self._file.lock)
                if not self._follows:
                    await _pause(stop, _LOOK_EVERY_S)
                    continue
                await self._read(log, topics, stop, None, lambda done, total: None)
                delays = delays_s(0.5, 10.0)
            except Retryable:
                await _pause(stop, next(delays))
        self._follows = False

    async def catch_up(self, log: Log, topics: Topics, progress: Progress = lambda done, total: None) -> None:
        """Read what is on the log now, or wait until the process that writes has.

        `progress`: called with the number of offsets read and their total. Raises `Retryable` when the broker is away,
        and when the other process reads nothing for `PATIENCE_S`.
        """
        self._again = lambda: self._caught_up(log, topics, progress)
        await self._again()

    async def _caught_up(self, log: Log, topics: Topics, progress: Progress) -> None:
        for _ in range(_TRIES):
            try:
                return await self._catch_up(log, topics, progress)
            except _MadeAnew:
                continue
        return await self._catch_up(log, topics, progress)

    async def _catch_up(self, log: Log, topics: Topics, progress: Progress) -> None:
        found = await _topics_of(log, topics)
        partitions = await _partitions(log, found)
        begins, ends = await log.begin_offsets(partitions), await log.end_offsets(partitions)
        total, loop = sum(ends[tp] - begins[tp] for tp in ends), asyncio.get_running_loop()
        seen, seen_s = -1, loop.time()
        while behind := await self._behind(found, begins, ends):
            if not self._follows and await asyncio.to_thread(self._file.lock):
                return await self._read(log, topics, asyncio.Event(), ends, progress)
            if behind != seen:
                seen, seen_s = behind, loop.time()
            progress(total - behind, total)
            if loop.time() - seen_s > PATIENCE_S:
                raise Retryable(
                    f"{behind:,} records are not in {self._file.path} yet, and the process that reads them stands still"
                )
            await asyncio.sleep(0.05)
        return None

    async def _behind(
        self, found: Mapping[str, ReadTopic], begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> int:
        """How many offsets the file lacks: all of them where it is of other topics."""
        ids = await self._in_thread(self._file.topic_ids)
        _, nexts = await self.positions()
        if any(name in ids and ids[name] != topic.id for name, topic in found.items()):
            nexts = {}
        return sum(max(end - max(nexts.get(tp, 0), begins[tp]), 0) for tp, end in ends.items())

    async def find(self, kind: Kind, text: str, topic: str = "", most: int = MOST_FOUND) -> list[Place]:
        """The places of records with this request id, unit, id or key, in the order of topic, partition and offset: the
        newest `most` of them.

        `topic`: of a key. Other texts may have the same hash: compare what is read there.
        """
        wanted = hash_of(kind, text.encode(), topic)
        return [unpacked(number) for number in await self._looked_up(lambda: self._file.find(wanted, most))]

    async def find_from(self, kind: Kind, text: str, first: Place, most: int) -> list[Place]:
        """The same in one partition from an offset on, the oldest `most` of them."""
        wanted, within = hash_of(kind, text.encode()), (packed(first), packed(first._replace(offset=MOST_OFFSET)))
        found = await self._looked_up(lambda: self._file.find(wanted, most, within, newest=False))
        return [unpacked(number) for number in found]

    async def positions(self) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Per partition the offset from which everything can be found, and the next offset to be read."""
        return await self._in_thread(self._file.positions)

    async def _looked_up(self, work: Callable[[], T]) -> T:
        """Work on the file; one that is damaged is read from the log first."""
        try:
            return await self._in_thread(work)
        except _MadeAnew:
            if self._again is None:
                raise
            await self._again()
            return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Work on the file, which is made anew where it is damaged."""
        async with self._one_at_a_time:
            try:
                return await asyncio.to_thread(work)
            except sqlite3.Error as error:
                if not is_damaged(error):
                    raise Retryable(f"{self._file.path} cannot be used now: {error}") from error
                is_ours = self._file.lock()
                self._file.throw_away()
                if not is_ours:
                    raise _MadeAnew(f"{self._file.path} was damaged, another process makes it anew: {error}") from error
                raise _MadeAnew(f"{self._file.path} was damaged, and is made anew from the log: {error}") from error

    async def _read(
        self,
        log: Log,
        topics: Topics,
        stop: asyncio.Event,
        ends: Mapping[TopicPartition, int] | None,
        progress: Progress,
    ) -> None:
        """Read to `ends`, or until `stop`."""
        reading = await self._opened(log, topics)
        try:
            looked_s = asyncio.get_running_loop().time()
            while not stop.is_set() and not (ends is not None and await reading.has_reached(ends)):
                await reading.take(0.1 if ends is not None else 0.25)
                if reading.is_full or (ends is None and await reading.is_due()):
                    await self._write(reading)
                if ends is not None:
                    progress(*reading.progress(ends))
                elif not reading.has_more:
                    await _pause(stop, 0.2)
                if asyncio.get_running_loop().time() - looked_s > _LOOK_EVERY_S:
                    looked_s = asyncio.get_running_loop().time()
                    is_other = await self._in_thread(self._file.generation) != reading.generation
                    if is_other or await _topics_of(log, topics) != reading.topics:
                        return
            await self._write(reading)
        finally:
            await reading.reader.close()

    async def _opened(self, log: Log, topics: Topics) -> "_Reading":
        """A reading from where the file is. What was read of topics that were created again since is thrown away."""
        found = await _topics_of(log, topics)
        partitions = await _partitions(log, found)
        begins, ends = await log.begin_offsets(partitions), await log.end_offsets(partitions)
        try:
            ids = await self._in_thread(self._file.topic_ids)
            _, nexts = await self.positions()
        except Retryable:
            ids, nexts = await self._in_thread(self._file.topic_ids), {}
        is_other = any(found[name].id != ident for name, ident in ids.items() if name in found)
        if is_other or any(nexts.get(tp, 0) > end for tp, end in ends.items()):
            await self._in_thread(self._file.throw_away)
            nexts = {}
        starts = {tp: max(nexts.get(tp, 0), begin) for tp, begin in begins.items()}
        generation = await self._in_thread(self._file.generation)
        reader = await log.reader(partitions, starts)
        return _Reading(reader, topics, found, starts, generation)

    async def _write(self, reading: "_Reading") -> None:
        entries, nexts = reading.drained()

        def write() -> None:
            if self._file.generation() != reading.generation:
                raise _MadeAnew(f"{self._file.path} was made anew by another process")
            self._file.write(entries, reading.starts, nexts, reading.topics)

        await self._in_thread(write)


class _Reading:
    """What was read and is not written yet."""

    def __init__(
        self,
        reader: Reader,
        topics: Topics,
        found: Mapping[str, ReadTopic],
        starts: Mapping[TopicPartition, int],
        generation: int,
    ) -> None:
        self.reader, self.topics, self.starts, self.generation = reader, found, starts, generation
        self._bases = {topics.name(base): base for base in INDEXED}
        self._nexts = dict(starts)
        self._pending: dict[int, list[Entries]] = {MANY: [], FEW: []}
        self._count = 0
        self._written, self._written_s = dict(starts), 0.0
        self.has_more = False

    async def take(self, timeout_s: float) -> None:
        """Fetch once."""
        records = await self.reader.fetch(timeout_s, _MOST)
        self.has_more = len(records) >= 1000
        by_topic: dict[str, list[Record]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append(record)
        for topic, found in by_topic.items():
            entries = entries_of(self._bases[topic], found)
            self._pending[self.topics[topic].family].append(entries)
            self._count += len(entries.places)
            for record in found:
                self._nexts[TopicPartition(topic, record.partition)] = record.offset + 1

    @property
    def is_full(self) -> bool:
        """Whether there is enough for a run."""
        return self._count >= RUN

    async def is_due(self) -> bool:
        """Whether there is something to write, and the last writing is a while ago."""
        if asyncio.get_running_loop().time() - self._written_s < WRITE_EVERY_S:
            return False
        for tp, offset in self._nexts.items():
            self._nexts[tp] = max(offset, await self.reader.position(tp))
        return self._nexts != self._written

    async def has_reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether everything before `ends` was taken. NB: the last offsets may be control records, or gaps."""
        for tp, end in ends.items():
            if self._nexts[tp] < end:
                self._nexts[tp] = max(self._nexts[tp], await self.reader.position(tp))
                if self._nexts[tp] < end:
                    return False
        return True

    def progress(self, ends: Mapping[TopicPartition, int]) -> tuple[int, int]:
        """The number of offsets that were read, and their total."""
        total = sum(max(end - self.starts[tp], 0) for tp, end in ends.items())
        return total - sum(max(end - self._nexts[tp], 0) for tp, end in ends.items()), total

    def drained(self) -> tuple[dict[int, Entries], dict[TopicPartition, int]]:
        """The entries by family, and the next offset of each partition."""
        entries = {family: _joined(found) for family, found in self._pending.items()}
        self._pending, self._count = {MANY: [], FEW: []}, 0
        self._written, self._written_s = dict(self._nexts), asyncio.get_running_loop().time()
        return entries, dict(self._nexts)


def _joined(found: Sequence[Entries]) -> Entries:
    if not found:
        return Entries(np.empty(0, np.uint64), np.empty(0, np.int64))
    return Entries(np.concatenate([one.hashes for one in found]), np.concatenate([one.places for one in found]))


async def _topics_of(log: Log, topics: Topics) -> dict[str, ReadTopic]:
    """The topics of the index that exist."""
    names = {topics.name(base): base for base in INDEXED}
    ids = await log.topic_ids(names)
    return {name: ReadTopic(ids[name], _FAMILY.get(base, FEW)) for name, base in names.items() if name in ids}


async def _partitions(log: Log, names: Iterable[str]) -> list[TopicPartition]:
    found = await asyncio.gather(*[log.partitions(name) for name in names])
    return [tp for partitions in found for tp in partitions]


def index_path(folder: Path, namespace: str) -> Path:
    """The file of an installation's index in its folder: console and CLI use the same one."""
    return folder / "index" / f"decisions{f'-{namespace}' if namespace else ''}.sqlite"


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
