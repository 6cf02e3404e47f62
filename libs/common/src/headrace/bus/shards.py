"""The host of shards: partition p of all inputs of a stateful service is one state, one owner, one transactional id.

It joins the group, hands records to the shards that it owns, holds back what they cannot take, and replaces a shard
whose transaction failed: the logic object is thrown away and a new one rebuilt, so state in memory may run ahead of
the commit without care.
"""

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from headrace.errors import Fatal, Fenced, NoTopic, Retryable
from headrace.hosting.health import Health
from headrace.hosting.logic import ShardLogic
from headrace.hosting.sends import Sends
from headrace.hosting.shard import Shard
from headrace.hosting.stops import Stops
from headrace.hosting.triage import Judging, Learn
from headrace.hosting.watchdog import Place, Transactions, Watchdog
from headrace.log.codec import Codec
from headrace.log.port import Log, Member, Reader, Record, TopicPartition
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.bus")

MAX_BACKLOG = 20_000
RETRY_S = 1.0
LAG_EVERY_S = 2.0
LOOK_EVERY_S = 5.0


class ShardGroup:
    """Joins the group and runs one logic per owned shard.

    `inputs`: full topic names with equal partition counts. `solo`: one active instance with standbys; whoever owns the
    one-partition topic `lock` reads all partitions of all inputs by hand. `decode`: what the logic's batches are made of,
    whole messages when None. `linger_s`: how long a transaction that no reply waits for may gather more work. `learn`: asked before a
    record is refused that may be newer than what is known here.
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
        learn: Learn | None = None,
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
        self.same = SameTopics(log)
        self.stops = Stops(log, codec, topics, service, self.same)
        self.judging = Judging(topics, service, decode or codec.decode, learn, self.stops, health)
        # Per shard how far records are handled one at a time.
        self.care: dict[int, dict[TopicPartition, int]] = {}
        self.linger_s = linger_s
        self.sends = Sends()
        self._watchdog = Watchdog(watchdog_s)
        self._place, self._transactions = Place(service, self.group, health), Transactions(log, health)
        self._held: set[TopicPartition] = set()
        self._shards: dict[int, Shard] = {}
        self._reader: Reader | None = None
        self._member: Member | None = None
        self._partitions: list[TopicPartition] = []
        self._measured_s = 0.0
        self._looked_s = 0.0
        self._error: BaseException | None = None
        self._change: _Change | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or a `Fatal`."""
        await self.same.look(self.inputs)
        await self.sends.start(self.log)
        topics = [self.lock] if self.lock else self.inputs
        await self._transactions.warn_of_long()
        await self.stops.start()
        await self.stops.forget_gone()
        following = asyncio.create_task(self.stops.follow())
        try:
            self._member = await self.log.member(
                self.group, topics, on_assigned=self._on_assigned, on_revoked=self._on_revoked
            )
            while not stop.is_set() and self._error is None:
                await self._step_or_hold()
                if following.done():
                    self._error = self._error or _first(following.exception()) or Fatal("nobody follows the stops")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._close()
        if self._error is not None:
            raise self._error

    async def behind(self) -> dict[TopicPartition, int]:
        """Per input partition how many offsets are not handled yet; before reading has begun, all of them."""
        # NB: asked for once: partitions of keyed topics never change, and this is asked with every tick.
        if not self._partitions:
            self._partitions = [tp for topic in self.inputs for tp in await self.log.partitions(topic)]
        partitions = self._partitions
        reader = self._reads
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

    async def read_others(self, inputs: Sequence[str], anew: Mapping[TopicPartition, int]) -> None:
        """Read these inputs from now on; what was read before of the others goes on from where it is. `anew`: partitions that are
        new, or are to be read again, and from where.

        For a shard that reads all inputs by hand (`lock`): its logic calls it within a step, and leaves what it has in hand of `anew`.
        """
        change = _Change(list(inputs), dict(anew))
        self._change = change
        await change.done.wait()
        if change.why_not:
            raise Retryable(change.why_not)

    def note_progress(self, handled: int) -> None:
        """The watchdog's food."""
        self._watchdog.note()
        self.health.handled += handled

    def hold(self, partition: TopicPartition) -> None:
        """Read a stopped partition no further."""
        if partition in self._held:
            return
        _log.error(self.stops.told(*partition) or f"{partition} is stopped")
        self._held.add(partition)
        reader = self._reads
        if reader is not None:
            reader.pause([partition])

    async def _step_or_hold(self) -> None:
        """A step; while the broker is away nothing is lost by waiting."""
        try:
            await self._step()
        except (Retryable, NoTopic) as error:
            _log.warning("%s holds: %s", self.service, error)
            self.health.fail("log", f"the log does not answer: {error}"[:500])
            await asyncio.sleep(RETRY_S)
        else:
            self.health.clear("log")

    async def _step(self) -> None:
        await self._tend()
        if self.lock:
            await self._hold_lock()
        if self._change is not None:
            await self._take_change(self._change)
        # NB: only now: holding the lock may have let go of the reader.
        reader = self._reads
        if reader is not None:
            records = await reader.fetch(0.2, 5000)
            # NB: looked at before any of them is handled: none of a new topic is taken for one of the old.
            if reader.has_gone_back():
                await self.same.look(self.inputs)
            self._dispatch(records)
        self._watch()
        await self._resume()
        await self._look_around()
        await self._measure_lag()

    async def _hold_lock(self) -> None:
        """Stay in the group of the lock topic without reading it, and let go of a reader whose shard was revoked."""
        member = self._reading()
        member.pause(member.assignment())
        await member.fetch(0.05, 1)
        # NB: not in `_on_revoked`: the loop may be waiting in this reader's fetch just then.
        if self._reader is not None and not any(shard.is_consuming for shard in self._shards.values()):
            await self._drop_reader()

    async def _take_change(self, change: "_Change") -> None:
        """Another reader, for what is to be read now. When the broker goes away meanwhile it is done again."""
        shard, reader = self._shards.get(0), self._reader
        if shard is None or reader is None or not shard.is_consuming or shard.failed is not None:
            return self._end_change("the shard was let go of while its inputs changed")
        await self.same.look(change.inputs)
        wanted = {tp for topic in change.inputs for tp in await self.log.partitions(topic)}
        going = {tp: await reader.position(tp) for tp in reader.assignment() if tp in wanted and tp not in change.anew}
        fresh = {tp: change.anew.get(tp, 0) for tp in wanted - going.keys()}
        starts = await shard.read_also(fresh)
        found = await self.log.reader(wanted, going | starts)
        self.inputs, self._partitions, shard.partitions = change.inputs, [], frozenset(wanted)
        self._reader = found
        found.pause(wanted if shard.is_held else self._held & wanted)
        self._end_change()
        return await reader.close()

    def _end_change(self, why_not: str = "") -> None:
        change, self._change = self._change, None
        if change is not None:
            change.why_not = why_not
            change.done.set()

    async def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _measure_lag(self) -> None:
        """Every two seconds: how many records of its own partitions this host has not fetched, or fetched and not handled."""
        now_s = asyncio.get_running_loop().time()
        reader = self._reads
        if reader is None or now_s - self._measured_s < LAG_EVERY_S:
            return
        self._measured_s = now_s
        owned = reader.assignment() - self._held
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
        self._held.clear()
        for number, owned in numbers.items():
            self._shards[number] = Shard(self, number, frozenset(owned))
        self.health.shards = tuple(sorted(self._shards))

    async def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        shards, self._shards = self._shards, {}
        self._end_change("the shard was let go of while its inputs changed")
        await asyncio.gather(*(shard.close(5.0) for shard in shards.values()))
        # NB: a stop whose transaction was not finished in time is no fact: the next owner finds it again.
        for shard in shards.values():
            self.stops.forget_unwritten(shard.partitions)
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
        self._held -= shard.partitions
        self.stops.forget_unwritten(shard.partitions)
        if not shard.in_hurry:
            await asyncio.sleep(RETRY_S)
        if self._shards.get(shard.number) is shard:
            self._shards[shard.number] = Shard(self, shard.number, shard.partitions)

    @property
    def _reads(self) -> Reader | None:
        """Who reads the inputs; None while nobody does."""
        return self._reader if self.lock else self._member

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
        reader = self._reads
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
                reader.resume(shard.partitions - self._held)

    async def _resume(self) -> None:
        """Go on with partitions that somebody lets go on; be not ready for those that stand."""
        for tp in [tp for tp in self._held if self.stops.at(*tp) is None]:
            reader, shard = self._reads, self._shards.get(0 if self.lock else tp.partition)
            if reader is None or shard is None or not shard.is_consuming or shard.failed is not None:
                continue
            offset = max(self.stops.goes_on_at(*tp), shard.taken.get(tp, 0))
            _log.warning("%s/%s goes on at offset %s", *tp, offset)
            # NB: what was fetched behind the stop is fetched again.
            shard.backlog = deque(r for r in shard.backlog if (r.topic, r.partition) != tp)
            await reader.seek({tp: offset})
            self.judging.ledger.forget(tuple(tp))
            self._held.discard(tp)
            if not shard.is_held:
                reader.resume([tp])
        owned = {tp for shard in self._shards.values() for tp in shard.partitions}
        self.stops.tell(self.health, owned)

    async def _look_around(self) -> None:
        """Every five seconds: are the inputs there, and does the group still count this member?"""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        missing = await self.same.look(self.inputs)
        if missing:
            self.health.fail("inputs", f"topics are missing: {', '.join(missing)}; run `headrace topic apply`")
            raise Retryable(f"topics are missing: {', '.join(missing)}")
        self.health.clear("inputs")
        await self._place.look(self._reading())
        reader = self._reads
        if reader is not None:
            await self._transactions.look(reader)

    def _watch(self) -> None:
        """End when there is work and no progress."""
        if not self._watchdog.is_due():
            return
        has_work = any(shard.backlog or not shard.drained.is_set() for shard in self._shards.values())
        if self._watchdog.is_stuck(has_work=has_work):
            self._error = Fatal(f"{self.service} has work and made no progress for {self._watchdog.limit_s:.0f} s")

    async def _close(self) -> None:
        await self._on_revoked(frozenset())
        await self._drop_reader()
        await self.sends.finish(3.0)
        if self._member is not None:
            await self._member.close()
        await self.sends.close()
        await self.stops.close()


@dataclass
class _Change:
    """Other inputs, asked for by a logic; `why_not`: why they are not read, once `done`."""

    inputs: list[str]
    anew: dict[TopicPartition, int]
    why_not: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event)


def _first(error: BaseException | None) -> BaseException | None:
    """The cause inside groups; a `Fenced` or other `Fatal` before anything else."""
    while isinstance(error, BaseExceptionGroup):
        fatal = [found for found in error.exceptions if isinstance(found, Fatal | Fenced)]
        error = (fatal or list(error.exceptions))[0]
    return error
