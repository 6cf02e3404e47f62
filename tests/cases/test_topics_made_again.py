"""Readers and writers notice by its id that a topic was deleted and created again, however long it is by then."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace.errors import Restart
from headrace.hosting import group as shards
from headrace.hosting import heartbeats
from headrace.hosting.logic import Outputs
from headrace.hosting.needs import needed, tended
from headrace.hosting.runtime import Runnable
from headrace.hosting.settings import Settings
from headrace.log import reading, same_topics
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog, MemoryReader
from headrace.log.port import Log, Out, Record, TopicSpec
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.models import artifacts
from headrace.project.service import Context, run_service
from headrace.testing.shards import Bench, Counter

TOPICS = Topics.load()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the checks frequent."""
    monkeypatch.setattr(same_topics, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(shards, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(heartbeats, "LOOK_EVERY_S", 0.02)


def make_again(log: MemoryLog, name: str) -> Any:
    """Delete a topic, and create it again before anybody checks."""
    spec = log._topics[name]
    log.delete_topic(name)
    return log.create_topics([spec])


async def fill(log: Log, topic: str, count: int, word: str = "new") -> None:
    producer = await log.producer()
    values = [f'{{"deployment":"d","unit":"{word}-{n}"}}'.encode() for n in range(count)]
    await producer.send([Out(topic, b"k", value, partition=n % 2) for n, value in enumerate(values)])
    await producer.close()


async def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


class Nameless(MemoryLog):
    """A broker older than Kafka 2.8, whose topics have no ids."""

    async def topic_ids(self, names: Any) -> dict[str, str]:
        return dict.fromkeys(await super().topic_ids(names), "")


async def test_a_topic_is_the_same_until_its_id_is_another_whether_or_not_it_was_seen_missing(
    memory_log: MemoryLog,
) -> None:
    await memory_log.create_topics([TopicSpec("a", 1), TopicSpec("b", 1)])
    same = SameTopics(memory_log)
    assert await same.look(["a", "b", "c"]) == ["c"]
    await memory_log.create_topics([TopicSpec("c", 1)])
    assert await same.look(["a", "b", "c"]) == []
    memory_log.delete_topic("a")
    assert await same.look(["a", "b", "c"]) == ["a"]
    await memory_log.create_topics([TopicSpec("a", 1)])
    with pytest.raises(Restart, match="a was deleted and created again"):
        await same.look(["a", "b", "c"])
    assert await same.look(["b", "c"]) == []


async def test_what_is_first_seen_while_another_look_runs_is_remembered(memory_log: MemoryLog) -> None:
    await memory_log.create_topics([TopicSpec("a", 1), TopicSpec("b", 1)])
    same = SameTopics(memory_log)
    asked, ask = asyncio.Event(), memory_log.topic_ids

    async def slowly(names: Any) -> dict[str, str]:
        found = await ask(names)
        if names == ["a"]:
            await asked.wait()
        return found

    memory_log.topic_ids = slowly  # type: ignore[method-assign]
    looking = asyncio.create_task(same.look(["a"]))
    await asyncio.sleep(0)
    await same.look(["a", "b"])
    asked.set()
    await looking
    assert same.ids == {name: memory_log._ids[name] for name in ("a", "b")}


async def test_a_topic_that_a_broker_did_not_know_for_a_moment_is_no_other_one(memory_log: MemoryLog) -> None:
    await memory_log.create_topics([spec := TopicSpec("a", 1)])
    same = SameTopics(memory_log)
    await same.look(["a"])
    del memory_log._topics["a"]
    assert await same.look(["a"]) == ["a"]
    memory_log._topics["a"] = spec
    assert await same.look(["a"]) == []


async def test_without_ids_a_topic_that_was_gone_and_is_there_again_is_another_one() -> None:
    log = Nameless()
    await log.create_topics([TopicSpec("a", 1)])
    same = SameTopics(log)
    assert [await same.look(["a"]), await same.look(["a"])] == [[], []]
    log.delete_topic("a")
    await same.look(["a"])
    await log.create_topics([TopicSpec("a", 1)])
    with pytest.raises(Restart):
        await same.look(["a"])


@pytest.mark.usefixtures("soon")
async def test_a_view_ends_though_the_topic_is_longer_than_before(memory_log: MemoryLog) -> None:
    bench = await Bench(memory_log).set_up()
    await fill(memory_log, bench.requests, 2, "old")
    view = View(memory_log, bench.codec, [bench.requests], lambda _: None)
    await view.start()
    await make_again(memory_log, bench.requests)
    await fill(memory_log, bench.requests, 50)
    with pytest.raises(Restart, match="created again"):
        await asyncio.wait_for(view.follow(), 10)


async def test_records_from_before_what_was_read_are_looked_into_at_once_and_none_is_handled(
    memory_log: MemoryLog,
) -> None:
    """No record of the new topic is handled as one of the old topic, even before the next check."""
    bench = await Bench(memory_log).set_up()
    await fill(memory_log, bench.requests, 40, "old")
    running = asyncio.create_task(bench.host().run(asyncio.Event()))
    await bench.until(lambda counts: len(counts) == 40)
    await make_again(memory_log, bench.requests)
    await fill(memory_log, bench.requests, 4)
    with pytest.raises(Restart, match="created again"):
        await asyncio.wait_for(running, 10)
    assert not any(unit.startswith("new") for unit in await bench.counts())
    async with bench.running(bench.host()):
        counts = await bench.until(lambda counts: "new-3" in counts and "new-2" in counts)
    assert [counts[f"new-{n}"] for n in range(4)] == [[1]] * 4


class Looking(Counter):
    """Requests a topic beside its inputs with every tick."""

    def __init__(self, log: Log, topics: Topics, shard: int) -> None:
        super().__init__(topics, shard)
        self._log = log

    async def on_tick(self) -> Outputs:
        await self._log.partitions(self.topics.name("monitor.windows"))
        return await super().on_tick()


async def test_a_topic_that_goes_while_a_shard_runs_holds_it_until_it_is_there_again(
    memory_log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that starts without the topic is wrongly configured. One that runs already waits."""
    bench = await Bench(memory_log).set_up()
    host = bench.host(lambda shard: Looking(memory_log, bench.topics, shard))
    async with bench.running(host):
        await fill(memory_log, bench.requests, 2)
        await bench.until(lambda counts: len(counts) == 2)
        spec = memory_log._topics[windows := bench.topics.name("monitor.windows")]
        memory_log.delete_topic(windows)
        await until(lambda: f"is rebuilt: topic {windows} does not exist" in caplog.text)
        await memory_log.create_topics([spec])
        await fill(memory_log, bench.requests, 4)
        await bench.until(lambda counts: len(counts) == 4)


@pytest.mark.kafka
async def test_a_topic_made_again_that_is_longer_than_before_is_read_from_its_beginning(
    kafka_log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "LOOK_EVERY_S", 1.0)
    bench = await Bench(kafka_log).set_up()
    await fill(kafka_log, bench.requests, 4, "old")
    running = asyncio.create_task(bench.host().run(asyncio.Event()))
    await bench.until(lambda counts: len(counts) == 4)
    await kafka_log.admin.delete_topics([bench.requests])
    async with asyncio.timeout(20):
        while await kafka_log.topic_ids([bench.requests]):
            await asyncio.sleep(0.01)
    await kafka_log.create_topics([TopicSpec(bench.requests, 2, bench.topics.rule(bench.requests).config)])
    await fill(kafka_log, bench.requests, 100)
    with pytest.raises(Restart, match="created again"):
        await asyncio.wait_for(running, 30)
    bench.health.failures.clear()
    async with bench.running(bench.host()):
        counts = await bench.until(lambda counts: all(f"new-{n}" in counts for n in range(100)))
    assert sum(unit.startswith("new") for unit in counts) == 100


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("count", [1, 500])
async def test_reading_up_to_an_end_does_not_wait_for_the_end_of_a_topic_that_is_gone(
    memory_log: MemoryLog, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(reading, "_MOST", 10)
    await memory_log.create_topics([TopicSpec("a", 2)])
    await fill(memory_log, "a", 400)
    ends = await reading.pin_offsets(memory_log, ["a"])
    taken: list[Record] = []
    again: list[Any] = []

    def take(record: Record) -> None:
        taken.append(record)
        if len(taken) == 5:
            again.append(asyncio.create_task(_again(memory_log, count)))

    with pytest.raises(Restart, match="created again"):
        await asyncio.wait_for(reading.read_up_to(memory_log, ends, take), 10)


async def _again(log: MemoryLog, count: int) -> None:
    await make_again(log, "a")
    await fill(log, "a", count)


@pytest.mark.usefixtures("soon")
async def test_reading_an_artifact_does_not_wait_for_the_end_of_a_topic_that_is_gone(
    memory_log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await memory_log.create_topics(TOPICS.specs())
    topic = TOPICS.name("registry.artifacts")
    place = await artifacts.publish(memory_log, TOPICS, b"x" * 3_000_000, "skops", 0.0, "test")
    fetch, calls = MemoryReader.fetch, [0]

    async def once(self: MemoryReader, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        calls[0] += 1
        if calls[0] == 1:
            await make_again(memory_log, topic)
        return await fetch(self, 0.01, 1)

    monkeypatch.setattr(MemoryReader, "fetch", once)
    with pytest.raises(Restart, match="created again"):
        await asyncio.wait_for(artifacts.fetch(memory_log, TOPICS, place), 10)


@pytest.mark.usefixtures("soon")
async def test_a_service_ends_with_75_for_a_topic_that_it_only_writes(
    memory_log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    await memory_log.create_topics(TOPICS.specs())

    async def build(context: Context) -> Sequence[Runnable]:
        await make_again(memory_log, "features.online.v1")
        return []

    with caplog.at_level("INFO"):
        assert await asyncio.wait_for(run_service("feature", build, Settings(http_port=0), memory_log), 20) == 75
    assert "features.online.v1 was deleted and created again" in caplog.text


@pytest.mark.usefixtures("soon")
async def test_a_service_stays_while_a_topic_is_missing_and_the_gateway_goes_on_with_its_own(
    memory_log: MemoryLog,
) -> None:
    await memory_log.create_topics(TOPICS.specs())
    seen: list[Context] = []

    async def build(context: Context) -> Sequence[Runnable]:
        seen.append(context)
        return []

    running = asyncio.create_task(run_service("gateway", build, Settings(http_port=0), memory_log))
    await until(lambda: bool(seen) and seen[0].health.is_ready)
    spec = memory_log._topics[requests := TOPICS.name("inference.requests")]
    memory_log.delete_topic(requests)
    await until(lambda: requests in seen[0].health.failures.get("topics", ""))
    await memory_log.create_topics([spec])
    await until(lambda: seen[0].health.is_ready)
    assert not running.done()
    seen[0].stop.set()
    assert await running == 0


def test_every_topic_that_a_service_needs_is_watched_or_tended() -> None:
    for service in TOPICS.services:
        assert tended(TOPICS, service) <= needed(TOPICS, service)
    assert not any(tended(TOPICS, service) for service in TOPICS.services if service != "gateway")
