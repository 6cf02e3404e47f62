"""A bench for shards: a counting service whose output is its own state, on any log."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from headrace.errors import Retryable
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, caused_by, out
from headrace.log.port import Log, Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import read_all


class Counter:
    """Counts requests per unit; its state is its own output (an outcome with the count as label)."""

    def __init__(self, topics: Topics, shard: int, fails_at: int = -1) -> None:
        self.topics, self.shard, self.fails_at = topics, shard, fails_at
        self.counts: dict[str, int] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        """Its own output."""
        return [Rebuild(self.topics.name("inference.outcomes"))]

    async def on_history(self, message: Message) -> None:
        """Take a count over."""
        self.counts[message.event.unit] = int(message.event.label)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Start at the committed offsets."""
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        """One outcome per request."""
        return Outputs(outs=[self._count(message) for message in batch])

    def _count(self, message: Message) -> Out:
        unit = message.event.unit
        self.counts[unit] = self.counts.get(unit, 0) + 1
        if self.counts[unit] == self.fails_at:
            raise Retryable("planted")
        envelope = caused_by(message, id=f"count-{message.envelope.id}", source="test", time_s=0.0)
        return out(
            self.topics.name("inference.outcomes"),
            unit,
            OutcomeObserved("d", unit, self.counts[unit]),
            envelope,
            self.shard,
        )

    async def on_tick(self) -> Outputs:
        """Nothing."""
        return Outputs()


class Bench:
    """A log with topics, and hosts to run on it."""

    def __init__(self, log: Log, namespace: str = "") -> None:
        self.log = log
        self.topics = Topics.load(namespace or f"n{secrets.token_hex(4)}")
        self.codec = Codec(self.topics)
        self.requests = self.topics.name("inference.requests")
        self.health = Health("inference", "test", failures={})

    async def set_up(self) -> "Bench":
        """Create the topics."""
        await ensure_topics(self.log, self.topics.specs())
        return self

    async def ask(self, count: int, start: int = 0) -> None:
        """Write `count` requests of seven units."""
        producer = await self.log.producer()
        requests = [PredictionRequested("d", unit=f"u{n % 7}") for n in range(start, start + count)]
        await producer.send(
            [
                out(self.requests, r.unit, r, caused_by(None, id=f"r{start + n}", source="t", time_s=0.0))
                for n, r in enumerate(requests)
            ]
        )
        await producer.close()

    async def put(self, *values: bytes, partition: int = 0) -> None:
        """Write these bytes as requests."""
        producer = await self.log.producer()
        await producer.send([Out(self.requests, b"k", value, partition=partition) for value in values])
        await producer.close()

    def host(self, make: Callable[[int], Counter] | None = None, lock: str | None = None) -> ShardGroup:
        """A group of one service that counts."""
        chosen = make or (lambda shard: Counter(self.topics, shard))
        return ShardGroup(
            self.log,
            self.codec,
            self.topics,
            service="inference",
            inputs=[self.requests],
            make=chosen,
            health=self.health,
            lock=lock,
        )

    @asynccontextmanager
    async def running(self, host: ShardGroup) -> AsyncIterator[None]:
        """Run a group while the block lasts."""
        stop = asyncio.Event()
        task = asyncio.create_task(host.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def counts(self) -> dict[str, list[int]]:
        """All written counts, per unit."""
        found: dict[str, list[int]] = {}
        for message in await read_all(self.log, self.codec, [self.topics.name("inference.outcomes")]):
            found.setdefault(message.event.unit, []).append(int(message.event.label))
        return found

    async def until(self, holds: Callable[[dict[str, list[int]]], bool]) -> dict[str, list[int]]:
        """Wait until the counts fulfil a condition, at most a minute."""
        async with asyncio.timeout(60):
            while not holds(found := await self.counts()):
                await asyncio.sleep(0.02)
        return found

    async def dead(self) -> list[bytes | None]:
        """The bytes of all dead letters."""
        return [record.value for record in await self.letters()]

    async def letters(self, service: str = "inference") -> list[Record]:
        """All dead letters of a service."""
        partitions = await self.log.partitions(self.topics.dlq(service))
        ends = await self.log.end_offsets(partitions)
        reader = await self.log.reader(partitions, "beginning")
        found: list[Record] = []
        while any([await reader.position(tp) < ends[tp] for tp in partitions]):
            found += await reader.fetch(0.2)
        await reader.close()
        return found


class Whole(Counter):
    """Counts with the state of all shards."""

    def rebuild(self) -> Sequence[Rebuild]:
        """The output of all shards."""
        return [Rebuild(self.topics.name("inference.outcomes"), whole=True)]


def total(counts: dict[str, list[int]]) -> int:
    """The number of counts."""
    return sum(map(len, counts.values()))


def are_exact(counts: dict[str, list[int]]) -> bool:
    """Whether each unit was counted once per request, in order."""
    return all(found == list(range(1, len(found) + 1)) for found in counts.values())
