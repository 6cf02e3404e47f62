"""Inference is killed amid late shadows, under load. Each decision gets one result of its shadow, from the instance that owns the shard by then."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, PredictionRequested, Served, ShadowScored
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, Route
from headrace.features.rows import pin_signature
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out, Reader
from headrace.models import artifacts
from headrace.project import Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(550)]

PROJECT = compile_project(
    Project(
        "shadows", [Deployment("shadowed", unit="thing", inputs=[Number("x")], fallback=[prior(0.5)], time_limit=20.0)]
    )
)
NAME, CHAMPION, SHADOW = "shadowed", 1, 2
EVERY_S, AT_ONCE, KILLS, STARTED_WITHIN_S = 0.02, 4, 3, 150
SLOW = {"module": "bench.slow_inference", "BENCH_SHADOW_CALL_S": "2.0"}

Instance = Any  # the fixture of conftest.py


def trained(seed: int) -> Any:
    """A model of one number."""
    rows = np.random.default_rng(seed).normal(size=(200, 1)).astype(np.float32)
    noise = np.random.default_rng(seed + 10).normal(size=200)
    return LogisticRegression().fit(rows, rows[:, 0] + noise > 0)


def asked_of(number: int) -> float:
    """The input of the request of this number."""
    return (number % 400) / 100 - 2


class Scene:
    """A deployment with a slow shadow, and requests without end."""

    def __init__(self, log: KafkaLog, settings: Settings) -> None:
        self.log, self.settings, self.topics = log, settings, topics_of(settings)
        self.codec = Codec(self.topics)
        self.asked: dict[str, float] = {}
        self.models = {version: trained(version) for version in (CHAMPION, SHADOW)}
        self.stop = asyncio.Event()
        self.reader: Reader | None = None
        self.decided: list[DecisionMade] = []
        self.late: list[ShadowScored] = []
        self.owed: set[str] = set()

    async def set_up(self) -> None:
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        facts = [
            ("project.definitions", PROJECT.name, ProjectApplied(PROJECT.name, digest_of(PROJECT), "", PROJECT, 0.0))
        ]
        for version, model in self.models.items():
            data = skops.io.dumps(model)
            place = await artifacts.publish(self.log, self.topics, data, "skops", 0.0, "test")
            signature = pin_signature(PROJECT, PROJECT.deployment(NAME), {})
            registered = version_of(version, deployment=NAME, model=NAME, place=place, signature=signature)
            facts.append(("registry.models", f"{NAME}/{version}", ModelVersion(registered, "registered")))
        route = Route(NAME, {CHAMPION: 1.0}, "salt", 1, champion=CHAMPION, shadows=(SHADOW,))
        facts.append(("registry.routes", NAME, route))
        await self._send(
            [
                out(self.topics.name(topic), key, fact, Envelope(f"test-{key}", "", "test", 0.0))
                for topic, key, fact in facts
            ]
        )

    async def _send(self, outs: list[Out]) -> None:
        producer = await self.log.producer()
        await producer.send(outs)
        await producer.close()

    async def ask(self) -> None:
        """Send requests until `stop` is set."""
        producer = await self.log.producer()
        while not self.stop.is_set():
            first = len(self.asked)
            named = {f"r{number}": asked_of(number) for number in range(first, first + AT_ONCE)}
            requests = [
                out(
                    self.topics.name("inference.requests"),
                    name,
                    PredictionRequested(NAME, {"x": x}, name),
                    Envelope(name, "", "test", 1.0),
                )
                for name, x in named.items()
            ]
            await producer.send(requests)
            self.asked |= named
            await asyncio.sleep(EVERY_S)
        await producer.close()

    async def read(self) -> None:
        """Read what has been committed since the last call."""
        if self.reader is None:
            partitions = await self.log.partitions(self.topics.name("inference.decisions"))
            self.reader = await self.log.reader(partitions, await self.log.begin_offsets(partitions))
        while records := await self.reader.fetch(0.1, 5000):
            for record in records:
                match self.codec.decode(record).event:
                    case DecisionMade() as decision:
                        self.decided.append(decision)
                        if SHADOW in decision.shadows_due:
                            self.owed.add(decision.request_id)
                    case ShadowScored() as scored:
                        self.late.append(scored)
                        self.owed.discard(scored.request_id)
            if len(records) < 5000:
                break

    async def close(self) -> None:
        """Stop reading."""
        if self.reader is not None:
            await self.reader.close()

    async def until(self, holds: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
        """Read until a condition holds, while a process lives."""
        while not holds():
            assert process.returncode is None
            await self.read()


async def test_each_decision_has_one_result_of_its_shadow_whoever_was_killed_amid_late_ones(
    kafka_log: KafkaLog, settings: Settings, instance: Instance
) -> None:
    scene = Scene(kafka_log, settings)
    await scene.set_up()
    asking = asyncio.create_task(scene.ask())
    left_behind: set[str] = set()
    for number in range(KILLS):
        before = len(scene.decided)
        async with instance(f"killed-{number}", **SLOW) as process, asyncio.timeout(STARTED_WITHIN_S):
            await scene.until(partial(_is_amid, scene, before + 50, left_behind), process)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await scene.read()
        left_behind |= scene.owed
    before = len(scene.decided)
    async with instance("last", **SLOW) as process, asyncio.timeout(STARTED_WITHIN_S):
        await scene.until(lambda: len(scene.decided) >= before + 50, process)
        scene.stop.set()
        await asking
        await scene.until(lambda: not scene.owed and len(scene.decided) >= len(scene.asked), process)
    await scene.close()
    decided, late = scene.decided, scene.late
    assert {decision.request_id for decision in decided} == scene.asked.keys()
    assert set(Counter(decision.request_id for decision in decided).values()) == {1}
    results_of: dict[str, list[Any]] = {name: [] for name in scene.asked}
    for decision in decided:
        results_of[decision.request_id] += [score for score in decision.shadows if score.version == SHADOW]
        results_of[decision.request_id] += [found for found in [decision.failure_of(SHADOW)] if found is not None]
    for scored in late:
        assert scored.version == SHADOW
        results_of[scored.request_id].append(scored.score or scored.failure)
    assert {name: results for name, results in results_of.items() if len(results) != 1} == {}
    assert left_behind
    assert {scored.request_id for scored in late} >= left_behind
    _check_scores(scene, decided, results_of)


def _is_amid(scene: Scene, decided: int, known: set[str]) -> bool:
    """Whether so many requests are decided, and shadows of other requests than `known` are late."""
    return len(scene.decided) >= decided and bool(scene.owed - known)


def _check_scores(scene: Scene, decided: list[DecisionMade], results_of: dict[str, list[Any]]) -> None:
    """The scores are those of the model, and nearly all exist: a typed failure occurs only while a version is being loaded."""
    scores = {name: results[0].value for name, results in results_of.items() if hasattr(results[0], "value")}
    rows = np.array([[scene.asked[name]] for name in scores], np.float32)
    wanted = scene.models[SHADOW].predict_proba(rows)[:, 1]
    assert list(scores.values()) == pytest.approx(wanted.tolist(), abs=1e-9)
    assert len(scores) >= 0.9 * len(scene.asked), Counter(type(results[0]).__name__ for results in results_of.values())
    assert sum(isinstance(decision.answer, Served) for decision in decided) >= 0.9 * len(decided)
