"""Shards on the log in memory and on a real Kafka: nothing lost, nothing twice, poison apart."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from headrace.bus.admin import ensure_topics, require_topics
from headrace.bus.kafka import KafkaLog
from headrace.bus.port import Log, Out, TopicPartition, TopicSpec
from headrace.bus.shards import Outputs, Rebuild, ShardHost
from headrace.bus.views import View, read_all
from headrace.codec import Codec, Message, caused_by, out
from headrace.errors import Misconfigured, Retryable
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.obs.health import Health
from headrace.testing.memory import MemoryLog
from headrace.topics import Topics


class Counter:
    """Counts requests per unit; its state is its own output (an outcome with the count as label)."""

    def __init__(self, topics: Topics, shard: int, fails_at: int = -1) -> None:
        self.topics, self.shard, self.fails_at = topics, shard, fails_at
        self.counts: dict[str, int] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self.topics.name("inference.outcomes"))]

    async def on_history(self, message: Message) -> None:
        self.counts[message.event.unit] = int(message.event.label)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
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
        return Outputs()


class Bench:
    """A log with topics, and hosts to run on it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.topics = Topics.load(f"n{secrets.token_hex(4)}")
        self.codec = Codec(self.topics)
        self.requests = self.topics.name("inference.requests")
        self.health = Health("inference", "test", failures={})

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs())
        return self

    async def ask(self, count: int, start: int = 0) -> None:
        producer = await self.log.producer()
        requests = [PredictionRequested("d", unit=f"u{n % 7}") for n in range(start, start + count)]
        await producer.send(
            [
                out(self.requests, r.unit, r, caused_by(None, id=f"r{start + n}", source="t", time_s=0.0))
                for n, r in enumerate(requests)
            ]
        )
        await producer.close()

    async def put(self, *values: bytes, topic: str | None = None) -> None:
        producer = await self.log.producer()
        await producer.send([Out(topic or self.requests, b"k", value, partition=0) for value in values])
        await producer.close()

    def host(self, make: Callable[[int], Counter] | None = None, **options: object) -> ShardHost:
        chosen = make or (lambda shard: Counter(self.topics, shard))
        return ShardHost(
            self.log,
            self.codec,
            self.topics,
            service="inference",
            inputs=[self.requests],
            make=chosen,
            health=self.health,
            **options,  # type: ignore[arg-type]
        )

    @asynccontextmanager
    async def running(self, host: ShardHost) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(host.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def counts(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for message in await read_all(self.log, self.codec, [self.topics.name("inference.outcomes")]):
            found.setdefault(message.event.unit, []).append(int(message.event.label))
        return found

    async def until(self, holds: Callable[[dict[str, list[int]]], bool]) -> dict[str, list[int]]:
        async with asyncio.timeout(60):
            while not holds(found := await self.counts()):
                await asyncio.sleep(0.02)
        return found

    async def dead(self) -> list[bytes | None]:
        topic = self.topics.dlq("inference")
        reader = await self.log.reader(await self.log.partitions(topic), "beginning")
        found = list(await reader.fetch(0.5))
        await reader.close()
        return [record.value for record in found]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield await Bench(MemoryLog()).set_up()
        return
    log = KafkaLog(request.getfixturevalue("settings"))
    await log.start()
    yield await Bench(log).set_up()
    await log.stop()


def total(counts: dict[str, list[int]]) -> int:
    return sum(map(len, counts.values()))


def are_exact(counts: dict[str, list[int]]) -> bool:
    return all(found == list(range(1, len(found) + 1)) for found in counts.values())


async def test_every_record_has_its_effect_once(bench: Bench) -> None:
    await bench.ask(500)
    async with bench.running(bench.host()):
        assert are_exact(await bench.until(lambda counts: total(counts) >= 500))


async def test_a_new_process_goes_on_where_the_old_one_stopped(bench: Bench) -> None:
    await bench.ask(100)
    async with bench.running(bench.host()):
        await bench.until(lambda counts: total(counts) >= 100)
    await bench.ask(100, start=100)
    async with bench.running(bench.host()):
        counts = await bench.until(lambda counts: total(counts) >= 200)
    assert total(counts) == 200
    assert are_exact(counts)


async def test_a_failed_step_is_rebuilt_and_repeated_without_a_double_effect(bench: Bench) -> None:
    made: list[int] = []

    def make(shard: int) -> Counter:
        made.append(shard)
        return Counter(bench.topics, shard, fails_at=5 if made.count(shard) == 1 else -1)

    await bench.ask(100)
    async with bench.running(bench.host(make)):
        counts = await bench.until(lambda counts: total(counts) >= 100)
    assert are_exact(counts)
    assert len(made) > 2


async def test_poison_is_dead_lettered_unchanged_and_the_next_record_is_handled(bench: Bench) -> None:
    await bench.put(b"\xc1", b'{"deployment": 3}', b'{"deployment":"d","unit":"good"}')
    async with bench.running(bench.host()):
        await bench.until(lambda counts: counts.get("good") == [1])
    assert await bench.dead() == [b"\xc1", b'{"deployment": 3}']
    assert bench.health.dead_lettered == 2


async def test_a_hundred_poison_records_in_a_row_stop_the_topic_and_commit_nothing_past_them(bench: Bench) -> None:
    await bench.put(*[b"\xc1"] * 150)
    async with bench.running(bench.host()), asyncio.timeout(30):
        while not bench.health.failures:
            await asyncio.sleep(0.02)
    reached = await bench.log.committed(bench.topics.group("inference"), [TopicPartition(bench.requests, 0)])
    assert reached.get(TopicPartition(bench.requests, 0), 0) <= 100
    assert "too many records cannot be read" in next(iter(bench.health.failures.values()))


async def test_with_a_lock_one_host_reads_all_partitions_and_a_standby_takes_over(bench: Bench) -> None:
    lock = bench.topics.name("training.requests")

    def make(shard: int) -> Counter:
        return Whole(bench.topics, shard)

    first, second = bench.host(make, lock=lock), bench.host(make, lock=lock)
    async with bench.running(second):
        async with bench.running(first):
            await bench.ask(100)
            await bench.until(lambda counts: total(counts) >= 100)
        await bench.ask(100, start=100)
        counts = await bench.until(lambda counts: total(counts) >= 200)
    assert are_exact(counts)


class Whole(Counter):
    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self.topics.name("inference.outcomes"), whole=True)]


async def test_members_that_come_and_go_lose_and_repeat_nothing(bench: Bench) -> None:
    async with bench.running(bench.host()):
        for round_number in range(3):
            async with bench.running(bench.host()):
                await bench.ask(200, start=200 * round_number)
                await bench.until(lambda counts, n=round_number: total(counts) >= 200 * n + 50)
        counts = await bench.until(lambda counts: total(counts) >= 600)
    assert total(counts) == 600
    assert are_exact(counts)


async def test_a_view_is_ready_only_when_all_that_was_there_is_read(bench: Bench) -> None:
    await bench.ask(300)
    seen: list[Message] = []
    view = View(bench.log, bench.codec, [bench.requests], seen.append)
    await view.start()
    assert len(seen) == 300
    await view.stop()


async def test_topics_that_drifted_are_refused_with_what_was_found_and_wanted(bench: Bench) -> None:
    wanted = [TopicSpec(bench.requests, 5, {"cleanup.policy": "compact"})]
    with pytest.raises(Misconfigured, match="has 2 partitions, declared are 5") as refused:
        await ensure_topics(bench.log, wanted)
    assert "cleanup.policy=delete, declared is compact" in str(refused.value)


async def test_a_service_refuses_to_start_on_missing_topics(bench: Bench) -> None:
    with pytest.raises(Misconfigured, match=r"topics are missing: away\.v1; run `headrace topic apply`"):
        await require_topics(bench.log, [TopicSpec("away.v1", 1)])
