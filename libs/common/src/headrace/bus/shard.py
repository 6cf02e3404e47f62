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
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.bus.beginning import committed_of, replay, starts_of
from headrace.bus.dlq import dead_letter
from headrace.bus.poison import PoisonLedger
from headrace.bus.port import Out, Record, TopicPartition, Transactor
from headrace.bus.shard_logic import Closing, Outputs, ShardLogic
from headrace.errors import Fatal, HeadraceError, NoTopic, Poison, Retryable, TooLarge

if TYPE_CHECKING:
    from headrace.bus.shards import ShardHost

_log = logging.getLogger("headrace.bus")

MAX_PENDING = 20_000


class _Pending(msgspec.Struct):
    """What the next transaction commits. `count`: records, those not made yet included. `sends`: replies on their way."""

    sends: list[asyncio.Task[None]] = []
    outs: list[Out] = []
    after: list[Out] = []
    deferred: list[Callable[[], list[Out]]] = []
    count: int = 0


class _Read(NamedTuple):
    """A batch as read: what the logic gets, what is dead-lettered, the next offset per partition; how many of each were understood (since the last that was not)."""

    messages: list[Any]
    buried: list[Out]
    handled: dict[TopicPartition, int]
    good: dict[tuple[str, int], int]
    bad: set[tuple[str, int, int]]


def _tried(decode: Callable[[Record], Any], record: Record) -> Any:
    """A message, or the `Poison` that its record is. NB: as soon as one says that the loop must hold or end, no other is asked."""
    try:
        return decode(record)
    except Exception as error:
        poison = Poison.of(error)
        if not isinstance(poison, Poison):
            raise
        return poison


class Again(Retryable):
    """Rebuild the shard at once: what a batch raised is one record's, and must be found or left out."""


class Shard:
    """One owned shard: its backlog, its worker and its committer.

    Whatever the logic raises while it handles a batch is one record's. So the logic is thrown away, nothing of the batch is
    committed, and after the rebuild the records up to where the batch ended are handled and committed one at a time
    (`host.care`). The one that raises alone is condemned: it counts as poison from then on.
    """

    def __init__(self, host: "ShardHost", number: int, partitions: frozenset[TopicPartition]) -> None:
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
        while not self.closing:
            await self._await_room()
            batch = self._next_batch()
            if not batch:
                self._gather(await self._tick(logic), _Read([], [], {}, {}, set()))
                if not self.backlog:
                    await _is_set(self.arrived, self.host.tick_s)
                continue
            try:
                read = self._decode(batch, await self._tried(batch))
                self.taken.update(read.handled)
                outputs = await logic.on_batch(read.messages) if read.messages else Outputs()
                await self._account(read, outputs, batch)
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
            place = _where(record)
            if not host.codec.is_users(record.topic):
                raise Fatal(f"{place} cannot be handled: {told}") from error
            _log.error("%s cannot be handled: %s", place, told, exc_info=error)
            host.condemn(record, _of_handling(told))
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

    async def _tried(self, batch: list[Record]) -> list[Any]:
        """What each record is, or what was raised over it. NB: what could not be understood may be newer than what is known here."""
        decode, learn = self.host.decode, self.host.learn
        tried = [_tried(decode, record) for record in batch]
        if learn is not None and any(isinstance(found, Poison) for found in tried):
            await learn()
            return [_tried(decode, batch[n]) if isinstance(found, Poison) else found for n, found in enumerate(tried)]
        return tried

    def _decode(self, batch: list[Record], tried: list[Any]) -> "_Read":
        """The messages of a batch, its dead letters, and how far each partition is handled: not past its stop."""
        read = _Read([], [], {}, {}, set())
        host = self.host
        condemned, good = host.condemned, read.good
        stopped = {(found.topic, found.partition): found.offset for found in host.stops.stopped}
        reached: dict[tuple[str, int], int] = {}
        for record, found in zip(batch, tried, strict=True):
            place = (record.topic, record.partition)
            if stopped and record.offset >= stopped.get(place, _NEVER):
                host.hold(TopicPartition(*place))
                continue
            known = condemned.get((*place, record.offset)) if condemned else None
            poison = known or (found if isinstance(found, Poison) else None)
            if poison is None:
                read.messages.append(found)
                good[place] = good.get(place, 0) + 1
            else:
                host.ledger.good(place, good.pop(place, 0))
                read.bad.add((*place, record.offset))
                what = self._judge(record, poison)
                if what == _STOP:
                    read.buried.append(host.stops.halt(*place, record.offset, f"{_TOO_MANY}: {poison}"))
                    stopped[place] = record.offset
                    host.hold(TopicPartition(*place))
                    continue
                self._bury(record, poison, what, read)
            reached[place] = record.offset + 1
        read.handled.update({TopicPartition(*place): offset for place, offset in reached.items()})
        return read

    def _judge(self, record: Record, poison: Poison) -> int:
        """How many records the dead letter of this one stands for; 0 when it gets none; `_STOP` when its partition stops at it."""
        host = self.host
        rule, place = host.topics.rule(record.topic), (record.topic, record.partition)
        if rule.audience != "users":
            raise Fatal(f"{_where(record)} cannot be read: {poison}")
        # NB: read again from further back, or read by the way: its letter was (or will be) written by who handles it.
        is_own = rule.reader == host.service or (*place, record.offset) in host.condemned
        if record.offset < self.committed.get(TopicPartition(*place), 0) or not is_own:
            return 0
        is_beyond = host.ledger.bad(place)
        if is_beyond and rule.poison == "stop":
            return _STOP
        host.health.dead_lettered += 1
        return host.samples.take(place, is_beyond=is_beyond)

    def _bury(self, record: Record, poison: Poison, stands_for: int, read: "_Read") -> None:
        if stands_for:
            host = self.host
            _log.warning("dead-lettered %s: %s", _where(record), poison)
            read.buried.append(dead_letter(host.dlq, record, poison, host.service, stands_for=stands_for))

    async def _account(self, read: "_Read", outputs: Outputs, batch: list[Record]) -> None:
        """Count what was understood, and bury what turned out to be poison while it was handled."""
        host = self.host
        dead = {(m.record.topic, m.record.partition, m.record.offset): poison for m, poison in outputs.dead}
        places = {found[:2] for found in dead}
        for place, count in read.good.items():
            if place not in places:
                host.ledger.good(place, count)
        if not dead:
            return
        before = host.ledger.copy()
        for record in batch:
            place = (record.topic, record.partition)
            poison = dead.get((*place, record.offset))
            if poison is not None:
                what = self._judge(record, poison)
                if what == _STOP:
                    await self._stop_at(record, poison, batch, before)
                self._bury(record, poison, what, read)
            elif place in places and (*place, record.offset) not in read.bad:
                host.ledger.good(place)

    async def _stop_at(self, record: Record, poison: Poison, batch: list[Record], before: PoisonLedger) -> None:
        """Stop a partition at a record whose batch is handled already; always raises.

        NB: effects of the records behind it are among the outputs: so all of the batch is dropped and done again one record
        at a time, and the one that stops its partition is then alone, and dropped.
        """
        if len(batch) > 1:
            self.host.ledger.restore(before)
            raise Poison(f"{record.topic}/{record.partition} must stop at {record.offset}: {poison}")
        await self.host.stops.stop(record.topic, record.partition, record.offset, f"{_TOO_MANY}: {poison}")
        raise Again(f"{record.topic}/{record.partition} stops at {record.offset}: {poison}")

    def _gather(self, outputs: Outputs, read: "_Read") -> None:
        """Add to what the next transaction commits: outputs, dead letters and offsets together, or none of them."""
        pending = self.pending
        if outputs.before:
            pending.sends.append(self.host.send_later(outputs.before))
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
            told = [self.host.send_later(pending.after)] if pending.after else []
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


_NEVER, _STOP = 2**63, -1
_TOO_MANY = "too many records cannot be read"


def _where(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


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
