"""A bench: the whole inference service on a log, with a project, versions and routes put there by hand."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
import pytest_asyncio
import skops.io
from sklearn.linear_model import LogisticRegression

from headrace.clock import Clock, ManualClock
from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.features import FeatureShardAdvanced
from headrace.events.inference import DecisionMade, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, Route, VersionRegistered
from headrace.features.plan import plan_view
from headrace.features.rows import pin_signature
from headrace.features.tiles import TileState
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Log, Out
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.models import artifacts
from headrace.project import (
    Category,
    Count,
    Deployment,
    FeatureView,
    Mean,
    Number,
    Project,
    Source,
    baseline,
    previous,
    prior,
)
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_inference.adapters.model_loader import LoadCheck, ModelLoader
from headrace_inference.app import wire
from headrace_inference.shell import InferenceShard

AT_S = 1_364_774_400.0


class Landing(msgspec.Struct):
    """A flight has landed."""

    carrier: str
    delay_min: float
    landed_at: float


LANDINGS = Source("landings", event=Landing, event_time="landed_at", key="carrier")
CARRIER = FeatureView("carrier", LANDINGS, "carrier", {"mean": Mean("delay_min", "3h"), "count": Count("3h")})
DELAY = Deployment(
    "delay",
    unit="flight",
    inputs=[Number("miles", 0, 6000), Category("carrier")],
    features=[CARRIER.by("carrier")],
    feature_delay="15m",
    fallback=[previous, prior(0.26)],
    time_limit=0.5,
)
PLAIN = Deployment("plain", unit="thing", inputs=[Number("x")])
FAST = Deployment("fast", unit="thing", inputs=[Number("x")], fallback=[prior(0.5)], answer="fast")
SAFE = Deployment(
    "safe",
    unit="flight",
    inputs=[Number("miles", 0, 6000), Category("carrier")],
    features=[CARRIER.by("carrier")],
    feature_delay="15m",
    fallback=[previous, baseline, prior(0.26)],
    degrade_when=0.4,
)
PROJECT = compile_project(Project("flights", [DELAY, PLAIN, FAST, SAFE], sources=[LANDINGS], views=[CARRIER]))


def trained(columns: int, seed: int = 0) -> LogisticRegression:
    """A model that is cheap and has an opinion."""
    rows = np.nan_to_num(np.random.default_rng(seed).normal(size=(200, columns)))
    return LogisticRegression().fit(rows.astype(np.float32), rows[:, 0] > 0)


class Bench:
    """A log with topics, and the service to run on it."""

    def __init__(self, log: Log, clock: Clock, namespace: str = "") -> None:
        self.log, self.clock = log, clock
        self.topics = Topics.load(namespace)
        self.codec = Codec(self.topics)
        self.health = Health("inference", "inference-1", failures={})
        self.model_memory_bytes = 2**31
        self.load_check: LoadCheck | None = None
        self.versions: dict[tuple[str, int], VersionRegistered] = {}

    trained = staticmethod(trained)

    @staticmethod
    def row(decision: DecisionMade) -> list[float]:
        """The model's input as the decision has it."""
        return np.frombuffer(decision.row, "<f4").tolist()

    async def set_up(self, project: ProjectDefinition = PROJECT) -> "Bench":
        """Make the topics and apply the project."""
        await ensure_topics(self.log, self.topics.specs(project))
        await self.apply(project)
        return self

    async def apply(self, project: ProjectDefinition) -> None:
        """Publish a definition."""
        applied = ProjectApplied(project.name, digest_of(project), "", project, AT_S)
        await self.put("project.definitions", project.name, applied)

    async def put(self, topic: str, key: str | None, event: Any, **more: Any) -> None:
        """Write one event."""
        partition = more.pop("partition", None)
        envelope = Envelope(more.pop("id", secrets.token_hex(8)), "", "test", more.pop("time_s", AT_S))
        await self.send([out(self.topics.name(topic), key, event, envelope, partition)])

    async def send(self, outs: Sequence[Out]) -> None:
        """Write records."""
        producer = await self.log.producer()
        await producer.send(outs)
        await producer.close()

    async def ask(self, deployment: str, inputs: dict[str, Any], unit: str = "u1", **more: Any) -> None:
        """Produce one request. `more`: `id`, `time_s`, `headers`, `deadline_ms`."""
        request = PredictionRequested(deployment, inputs, unit, more.get("deadline_ms"))
        envelope = Envelope(more.get("id", secrets.token_hex(8)), "", "test", more.get("time_s", AT_S))
        made = out(self.topics.name("inference.requests"), unit, request, envelope)
        await self.send([Out(made.topic, made.key, made.value, (*made.headers, *more.get("headers", ())))])

    async def register(self, deployment: str, version: int, model: Any = None, **changes: Any) -> VersionRegistered:
        """Publish an artifact and its version. `changes`: fields of `VersionRegistered` to replace; `project`: another one than `PROJECT`."""
        project = changes.pop("project", PROJECT)
        definition = project.deployment(deployment)
        words = changes.pop("vocabularies", {"carrier": ("AA", "UA")})
        signature = pin_signature(project, definition, words, **changes.pop("pins", {}))
        data = changes.pop("data", None) or skops.io.dumps(model or trained(len(signature.columns), version))
        place = await artifacts.publish(self.log, self.topics, data, changes.pop("format", "skops"), AT_S, "test")
        named = {"deployment": deployment, "model": deployment, "model_digest": f"digest-{version}"}
        registered = version_of(version, **named | {"place": place, "signature": signature} | changes)
        self.versions[deployment, version] = registered
        await self.put("registry.models", f"{deployment}/{version}", ModelVersion(registered, "registered"))
        return registered

    async def route(self, deployment: str, shares: dict[int, float], **more: Any) -> None:
        """Publish a route."""
        await self.put("registry.routes", deployment, Route(deployment, shares, "salt", 1, **more))

    async def land(self, carrier: str, delays: Sequence[float], at_s: float = AT_S - 3600) -> None:
        """Publish the tile that these landings make, and the shard's progress."""
        plan = plan_view(PROJECT, "carrier")
        state = TileState(len(plan.widths))
        for delay in delays:
            state.fold(plan, Landing(carrier, delay, at_s), at_s)
        await self.put("features.online", f"{plan.view.key}/{carrier}/0", state.encode(plan, carrier, 0), partition=0)
        topic = self.topics.of_source("landings")
        for partition in (0, 1):
            applied = {f"{topic}/{partition}": len(delays) * (1 - partition)}
            advanced = FeatureShardAdvanced(
                "landings", partition, applied, views=(plan.view.key,), max_event_s=at_s if delays else 0.0
            )
            await self.put("features.online", f"~shard/landings/{partition}", advanced, partition=partition)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The service, as its process would run it."""
        stop = asyncio.Event()
        self.projects = projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        limit = self.model_memory_bytes
        parts = await wire(
            self.log,
            self.codec,
            self.topics,
            projects,
            self.health,
            self.clock,
            model_memory_bytes=limit,
            load_check=self.load_check,
        )
        tasks = [asyncio.create_task(part.run(stop)) for part in (*parts, projects)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def shard(self) -> InferenceShard:
        """One shard of the service, with nothing around it."""
        projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        parts = await wire(
            self.log, self.codec, self.topics, projects, self.health, self.clock, load_check=self.load_check
        )
        for part in parts:
            if isinstance(part, ModelLoader):
                stop = asyncio.Event()
                stop.set()
                await part.run(stop)
        (group,) = [part for part in parts if isinstance(part, ShardGroup)]
        return group.make(0)  # ty: ignore[invalid-return-type] - the group knows its logic as a protocol

    async def read(self, topic: str, holds: Callable[[list[Message]], bool] = bool) -> list[Message]:
        """All messages of a topic as soon as they satisfy `holds`."""
        found: list[Message] = []
        async with asyncio.timeout(30):
            while not holds(found):
                await asyncio.sleep(0.01)
                found = await read_all(self.log, self.codec, [self.topics.name(topic)])
        return found

    async def decisions(self, count: int = 1) -> list[DecisionMade]:
        """The first decisions, when there are that many."""
        found = await self.read("inference.decisions", lambda found: len(_decisions(found)) >= count)
        return _decisions(found)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.01)


def _decisions(found: Sequence[Message]) -> list[DecisionMade]:
    return [message.event for message in found if isinstance(message.event, DecisionMade)]


@pytest_asyncio.fixture
async def bench(memory_log: MemoryLog, clock: ManualClock) -> Bench:
    """The service on the log in memory."""
    return await Bench(memory_log, clock).set_up()


@pytest.fixture
def bench_kind() -> type[Bench]:
    """For tests that make a service of their own, over and over."""
    return Bench
