"""Partitions that a service reads no further: recorded facts on `ops.stops`, which outlive the process.

Too much poison on `raw.*` or `events.*` stops that partition: nothing past the stop is committed, and it stays so over
restarts until somebody lets it go on (`headrace topic resume`, or `skip` to a later offset). The newest record per
`service/topic/partition` wins; a tombstone forgets.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from headrace.errors import Retryable
from headrace.events.ops import PartitionResumed, PartitionStopped
from headrace.hosting.health import Health
from headrace.log.backoff import delays_s
from headrace.log.codec import Codec, Message, out, tombstone
from headrace.log.envelope import Envelope
from headrace.log.port import Log, Out, Producer, TopicPartition
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics
from headrace.log.views import View

_log = logging.getLogger("headrace.hosting")

Stopped = PartitionStopped | PartitionResumed
# What of an instance's health is a stopped partition: this, and `topic/partition`.
STOPPED = "stopped:"


def stop_key(service: str, topic: str, partition: int) -> str:
    """The key on `ops.stops`; `topic`: its full name.

    >>> stop_key("pipeline", "raw.movements.v1", 0)
    'pipeline/raw.movements.v1/0'
    """
    return f"{service}/{topic}/{partition}"


def way_on(topic: str) -> str:
    """What whoever mended the cause does; `topic`: with or without the namespace.

    >>> way_on("raw.movements.v1")
    '`headrace topic resume raw.movements.v1` once what writes it is mended, or `headrace topic skip raw.movements.v1`'
    """
    return f"`headrace topic resume {topic}` once what writes it is mended, or `headrace topic skip {topic}`"


def stop_record(topics: Topics, event: Stopped) -> Out:
    """The record that says so."""
    key = stop_key(event.service, event.topic, event.partition)
    how = "stopped" if isinstance(event, PartitionStopped) else "resumed"
    return out(topics.name("ops.stops"), key, event, Envelope(f"{key}/{event.offset}/{how}", "", event.service, 0.0))


class Stops:
    """The stopped partitions of one service (of all services when `service` is None), always current.

    `start` before anything is read, `run` beside it. Whoever stops a partition either writes `halt(...)` in its own
    transaction, or awaits `stop(...)`.

    `same`: the topics that the service reads, as they are now; what was said of one that was made again since counts no more.
    """

    def __init__(
        self, log: Log, codec: Codec, topics: Topics, service: str | None, same: SameTopics | None = None
    ) -> None:
        self._log, self._topics, self._service, self._same = log, topics, service, same
        self._said: dict[str, Stopped] = {}
        # Stopped here, and not read back yet.
        self._halted: dict[str, PartitionStopped] = {}
        self._view = View(log, codec, [topics.name("ops.stops")], self._take)
        self._producer: Producer | None = None

    async def start(self) -> None:
        """Read what stands now."""
        await self._view.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`."""
        await self._view.run(stop)

    async def follow(self) -> None:
        """Follow until cancelled."""
        await self._view.follow()

    async def close(self) -> None:
        """Give the connections back."""
        await self._view.stop()
        if self._producer is not None:
            await self._producer.close()

    def at(self, topic: str, partition: int) -> int | None:
        """The first offset that is not handled of a stopped partition; None when it is not stopped."""
        found = self._now(topic, partition)
        return found.offset if isinstance(found, PartitionStopped) else None

    def why(self, topic: str, partition: int) -> str | None:
        """Why a partition is stopped; None when it is not."""
        found = self._now(topic, partition)
        return found.reason if isinstance(found, PartitionStopped) else None

    def told(self, topic: str, partition: int) -> str | None:
        """The whole sentence on a stopped partition: where, why, and the way on; None when it is not stopped."""
        found = self._now(topic, partition)
        if not isinstance(found, PartitionStopped):
            return None
        where = f"{topic}/{partition} is stopped at offset {found.offset}"
        return f"{where}: {found.reason}; {way_on(self._topics.base(topic))}"

    def goes_on_at(self, topic: str, partition: int) -> int:
        """Where an operator let it go on; 0 when nobody ever did. Nothing before it is to be read any more."""
        found = self._now(topic, partition)
        return found.offset if isinstance(found, PartitionResumed) else 0

    @property
    def stopped(self) -> list[PartitionStopped]:
        """All that is stopped now, by key."""
        if not (self._said or self._halted):  # asked with every batch
            return []
        now = self._said | self._halted
        return [
            found
            for _, found in sorted(now.items())
            if isinstance(found, PartitionStopped) and not self._is_gone(found)
        ]

    def halt(self, topic: str, partition: int, offset: int, reason: str) -> Out:
        """Stop a partition here and now; returns the fact, which the caller writes (in its transaction)."""
        event = PartitionStopped(self._service or "", topic, partition, offset, reason[:2000], self._id_of(topic))
        self._halted[stop_key(event.service, topic, partition)] = event
        return stop_record(self._topics, event)

    async def stop(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """The same, written at once; returns when it is acknowledged, however long that takes."""
        record = self.halt(topic, partition, offset, reason)
        for delay_s in delays_s(0.2, 3.0):
            try:
                self._producer = self._producer or await self._log.producer()
                await self._producer.send([record])
                self._said[(record.key or b"").decode()] = self._halted.pop((record.key or b"").decode())
            except Retryable as error:
                _log.warning("the stop of %s/%s is not written yet: %s", topic, partition, error)
                await asyncio.sleep(delay_s)
            else:
                return

    def forget_unwritten(self, partitions: Iterable[TopicPartition]) -> None:
        """What was halted and never became a fact: its transaction was dropped, and the records will be read again."""
        for tp in partitions:
            self._halted.pop(stop_key(self._service or "", tp.topic, tp.partition), None)

    def tell(self, health: Health, owned: Iterable[TopicPartition]) -> None:
        """Not ready while a partition that this instance owns is stopped: `stopped:topic/partition`."""
        wanted = {
            f"{STOPPED}{tp.topic}/{tp.partition}": told
            for tp in owned
            if (told := self.told(tp.topic, tp.partition)) is not None
        }
        for gone in [what for what in health.failures if what.startswith(STOPPED) and what not in wanted]:
            health.clear(gone)
        for what, told in wanted.items():
            health.fail(what, told)

    async def forget_gone(self) -> None:
        """Write tombstones for what was said of topics that were made again, so that nobody else is misled by it."""
        gone = [key for key, found in self._said.items() if self._is_gone(found)]
        if gone:
            _log.warning("%s: what was stopped there was deleted and made again, and is read", ", ".join(sorted(gone)))
            self._producer = self._producer or await self._log.producer()
            await self._producer.send([self._tombstone(key) for key in gone])

    def _tombstone(self, key: str) -> Out:
        return tombstone(
            self._topics.name("ops.stops"), key, Envelope(f"{key}/forgotten", "", self._service or "", 0.0)
        )

    def _now(self, topic: str, partition: int) -> Stopped | None:
        key = stop_key(self._service or "", topic, partition)
        found = self._halted.get(key) or self._said.get(key)
        return None if found is None or self._is_gone(found) else found

    def _is_gone(self, said: Stopped) -> bool:
        """Whether it speaks of a topic that is no more, though one of its name is."""
        now = self._id_of(said.topic)
        return bool(now and said.topic_id) and now != said.topic_id

    def _id_of(self, topic: str) -> str:
        return "" if self._same is None else self._same.ids.get(topic, "")

    def _take(self, message: Message) -> None:
        event: Stopped | None = message.event
        key = (message.record.key or b"").decode("utf-8", "replace")
        if event is None:
            self._said.pop(key, None)
        elif self._service in (None, event.service):
            key = stop_key(event.service, event.topic, event.partition)
            self._said[key] = event
        self._halted.pop(key, None)


async def read_stops(log: Log, codec: Codec, topics: Topics) -> Mapping[str, PartitionStopped]:
    """What is stopped now, of all services, by key; for a look, not for following."""
    stops = Stops(log, codec, topics, None)
    try:
        await stops.start()
    finally:
        await stops.close()
    return {stop_key(found.service, found.topic, found.partition): found for found in stops.stopped}
