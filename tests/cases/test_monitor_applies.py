"""The same shard begins to read another source in place, and goes on with the others where it was."""

import asyncio
import time

import msgspec
import pytest

from headrace.clock import SystemClock
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import WindowClosed
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Count, Deployment, FeatureView, Key, Number, Project, Source
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.service import Context
from headrace_monitor.app import Monitor

DAY = 86_400.0


class Tick(msgspec.Struct):
    at: float
    who: str


TICKS = Source("ticks", event=Tick, event_time="at", key="who")
VIEW = FeatureView("v", source=TICKS, entity="who", features={"n": Count("3h")})
PLAIN = Project("p", [Deployment("d", "u", [Number("x")])])
WITH_SOURCE = Project("q", [Deployment("e", "u", [Key("who")], [VIEW.by("who")])], sources=[TICKS], views=[VIEW])


@pytest.fixture(params=["memory", pytest.param("kafka", marks=[pytest.mark.slow, pytest.mark.kafka])])
def place(request: pytest.FixtureRequest) -> tuple[Log, Settings]:
    """A log, and the settings under which it is read."""
    if request.param == "memory":
        return MemoryLog(SystemClock()), Settings()
    return request.getfixturevalue("kafka_log"), request.getfixturevalue("settings")


async def test_a_new_source_is_read_by_the_same_shard_which_keeps_its_windows(place: tuple[Log, Settings]) -> None:
    log, topics = place[0], Topics.load(place[1].namespace)
    codec, stop = Codec(topics), asyncio.Event()
    await ensure_topics(log, topics.specs())
    producer = await log.producer()

    async def apply(project: Project) -> None:
        definition = compile_project(project)
        event = ProjectApplied(project.name, project.name, "test", definition, time.time())
        await producer.send([out(topics.name("project.definitions"), project.name, event, Envelope("", "", "t", 0.0))])

    async def ask(first: int, last: int) -> None:
        outs = []
        for n in range(first, last):
            event = DecisionMade(f"r{n}", "d", f"u{n}", (n + 0.5) * DAY / 12, Served(Score(1, "m", 0.4)), n)
            outs.append(
                out(topics.name("inference.decisions"), f"u{n}", event, Envelope(f"d{n}", "", "i", event.at_s), n % 2)
            )
        await producer.send(outs)

    async def windows(at_least: int) -> list[WindowClosed]:
        async with asyncio.timeout(30):
            while True:
                found = [m.event for m in await read_all(log, codec, [topics.name("monitor.windows")])]
                if len(found) >= at_least:
                    return found
                await asyncio.sleep(0.05)

    await apply(PLAIN)
    projects = Projects(log, codec, topics)
    await projects.start()
    context = Context(
        "monitor", "m", place[1], log, topics, codec, projects, Health("monitor", "m"), SystemClock(), stop
    )
    monitor = Monitor(context)
    running = [asyncio.create_task(projects.run(stop)), asyncio.create_task(monitor.run(stop))]
    await ask(0, 90)
    before = len(await windows(4))
    first = monitor._shard
    await ensure_topics(log, topics.specs(compile_project(WITH_SOURCE)))
    await apply(WITH_SOURCE)
    async with asyncio.timeout(30):
        while monitor._shard is None or "e" not in monitor._shard.core.deployments.watched:
            await asyncio.sleep(0.02)
    assert monitor._shard is first
    await ask(90, 180)
    found = await windows(before + 3)
    stop.set()
    await asyncio.gather(*running)
    await producer.close()
    assert [w.from_s for w in found] == [n * DAY for n in range(len(found))]
    assert {(w.requests, w.late_requests) for w in found} == {(12, 0)}
