"""Stopped partitions as facts: they outlive the process, and an operator resumes them."""

import asyncio

import pytest

from headrace.events.ops import PartitionResumed
from headrace.hosting.health import Health
from headrace.hosting.stops import Stops, read_stops, stop_record
from headrace.log.memory import MemoryLog
from headrace.log.port import TopicPartition, TopicSpec
from headrace.log.same_topics import SameTopics
from headrace.testing.shards import Bench

RAW = "raw.movements.v1"


@pytest.fixture
async def bench() -> Bench:
    return await Bench(MemoryLog()).set_up()


async def opened(bench: Bench, service: str = "pipeline") -> tuple[Stops, asyncio.Task[None]]:
    same = SameTopics(bench.log)
    await same.look([RAW])
    stops = Stops(bench.log, bench.codec, bench.topics, service, same)
    await stops.start()
    return stops, asyncio.create_task(stops.follow())


async def resume(bench: Bench, offset: int, how: str = "resume", topic_id: str = "") -> None:
    producer = await bench.log.producer()
    resumed = PartitionResumed("pipeline", RAW, 0, offset, how, "ann@desk", topic_id=topic_id)
    await producer.send([stop_record(bench.topics, resumed)])


async def test_a_stop_is_there_after_a_restart_for_its_service_only(bench: Bench) -> None:
    stops, following = await opened(bench)
    await stops.stop(RAW, 0, 7, "100 in a row are no JSON")
    again, followed = await opened(bench)
    other, following_too = await opened(bench, "feature")
    assert (again.at(RAW, 0), again.why(RAW, 0), again.at(RAW, 1)) == (7, "100 in a row are no JSON", None)
    assert other.at(RAW, 0) is None
    assert list(await read_stops(bench.log, bench.codec, bench.topics)) == [f"pipeline/{RAW}/0"]
    for task in (following, followed, following_too):
        task.cancel()


async def test_a_partition_continues_where_the_operator_chooses(bench: Bench) -> None:
    stops, following = await opened(bench)
    await stops.stop(RAW, 0, 7, "poison")
    await resume(bench, 12, "skip")
    async with asyncio.timeout(10):
        while stops.at(RAW, 0) is not None:
            await asyncio.sleep(0.01)
    assert stops.goes_on_at(RAW, 0) == 12
    assert not await read_stops(bench.log, bench.codec, bench.topics)
    following.cancel()


async def test_a_stop_whose_transaction_was_dropped_is_no_stop(bench: Bench) -> None:
    stops, following = await opened(bench)
    stops.halt(RAW, 0, 7, "poison")
    assert stops.at(RAW, 0) == 7
    stops.forget_unwritten([TopicPartition(RAW, 0)])
    assert stops.at(RAW, 0) is None
    following.cancel()


async def test_only_the_owner_of_a_stopped_partition_is_not_ready(bench: Bench) -> None:
    stops, following = await opened(bench)
    stops.halt(RAW, 0, 7, "poison")
    health = Health("pipeline", "a", failures={})
    stops.report_to(health, [TopicPartition(RAW, 1)])
    assert health.is_ready
    stops.report_to(health, [TopicPartition(RAW, 0)])
    reason = f"{RAW}/0 is stopped at offset 7: poison; `headrace topic resume {RAW}` once what writes it is mended, or"
    assert health.failures == {f"stopped:{RAW}/0": f"{reason} `headrace topic skip {RAW}`"}
    stops.report_to(health, [])
    assert health.is_ready
    following.cancel()


async def test_a_recreated_topic_has_no_stops_and_the_old_ones_are_not_reported(bench: Bench) -> None:
    spec = TopicSpec(RAW, 1)
    await bench.log.create_topics([spec])
    stops, following = await opened(bench)
    await stops.stop(RAW, 0, 7, "poison")
    bench.log.delete_topic(RAW)
    await bench.log.create_topics([spec])
    again, followed = await opened(bench)
    assert (stops.at(RAW, 0), again.at(RAW, 0), again.stopped) == (7, None, [])
    await resume(bench, 9, "skip", stops.stopped[0].topic_id)
    async with asyncio.timeout(10):
        while again.stopped or stops.stopped:
            await asyncio.sleep(0.01)
    assert (stops.goes_on_at(RAW, 0), again.goes_on_at(RAW, 0)) == (9, 0)
    await stops.stop(RAW, 0, 7, "poison")
    await again.forget_gone()
    assert not await read_stops(bench.log, bench.codec, bench.topics)
    for task in (following, followed):
        task.cancel()
