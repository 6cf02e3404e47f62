"""The host of shards: partition p of all inputs of a stateful service is one state, one owner, one transactional id.

It joins the group, hands records to the shards that it owns, holds back what they cannot take, and replaces a shard
whose transaction failed: the logic object is thrown away and a new one rebuilt, so state in memory may run ahead of
the commit without care.
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from headrace.bus.poison import PoisonLedger
from headrace.bus.port import Log, Member, Out, Producer, Reader, Record, TopicPartition
from headrace.bus.shard import Outputs, Rebuild, Shard, ShardLogic
from headrace.codec import Codec
from headrace.errors import Fatal, Fenced, Poison, Retryable
from headrace.obs.health import Health
from headrace.topics import Topics

__all__ = ["Outputs", "Rebuild", "ShardHost", "ShardLogic"]

_log = logging.getLogger("headrace.bus")

MAX_BACKLOG = 20_000
RETRY_S = 1.0
LAG_EVERY_S = 2.0


class ShardHost:
    """Joins the group and runs one logic per owned shard.

    `inputs`: full topic names with equal partition counts. `solo`: one active instance with standbys; whoever owns the
    one-partition topic `lock` reads all partitions of all inputs by hand. `decode`: what the logic's batches are made of,
    whole messages when None. `linger_s`: how long a transaction that no reply waits for may gather more work.
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
        decode: Callable[[Record], Any] | None = None,
        linger_s: float = 0.0,
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
        self.decode = decode or codec.decode
        self.group = topics.group(service)
        self.dlq = topics.dlq(service)
        self.ledger = PoisonLedger()
        self.linger_s = linger_s
        self._watchdog_s = watchdog_s
        self.stopped_topics: set[str] = set()
        self._shards: dict[int, Shard] = {}
        self._reader: Reader | None = None
        self._member: Member | None = None
        self._producer: Producer | None = None
        self._sends: set[asyncio.Task[None]] = set()
        self._partitions: list[TopicPartition] = []
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
        """Per input partition how many offsets are not handled yet; before reading has begun, all of them."""
        # NB: asked for once: partitions of keyed topics never change, and this is asked with every tick.
        if not self._partitions:
            self._partitions = [tp for topic in self.inputs for tp in await self.log.partitions(topic)]
        partitions = self._partitions
        reader = self._reader if self.lock else self._member
        ends = await self.log.end_offsets(partitions)
        owned = reader.assignment() if reader is not None else frozenset()
        found = {
            tp: ends[tp] - (await reader.position(tp) if reader is not None and tp in owned else 0) for tp in partitions
        }
        # NB: what was fetched while this was asked waits in a backlog: it is not handled either.
        for shard in self._shards.values():
            for record in shard.backlog:
                found[TopicPartition(record.topic, record.partition)] += 1
        return found

    def note_progress(self, handled: int) -> None:
        """The watchdog's food."""
        self._progressed_s = asyncio.get_running_loop().time()
        self.health.handled += handled

    def send_later(self, outs: list[Out]) -> asyncio.Task[None]:
        """Send outside of transactions; kept track of, and finished before the end."""
        task = asyncio.create_task(self._send(outs))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)
        return task

    def stop_topic(self, record: Record, poison: Poison) -> None:
        """Too much poison: read this topic no further, commit nothing past it."""
        reason = f"{record.topic} is stopped at offset {record.offset}: too many records cannot be read ({poison})"
        _log.error(reason)
        self.stopped_topics.add(record.topic)
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
        if self.lock:
            await self._hold_lock()
        # NB: only now: holding the lock may have let go of the reader.
        reader = self._reader if self.lock else self._member
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
            self._shards[number] = Shard(self, number, frozenset(owned))
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

    async def _begin(self, shard: Shard) -> None:
        if self.lock:
            shard.partitions = frozenset([tp for topic in self.inputs for tp in await self.log.partitions(topic)])
        else:
            self._reading().pause(shard.partitions)
        # NB: a shard that was revoked in the meantime must not fence its new owner.
        if self._shards.get(shard.number) is shard:
            shard.task = asyncio.create_task(shard.run())

    async def _release(self, shard: Shard) -> None:
        starts = shard.start_at or {}
        if self.lock:
            reader = await self.log.reader(shard.partitions, starts)
            await self._drop_reader()
            if self._shards.get(shard.number) is not shard:
                return await reader.close()
            self._reader = reader
        else:
            await self._reading().seek(starts)
            self._reading().resume(shard.partitions)
        # NB: only now: when the broker went away above, the release is tried again.
        shard.start_at, shard.is_consuming = None, True
        return None

    async def _replace(self, shard: Shard) -> None:
        await self._drop_reader()
        if not self.lock:
            self._reading().pause(shard.partitions)
        await asyncio.sleep(RETRY_S)
        if self._shards.get(shard.number) is shard:
            self._shards[shard.number] = Shard(self, shard.number, shard.partitions)

    def _reading(self) -> Member:
        if self._member is None:
            raise Fatal("the host is not running")
        return self._member

    def _dispatch(self, records: Sequence[Record]) -> None:
        for partition, group in itertools.groupby(records, key=attrgetter("partition")):
            shard = self._shards.get(0 if self.lock else partition)
            # NB: a batch fetched before a rebalance or a rebuild belongs to nobody now.
            if shard is not None and shard.is_consuming and shard.failed is None:
                shard.backlog.extend(group)
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
            if not shard.is_held and len(shard.backlog) > MAX_BACKLOG:
                shard.is_held = True
                reader.pause(shard.partitions)
            elif shard.is_held and len(shard.backlog) < MAX_BACKLOG // 2:
                shard.is_held = False
                reader.resume(tp for tp in shard.partitions if tp.topic not in self.stopped_topics)

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
