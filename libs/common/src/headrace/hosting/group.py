"""A consumer group that owns partitions: partition p of all inputs of a stateful service is a shard with one owner.

A member joins the group, passes fetched records to the shards that it owns, and pauses the partitions of a shard with a
long backlog. When a transaction fails, the shard's logic is thrown away and a new one is rebuilt, so that its state in
memory may run ahead of the commit.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from headrace.errors import Fatal, Fenced, NoTopic, Retryable
from headrace.hosting.health import Health
from headrace.hosting.lag import lag_of
from headrace.hosting.logic import ShardLogic
from headrace.hosting.sends import Sends
from headrace.hosting.shard import Common, Shard
from headrace.hosting.stops import Stops
from headrace.hosting.triage import Learn, Triage
from headrace.hosting.watchdog import Place, Transactions, Watchdog
from headrace.log.codec import Codec
from headrace.log.port import Log, Member, Reader, Record, TopicPartition
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.hosting")

MAX_BACKLOG = 20_000
RETRY_S = 1.0
LAG_EVERY_S = 2.0
LOOK_EVERY_S = 5.0


class ShardGroup:
    """Joins the group and runs one logic per owned shard.

    - `inputs`: full topic names with equal partition counts. `make`: makes a new logic for a shard number.
    - `lock`: for one active instance with standbys: its owner reads all partitions of all inputs by hand.
    - `decode`: makes the elements of the logic's batches; None for whole messages.
    - `linger_s`: how long a transaction that no reply waits for may gather more work.
    - `learn`: awaited before a record is refused that may be newer than what is known here.
    - `watchdog_s`: the seconds of work without progress after which the service ends.
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
        self.inputs, self.make = list(inputs), make
        self._log, self._service, self.health, self._lock = log, service, health, lock
        self._same, self._sends = SameTopics(log), Sends()
        self._stops = Stops(log, codec, topics, service, self._same)
        self._triage = Triage(topics, service, decode or codec.decode, learn, self._stops, health)
        self._common = Common(
            log, codec, topics, service, make, self._stops, self._triage, self._same, self._sends,
            self._hold, self.note_progress, tick_s, max_batch, linger_s, health.commits,
        )  # fmt: skip
        self._watchdog = Watchdog(watchdog_s)
        self._place, self._transactions = Place(service, self._common.group, health), Transactions(log, health)
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
        """Run until `stop` is set. Raises `Fatal` when the process must be restarted."""
        await self._same.look(self.inputs)
        await self._sends.start(self._log)
        topics = [self._lock] if self._lock else self.inputs
        await self._transactions.warn_of_long()
        await self._stops.start()
        await self._stops.forget_gone()
        following = asyncio.create_task(self._stops.follow())
        try:
            self._member = await self._log.member(
                self._common.group, topics, on_assigned=self._on_assigned, on_revoked=self._on_revoked
            )
            while not stop.is_set() and self._error is None:
                await self._step_or_hold()
                if following.done():
                    self._error = (
                        self._error or _first(following.exception()) or Fatal("the view of stopped partitions ended")
                    )
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._close()
        if self._error is not None:
            raise self._error

    async def behind(self) -> dict[TopicPartition, int]:
        """The number of offsets per input partition that are not handled yet; all of them before reading begins."""
        # NB: read once, since partitions of keyed topics never change, and this is called in every tick.
        if not self._partitions:
            self._partitions = [tp for topic in self.inputs for tp in await self._log.partitions(topic)]
        return await lag_of(self._log, self._reads, self._partitions, self._waiting())

    async def read_others(self, inputs: Sequence[str], anew: Mapping[TopicPartition, int]) -> None:
        """Read these inputs from now on. Inputs that were read before continue where they are.

        `anew`: partitions that are new or must be read again, and their offsets. It is for a shard that reads all
        inputs by hand (`lock`): its logic calls this within a step, and drops what it holds of `anew`. Raises
        `Retryable` when the shard is lost.
        """
        change = _Change(list(inputs), dict(anew))
        self._change = change
        await change.done.wait()
        if change.why_not:
            raise Retryable(change.why_not)

    def note_progress(self, handled: int) -> None:
        """Note progress for the watchdog. `handled`: the number of records that are done."""
        self._watchdog.note()
        self.health.handled += handled

    def _hold(self, partition: TopicPartition) -> None:
        """Stop reading a partition."""
        if partition in self._held:
            return
        _log.error(self._stops.description(*partition) or f"{partition} is stopped")
        self._held.add(partition)
        reader = self._reads
        if reader is not None:
            reader.pause([partition])

    async def _step_or_hold(self) -> None:
        """Do a step. While the broker is away it waits, and loses nothing."""
        try:
            await self._step()
        except (Retryable, NoTopic) as error:
            _log.warning("%s waits: %s", self._service, error)
            self.health.fail("log", f"the log does not answer: {error}"[:500])
            await asyncio.sleep(RETRY_S)
        else:
            self.health.clear("log")

    async def _step(self) -> None:
        await self._tend()
        if self._lock:
            await self._hold_lock()
        if self._change is not None:
            await self._take_change(self._change)
        # NB: after `_hold_lock`, which may drop the reader.
        reader = self._reads
        if reader is not None:
            records = await reader.fetch(0.2, 5000)
            # NB: checked before any record is handled, so that no record of a new topic counts for the old one.
            if reader.has_gone_back():
                await self._same.look(self.inputs)
            self._dispatch(records)
        self._watch()
        await self._resume()
        await self._look_around()
        await self._measure_lag()

    async def _hold_lock(self) -> None:
        """Stay in the group of the lock topic without reading it, and drop the reader of a revoked shard."""
        member = self._reading()
        member.pause(member.assignment())
        await member.fetch(0.05, 1)
        # NB: not in `_on_revoked`, since the loop may be waiting in this reader's fetch.
        if self._reader is not None and not any(shard.is_consuming for shard in self._shards.values()):
            await self._drop_reader()

    async def _take_change(self, change: "_Change") -> None:
        """Open another reader for the changed inputs. When the broker goes away meanwhile, this is repeated."""
        shard, reader = self._shards.get(0), self._reader
        if shard is None or reader is None or not shard.is_consuming or shard.failed is not None:
            return self._end_change("the shard was revoked while its inputs changed")
        await self._same.look(change.inputs)
        wanted = {tp for topic in change.inputs for tp in await self._log.partitions(topic)}
        going = {tp: await reader.position(tp) for tp in reader.assignment() if tp in wanted and tp not in change.anew}
        fresh = {tp: change.anew.get(tp, 0) for tp in wanted - going.keys()}
        starts = await shard.read_also(fresh)
        found = await self._log.reader(wanted, going | starts)
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
        """Every two seconds, count the records of owned partitions that are not fetched, or fetched and not handled."""
        now_s = asyncio.get_running_loop().time()
        reader = self._reads
        if reader is None or now_s - self._measured_s < LAG_EVERY_S:
            return
        self._measured_s = now_s
        lag = await lag_of(self._log, reader, reader.assignment() - self._held, self._waiting())
        self.health.lag = {f"{tp.topic}/{tp.partition}": count for tp, count in lag.items()}

    def _waiting(self) -> Iterator[Record]:
        return (record for shard in self._shards.values() for record in shard.backlog)

    async def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        if self._lock:
            numbers: dict[int, set[TopicPartition]] = {0: set()} if partitions else {}
        else:
            numbers = {}
            for tp in partitions:
                numbers.setdefault(tp.partition, set()).add(tp)
            if self._member is not None:
                self._member.pause(partitions)
        self._held.clear()
        for number, owned in numbers.items():
            self._shards[number] = Shard(self._common, number, frozenset(owned))
        self.health.shards = tuple(sorted(self._shards))

    async def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        shards, self._shards = self._shards, {}
        self._end_change("the shard was revoked while its inputs changed")
        await asyncio.gather(*(shard.close(5.0) for shard in shards.values()))
        # NB: a stop whose transaction was not finished in time is not on the log: the next owner finds it again.
        for shard in shards.values():
            self._stops.forget_unwritten(shard.partitions)
        self.health.shards = ()

    async def _tend(self) -> None:
        """Start new shards, let rebuilt ones consume, and replace failed ones."""
        for number, shard in list(self._shards.items()):
            if shard.task is None:
                await self._begin(shard)
            elif shard.failed is not None:
                _log.warning("shard %s of %s is rebuilt: %s", number, self._service, shard.failed)
                await self._replace(shard)
            elif shard.task.done():
                self._error = _first(shard.task.exception()) or Fatal(f"shard {number} of {self._service} ended")
            elif shard.start_at is not None:
                await self._release(shard)

    async def _begin(self, shard: Shard) -> None:
        if self._lock:
            shard.partitions = frozenset([tp for topic in self.inputs for tp in await self._log.partitions(topic)])
        else:
            self._reading().pause(shard.partitions)
        # NB: a shard that was revoked meanwhile must not fence its new owner.
        if self._shards.get(shard.number) is shard:
            shard.task = asyncio.create_task(shard.run())

    async def _release(self, shard: Shard) -> None:
        starts = shard.start_at or {}
        if self._lock:
            reader = await self._log.reader(shard.partitions, starts)
            await self._drop_reader()
            if self._shards.get(shard.number) is not shard:
                return await reader.close()
            self._reader = reader
        else:
            await self._reading().seek(starts)
            self._reading().resume(shard.partitions)
        # NB: last, so that the release is repeated when the broker went away above.
        shard.start_at, shard.is_consuming = None, True
        return None

    async def _replace(self, shard: Shard) -> None:
        await self._drop_reader()
        if not self._lock:
            self._reading().pause(shard.partitions)
        self._held -= shard.partitions
        self._stops.forget_unwritten(shard.partitions)
        if not shard.in_hurry:
            await asyncio.sleep(RETRY_S)
        if self._shards.get(shard.number) is shard:
            self._shards[shard.number] = Shard(self._common, shard.number, shard.partitions)

    @property
    def _reads(self) -> Reader | None:
        """The reader of the inputs; None while there is none."""
        return self._reader if self._lock else self._member

    def _reading(self) -> Member:
        if self._member is None:
            raise Fatal("the host is not running")
        return self._member

    def _dispatch(self, records: Sequence[Record]) -> None:
        for partition, group in itertools.groupby(records, key=attrgetter("partition")):
            shard = self._shards.get(0 if self._lock else partition)
            # NB: records fetched before a rebalance or a rebuild are dropped.
            if shard is not None and shard.is_consuming and shard.failed is None:
                shard.take(list(group))
        self._balance()

    def _balance(self) -> None:
        """Back-pressure: fetch nothing for a shard with a long backlog."""
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
        """Continue with partitions that an operator has resumed. The instance is not ready while others are stopped."""
        for tp in [tp for tp in self._held if self._stops.at(*tp) is None]:
            reader, shard = self._reads, self._shards.get(0 if self._lock else tp.partition)
            if reader is None or shard is None or not shard.is_consuming or shard.failed is not None:
                continue
            offset = max(self._stops.goes_on_at(*tp), shard.taken.get(tp, 0))
            _log.warning("%s/%s continues at offset %s", *tp, offset)
            # NB: records fetched after the stop are fetched again.
            shard.drop(frozenset([tp]))
            await reader.seek({tp: offset})
            self._triage.ledger.forget(tuple(tp))
            self._held.discard(tp)
            if not shard.is_held:
                reader.resume([tp])
        owned = {tp for shard in self._shards.values() for tp in shard.partitions}
        self._stops.report_to(self.health, owned)

    async def _look_around(self) -> None:
        """Every five seconds, check that the inputs exist and that the group still has this member."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        missing = await self._same.look(self.inputs)
        if missing:
            self.health.fail("inputs", f"topics are missing: {', '.join(missing)}; run `headrace topic apply`")
            raise Retryable(f"topics are missing: {', '.join(missing)}")
        self.health.clear("inputs")
        await self._place.look(self._reading())
        reader = self._reads
        if reader is not None:
            await self._transactions.look(reader)

    def _watch(self) -> None:
        """End the service when there is work and no progress."""
        if not self._watchdog.is_due():
            return
        has_work = any(shard.has_work for shard in self._shards.values())
        if self._watchdog.is_stuck(has_work=has_work):
            self._error = Fatal(f"{self._service} has work and made no progress for {self._watchdog.limit_s:.0f} s")

    async def _close(self) -> None:
        await self._on_revoked(frozenset())
        await self._drop_reader()
        await self._sends.finish(3.0)
        if self._member is not None:
            await self._member.close()
        await self._sends.close()
        await self._stops.close()


@dataclass
class _Change:
    """Other inputs, requested by a logic. `why_not`: once `done`, why they are not read."""

    inputs: list[str]
    anew: dict[TopicPartition, int]
    why_not: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event)


def _first(error: BaseException | None) -> BaseException | None:
    """The cause inside exception groups; a `Fenced` or other `Fatal` first."""
    while isinstance(error, BaseExceptionGroup):
        fatal = [found for found in error.exceptions if isinstance(found, Fatal | Fenced)]
        error = (fatal or list(error.exceptions))[0]
    return error
