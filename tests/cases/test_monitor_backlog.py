"""A million decisions on a real broker: read as a backlog they give the windows and findings of live reading."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from tests.cases.backlog_scene import DAY, DAYS, PROJECT, HourLater, Stream, assert_same, by_kind, moved_to

from headrace.clock import Clock, SystemClock
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project.applied import Projects
from headrace.project.service import Context
from headrace_monitor.app import Monitor

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@asynccontextmanager
async def monitoring(settings: Settings, log: KafkaLog, clock: Clock) -> AsyncIterator[Monitor]:
    """The monitor's parts in this process."""
    stop, topics = asyncio.Event(), topics_of(settings)
    codec = Codec(topics)
    projects = Projects(log, codec, topics)
    await projects.start()
    context = Context("monitor", "m", settings, log, topics, codec, projects, Health("monitor", "m"), clock, stop)
    monitor = Monitor(context)
    tasks = [asyncio.create_task(projects.run(stop)), asyncio.create_task(monitor.run(stop))]
    try:
        yield monitor
        assert [task.exception() for task in tasks if task.done()] == []
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def written(log: KafkaLog, topics: Topics) -> dict[str, list[Any]]:
    """Windows and findings by kind."""
    nouns = [topics.name(noun) for noun in ("monitor.windows", "monitor.findings")]
    events = [message.event for message in await read_all(log, Codec(topics), nouns)]
    return by_kind(events)


async def until_closed(log: KafkaLog, topics: Topics, seconds: float) -> dict[str, list[Any]]:
    """What was written once the window of the last full day is closed."""
    async with asyncio.timeout(seconds):
        while True:
            found = await written(log, topics)
            if any(window.to_s >= DAYS * DAY for window in found["WindowClosed"]):
                return found
            await asyncio.sleep(1.0)


async def caught_up(monitor: Monitor) -> None:
    """Until the monitor has read everything."""
    async with asyncio.timeout(120):
        while any((await monitor._inputs.behind()).values()):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [100_000, 1_000_000])
@pytest.mark.timeout(3000)
async def test_a_backlog_gives_the_windows_and_findings_of_live_reading_record_for_record(
    count: int, settings: Settings, kafka_log: KafkaLog
) -> None:
    """Live: each hour of event time is read before the next one is written. The backlog is read an hour later."""
    late = replace(settings, namespace=f"{settings.namespace}b")
    topics, others = topics_of(settings), topics_of(late)
    stream, producer = Stream(count), await kafka_log.producer()
    applied = ProjectApplied("p", "digest", "test", PROJECT, 0.0)
    for names in (topics, others):
        await ensure_topics(kafka_log, names.specs())
        first = out(names.name("project.definitions"), "p", applied, Envelope("applied", "", "test", 0.0))
        await producer.send([first, *stream.registry(names)])
    async with monitoring(settings, kafka_log, SystemClock()) as monitor:
        async with asyncio.timeout(60):
            while monitor._shard is None or (watched := monitor._shard.core.deployments.watched.get("d")) is None:
                await asyncio.sleep(0.05)
            while watched.findings.champion is None:
                await asyncio.sleep(0.05)
        for outs in stream.hours(topics):
            for names, records in ((topics, outs), (others, moved_to(outs, topics, others))):
                await in_parts(producer, records)
                if names is topics:
                    await caught_up(monitor)
        live = await until_closed(kafka_log, topics, 120)
    async with monitoring(late, kafka_log, HourLater()):
        backlog = await until_closed(kafka_log, others, 1200)
    await producer.close()
    assert_same(live, backlog)
    assert sum(window.requests for window in live["WindowClosed"]) == stream.an_hour * 24 * DAYS
    assert sum(window.late_corrections for window in live["WindowClosed"]) > 0
    assert {(one.kind, one.about) for one in live["FindingOpened"]} >= {
        ("contract", "inputs.x3"), ("contract", "inputs.x1"), ("inputs", "x2"),
    }  # fmt: skip
    assert [one.kind for one in live["FindingOpened"] if one.severity == "page"] == ["drift"]


async def in_parts(producer: Any, records: list[Out]) -> None:
    """Write records, some at a time."""
    for begin in range(0, len(records), 5000):
        await producer.send(records[begin : begin + 5000])
