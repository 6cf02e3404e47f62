"""One shard: its state, its backlog, its worker and its committer.

On assignment: (1) the transactor's start fences the old owner and aborts its transaction; (2) the state is rebuilt
from the shard's own output, read committed, to the end; (3) consumption goes on from the group's offsets. Outputs and
input offsets commit in one transaction. While one transaction commits, the next batches are handled, and what they
gather becomes the next one (group commit).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import Fatal, HeadraceError, NoTopic, Poison, Retryable, TooLarge
from headrace.hosting.logic import Closing, Outputs, ShardLogic
from headrace.hosting.takeover import committed_of, replay, starts_of
from headrace.hosting.triage import Again, Read, where
from headrace.log.port import Out, Record, TopicPartition, Transactor

if TYPE_CHECKING:
    from headrace.hosting.group import ShardGroup

_log = logging.getLogger("headrace.bus")

MAX_PENDING = 20_000


class _Pending(msgspec.Struct):
    """What the next transaction commits. `count`: records, those not made yet included. `sends`: replies on their way."""

    sends: list[asyncio.Task[None]] = []
    outs: list[Out] = []
    after: list[Out] = []
    deferred: list[Callable[[], list[Out]]] = []
    count: int = 0


class Shard:
    """One owned shard: its backlog, its worker and its committer.

    Whatever the logic raises while it handles a batch is one record's. So the logic is thrown away, nothing of the batch is
    committed, and after the rebuild the records up to where the batch ended are handled and committed one at a time
    (`host.care`). The one that raises alone is condemned: it counts as poison from then on.
    """

    def __init__(self, host: "ShardGroup", number: int, partitions: frozenset[TopicPartition]) -> None:
        self.host, self.number, self.partitions = host, number, partitions
        self.backlog: deque[Record] = deque()
        self.arrived = asyncio.Event()
        self.start_at: dict[TopicPartition, int] | None = None
        self.is_consuming = False
        self.is_held = False
        self.failed: str | None = None
        self.in_hurry = False
        self.committed: Mapping[TopicPartition, int] = {}
        # How far records were taken to be handled, and the one that is handled alone.
        self.taken: dict[TopicPartition, int] = {}
        self.alone: Record | None = None
        self.pending = _Pending()
        self.offsets: dict[TopicPartition, int] = {}
        self.gathered = asyncio.Event()
        self.urgent = asyncio.Event()
        self.drained = asyncio.Event()
        self.drained.set()
        self.closing = False
        self.task: asyncio.Task[None] | None = None
        self._transactor: Transactor | None = None

    async def run(self) -> None:
        """Fence, rebuild, then handle and commit until closed; a `Retryable`, or a topic that is gone, marks the shard failed."""
        host = self.host
        logic: ShardLogic | None = None
        try:
            self._transactor = await host.log.transactor(
                host.topics.transactional_id(host.service, self.number), host.group, host.same.ids
            )
            logic = host.make(self.number)
            await replay(host.log, host.codec, self.number, logic)
            self.committed = await committed_of(host.log, host.group, self.partitions)
            wanted = await logic.on_start(self.committed)
            self.start_at = await starts_of(host.log, host.stops, wanted, self.partitions)
            self.taken = dict(self.start_at)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(logic))
                group.create_task(self._commit())
        except* (Retryable, NoTopic) as errors:
            self.failed = str(errors.exceptions[0])
            self.in_hurry = errors.subgroup(Again) is not None
        finally:
            if isinstance(logic, Closing):
                await logic.on_close()
            if self._transactor is not None:
                await self._transactor.close()

    async def read_also(self, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Own these partitions too, or begin to read them anew; returns from where. What was fetched of them is dropped."""
        host = self.host
        starts = await starts_of(host.log, host.stops, wanted, frozenset(wanted))
        committed = await committed_of(host.log, host.group, frozenset(wanted) - self.partitions)
        self.partitions |= frozenset(wanted)
        self.committed = {**self.committed, **committed}
        self.taken.update(starts)
        self.backlog = deque(r for r in self.backlog if (r.topic, r.partition) not in starts)
        return starts

    async def _work(self, logic: ShardLogic) -> None:
        judging = self.host.judging
        while not self.closing:
            await self._await_room()
            batch = self._next_batch()
            if not batch:
                self._gather(await self._tick(logic), Read.nothing())
                if not self.backlog:
                    await _is_set(self.arrived, self.host.tick_s)
                continue
            try:
                tried = await judging.tried(batch)
                read = judging.read(batch, tried, self.committed)
                for tp in read.stopped:
                    self.host.hold(tp)
                self.taken.update(read.handled)
                outputs = await logic.on_batch(read.messages) if read.messages else Outputs()
                await judging.account(read, outputs, batch, self.committed)
            except Exception as error:
                self._blame(error)
                raise
            self._gather(outputs, read)
            self.host.note_progress(len(batch))
            await asyncio.sleep(0)
            if self.alone is not None:
                await self._until_committed()

    async def _tick(self, logic: ShardLogic) -> Outputs:
        try:
            return await logic.on_tick()
        except HeadraceError:
            raise
        except Exception as error:
            raise Fatal(f"shard {self.number} of {self.host.service} cannot go on: {error!r}") from error

    async def _until_committed(self) -> None:
        """Until all that was gathered is committed: so whatever fails meanwhile is the one record's that was handled alone."""
        self.urgent.set()
        while not self.closing and not self.drained.is_set():
            await self.drained.wait()
        self.alone = None

    def _blame(self, error: Exception) -> None:
        """What was raised while records were handled or committed is one record's; raises what the shard does about it."""
        told = TooLarge(str(error)) if isinstance(error, TooLarge) else Poison.of(error)
        if not isinstance(told, Poison | TooLarge):
            return
        host, record = self.host, self.alone
        if record is not None:
            place = where(record)
            if not host.codec.is_users(record.topic):
                raise Fatal(f"{place} cannot be handled: {told}") from error
            _log.error("%s cannot be handled: %s", place, told, exc_info=error)
            host.judging.condemn(record, _of_handling(told))
            raise Again(f"{place} cannot be handled, and is left out") from error
        care = host.care.setdefault(self.number, {})
        if all(care.get(tp, 0) >= offset for tp, offset in self.taken.items()):
            raise Fatal(f"shard {self.number} of {host.service} cannot go on: {told}") from error
        for tp, offset in self.taken.items():
            care[tp] = max(care.get(tp, 0), offset)
        raise Again(f"a batch cannot be handled ({told}): its records are handled one at a time") from error

    async def _await_room(self) -> None:
        while self.pending.count > MAX_PENDING and not self.closing:
            await self.drained.wait()

    def _next_batch(self) -> list[Record]:
        self.arrived.clear()
        backlog = self.backlog
        care = self.host.care.get(self.number)
        if care and backlog:
            return self._next_with_care(care)
        return [backlog.popleft() for _ in range(min(len(backlog), self.host.max_batch))]

    def _next_with_care(self, care: dict[TopicPartition, int]) -> list[Record]:
        """One record, until all partitions have passed where a batch failed."""
        record = self.backlog.popleft()
        tp = TopicPartition(record.topic, record.partition)
        self.taken[tp] = record.offset + 1
        if record.offset < care.get(tp, 0):
            self.alone = record
        stops = self.host.stops
        if all(self.taken.get(at, 0) >= offset or stops.at(*at) is not None for at, offset in care.items()):
            del self.host.care[self.number]
        return [record]

    def _gather(self, outputs: Outputs, read: Read) -> None:
        """Add to what the next transaction commits: outputs, dead letters and offsets together, or none of them."""
        pending = self.pending
        if outputs.before:
            pending.sends.append(self.host.sends.later(outputs.before))
        pending.outs += read.buried
        pending.outs += outputs.outs
        pending.after += outputs.after
        if outputs.deferred is not None:
            pending.deferred.append(outputs.deferred)
        pending.count += len(read.buried) + max(len(outputs.outs), len(read.messages))
        # NB: who reads again from further back moves the group's offsets never back.
        self.offsets.update({tp: max(o, self.committed.get(tp, 0)) for tp, o in read.handled.items()})
        if pending.outs or pending.after or pending.deferred or self.offsets:
            self.drained.clear()
            self.gathered.set()
        if pending.after or read.buried or pending.count > MAX_PENDING:
            self.urgent.set()

    async def _commit(self) -> None:
        try:
            await self._commit_all()
        except Exception as error:
            self._blame(error)
            raise

    async def _commit_all(self) -> None:
        told: list[asyncio.Task[None]] = []
        while not self.closing or self.gathered.is_set():
            if not await _is_set(self.gathered, 0.2):
                continue
            # Nobody waits for this transaction: what comes within a moment goes into it too.
            if self.host.linger_s and not self.closing:
                await _is_set(self.urgent, self.host.linger_s)
            self.gathered.clear()
            self.urgent.clear()
            pending, self.pending = self.pending, _Pending()
            offsets, self.offsets = self.offsets, {}
            for make in pending.deferred:
                pending.outs += make()
                await asyncio.sleep(0)
            # NB: whoever dies now has neither committed nor been heard, and the next owner does it all again.
            await asyncio.gather(*pending.sends)
            if self._transactor is not None and (pending.outs or offsets):
                await self._transactor.commit(pending.outs, offsets)
                self.committed = {**self.committed, **offsets}
            self.host.note_progress(0)
            # NB: so only the replies of the last two transactions can be lost with this process.
            await asyncio.gather(*told)
            told = [self.host.sends.later(pending.after)] if pending.after else []
            if not self.gathered.is_set():
                self.drained.set()

    async def close(self, timeout_s: float) -> None:
        """Commit what is handled, then end; what is not done in time is dropped and will be done by the next owner."""
        self.closing = True
        self.arrived.set()
        self.drained.set()
        self.urgent.set()
        if self.task is None:
            return
        _, unfinished = await asyncio.wait([self.task], timeout=timeout_s)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def _of_handling(told: HeadraceError) -> Poison:
    """The reason of a record that was decoded, and could not be handled."""
    return Poison(f"it could not be handled: {told}", told.field if isinstance(told, Poison) else None)


async def _is_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether an event is set, or is set within the time."""
    if not event.is_set():
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
    return True
