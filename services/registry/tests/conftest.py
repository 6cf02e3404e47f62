"""A bench: the registry on a log, with a project applied, and inference and monitor played by hand."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest_asyncio

from headrace.clock import Clock, ManualClock, SystemClock
from headrace.events.definition import digest_of
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import ArtifactPlace, RolloutAdvanced, RolloutCompleted, RolloutStarted
from headrace.events.verdicts import FAIL, PASS, Evidence, VerdictGiven
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.models import artifacts
from headrace.project import Canary, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.registry import command
from headrace_registry.core.instances import Instances
from headrace_registry.shell import RegistryShard

RELEASE = Canary(shares=(0.05, 1.0), step="1h", min_decisions=1, silence="5m")


class Bench:
    """A log with topics and a project, and registries to run on it."""

    def __init__(self, log: Log, clock: Clock, namespace: str = "") -> None:
        self.log, self.clock, self.topics = log, clock, Topics.load(namespace)
        self.codec = Codec(self.topics)
        self.instances = Instances()
        self.projects = Projects(log, self.codec, self.topics)
        self.health = Health("registry", "r", failures={})

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs())
        await self.apply(RELEASE)
        await self.projects.start()
        return self

    async def apply(self, release: Canary) -> None:
        deployment = Deployment("d", "unit", [Number("x")], rollout=release, owner="ann", intended_use="To try things.")
        project = compile_project(Project("p", [deployment]))
        await self.send("project.definitions", "p", ProjectApplied("p", digest_of(project), "", project, 0.0))

    async def with_shares(self, shares: tuple[float, ...]) -> "Bench":
        """The same with other steps; for registries that are started after it."""
        await self.apply(replace(RELEASE, shares=shares))
        return self

    async def send(self, base: str, key: str, event: Any, time_s: float = 0.0) -> str:
        ident = f"e-{secrets.token_hex(4)}"
        producer = await self.log.producer()
        await producer.send([out(self.topics.name(base), key, event, Envelope(ident, "", "test", time_s))])
        await producer.close()
        return ident

    async def register(self, data: bytes = b"model", **changes: Any) -> str:
        place = await artifacts.publish(self.log, self.topics, data, "skops", 0.0, "test")
        return await self.send("registry.commands", "d", command(place=place, **changes))

    def warm(self, *versions: int, handled: int = 0) -> None:
        """An instance reports these as warm, now, and how many records it has handled."""
        names = tuple(f"d/{version}" for version in versions)
        report = HealthReported("inference", "i", True, warmed=names, handled_total=handled)
        self.instances.take(report, self.clock.now_s())

    def watch(self, handled: int = 0, lag: int = 0) -> None:
        """The monitor reports that it lives."""
        report = HealthReported("monitor", "m", True, shards=(0,), lag={"t/0": lag}, handled_total=handled)
        self.instances.take(report, self.clock.now_s())

    async def pass_until(self, kind: type, tick: Callable[[int], None] = lambda _: None) -> Message:
        """Time passes in steps of three seconds, `tick` is called with the number of each, until there is such a fact."""
        assert isinstance(self.clock, ManualClock)
        async with asyncio.timeout(60):
            for step in itertools.count(1):
                self.clock.advance(3.0)
                tick(step)
                await asyncio.sleep(0.01)
                found = [m for m in await self.read("registry.facts") if isinstance(m.event, kind)]
                if found:
                    return found[-1]
        raise AssertionError

    async def read(self, base: str) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name(base)])

    async def until(self, kind: type, holds: Callable[[Any], bool] = lambda _: True) -> Message:
        """The newest such fact, as soon as there is one."""
        async with asyncio.timeout(60):
            while True:
                found = [m for m in await self.read("registry.facts") if isinstance(m.event, kind) and holds(m.event)]
                if found:
                    return found[-1]
                await asyncio.sleep(0.01)

    async def judge(self, clock_s: float, *, labels: str = PASS, number: int = 0, unlabelled: bool = False) -> str:
        started = (await self.until(RolloutStarted)).event
        evidence = (Evidence("level", "label", FAIL, 0.4, 0.01),) if labels == FAIL else ()
        given = VerdictGiven(
            "d",
            started.rollout,
            started.version,
            number,
            PASS,
            labels,
            clock_s,
            step_decisions=9,
            evidence=evidence,
            unlabelled=unlabelled,
        )
        return await self.send("monitor.verdicts", "d", given)

    async def start_canary(self) -> None:
        """Version 1 serves, version 2 is warm and has its first share since clock 0."""
        self.warm(1, 2)
        await self.register()
        await self.until(RolloutCompleted)
        await self.register(b"another")
        await self.until(RolloutAdvanced, lambda fact: fact.step == "canary")
        await self.judge(0.0)
        await self.until(RolloutAdvanced, lambda fact: fact.step == "canary" and fact.clock_s == 0.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def has_artifact(place: ArtifactPlace) -> bool:
            return await artifacts.is_there(self.log, self.topics, place)

        host = ShardGroup(
            self.log,
            self.codec,
            self.topics,
            service="registry",
            inputs=[self.topics.name("registry.commands"), self.topics.name("monitor.verdicts")],
            make=lambda _: RegistryShard(
                self.topics, self.projects, self.instances, has_artifact, self.clock, self.health
            ),
            health=self.health,
            lock=self.topics.name("registry.commands"),
            tick_s=0.01,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(host.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task


@pytest_asyncio.fixture
async def bench(memory_log: MemoryLog, clock: ManualClock) -> AsyncIterator[Bench]:
    found = await Bench(memory_log, clock).set_up()
    yield found
    await found.projects.stop()


@pytest_asyncio.fixture
async def kafka_bench(kafka_log: KafkaLog, settings: Settings) -> AsyncIterator[Bench]:
    """The same on a real broker and by the machine's clock."""
    found = await Bench(kafka_log, SystemClock(), settings.namespace).set_up()
    yield found
    await found.projects.stop()
