"""The monitor on a real broker: a plain producer's replay at full speed, and a process that is frozen and goes on."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.clock import SystemClock
from headrace.events.alerts import AlertChanged, SilenceEnded, SilenceSet
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import MonitorState, WindowClosed
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Log, Out
from headrace.log.views import read_all
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.service import Context
from headrace_broker import free_port
from headrace_cli.main import app
from headrace_monitor.app import Monitor

pytestmark = [pytest.mark.kafka]

DAY = 86_400.0


def applied(*names: str, project: str = "p") -> ProjectApplied:
    declared = [Deployment(name, "u", [Number("x")], label=Binary("y", horizon="24h")) for name in names]
    definition = compile_project(Project(project, declared))
    return ProjectApplied(project, "-".join(names), "test", definition, time.time())


class World:
    """Topics on the broker, and means to write to them and read from them."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings, self.log = settings, log
        self.topics = topics_of(settings)
        self.codec = Codec(self.topics)

    async def send(self, outs: list[Out]) -> None:
        producer = await self.log.producer()
        await producer.send(outs)
        await producer.close()

    async def apply(self, event: ProjectApplied) -> None:
        envelope = Envelope(f"applied-{event.name}-{event.digest}", "", "test", time.time())
        await self.send([out(self.topics.name("project.definitions"), event.name, event, envelope)])

    def request(self, n: int, partition: int, per_day: int = 12) -> Out:
        at_s = (n + 0.5) * DAY / per_day
        event = DecisionMade(f"r{n}", "d", f"u{n}", at_s, Served(Score(1, "m", 0.4)), n)
        envelope = Envelope(f"d{n}", "", "inference", at_s)
        return out(self.topics.name("inference.decisions"), f"u{n}", event, envelope, partition)

    def outcome(self, n: int, partition: int, per_day: int = 12) -> Out:
        known_s = (n + 0.5) * DAY / per_day + 3600
        event = OutcomeObserved("d", f"u{n}", float(n % 3 == 0))
        return out(
            self.topics.name("inference.outcomes"), f"u{n}", event, Envelope(f"o{n}", "", "t", known_s), partition
        )

    async def read(self, noun: str, kind: Any) -> list:
        found = await read_all(self.log, self.codec, [self.topics.name(noun)], committed=noun != "ops.health")
        return [message.event for message in found if isinstance(message.event, kind)]

    async def windows(self, at_least: int) -> list[WindowClosed]:
        async with asyncio.timeout(90):
            while len(found := await self.read("monitor.windows", WindowClosed)) < at_least:
                await asyncio.sleep(0.3)
        return found


@asynccontextmanager
async def monitoring(world: World) -> AsyncIterator[Monitor]:
    """The monitor's parts in this process."""
    stop = asyncio.Event()
    projects = Projects(world.log, world.codec, world.topics)
    await projects.start()
    context = Context(
        "monitor", "m", world.settings, world.log, world.topics, world.codec, projects, Health("monitor", "m"),
        SystemClock(), stop,
    )  # fmt: skip
    monitor = Monitor(context)
    tasks = [asyncio.create_task(projects.run(stop)), asyncio.create_task(monitor.run(stop))]
    try:
        yield monitor
        failed = [task.exception() for task in tasks if task.done()]
        assert failed == []
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_a_replay_at_full_speed_partition_by_partition_gives_whole_windows(
    settings: Settings, kafka_log: KafkaLog
) -> None:
    """One partition is written whole, then the other, outcomes last, while the monitor reads. Every window has 12 of 12 labels."""
    world = World(settings, kafka_log)
    await ensure_topics(kafka_log, world.topics.specs())
    await world.apply(applied("d"))
    async with monitoring(world) as monitor:
        for partition in (0, 1):
            await world.send([world.request(n, partition) for n in range(240) if n % 2 == partition])
        await world.send([world.outcome(n, n % 2) for n in range(240)])
        found = await world.windows(15)
        assert {(w.requests, w.labelled, w.late_requests, w.late_outcomes) for w in found} == {(12, 12, 0, 0)}
        assert [w.from_s for w in found] == [n * DAY for n in range(len(found))]
        shard, states = monitor._shard, len(await world.read("monitor.state", MonitorState))
        await world.apply(applied("other", project="q"))
        async with asyncio.timeout(20):
            while shard is not None and "other" not in shard.core.deployments.declared:
                await asyncio.sleep(0.05)
        assert monitor._shard is shard
        assert len(await world.read("monitor.state", MonitorState)) == states


# silences


async def printed(*words: str) -> list[dict] | dict:
    """What a command prints as JSON."""
    ran = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.output)


async def test_a_silence_marks_an_alert_until_the_clock_or_a_person_ends_it(
    settings: Settings, kafka_log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("HEADRACE_NAMESPACE", settings.namespace)
    world = World(settings, kafka_log)
    await ensure_topics(kafka_log, world.topics.specs())
    await world.apply(applied("d"))

    async def marked(by: str | None) -> AlertChanged:
        async with asyncio.timeout(60):
            while True:
                found = [a for a in await world.read("alerts", AlertChanged) if a.labels["alertname"] == "DeadLettered"]
                if found and (found[-1].silence.by if found[-1].silence else None) == by:
                    return found[-1]
                await asyncio.sleep(0.1)

    async with monitoring(world):
        await world.send([Out(world.topics.name("inference.outcomes"), b"k", b"\xc1")])
        begun = await marked(None)
        match = ("--match", "alertname=DeadLettered", "--reason", "a test")
        made = await printed("alert", "silence", *match, "--for", "1h")
        assert isinstance(made, dict)
        silenced = await marked(made["by"])
        assert (silenced.status, silenced.starts_at) == ("firing", begun.starts_at)
        (row,) = await printed("alert", "list")
        assert (row["severity"], row["silenced"].endswith(f"by {made['by']}: a test")) == ("warning", True)
        (listed,) = await printed("alert", "silences")
        assert (listed["id"], listed["labels"], listed["covers"]) == (made["id"], ["alertname=DeadLettered"], 1)
        await printed("alert", "unsilence", made["id"], "--reason", "done")
        await marked(None)
        assert await printed("alert", "silences") == []
        await printed("alert", "silence", *match, "--for", "3s")
        await marked(made["by"])
        await marked(None)  # by the clock: nothing is written meanwhile
        assert len(await world.read("alerts.silences", SilenceSet | SilenceEnded)) == 3
        empty = SilenceSet("s", {}, time.time(), time.time() + 60, "ann", "r")
        await world.send([out(world.topics.name("alerts.silences"), "s", empty, Envelope("e", "", "t", time.time()))])
        async with asyncio.timeout(60):
            letters = await kafka_log.partitions(world.topics.dlq("monitor"))
            while sum((await kafka_log.end_offsets(letters)).values()) < 2:
                await asyncio.sleep(0.1)


# a process


@contextlib.contextmanager
def process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The monitor as a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
    environ = kept | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "HEADRACE_NAMESPACE": settings.namespace,
        "HEADRACE_HTTP_PORT": str(free_port()),
    }
    started = subprocess.Popen([sys.executable, "-m", "headrace_monitor"], env=environ)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.send_signal(signal.SIGCONT)
            started.kill()
        started.wait(20)


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_a_frozen_monitor_rejoins_or_exits_and_leaves_no_false_alert(
    settings: Settings, kafka_log: KafkaLog
) -> None:
    """The process is frozen for longer than its session lasts, then continued. Within 30 s windows close again, or it has exited."""
    world = World(settings, kafka_log)
    await ensure_topics(kafka_log, world.topics.specs())
    await world.apply(applied("d"))
    with process(settings) as frozen:
        await world.send([world.request(n, n % 2) for n in range(60)] + [world.outcome(n, n % 2) for n in range(60)])
        before = len(await world.windows(3))
        frozen.send_signal(signal.SIGSTOP)
        await asyncio.sleep(25)  # time itself is tested: the session is over after 10 s
        frozen.send_signal(signal.SIGCONT)
        ends_s = time.monotonic() + 30
        await world.send(
            [world.request(n, n % 2) for n in range(60, 120)] + [world.outcome(n, n % 2) for n in range(60, 120)]
        )
        while frozen.poll() is None and time.monotonic() < ends_s:
            if len(await world.read("monitor.windows", WindowClosed)) > before:
                break
            await asyncio.sleep(0.5)
        has_gone_on = len(await world.read("monitor.windows", WindowClosed)) > before
        assert has_gone_on or frozen.poll() not in (None, 0)
        newest = {a.fingerprint: a for a in await world.read("alerts", AlertChanged)}
        assert [a for a in newest.values() if a.labels["alertname"] == "ServiceDown" and a.status == "firing"] == []
