"""Shards: partition p of all inputs of a stateful service is one state, one owner, one transactional id.

On assignment: (1) the transactor's start fences the old owner and aborts its transaction; (2) the state is rebuilt
from the shard's own output, read committed, to the end; (3) consumption goes on from the group's offsets. Outputs and
input offsets commit in one transaction. While one transaction commits, the next batches are handled, and what they
gather becomes the next one (group commit). After a failed transaction the logic object is thrown away and a new one
rebuilt, so state in memory may run ahead of the commit without care.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from headrace.bus.dlq import dead_letter
from headrace.bus.poison import PoisonLedger
from headrace.bus.port import Log, Member, Out, Producer, Reader, Record, TopicPartition, Transactor
from headrace.codec import Codec, Message
from headrace.errors import Fatal, Fenced, Poison, Retryable
from headrace.obs.health import Health
from headrace.topics import Topics

_log = logging.getLogger("headrace.bus")

MAX_BACKLOG = 20_000
MAX_PENDING = 20_000
RETRY_S = 1.0
LAG_EVERY_S = 2.0


class Outputs(msgspec.Struct):
    """What one step of a shard wants written.

    `outs`: in the shard's transaction, together with the input offsets. `before`: at once, outside of it. `after`: once
    it is committed. `dead`: messages that turned out to be poison, dead-lettered in the same transaction.
    """

    outs: list[Out] = []
    before: list[Out] = []
    after: list[Out] = []
    dead: list[tuple[Message, Poison]] = []


class Rebuild(msgspec.Struct, frozen=True):
    """A topic to read before anything is consumed: the shard's partition (all of them when `whole`), or only its tail."""

    topic: str
    tail_records: int | None = None
    whole: bool = False


class ShardLogic(Protocol):
    """One shard of a stateful service, without Kafka in it."""

    def rebuild(self) -> Sequence[Rebuild]: ...
    async def on_history(self, message: Message) -> None: ...

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """After the history: where to read from; `committed` as it is, normally. A missing partition starts at its beginning."""
        ...

    async def on_batch(self, batch: Sequence[Message]) -> Outputs: ...
    async def on_tick(self) -> Outputs: ...


class _Shard:
    """One owned shard: its backlog, its worker and its committer."""

    def __init__(self, host: "ShardHost", number: int, partitions: frozenset[TopicPartition]) -> None:
        self.host, self.number, self.partitions = host, number, partitions
        self.backlog: list[Record] = []
        self.arrived = asyncio.Event()
        self.start_at: dict[TopicPartition, int] | None = None
        self.is_consuming = False
        self.failed: str | None = None
        self.stopped_topics: set[str] = set()
        self.pending = Outputs([], [], [], [])
        self.offsets: dict[TopicPartition, int] = {}
        self.gathered = asyncio.Event()
        self.drained = asyncio.Event()
        self.drained.set()
        self.closing = False
        self.task: asyncio.Task[None] | None = None
        self._transactor: Transactor | None = None

    async def run(self) -> None:
        """Fence, rebuild, then handle and commit until closed; a `Retryable` marks the shard failed."""
        host = self.host
        try:
            self._transactor = await host.log.transactor(
                host.topics.transactional_id(host.service, self.number), host.group
            )
            logic = host.make(self.number)
            await self._replay(logic)
            committed = await host.log.committed(host.group, self.partitions)
            self.start_at = await self._starts(await logic.on_start(committed))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(logic))
                group.create_task(self._commit())
        except* Retryable as errors:
            self.failed = str(errors.exceptions[0])
        finally:
            if self._transactor is not None:
                await self._transactor.close()

    async def _replay(self, logic: ShardLogic) -> None:
        for wanted in logic.rebuild():
            partitions = await self.host.log.partitions(wanted.topic)
            if not wanted.whole:
                partitions = [tp for tp in partitions if tp.partition == self.number]
            await self._replay_topic(logic, partitions, wanted.tail_records)

    async def _replay_topic(self, logic: ShardLogic, partitions: list[TopicPartition], tail: int | None) -> None:
        ends = await self.host.log.end_offsets(partitions)
        begins = await self.host.log.begin_offsets(partitions)
        starts = {tp: begins[tp] if tail is None else max(begins[tp], ends[tp] - tail) for tp in partitions}
        reader = await self.host.log.reader(partitions, starts)
        try:
            while any([await reader.position(tp) < ends[tp] for tp in partitions]):
                for record in await reader.fetch(0.5, 5000):
                    await logic.on_history(self.host.codec.decode(record))
        except Poison as poison:
            raise Fatal(f"shard {self.number} cannot be rebuilt: {poison}") from poison
        finally:
            await reader.close()

    async def _starts(self, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        begins = await self.host.log.begin_offsets(self.partitions)
        return {tp: max(wanted.get(tp, 0), begins[tp]) for tp in self.partitions}

    async def _work(self, logic: ShardLogic) -> None:
        while not self.closing:
            await self._await_room()
            batch = self._next_batch()
            outputs = await logic.on_batch(self._decode(batch)) if batch else await logic.on_tick()
            self._gather(outputs, batch)
            if batch:
                self.host.note_progress(len(batch))
                await asyncio.sleep(0)
            elif not self.backlog:
                await self._await_records()

    async def _await_room(self) -> None:
        while len(self.pending.outs) > MAX_PENDING and not self.closing:
            await self.drained.wait()

    def _next_batch(self) -> list[Record]:
        batch, self.backlog = self.backlog[: self.host.max_batch], self.backlog[self.host.max_batch :]
        self.arrived.clear()
        return batch

    async def _await_records(self) -> None:
        try:
            await asyncio.wait_for(self.arrived.wait(), self.host.tick_s)
        except TimeoutError:
            return

    def _decode(self, batch: list[Record]) -> list[Message]:
        messages: list[Message] = []
        for record in batch:
            if record.topic in self.stopped_topics:
                continue
            try:
                messages.append(self.host.codec.decode(record))
                self.host.ledger.good(record.topic)
            except Poison as poison:
                self._bury(record, poison)
        return messages

    def _bury(self, record: Record, poison: Poison) -> None:
        host = self.host
        if not host.codec.is_users(record.topic):
            raise Fatal(f"{record.topic}/{record.partition}/{record.offset} cannot be read: {poison}")
        if host.ledger.bad(record.topic):
            self.stopped_topics.add(record.topic)
            self.offsets = {tp: offset for tp, offset in self.offsets.items() if tp.topic != record.topic}
            host.stop_topic(record, poison)
            return
        host.health.dead_lettered += 1
        _log.warning("dead-lettered %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
        self.pending.outs.append(dead_letter(host.dlq, record, poison, host.service))

    def _gather(self, outputs: Outputs, batch: list[Record]) -> None:
        for message, poison in outputs.dead:
            self._bury(message.record, poison)
        self.pending.outs += outputs.outs
        self.pending.after += outputs.after
        for record in batch:
            if record.topic not in self.stopped_topics:
                self.offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        if outputs.before:
            self.host.send_later(outputs.before)
        if self.pending.outs or self.pending.after or self.offsets:
            self.drained.clear()
            self.gathered.set()

    async def _commit(self) -> None:
        while not self.closing or self.gathered.is_set():
            if not self.gathered.is_set() and not await self._await_work():
                continue
            self.gathered.clear()
            outputs, self.pending = self.pending, Outputs([], [], [], [])
            offsets, self.offsets = self.offsets, {}
            if self._transactor is not None and (outputs.outs or offsets):
                await self._transactor.commit(outputs.outs, offsets)
            self.host.note_progress(0)
            if outputs.after:
                self.host.send_later(outputs.after)
            if not self.gathered.is_set():
                self.drained.set()

    async def _await_work(self) -> bool:
        try:
            await asyncio.wait_for(self.gathered.wait(), 0.2)
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_s: float) -> None:
        """Commit what is handled, then end; what is not done in time is dropped and will be done by the next owner."""
        self.closing = True
        self.arrived.set()
        self.drained.set()
        if self.task is None:
            return
        _, unfinished = await asyncio.wait([self.task], timeout=timeout_s)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class ShardHost:
    """Joins the group and runs one logic per owned shard.

    `inputs`: full topic names with equal partition counts. `solo`: one active instance with standbys; whoever owns the
    one-partition topic `lock` reads all partitions of all inputs by hand.
    """

    def __init__(
        self,
        log: Log,
        codec: Codec,
        topics: Topics,
        *,
        service: str,
        inputs: Sequence[str],
        make: Callable[[int], ShardLogic],
        health: Health,
        lock: str | None = None,
        tick_s: float = 0.05,
        max_batch: int = 1000,
        watchdog_s: float = 60.0,
    ) -> None:
        self.log, self.codec, self.topics, self.service, self.make, self.health = (
            log,
            codec,
            topics,
            service,
            make,
            health,
        )
        self.inputs, self.lock, self.tick_s, self.max_batch = list(inputs), lock, tick_s, max_batch
        self.group = topics.group(service)
        self.dlq = topics.dlq(service)
        self.ledger = PoisonLedger()
        self._watchdog_s = watchdog_s
        self._shards: dict[int, _Shard] = {}
        self._reader: Reader | None = None
        self._member: Member | None = None
        self._producer: Producer | None = None
        self._sends: set[asyncio.Task[None]] = set()
        self._progressed_s = 0.0
        self._measured_s = 0.0
        self._error: BaseException | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or a `Fatal`."""
        self._producer = await self.log.producer()
        topics = [self.lock] if self.lock else self.inputs
        self._progressed_s = asyncio.get_running_loop().time()
        self._member = await self.log.member(
            self.group, topics, on_assigned=self._on_assigned, on_revoked=self._on_revoked
        )
        try:
            while not stop.is_set() and self._error is None:
                await self._step_or_hold()
        finally:
            await self._close()
        if self._error is not None:
            raise self._error

    async def behind(self) -> dict[TopicPartition, int]:
        """Per input partition how many offsets are not fetched yet; before reading has begun, all of them."""
        partitions = [tp for topic in self.inputs for tp in await self.log.partitions(topic)]
        reader = self._reader if self.lock else self._member
        ends = await self.log.end_offsets(partitions)
        owned = reader.assignment() if reader is not None else frozenset()
        return {
            tp: ends[tp] - (await reader.position(tp) if reader is not None and tp in owned else 0) for tp in partitions
        }

    def note_progress(self, handled: int) -> None:
        """The watchdog's food."""
        self._progressed_s = asyncio.get_running_loop().time()
        self.health.handled += handled

    def send_later(self, outs: list[Out]) -> None:
        """Send outside of transactions; kept track of, and finished before the end."""
        task = asyncio.create_task(self._send(outs))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    def stop_topic(self, record: Record, poison: Poison) -> None:
        """Too much poison: read this topic no further, commit nothing past it."""
        reason = f"{record.topic} is stopped at offset {record.offset}: too many records cannot be read ({poison})"
        _log.error(reason)
        self.health.fail(f"poison:{record.topic}", reason)
        reader = self._reader or self._member
        if reader is not None:
            reader.pause(tp for tp in reader.assignment() if tp.topic == record.topic)

    async def _send(self, outs: list[Out]) -> None:
        while self._producer is not None:
            try:
                await self._producer.send(outs)
            except Retryable as error:
                _log.warning("replies are held back: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _step_or_hold(self) -> None:
        """A step; while the broker is away nothing is lost by waiting."""
        try:
            await self._step()
        except Retryable as error:
            _log.warning("%s holds: %s", self.service, error)
            await asyncio.sleep(RETRY_S)

    async def _step(self) -> None:
        await self._tend()
        reader = self._reader if self.lock else self._member
        if self.lock:
            await self._hold_lock()
        if reader is not None:
            self._dispatch(await reader.fetch(0.2, 5000))
        self._watch()
        await self._measure_lag()

    async def _hold_lock(self) -> None:
        """Stay in the group of the lock topic without reading it, and let go of a reader whose shard was revoked."""
        member = self._reading()
        member.pause(member.assignment())
        await member.fetch(0.05, 1)
        # NB: not in `_on_revoked`: the loop may be waiting in this reader's fetch just then.
        if self._reader is not None and not any(shard.is_consuming for shard in self._shards.values()):
            await self._drop_reader()

    async def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _measure_lag(self) -> None:
        """Every two seconds: how many records of its own partitions this host has not fetched, or fetched and not handled."""
        now_s = asyncio.get_running_loop().time()
        reader = self._reader if self.lock else self._member
        if reader is None or now_s - self._measured_s < LAG_EVERY_S:
            return
        self._measured_s = now_s
        owned = reader.assignment()
        ends = await self.log.end_offsets(owned)
        waiting = Counter(
            TopicPartition(r.topic, r.partition) for shard in self._shards.values() for r in shard.backlog
        )
        self.health.lag = {
            f"{tp.topic}/{tp.partition}": max(ends[tp] - await reader.position(tp), 0) + waiting[tp] for tp in owned
        }

    async def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        if self.lock:
            numbers: dict[int, set[TopicPartition]] = {0: set()} if partitions else {}
        else:
            numbers = {}
            for tp in partitions:
                numbers.setdefault(tp.partition, set()).add(tp)
            if self._member is not None:
                self._member.pause(partitions)
        for number, owned in numbers.items():
            self._shards[number] = _Shard(self, number, frozenset(owned))
        self.health.shards = tuple(sorted(self._shards))

    async def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        shards, self._shards = self._shards, {}
        await asyncio.gather(*(shard.close(5.0) for shard in shards.values()))
        self.health.shards = ()

    async def _tend(self) -> None:
        """Start new shards, let rebuilt ones consume, replace failed ones."""
        for number, shard in list(self._shards.items()):
            if shard.task is None:
                await self._begin(shard)
            elif shard.failed is not None:
                _log.warning("shard %s of %s is rebuilt: %s", number, self.service, shard.failed)
                await self._replace(shard)
            elif shard.task.done():
                self._error = _first(shard.task.exception()) or Fatal(f"shard {number} of {self.service} ended")
            elif shard.start_at is not None:
                await self._release(shard)

    async def _begin(self, shard: _Shard) -> None:
        if self.lock:
            shard.partitions = frozenset([tp for topic in self.inputs for tp in await self.log.partitions(topic)])
        else:
            self._reading().pause(shard.partitions)
        shard.task = asyncio.create_task(shard.run())

    async def _release(self, shard: _Shard) -> None:
        starts = shard.start_at or {}
        if self.lock:
            self._reader = await self.log.reader(shard.partitions, starts)
        else:
            await self._reading().seek(starts)
            self._reading().resume(shard.partitions)
        # NB: only now: when the broker went away above, the release is tried again.
        shard.start_at, shard.is_consuming = None, True

    async def _replace(self, shard: _Shard) -> None:
        await self._drop_reader()
        if not self.lock:
            self._reading().pause(shard.partitions)
        await asyncio.sleep(RETRY_S)
        if self._shards.get(shard.number) is shard:
            self._shards[shard.number] = _Shard(self, shard.number, shard.partitions)

    def _reading(self) -> Member:
        if self._member is None:
            raise Fatal("the host is not running")
        return self._member

    def _dispatch(self, records: Sequence[Record]) -> None:
        for record in records:
            shard = self._shards.get(0 if self.lock else record.partition)
            # NB: a batch fetched before a rebalance or a rebuild belongs to nobody now.
            if shard is not None and shard.is_consuming and shard.failed is None:
                shard.backlog.append(record)
                shard.arrived.set()
        self._balance()

    def _balance(self) -> None:
        """Back-pressure: a shard with a long backlog is not fetched for."""
        reader = self._reader if self.lock else self._member
        if reader is None:
            return
        for shard in self._shards.values():
            if not shard.is_consuming or shard.failed is not None:
                continue
            going = [tp for tp in shard.partitions if tp.topic not in shard.stopped_topics]
            if len(shard.backlog) > MAX_BACKLOG:
                reader.pause(going)
            elif len(shard.backlog) < MAX_BACKLOG // 2:
                reader.resume(going)

    def _watch(self) -> None:
        now_s = asyncio.get_running_loop().time()
        waiting = any(shard.backlog or not shard.drained.is_set() for shard in self._shards.values())
        if not waiting:
            self._progressed_s = now_s
        elif now_s - self._progressed_s > self._watchdog_s:
            self._error = Fatal(f"{self.service} has work and made no progress for {self._watchdog_s:.0f} s")

    async def _close(self) -> None:
        await self._on_revoked(frozenset())
        await self._drop_reader()
        if self._sends:
            await asyncio.wait(self._sends, timeout=3.0)
        if self._member is not None:
            await self._member.close()
        if self._producer is not None:
            await self._producer.close()


def _first(error: BaseException | None) -> BaseException | None:
    """The cause inside groups; a `Fenced` or other `Fatal` before anything else."""
    while isinstance(error, BaseExceptionGroup):
        fatal = [found for found in error.exceptions if isinstance(found, Fatal | Fenced)]
        error = (fatal or list(error.exceptions))[0]
    return error
