"""A record may arrive just before a service has read the definition that it belongs to. It waits, and is neither lost nor refused."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import pytest
from tests.cases.monitor_alone import DECISIONS, OUTCOMES, RELEASES, Monitor, compiled, one

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.project import ProjectApplied
from headrace.events.registry import AliasMoved
from headrace.events.training import RetrainRequested
from headrace.hosting.health import Health
from headrace.hosting.runtime import Restart
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, header, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.models import artifacts
from headrace.project import Binary, Count, Deployment, FeatureView, Key, Multiclass, Number, Project, Source, Training
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.service import Context
from headrace.testing.registry import command
from headrace_feature.app import Feature
from headrace_registry.core.instances import Instances
from headrace_registry.shell import RegistryShard
from headrace_trainer.shell import TrainerShard

DAY = 86_400.0


class Place:
    """A log with projects that were applied there and that no reader has read yet."""

    def __init__(self) -> None:
        self.clock, self.topics = SystemClock(), Topics.load()
        self.log, self.codec = MemoryLog(self.clock), Codec(self.topics)
        self.projects = Projects(self.log, self.codec, self.topics)

    async def begin(self, *projects: Project) -> "Place":
        await ensure_topics(self.log, self.topics.specs())
        await self.apply(*projects)
        await self.projects.start()
        return self

    async def apply(self, *projects: Project) -> None:
        for project in projects:
            definition = compile_project(project)
            await ensure_topics(self.log, self.topics.specs(definition))
            event = ProjectApplied(project.name, digest_of(definition), "", definition, self.clock.now_s())
            await self.send("project.definitions", project.name, event)

    async def send(self, base: str, key: str, event: Any) -> None:
        producer = await self.log.producer()
        await producer.send([out(self.topics.name(base), key, event, Envelope(f"{base}-{key}", "", "t", 0.0))])
        await producer.close()

    async def message(self, base: str, key: str, event: Any) -> Any:
        await self.send(base, key, event)
        return (await read_all(self.log, self.codec, [self.topics.name(base)]))[-1]

    def context(self, service: str) -> Context:
        health = Health(service, service)
        return Context(
            service, service, Settings(), self.log, self.topics, self.codec, self.projects, health, self.clock,
            asyncio.Event(),
        )  # fmt: skip


def build(signature: object) -> None:
    """Never called here."""


PLAIN = Deployment("a", "u", [Number("x")], label=Binary("y", "1h"))
LATER = Deployment("d", "u", [Number("x")], label=Binary("y", "1h"), training=Training(build))


@pytest.mark.parametrize("is_new", [True, False])
async def test_the_monitor_takes_what_belongs_to_a_deployment_that_was_applied_a_moment_ago(is_new: bool) -> None:
    known = compiled(one("a"), *([] if is_new else [one("d", label=None)]))
    newest = compiled(one("a"), one("d"))

    async def learn() -> None:
        found.shard.apply([newest])

    found = Monitor(known, learn=learn)
    await found.start()
    for n in range(30):
        at_s = n * DAY / 10
        await found.read(
            found.message(RELEASES, AliasMoved("d", "champion", 1, None, ""), at_s) if n == 0 else
            found.message(DECISIONS, DecisionMade(f"b{n}", "a", f"u{n}", at_s, Served(Score(1, "m", 0.4)), n), at_s),
            found.message(DECISIONS, DecisionMade(f"r{n}", "d", f"u{n}", at_s, Served(Score(1, "m", 0.4)), n), at_s),
            found.message(OUTCOMES, OutcomeObserved("d", f"u{n}", float(n % 2)), at_s + 60),
        )  # fmt: skip
    await found.tick()
    assert found.dead == []
    first = found.windows("d")[0]
    assert (first.requests, first.labelled) == (10, 10)


async def test_a_label_by_a_name_that_was_declared_a_moment_ago_is_taken() -> None:
    old, new = (compiled(one("d", label=Multiclass("y", names, "1h"))) for names in (["a", "b"], ["a", "b", "c"]))

    async def learn() -> None:
        found.shard.apply([new])

    found = Monitor(old, learn=learn)
    await found.start()
    await found.read(found.message(OUTCOMES, OutcomeObserved("d", "u", "c"), 60.0))
    await found.read(found.message(OUTCOMES, OutcomeObserved("d", "u", "z"), 60.0))
    assert [reason for _, reason in found.dead] == ["the label of 'y' must be one of a, b, c, got 'z'"]


async def test_the_registry_registers_for_a_deployment_that_was_applied_a_moment_ago() -> None:
    place = await Place().begin(Project("p", [PLAIN]))

    async def has_artifact(_: object) -> bool:
        return True

    shard = RegistryShard(place.topics, place.projects, Instances(), has_artifact, place.clock)
    await place.apply(Project("q", [LATER]))
    at = await artifacts.publish(place.log, place.topics, b"model", "skops", 0.0, "test")
    outputs = await shard.on_batch([await place.message("registry.commands", "d", command(place=at))])
    assert "version.registered" in [header(made.headers, "ce_type") for made in outputs.outs]


async def test_the_trainer_trains_for_a_deployment_that_was_applied_a_moment_ago() -> None:
    place = await Place().begin(Project("p", [PLAIN]))
    shard = TrainerShard(place.context("trainer"), Idle())
    await place.apply(Project("q", [LATER]))
    asked = RetrainRequested("d", "manual", "the test", "ann", clock_s=9 * DAY)
    outputs = await shard.on_batch([await place.message("training.requests", "d", asked)])
    assert [header(made.headers, "ce_type") for made in outputs.outs] == ["retrain.accepted"]


class Idle:
    """Runs nothing."""

    async def tend(self, wanted: object) -> None:
        """Does nothing."""

    def read(self, run: str, position: int) -> tuple[list[Any], int]:
        return [], position


class Strict(msgspec.Struct):
    at: datetime
    who: str
    size: float


class Lenient(msgspec.Struct):
    at: datetime
    who: str
    size: float | None = None


def with_source(event: type[msgspec.Struct]) -> Project:
    source = Source("things", event=event, event_time="at", key="who")
    view = FeatureView("v", source=source, entity="who", features={"n": Count("3h")})
    deployment = Deployment("s", "u", [Key("who")], [view.by("who")])
    return Project("s", [deployment], sources=[source], views=[view])


async def test_an_event_that_only_the_newest_contract_allows_is_no_dead_letter() -> None:
    place = await Place().begin(with_source(Strict))
    context = place.context("feature")
    running = asyncio.create_task(Feature(context).run(context.stop))
    async with asyncio.timeout(20):
        while not context.health.shards:
            await asyncio.sleep(0.01)
    await place.apply(with_source(Lenient))
    producer = await place.log.producer()
    value = msgspec.json.encode({"at": "2026-01-01T00:00:00+00:00", "who": "w", "size": None})
    await producer.send([Out(place.topics.of_source("things"), b"w", value)])
    with pytest.raises(Restart, match="changed: restarting"):
        async with asyncio.timeout(20):
            await running
    assert await read_all(place.log, place.codec, [place.topics.dlq("feature")]) == []
