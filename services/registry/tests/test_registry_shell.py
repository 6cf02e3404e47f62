"""The registry on the log in memory: commands and verdicts in, facts, routes and cards out, and going on after a restart."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio

from headrace.bus import artifacts
from headrace.bus.admin import ensure_topics
from headrace.bus.projects import Projects
from headrace.bus.shards import ShardHost
from headrace.bus.views import read_all
from headrace.clock import ManualClock
from headrace.codec import Codec, Message, out
from headrace.envelope import Envelope
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import (
    ApproveVersion,
    ArchiveVersion,
    CardWritten,
    CommandRefused,
    DeleteVersion,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutStarted,
    Route,
    RouteChanged,
    StartRollout,
    VersionDeleted,
)
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.obs.health import Health
from headrace.policy.verdict import FAIL, PASS
from headrace.project import Canary, Deployment, Number, Project
from headrace.project.compile import compile_project, digest
from headrace.testing.memory import MemoryLog
from headrace.testing.registry import command
from headrace.topics import Topics
from headrace_registry.core.instances import Instances
from headrace_registry.shell import RegistryShard

RELEASE = Canary(shares=(0.05, 1.0), step="1h", min_decisions=1, silence="5m")
HOUR_S = 3600.0


class Bench:
    """A log with topics and a project, and registries to run on it."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        self.log, self.clock, self.topics = log, clock, Topics.load()
        self.codec = Codec(self.topics)
        self.instances = Instances()
        self.projects = Projects(log, self.codec, self.topics)

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs())
        deployment = Deployment("d", "unit", [Number("x")], rollout=RELEASE, owner="ann", intended_use="To try things.")
        project = compile_project(Project("p", [deployment]))
        await self.send("project.definitions", "p", ProjectApplied("p", digest(project), "", project, 0.0))
        await self.projects.start()
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

    def warm(self, *versions: int) -> None:
        """An instance says that it has these warm, now."""
        names = tuple(f"d/{version}" for version in versions)
        report = HealthReported("inference", "i", True, loaded=names, warmed=names)
        self.instances.take(report, self.clock.now_s())

    async def read(self, base: str) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name(base)])

    async def until(self, kind: type, holds: Callable[[Any], bool] = lambda _: True) -> Message:
        """The newest such fact, as soon as there is one."""
        async with asyncio.timeout(20):
            while True:
                found = [m for m in await self.read("registry.facts") if isinstance(m.event, kind) and holds(m.event)]
                if found:
                    return found[-1]
                await asyncio.sleep(0.01)

    async def judge(self, clock_s: float, *, labels: str = PASS, number: int = 0) -> str:
        started = (await self.until(RolloutStarted)).event
        evidence = (Evidence("brier", "label", FAIL, 0.4, 0.01),) if labels == FAIL else ()
        given = VerdictGiven(
            "d", started.rollout, started.version, number, PASS, labels, clock_s, step_decisions=9, evidence=evidence
        )
        return await self.send("monitor.verdicts", "d", given)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def has_artifact(found: str) -> bool:
            return found in await artifacts.manifests(self.log, self.topics)

        host = ShardHost(
            self.log,
            self.codec,
            self.topics,
            service="registry",
            inputs=[self.topics.name("registry.commands"), self.topics.name("monitor.verdicts")],
            make=lambda _: RegistryShard(self.topics, self.projects, self.instances, has_artifact, self.clock),
            health=Health("registry", "r", failures={}),
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


async def start_canary(bench: Bench) -> None:
    """Version 1 serves, version 2 is warm and has its first share since clock 0."""
    bench.warm(1, 2)
    await bench.register()
    await bench.until(RolloutCompleted)
    await bench.register(b"another")
    await bench.until(RolloutAdvanced, lambda fact: fact.step == "canary")
    await bench.judge(0.0)
    await bench.until(RolloutAdvanced, lambda fact: fact.step == "canary" and fact.clock_s == 0.0)


async def test_a_trained_version_is_released_by_verdicts_and_each_fact_names_its_cause(bench: Bench) -> None:
    async with bench.running():
        await start_canary(bench)
        cause = await bench.judge(HOUR_S)
        completed = await bench.until(RolloutCompleted, lambda fact: fact.version == 2)
    assert completed.event.promoted
    assert (completed.envelope.causation_id, completed.envelope.correlation_id) == (cause, cause)
    *_, route = await bench.read("registry.routes")
    assert (route.event.shares, route.event.previous, route.envelope.causation_id) == ({2: 1.0}, 1, cause)
    newest = {m.record.key: m.event for m in await bench.read("registry.models")}
    assert {k: (v.stage, v.aliases) for k, v in newest.items()} == {
        b"d/1": ("retired", ("previous",)),
        b"d/2": ("champion", ("champion",)),
    }


async def test_a_rollout_goes_on_where_it_was_after_a_restart(bench: Bench) -> None:
    async with bench.running():
        await start_canary(bench)
    async with bench.running():
        cause = await bench.judge(HOUR_S, labels=FAIL)
        aborted = await bench.until(RolloutAborted)
    assert (aborted.event.version, aborted.event.harmful, aborted.envelope.causation_id) == (2, True, cause)
    assert "brier 0.4 against a limit of 0.01" in aborted.event.reason
    *_, route = await bench.read("registry.routes")
    assert isinstance(route.event, Route)
    assert (route.event.shares, route.event.champion) == ({1: 1.0}, 1)
    idents = [message.envelope.id for message in await bench.read("registry.facts")]
    assert len(idents) == len(set(idents))


async def test_without_verdicts_a_rollout_is_held_and_then_aborted(bench: Bench) -> None:
    async with bench.running():
        await start_canary(bench)
        bench.clock.advance(301.0)
        held = await bench.until(RolloutPaused)
        bench.clock.advance(300.0)
        aborted = await bench.until(RolloutAborted)
    assert held.event.held
    assert not aborted.event.harmful


async def test_a_version_trained_meanwhile_waits_its_turn(bench: Bench) -> None:
    async with bench.running():
        await start_canary(bench)
        await bench.register(b"third")
        bench.warm(1, 2, 3)
        await bench.judge(HOUR_S, labels=FAIL)
        started = await bench.until(RolloutStarted, lambda fact: fact.version == 3)
    assert (started.event.control, started.event.plan.policy) == (1, "canary")


async def test_a_card_is_written_with_the_registration(bench: Bench) -> None:
    async with bench.running():
        await bench.register(metrics={"auc": 0.75}, rollout=False)
        card = (await bench.until(CardWritten)).event.markdown
    assert card.startswith("---\nmodel_name: ")
    assert "To try things." in card
    assert "| owner | ann |" in card
    assert "| auc | 0.75 |" in card


async def test_deleting_takes_the_artifact_off_the_log_and_a_later_registration_of_it_is_refused(bench: Bench) -> None:
    async with bench.running():
        bench.warm(1)
        await bench.register()
        await bench.until(RolloutCompleted)
        await bench.register(b"unused", rollout=False)
        for event in (ArchiveVersion("d", 2, "r", "me"), DeleteVersion("d", 2, "r", "me")):
            await bench.send("registry.commands", "d", event)
        deleted = await bench.until(VersionDeleted)
        (place,) = deleted.event.artifacts
        assert place not in await artifacts.manifests(bench.log, bench.topics)
        await bench.send("registry.commands", "d", StartRollout("d", 2, "r", "me"))
        refused = await bench.until(CommandRefused)
    assert "was deleted" in refused.event.reason
    assert not [
        m for m in await bench.read("registry.facts") if isinstance(m.event, RouteChanged) and 2 in m.event.route.warm
    ]


async def test_an_approval_of_nothing_is_refused(bench: Bench) -> None:
    async with bench.running():
        ident = await bench.send("registry.commands", "d", ApproveVersion("d", 7, "r", "ann"))
        refused = await bench.until(CommandRefused)
    assert (refused.event.command, refused.event.command_id) == ("approve.version", ident)
