"""Shards on the log in memory and on a real Kafka: nothing lost, nothing twice, poison apart."""

from collections.abc import AsyncIterator

import pytest

from headrace.errors import Misconfigured
from headrace.log.admin import drifted, ensure_topics, require_topics
from headrace.log.codec import Message, header
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.port import TopicSpec
from headrace.log.views import View
from headrace.testing.shards import Bench, Counter, Whole, are_exact, total


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield await Bench(MemoryLog()).set_up()
        return
    log = KafkaLog(request.getfixturevalue("settings"))
    await log.start()
    yield await Bench(log).set_up()
    await log.stop()


async def test_every_record_has_its_effect_once(bench: Bench) -> None:
    await bench.ask(500)
    async with bench.running(bench.host()):
        assert are_exact(await bench.until(lambda counts: total(counts) >= 500))


async def test_a_new_process_continues_where_the_old_one_stopped(bench: Bench) -> None:
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


async def test_a_shared_topic_never_stops_and_its_dead_letters_are_sampled(bench: Bench) -> None:
    await bench.put(*[b"\xc1"] * 450, b'{"deployment":"d","unit":"good"}')
    async with bench.running(bench.host()):
        await bench.until(lambda counts: counts.get("good") == [1])
    letters = await bench.letters()
    assert [header(letter.headers, "headrace.stands_for") for letter in letters] == [None] * 100 + ["100"] * 3
    assert bench.health.dead_lettered == 450
    assert bench.health.is_ready


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


async def test_harmless_drift_is_logged_and_stops_nobody(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.log.create_topics([TopicSpec("raw.a.v1", 3, {"retention.ms": "1000"}, keyed=False)])
    wanted = [TopicSpec("raw.a.v1", 1, {"retention.ms": "-1"}, keyed=False)]
    assert await ensure_topics(bench.log, wanted) == []
    await require_topics(bench.log, wanted)
    logged = await drifted(bench.log, wanted)
    assert [sentence.split(" (")[0] for sentence in logged] == [
        "raw.a.v1 has 3 partitions, declared are 1",
        "raw.a.v1 has retention.ms=1000, declared is -1",
    ]
    assert all(sentence in caplog.text for sentence in logged)


async def test_a_service_refuses_to_start_on_missing_topics(bench: Bench) -> None:
    with pytest.raises(Misconfigured, match=r"topics are missing: away\.v1; run `headrace topic apply`"):
        await require_topics(bench.log, [TopicSpec("away.v1", 1)])
