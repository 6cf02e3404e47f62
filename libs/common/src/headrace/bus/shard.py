"""One shard: its state, its backlog, its worker and its committer.

On assignment: (1) the transactor's start fences the old owner and aborts its transaction; (2) the state is rebuilt
from the shard's own output, read committed, to the end; (3) consumption goes on from the group's offsets. Outputs and
input offsets commit in one transaction. While one transaction commits, the next batches are handled, and what they
gather becomes the next one (group commit).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from headrace.bus.dlq import dead_letter
from headrace.bus.port import Out, Record, TopicPartition, Transactor
from headrace.codec import Message
from headrace.errors import Fatal, Poison, Retryable

if TYPE_CHECKING:
    from headrace.bus.shards import ShardHost

_log = logging.getLogger("headrace.bus")

MAX_PENDING = 20_000


class Outputs(msgspec.Struct):
    """What one step of a shard wants written.

    `outs`: in the shard's transaction, together with the input offsets. `before`: at once, outside of it, and certainly
    before it is committed. `after`: once it is committed. `dead`: messages that turned out to be poison, dead-lettered in the same transaction. `deferred`:
    makes more of `outs`, called only when they are about to be committed, so that `before` need not wait for it.
    """

    outs: list[Out] = []
    before: list[Out] = []
    after: list[Out] = []
    dead: list[tuple[Message, Poison]] = []
    deferred: Callable[[], list[Out]] | None = None


class _Pending(msgspec.Struct):
    """What the next transaction commits. `count`: records, those not made yet included. `sends`: replies on their way."""

    sends: list[asyncio.Task[None]] = []
    outs: list[Out] = []
    after: list[Out] = []
    deferred: list[Callable[[], list[Out]]] = []
    count: int = 0


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

    async def on_batch(self, batch: Sequence[Any]) -> Outputs:
        """Messages, or whatever the host's `decode` makes of records."""
        ...

    async def on_tick(self) -> Outputs: ...


@runtime_checkable
class Closing(Protocol):
    """A shard's logic that keeps something open beside."""

    async def on_close(self) -> None:
        """End it; called once, after the last step."""
        ...


class _Read(NamedTuple):
    """A batch as read: what the logic gets, what is dead-lettered, and the next offset per partition."""

    messages: list[Any]
    buried: list[Out]
    handled: dict[TopicPartition, int]


class Shard:
    """One owned shard: its backlog, its worker and its committer."""

    def __init__(self, host: "ShardHost", number: int, partitions: frozenset[TopicPartition]) -> None:
        self.host, self.number, self.partitions = host, number, partitions
        self.backlog: deque[Record] = deque()
        self.arrived = asyncio.Event()
        self.start_at: dict[TopicPartition, int] | None = None
        self.is_consuming = False
        self.is_held = False
        self.failed: str | None = None
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
        """Fence, rebuild, then handle and commit until closed; a `Retryable` marks the shard failed."""
        host = self.host
        logic: ShardLogic | None = None
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
            if isinstance(logic, Closing):
                await logic.on_close()
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
            read = self._decode(batch)
            outputs = await logic.on_batch(read.messages) if read.messages else Outputs()
            outputs = outputs if batch else await logic.on_tick()
            self._gather(outputs, read)
            if batch:
                self.host.note_progress(len(batch))
                await asyncio.sleep(0)
            elif not self.backlog:
                await _is_set(self.arrived, self.host.tick_s)

    async def _await_room(self) -> None:
        while self.pending.count > MAX_PENDING and not self.closing:
            await self.drained.wait()

    def _next_batch(self) -> list[Record]:
        self.arrived.clear()
        backlog = self.backlog
        return [backlog.popleft() for _ in range(min(len(backlog), self.host.max_batch))]

    def _decode(self, batch: list[Record]) -> "_Read":
        """The messages of a batch, its dead letters, and how far each partition is handled: not past a topic's stop."""
        read = _Read([], [], {})
        decode, stopped, ledger = self.host.decode, self.host.stopped_topics, self.host.ledger
        reached: dict[tuple[str, int], int] = {}
        good: dict[str, int] = {}
        for record in batch:
            topic = record.topic
            if topic in stopped:
                continue
            try:
                read.messages.append(decode(record))
                good[topic] = good.get(topic, 0) + 1
            except Poison as poison:
                ledger.good(topic, good.pop(topic, 0))
                if not self._bury(record, poison, read.buried):
                    continue
            reached[topic, record.partition] = record.offset + 1
        for topic, count in good.items():
            ledger.good(topic, count)
        read.handled.update({TopicPartition(*place): offset for place, offset in reached.items()})
        return read

    def _bury(self, record: Record, poison: Poison, buried: list[Out]) -> bool:
        """Dead-letter a record; False when its topic is stopped at it instead."""
        host = self.host
        if not host.codec.is_users(record.topic):
            raise Fatal(f"{record.topic}/{record.partition}/{record.offset} cannot be read: {poison}")
        if host.ledger.bad(record.topic):
            host.stop_topic(record, poison)
            return False
        host.health.dead_lettered += 1
        _log.warning("dead-lettered %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
        buried.append(dead_letter(host.dlq, record, poison, host.service))
        return True

    def _gather(self, outputs: Outputs, read: "_Read") -> None:
        """Add to what the next transaction commits: outputs, dead letters and offsets together, or none of them."""
        pending = self.pending
        if outputs.before:
            pending.sends.append(self.host.send_later(outputs.before))
        for message, poison in outputs.dead:
            self._bury(message.record, poison, read.buried)
        pending.outs += read.buried
        pending.outs += outputs.outs
        pending.after += outputs.after
        if outputs.deferred is not None:
            pending.deferred.append(outputs.deferred)
        pending.count += len(read.buried) + max(len(outputs.outs), len(read.messages))
        self.offsets.update(read.handled)
        if pending.outs or pending.after or pending.deferred or self.offsets:
            self.drained.clear()
            self.gathered.set()
        if pending.after or read.buried or pending.count > MAX_PENDING:
            self.urgent.set()

    async def _commit(self) -> None:
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


async def _is_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether an event is set, or is set within the time."""
    if not event.is_set():
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
    return True
