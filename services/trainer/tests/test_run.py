"""A whole training run on the log in memory: rows, gates, the ONNX artifact, the command."""

import asyncio
import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from headrace.clock import ManualClock
from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, Expired, OutcomeObserved, PredictionRequested, Score, Served
from headrace.events.project import ProjectApplied
from headrace.events.registry import GateResult, ModelVersion, RegisterVersion, Signature, VersionRegistered
from headrace.events.training import GateJudged, RetrainAccepted, TrainingFinished
from headrace.features.rows import bare_signature
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace.models import artifacts
from headrace.models.engine import load
from headrace.project import (
    Binary,
    Category,
    Count,
    Deployment,
    FeatureView,
    Number,
    Project,
    Source,
    Training,
    beats_prior,
    not_worse_than_champion,
)
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.load import Allowed, load_function
from headrace.project.service import Context
from headrace.registry.waivers import PARITY_GATE
from headrace_flights.train import build
from headrace_trainer.adapters.run import TrainingRun

DAY = 86_400.0
NOW_S = 1_364_774_400.0
ROWS = 2400


class Visit(msgspec.Struct):
    """Somebody came."""

    place: str
    came_at: float


VISITED = Source("visits", event=Visit, event_time="came_at", key="place")
VISITS = FeatureView("visits", VISITED, "place", {"count": Count("3h")})


class BusyLog(MemoryLog):
    """While a run finds out where the sources end, an event is written, and a decision from features that contain it."""

    events: list[Out]
    decisions: list[Out]

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = list(partitions)
        ends = await super().end_offsets(wanted)
        if any(tp.topic == "events.visits.v1" for tp in wanted):
            producer = await self.producer()
            await producer.send(self.events + self.decisions)
            self.events, self.decisions = [], []
        return ends


def load_here(project: str, reference: str, build: str, allowed: Allowed) -> Any:
    """The `build` of this file: it belongs to no project that could be imported."""
    return load_function(build)


async def test_a_decision_made_while_the_run_begins_is_not_held_against_what_it_read(clock: ManualClock) -> None:
    log = BusyLog(clock)
    log.events, log.decisions = [], []
    deployment = Deployment(
        "guess", unit="thing", inputs=[Number("x"), Category("place")], features=[VISITS.by("place")],
        label=Binary("yes", horizon="1d"),
        training=Training(build=build, history="60d", holdout="10d", embargo="1d", first_after="1d", min_rows=500),
    )  # fmt: skip
    context, emitted = await played(log, deployment), []
    at_s = NOW_S - DAY
    row = np.array([0.0, np.nan, 1.0], "<f4").tobytes()
    made = DecisionMade(
        "late", "guess", "u", at_s, Expired(0), 0, row, "bare", {"visits": "p1"}, {"events.visits.v1/0": 1}
    )
    visit = Visit("p1", at_s - 3600)
    log.events = [out("events.visits.v1", "p1", visit, Envelope("v", "visit", "test", visit.came_at), 0)]
    log.decisions = [out("inference.decisions.v1", "u", made, Envelope("d", "", "test", at_s), 0)]
    await TrainingRun(
        context, RetrainAccepted("guess", "run-1", "q", "manual", "test", NOW_S), emitted.append, load_here
    ).run()
    judged = [fact.result.gate for fact in emitted if isinstance(fact, GateJudged)]
    assert "beats_prior" in judged
    assert PARITY_GATE not in judged


def quick(signature: Signature) -> LogisticRegression:
    """Fitted in no time."""
    return LogisticRegression()


def quickly() -> Deployment:
    """The same deployment, by a model that takes no time."""
    found = declared(False)
    assert found.training is not None
    return dataclasses.replace(found, training=dataclasses.replace(found.training, build=quick))


def declared(with_category: bool) -> Deployment:
    inputs = [Number("x"), *([Category("place")] if with_category else [])]
    training = Training(build=build, history="60d", holdout="10d", embargo="1d", first_after="1d", min_rows=500)
    return Deployment("guess", unit="thing", inputs=inputs, label=Binary("yes", horizon="1d"), training=training)


def model_of(command: RegisterVersion) -> ModelVersion:
    """The version that a command registers, as champion."""
    named = {name for name in VersionRegistered.__struct_fields__ if hasattr(command, name)}
    shared = {name: getattr(command, name) for name in named}
    return ModelVersion(
        VersionRegistered(**shared, version=1, registered_at_s=NOW_S, command_id="c"), "live", ("champion",)
    )


async def register(context: Context, command: RegisterVersion) -> None:
    """Version 1 is champion."""
    producer = await context.log.producer()
    envelope = Envelope("m", "", "test", NOW_S)
    await producer.send([out(context.topics.name("registry.models"), "guess/1", model_of(command), envelope)])


async def trained(
    context: Context, run: str, cause: str = "manual", clock_s: float = NOW_S, **more: Any
) -> tuple[TrainingRun, list[Any]]:
    """A run to its end, and the facts that it emitted."""
    emitted: list[Any] = []
    accepted = RetrainAccepted("guess", run, "q", cause, "test", clock_s, **more)
    found = TrainingRun(context, accepted, emitted.append, load_here)
    await found.run()
    return found, emitted


def judged_by(emitted: list[Any], gate: str) -> GateResult | None:
    return next((fact.result for fact in emitted if isinstance(fact, GateJudged) and fact.result.gate == gate), None)


async def test_a_retrain_right_after_the_first_is_compared_with_the_champions_gated_twin(memory_log: MemoryLog) -> None:
    gated = msgspec.structs.replace
    deployment = dataclasses.replace(quickly(), gates=(beats_prior(), not_worse_than_champion(0.02)))
    context = await played(memory_log, deployment)
    first, emitted = await trained(context, "run-1")
    assert judged_by(emitted, "not_worse_than_champion") is None
    assert first.command is not None
    assert (first.command.rollout, first.command.lineage.seed) == (True, 0)
    await register(context, first.command)
    second, emitted = await trained(context, "run-2")
    found = judged_by(emitted, "not_worse_than_champion")
    assert found is not None
    assert (found.verdict, found.measured) == ("PASS", 0.0)
    assert "400 rows" in found.detail
    alone = gated(first.command, twin=None)
    await register(context, alone)
    third, emitted = await trained(context, "run-3")
    found = judged_by(emitted, "not_worse_than_champion")
    assert found is not None
    assert found.verdict == "UNMEASURED"
    assert isinstance(emitted[-1], TrainingFinished)
    assert emitted[-1].outcome == "rejected"
    assert "0 labelled rows are newer than what the champion was trained on" in emitted[-1].reason
    assert (second.command is not None, third.command) == (True, None)


async def test_a_retrain_that_follows_a_change_says_how_many_rows_it_waits_for(memory_log: MemoryLog) -> None:
    context = await played(memory_log, quickly())
    _, emitted = await trained(context, "run-1", "drift", changed_at_s=NOW_S - 3 * DAY)
    finished = emitted[-1]
    assert isinstance(finished, TrainingFinished)
    assert (finished.outcome, finished.missing_rows, finished.rows_wanted) == ("waiting", 156, 236)
    assert "80 of 236 labelled rows beyond the change are there" in finished.reason


async def test_rows_newer_than_the_clock_of_a_run_are_not_held_against_the_events_up_to_it(
    memory_log: MemoryLog,
) -> None:
    """A request's clock is the monitor's: where that lags, rows were served since from events that the run does not read."""
    deployment = dataclasses.replace(quickly(), inputs=[Number("x"), Category("place")], features=[VISITS.by("place")])
    context = await played(memory_log, deployment)
    bare = bare_signature(*next(iter(context.projects.deployments())))
    at_s, clock_s = NOW_S - DAY, NOW_S - 2 * DAY
    row = np.array([0.0, np.nan, 1.0], "<f4").tobytes()
    applied = {"events.visits.v1/0": 1}
    made = DecisionMade("new", "guess", "u", at_s, Expired(0), 0, row, bare.digest, {"visits": "p1"}, applied)
    visit = Visit("p1", at_s - 3600)
    producer = await memory_log.producer()
    await producer.send(
        [
            out("events.visits.v1", "p1", visit, Envelope("v", "visit", "test", visit.came_at), 0),
            out("inference.decisions.v1", "u", made, Envelope("d", "", "test", at_s), 0),
        ]
    )
    _, emitted = await trained(context, "run-1", clock_s=clock_s)
    assert judged_by(emitted, PARITY_GATE) is None


@pytest.mark.parametrize("change", ["added", "changed", "dropped"])
async def test_a_view_that_changes_under_live_traffic_does_not_block_the_next_retrain(
    memory_log: MemoryLog, change: str
) -> None:
    """The rows that the old views made are not compared with today's, and the champion by its logged scores of them."""
    old = [] if change == "added" else [VISITS.by("place")]
    other = FeatureView("visits", VISITED, "place", {"count": Count("1h")})
    new = {"added": [VISITS.by("place")], "changed": [other.by("place")], "dropped": []}[change]
    before, after = (
        dataclasses.replace(quickly(), inputs=[Number("x"), Category("place")], features=v) for v in (old, new)
    )
    after = dataclasses.replace(after, gates=(beats_prior(), not_worse_than_champion(0.05)))
    context = await played(memory_log, before)
    first, _ = await trained(context, "run-1", clock_s=NOW_S - 20 * DAY)
    assert first.command is not None
    await register(context, first.command)
    # NB: a row that no fold could make: by its own signature nothing compares it.
    row = np.full(len(first.command.signature.columns), 7.0, "<f4").tobytes()
    made = [
        DecisionMade(f"r{n}", "guess", f"u{n}", NOW_S - 60 * DAY + n * 60 * DAY / ROWS, Served(Score(1, "m", 0.5)), n, row,
                     first.command.signature.digest, {"visits": "p1"}, {"events.visits.v1/0": 0})
        for n in range(ROWS - 500, ROWS)
    ]  # fmt: skip
    producer = await memory_log.producer()
    await producer.send(
        [
            out("inference.decisions.v1", f"u{n}", found, Envelope(f"d{n}", "", "test", found.at_s), 0)
            for n, found in enumerate(made)
        ]
    )
    context = await apply_now(context, after)
    second, emitted = await trained(context, "run-2")
    compared = judged_by(emitted, "not_worse_than_champion")
    assert compared is not None
    assert (compared.verdict, judged_by(emitted, PARITY_GATE)) == ("PASS", None)
    assert compared.measured is not None
    assert compared.measured < -0.05
    assert isinstance(emitted[-1], TrainingFinished)
    assert (emitted[-1].outcome, emitted[-1].reason) == ("registered", "")
    assert second.command is not None
    assert second.command.waivers == ()


async def apply_now(context: Context, deployment: Deployment) -> Context:
    """The project with this deployment instead."""
    views = [binding.view for binding in deployment.features]
    project = compile_project(Project("guesses", [deployment], sources=[VISITED] if views else [], views=views))
    await ensure_topics(context.log, context.topics.specs(project))
    applied = ProjectApplied("guesses", digest_of(project), "", project, NOW_S)
    producer = await context.log.producer()
    topic = context.topics.name("project.definitions")
    await producer.send([out(topic, "guesses", applied, Envelope("p2", "", "test", NOW_S))])
    projects = Projects(context.log, context.codec, context.topics)
    await projects.start()
    return dataclasses.replace(context, projects=projects)


async def test_rows_up_to_the_last_closed_window_are_used(memory_log: MemoryLog) -> None:
    context = await played(memory_log, quickly())
    run, _ = await trained(context, "run-1", clock_s=NOW_S - DAY + 3 * 3600)
    assert run.command is not None
    assert run.command.lineage.request_to_s == NOW_S - DAY
    assert run.command.trained_rows == 59 * 40


async def played(log: MemoryLog, deployment: Deployment) -> Context:
    """A log with sixty days of requests and outcomes, and the trainer's context on it."""
    views = [binding.view for binding in deployment.features]
    project = compile_project(Project("guesses", [deployment], sources=[VISITED] if views else [], views=views))
    topics = Topics.load("")
    codec, clock = Codec(topics), ManualClock(NOW_S)
    await ensure_topics(log, topics.specs(project))
    applied = ProjectApplied("guesses", digest_of(project), "", project, NOW_S)
    outs = [out(topics.name("project.definitions"), "guesses", applied, Envelope("p", "", "test", NOW_S))]
    rng = np.random.default_rng(0)
    for n in range(ROWS):
        at_s, x, place = NOW_S - 60 * DAY + n * 60 * DAY / ROWS, float(rng.normal()), int(rng.integers(9))
        inputs = {"x": x, **({"place": f"p{place}"} if len(deployment.inputs) > 1 else {})}
        label = float(x + (place % 3) * (len(inputs) > 1) + rng.normal() > 0.5)
        asked, observed = Envelope(f"r{n}", "", "test", at_s), Envelope(f"o{n}", "", "test", at_s + 3600)
        outs.append(out(topics.name("inference.requests"), f"u{n}", PredictionRequested("guess", inputs), asked))
        outs.append(out(topics.name("inference.outcomes"), f"u{n}", OutcomeObserved("guess", f"u{n}", label), observed))
    producer = await log.producer()
    await producer.send(outs)
    projects = Projects(log, codec, topics)
    await projects.start()
    health = Health("trainer", "t-1", failures={})
    return Context("trainer", "t-1", Settings(), log, topics, codec, projects, health, clock, asyncio.Event())


@pytest.mark.parametrize("with_category", [False, True])
async def test_a_run_registers_with_onnx_where_it_says_the_same_categories_or_not(
    memory_log: MemoryLog, with_category: bool
) -> None:
    context, emitted = await played(memory_log, declared(with_category)), []
    accepted = RetrainAccepted("guess", "run-1", "q", "manual", "test", NOW_S)
    run = TrainingRun(context, accepted, emitted.append, load_here)
    await run.run()
    (finished,) = [fact for fact in emitted if isinstance(fact, TrainingFinished)]
    assert (finished.outcome, finished.reason) == ("registered", "")
    judged = {fact.result.gate: fact.result.verdict for fact in emitted if isinstance(fact, GateJudged)}
    assert judged["onnx_parity"] == "PASS"
    assert run.command is not None
    assert run.command.onnx is not None
    assert {gate.gate for gate in run.command.gates} == set(judged)
    places = (run.command.place, run.command.onnx)
    engines = [load(await artifacts.fetch(context.log, context.topics, place), place.format) for place in places]
    rows = np.zeros((3, len(run.command.signature.columns)), np.float32)
    said_by = [engine.predict(rows, "binary") for engine in engines]
    assert said_by[0] == pytest.approx(said_by[-1], abs=1e-4)


def wrong_parameter(signature: Signature) -> LogisticRegression:
    """scikit-learn says so when it is fitted, deep in its own files."""
    return LogisticRegression(C=-1)


async def test_what_a_library_says_of_an_estimator_is_told_with_where_build_is_written(memory_log: MemoryLog) -> None:
    found = declared(False)
    assert found.training is not None
    wrong = dataclasses.replace(found, training=dataclasses.replace(found.training, build=wrong_parameter))
    context, emitted = await played(memory_log, wrong), []
    accepted = RetrainAccepted("guess", "run-1", "q", "manual", "test", NOW_S)
    await TrainingRun(context, accepted, emitted.append, load_here).run()
    finished = emitted[-1]
    assert isinstance(finished, TrainingFinished)
    assert finished.outcome == "failed"
    assert finished.reason.startswith("InvalidParameterError: The 'C' parameter of LogisticRegression must be a float")
    assert finished.reason.endswith(
        f"(while what build returns was fitted: {__file__}:{wrong_parameter.__code__.co_firstlineno})"
    )
