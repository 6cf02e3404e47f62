"""Partitions that a service has stopped reading: facts on `ops.stops`, which outlive the process.

Too much poison on `raw.*` or `events.*` stops that partition. Nothing past the stop is committed, and it outlasts
restarts until an operator resumes it (`headrace topic resume`, or `skip` to a later offset). The newest record per
`service/topic/partition` counts; a tombstone deletes it.
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
# The prefix of a stopped partition among an instance's failures, before `topic/partition`.
STOPPED = "stopped:"


def stop_key(service: str, topic: str, partition: int) -> str:
    """The key on `ops.stops`. `topic`: its full name.

    >>> stop_key("pipeline", "raw.movements.v1", 0)
    'pipeline/raw.movements.v1/0'
    """
    return f"{service}/{topic}/{partition}"


def way_on(topic: str) -> str:
    """What an operator does once the cause is mended. `topic`: with or without the namespace.

    >>> way_on("raw.movements.v1")
    '`headrace topic resume raw.movements.v1` once what writes it is mended, or `headrace topic skip raw.movements.v1`'
    """
    return f"`headrace topic resume {topic}` once what writes it is mended, or `headrace topic skip {topic}`"


def stop_record(topics: Topics, event: Stopped) -> Out:
    """The record of a stop or a resumption."""
    key = stop_key(event.service, event.topic, event.partition)
    how = "stopped" if isinstance(event, PartitionStopped) else "resumed"
    return out(topics.name("ops.stops"), key, event, Envelope(f"{key}/{event.offset}/{how}", "", event.service, 0.0))


class Stops:
    """The stopped partitions of one service (of all services when `service` is None), always current.

    Call `start` before anything is read, and run `run` beside it. To stop a partition, either write `halt(...)` in a
    transaction, or await `stop(...)`. `same`: the topics that the service reads; stops of a topic that was created
    again do not count.
    """

    def __init__(
        self, log: Log, codec: Codec, topics: Topics, service: str | None, same: SameTopics | None = None
    ) -> None:
        self._log, self._topics, self._service, self._same = log, topics, service, same
        self._published: dict[str, Stopped] = {}
        # Stopped here, and not read back yet.
        self._halted: dict[str, PartitionStopped] = {}
        self._view = View(log, codec, [topics.name("ops.stops")], self._take)
        self._producer: Producer | None = None

    async def start(self) -> None:
        """Read the present stops. Waits for the log."""
        await self._view.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set."""
        await self._view.run(stop)

    async def follow(self) -> None:
        """Follow until cancelled."""
        await self._view.follow()

    async def close(self) -> None:
        """Close the connections."""
        await self._view.stop()
        if self._producer is not None:
            await self._producer.close()

    def at(self, topic: str, partition: int) -> int | None:
        """The first unhandled offset of a stopped partition; None when it is not stopped."""
        found = self._now(topic, partition)
        return found.offset if isinstance(found, PartitionStopped) else None

    def why(self, topic: str, partition: int) -> str | None:
        """Why a partition is stopped; None when it is not."""
        found = self._now(topic, partition)
        return found.reason if isinstance(found, PartitionStopped) else None

    def description(self, topic: str, partition: int) -> str | None:
        """A sentence on a stopped partition: where, why, and the way out; None when it is not stopped."""
        found = self._now(topic, partition)
        if not isinstance(found, PartitionStopped):
            return None
        where = f"{topic}/{partition} is stopped at offset {found.offset}"
        return f"{where}: {found.reason}; {way_on(self._topics.base(topic))}"

    def goes_on_at(self, topic: str, partition: int) -> int:
        """The offset at which an operator resumed a partition; 0 for never. Nothing before it is read again."""
        found = self._now(topic, partition)
        return found.offset if isinstance(found, PartitionResumed) else 0

    @property
    def stopped(self) -> list[PartitionStopped]:
        """All present stops, by key."""
        if not (self._published or self._halted):  # called for every batch
            return []
        now = self._published | self._halted
        return [
            found
            for _, found in sorted(now.items())
            if isinstance(found, PartitionStopped) and not self._is_gone(found)
        ]

    def halt(self, topic: str, partition: int, offset: int, reason: str) -> Out:
        """Stop a partition at once. Returns the fact, which the caller writes (in its transaction)."""
        event = PartitionStopped(self._service or "", topic, partition, offset, reason[:2000], self._id_of(topic))
        self._halted[stop_key(event.service, topic, partition)] = event
        return stop_record(self._topics, event)

    async def stop(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """The same, written at once. Returns when it is acknowledged, however long that takes."""
        record = self.halt(topic, partition, offset, reason)
        for delay_s in delays_s(0.2, 3.0):
            try:
                self._producer = self._producer or await self._log.producer()
                await self._producer.send([record])
                self._published[(record.key or b"").decode()] = self._halted.pop((record.key or b"").decode())
            except Retryable as error:
                _log.warning("the stop of %s/%s is not written yet: %s", topic, partition, error)
                await asyncio.sleep(delay_s)
            else:
                return

    def forget_unwritten(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget stops that were never published: their transaction was dropped, and the records are read again."""
        for tp in partitions:
            self._halted.pop(stop_key(self._service or "", tp.topic, tp.partition), None)

    def report_to(self, health: Health, owned: Iterable[TopicPartition]) -> None:
        """Make an instance not ready while one of its partitions is stopped: `stopped:topic/partition`."""
        wanted = {
            f"{STOPPED}{tp.topic}/{tp.partition}": description
            for tp in owned
            if (description := self.description(tp.topic, tp.partition)) is not None
        }
        for gone in [what for what in health.failures if what.startswith(STOPPED) and what not in wanted]:
            health.clear(gone)
        for what, description in wanted.items():
            health.fail(what, description)

    async def forget_gone(self) -> None:
        """Write tombstones for stops of topics that were created again."""
        gone = [key for key, found in self._published.items() if self._is_gone(found)]
        if gone:
            _log.warning("%s: the stopped topics were deleted and created again, and are read", ", ".join(sorted(gone)))
            self._producer = self._producer or await self._log.producer()
            await self._producer.send([self._tombstone(key) for key in gone])

    def _tombstone(self, key: str) -> Out:
        return tombstone(
            self._topics.name("ops.stops"), key, Envelope(f"{key}/forgotten", "", self._service or "", 0.0)
        )

    def _now(self, topic: str, partition: int) -> Stopped | None:
        key = stop_key(self._service or "", topic, partition)
        found = self._halted.get(key) or self._published.get(key)
        return None if found is None or self._is_gone(found) else found

    def _is_gone(self, published: Stopped) -> bool:
        """Whether a stop or resumption concerns a deleted topic, of whose name there is another one."""
        now = self._id_of(published.topic)
        return bool(now and published.topic_id) and now != published.topic_id

    def _id_of(self, topic: str) -> str:
        return "" if self._same is None else self._same.ids.get(topic, "")

    def _take(self, message: Message) -> None:
        event: Stopped | None = message.event
        key = (message.record.key or b"").decode("utf-8", "replace")
        if event is None:
            self._published.pop(key, None)
        elif self._service in (None, event.service):
            key = stop_key(event.service, event.topic, event.partition)
            self._published[key] = event
        self._halted.pop(key, None)


async def read_stops(log: Log, codec: Codec, topics: Topics) -> Mapping[str, PartitionStopped]:
    """All present stops of all services by key, read once."""
    stops = Stops(log, codec, topics, None)
    try:
        await stops.start()
    finally:
        await stops.close()
    return {stop_key(found.service, found.topic, found.partition): found for found in stops.stopped}
