"""One shard of a service: partition p of all its inputs, with one state, one backlog, one transactional id and one
owner.

On assignment: (1) the transactor's start fences the old owner and aborts its transaction; (2) the state is rebuilt from
the shard's own output, read committed, to the end; (3) records are handled from the group's offsets on. Their outputs
are committed by `commit.GroupCommit`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.errors import Fatal, HeadraceError, NoTopic, Poison, Retryable, TooLarge
from headrace.hosting.commit import GroupCommit, is_set
from headrace.hosting.logic import Closing, Outputs, ShardLogic
from headrace.hosting.sends import Sends
from headrace.hosting.stops import Stops
from headrace.hosting.takeover import committed_of, replay, starts_of
from headrace.hosting.triage import Again, Triage
from headrace.latency import Digest
from headrace.log.codec import Codec
from headrace.log.port import Log, Record, TopicPartition, Transactor
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.hosting")


@dataclass(frozen=True)
class Common:
    """What all shards of one consumer group share, and what outlives each of them.

    `make`: makes a new logic for a shard number. `hold`: called for a partition that is stopped. `note_progress`:
    called with the number of records handled. `commits`: takes the durations of commits. `care`: per shard the offsets up to which records are handled one at a
    time, since a batch that ended there failed.
    """

    log: Log
    codec: Codec
    topics: Topics
    service: str
    make: Callable[[int], ShardLogic]
    stops: Stops
    triage: Triage
    same: SameTopics
    sends: Sends
    hold: Callable[[TopicPartition], None]
    note_progress: Callable[[int], None]
    tick_s: float
    max_batch: int
    linger_s: float
    commits: Digest
    care: dict[int, dict[TopicPartition, int]] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The name of the consumer group."""
        return self.topics.group(self.service)


class Shard:
    """One owned shard: its backlog, and the two tasks that handle and commit.

    What the logic raises while it handles a batch is one record's fault. So the logic is thrown away, nothing of the
    batch is committed, and after the rebuild the records of the batch are handled and committed one at a time
    (`Common.care`). The record that raises alone is condemned: it counts as poison from then on.

    `start_at`: the offsets to read from, once the state is rebuilt. `is_consuming`: records are fetched for it.
    `is_held`: its backlog is long, and nothing is fetched for it. `failed`: why the shard must be replaced, at once
    when `in_hurry`.
    """

    def __init__(self, common: Common, number: int, partitions: frozenset[TopicPartition]) -> None:
        self.number, self.partitions = number, partitions
        self.backlog: deque[Record] = deque()
        self.start_at: dict[TopicPartition, int] | None = None
        self.is_consuming = False
        self.is_held = False
        self.failed: str | None = None
        self.in_hurry = False
        self.task: asyncio.Task[None] | None = None
        # The next offsets of the records that were taken, and the record that is handled alone.
        self.taken: dict[TopicPartition, int] = {}
        self._alone: Record | None = None
        self._common = common
        self._commit = GroupCommit(common.sends, common.linger_s, lambda: common.note_progress(0), common.commits)
        self._arrived = asyncio.Event()
        self._closing = False

    @property
    def has_work(self) -> bool:
        """Whether records wait to be handled, or outputs to be committed."""
        return bool(self.backlog) or not self._commit.is_drained

    def take(self, records: "list[Record]") -> None:
        """Add fetched records to the backlog."""
        self.backlog.extend(records)
        self._arrived.set()

    def drop(self, partitions: "Mapping[TopicPartition, int] | frozenset[TopicPartition]") -> None:
        """Drop what was fetched of these partitions and is not handled yet."""
        self.backlog = deque(r for r in self.backlog if (r.topic, r.partition) not in partitions)

    async def run(self) -> None:
        """Fence, rebuild, then handle and commit until closed. `Retryable` or `NoTopic` marks the shard failed."""
        common = self._common
        logic: ShardLogic | None = None
        transactor: Transactor | None = None
        try:
            transactor = await common.log.transactor(
                common.topics.transactional_id(common.service, self.number), common.group, common.same.ids
            )
            logic = common.make(self.number)
            await replay(common.log, common.codec, self.number, logic)
            self._commit.committed = await committed_of(common.log, common.group, self.partitions)
            wanted = await logic.on_start(self._commit.committed)
            self.start_at = await starts_of(common.log, common.stops, wanted, self.partitions)
            self.taken = dict(self.start_at)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(logic))
                group.create_task(self._commit_all(transactor))
        except* (Retryable, NoTopic) as errors:
            self.failed = str(errors.exceptions[0])
            self.in_hurry = errors.subgroup(Again) is not None
        finally:
            if isinstance(logic, Closing):
                await logic.on_close()
            if transactor is not None:
                await transactor.close()

    async def read_also(self, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Own these partitions too, or read them again. Returns the offsets. What was fetched of them is dropped."""
        common = self._common
        starts = await starts_of(common.log, common.stops, wanted, frozenset(wanted))
        committed = await committed_of(common.log, common.group, frozenset(wanted) - self.partitions)
        self.partitions |= frozenset(wanted)
        self._commit.committed = {**self._commit.committed, **committed}
        self.taken.update(starts)
        self.drop(starts)
        return starts

    async def close(self, timeout_s: float) -> None:
        """Commit what is handled, then end. What is not done in time is dropped, and done by the next owner."""
        self._closing = True
        self._arrived.set()
        self._commit.close()
        if self.task is None:
            return
        _, unfinished = await asyncio.wait([self.task], timeout=timeout_s)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _work(self, logic: ShardLogic) -> None:
        while not self._closing:
            await self._commit.room()
            batch = self._next_batch()
            if batch:
                await self._handle(logic, batch)
                continue
            self._commit.gather(await self._tick(logic), (), {}, 0)
            if not self.backlog:
                await is_set(self._arrived, self._common.tick_s)

    async def _handle(self, logic: ShardLogic, batch: list[Record]) -> None:
        triage = self._common.triage
        try:
            decoded = await triage.decode_all(batch)
            read = triage.read(batch, decoded, self._commit.committed)
            for tp in read.stopped:
                self._common.hold(tp)
            self.taken.update(read.handled)
            outputs = await logic.on_batch(read.messages) if read.messages else Outputs()
            await triage.account(read, outputs, batch, self._commit.committed)
        except Exception as error:
            self._blame(error)
            raise
        self._commit.gather(outputs, read.dead_letters, read.handled, len(read.messages))
        self._common.note_progress(len(batch))
        await asyncio.sleep(0)
        if self._alone is not None:
            # Wait for the commit, so that any failure until then is the fault of this record.
            await self._commit.flush()
            self._alone = None

    async def _tick(self, logic: ShardLogic) -> Outputs:
        try:
            return await logic.on_tick()
        except HeadraceError:
            raise
        except Exception as error:
            raise Fatal(f"shard {self.number} of {self._common.service} cannot go on: {error!r}") from error

    async def _commit_all(self, transactor: Transactor) -> None:
        try:
            await self._commit.run(transactor)
        except Exception as error:
            self._blame(error)
            raise

    def _blame(self, error: Exception) -> None:
        """Treat an error as one record's fault. Always raises what the shard must do, unless the error is no such
        fault.
        """
        fault = TooLarge(str(error)) if isinstance(error, TooLarge) else Poison.of(error)
        if not isinstance(fault, Poison | TooLarge):
            return
        common, record = self._common, self._alone
        if record is not None:
            place = record.place
            if not common.codec.is_users(record.topic):
                raise Fatal(f"{place} cannot be handled: {fault}") from error
            _log.error("%s cannot be handled: %s", place, fault, exc_info=error)
            common.triage.condemn(record, _of_handling(fault))
            raise Again(f"{place} cannot be handled, and is skipped") from error
        care = common.care.setdefault(self.number, {})
        if all(care.get(tp, 0) >= offset for tp, offset in self.taken.items()):
            raise Fatal(f"shard {self.number} of {common.service} cannot go on: {fault}") from error
        for tp, offset in self.taken.items():
            care[tp] = max(care.get(tp, 0), offset)
        raise Again(f"a batch cannot be handled ({fault}): its records are handled one at a time") from error

    def _next_batch(self) -> list[Record]:
        self._arrived.clear()
        backlog = self.backlog
        care = self._common.care.get(self.number)
        if care and backlog:
            return self._next_with_care(care)
        return [backlog.popleft() for _ in range(min(len(backlog), self._common.max_batch))]

    def _next_with_care(self, care: dict[TopicPartition, int]) -> list[Record]:
        """One record at a time, until all partitions have passed the place where a batch failed."""
        record = self.backlog.popleft()
        tp = TopicPartition(record.topic, record.partition)
        self.taken[tp] = record.offset + 1
        if record.offset < care.get(tp, 0):
            self._alone = record
        stops = self._common.stops
        if all(self.taken.get(at, 0) >= offset or stops.at(*at) is not None for at, offset in care.items()):
            del self._common.care[self.number]
        return [record]


def _of_handling(fault: HeadraceError) -> Poison:
    """The reason for a record that was decoded, but could not be handled."""
    return Poison(f"it could not be handled: {fault}", fault.field if isinstance(fault, Poison) else None)
