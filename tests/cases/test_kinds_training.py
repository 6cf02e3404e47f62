"""Whole training runs for a number and for several classes: what is registered, with which figures, compared with which champion."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeRegressor

from headrace.clock import ManualClock
from headrace.events.definition import digest_of
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.events.registry import GateResult, ModelVersion, RegisterVersion, Signature, VersionRegistered
from headrace.events.training import GateJudged, RetrainAccepted, TrainingFinished
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.models import artifacts
from headrace.models.engine import load
from headrace.project import Category, Deployment, Multiclass, Number, Project, Regression, Training
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.deployments import beats_prior, not_worse_than_champion
from headrace.project.fields import LabelKind
from headrace.project.load import Allowed, load_function
from headrace.project.service import Context
from headrace_trainer.adapters.run import TrainingRun

DAY = 86_400.0
NOW_S = 1_364_774_400.0
ROWS = 1600
CLASSES = ("ash", "birch", "cedar", "fir", "oak")


def regressor(signature: Signature) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(min_samples_leaf=20, random_state=0)


def classifier(signature: Signature) -> GaussianNB:
    return GaussianNB()


def without_probabilities(signature: Signature) -> DecisionTreeRegressor:
    return regressor(signature)


def number_of(x: float, rng: np.random.Generator) -> float:
    return float(np.clip(1e5 + 4e4 * x + rng.normal(0, 5e3), 0, 3e5))


def class_of(x: float, rng: np.random.Generator) -> str:
    return CLASSES[int(np.digitize(x + rng.normal(0, 0.2), [-1, -0.3, 0.3, 1]))]


def class_but_cedar(x: float, rng: np.random.Generator) -> str:
    found = class_of(x, rng)
    return "oak" if found == "cedar" else found


NUMBER, KIND = Regression("price", 0, 3e5, "1d"), Multiclass("tree", CLASSES, "1d")
LabelOf = Callable[[float, np.random.Generator], Any]


async def played(label: LabelKind, build: Callable[[Signature], Any], label_of: LabelOf) -> Context:
    """Sixty days of requests and outcomes, and the trainer's context on them."""
    training = Training(build, history="60d", holdout="10d", embargo="1d", first_after="1d", min_rows=500)
    gates = [beats_prior(), not_worse_than_champion(0.3)]
    inputs = [Number("x"), Category("place")]
    deployment = Deployment("guess", unit="thing", inputs=inputs, label=label, training=training, gates=gates)
    project = compile_project(Project("guesses", [deployment]))
    log, topics = MemoryLog(), Topics.load("")
    codec = Codec(topics)
    await ensure_topics(log, topics.specs(project))
    applied = ProjectApplied("guesses", digest_of(project), "", project, NOW_S)
    outs = [out(topics.name("project.definitions"), "guesses", applied, Envelope("p", "", "test", NOW_S))]
    rng = np.random.default_rng(0)
    for n in range(ROWS):
        at_s, x = NOW_S - 60 * DAY + n * 60 * DAY / ROWS, float(rng.normal())
        asked, labelled = Envelope(f"r{n}", "", "test", at_s), Envelope(f"o{n}", "", "test", at_s + 3600)
        request = PredictionRequested("guess", {"x": x, "place": f"p{n % 3}"})
        outs.append(out(topics.name("inference.requests"), f"u{n}", request, asked))
        observed = OutcomeObserved("guess", f"u{n}", label_of(x, rng))
        outs.append(out(topics.name("inference.outcomes"), f"u{n}", observed, labelled))
    await (await log.producer()).send(outs)
    projects = Projects(log, codec, topics)
    await projects.start()
    health = Health("trainer", "t-1", failures={})
    stop = asyncio.Event()
    return Context("trainer", "t-1", Settings(), log, topics, codec, projects, health, ManualClock(NOW_S), stop)


def load_here(project: str, reference: str, build: str, allowed: Allowed) -> Any:
    """The `build` function of this file, which belongs to no project that could be imported."""
    return load_function(build)


async def trained(context: Context) -> tuple[RegisterVersion | None, TrainingFinished, dict[str, GateResult]]:
    facts: list[Any] = []
    accepted = RetrainAccepted("guess", "run-1", "q", "manual", "test", NOW_S)
    run = TrainingRun(context, accepted, facts.append, load_here)
    await run.run()
    (finished,) = [fact for fact in facts if isinstance(fact, TrainingFinished)]
    return run.command, finished, {fact.result.gate: fact.result for fact in facts if isinstance(fact, GateJudged)}


async def make_champion(context: Context, command: RegisterVersion) -> None:
    """Make the version champion. It was trained on old rows, so that the whole holdout can be compared."""
    fields = {name: getattr(command, name) for name in command.__struct_fields__ if name not in ("rollout", "lineage")}
    lineage = msgspec.structs.replace(command.lineage, request_to_s=NOW_S - 50 * DAY)
    registered = VersionRegistered(**fields, lineage=lineage, version=1, registered_at_s=0.0, command_id="c")
    event = ModelVersion(registered, "champion", ("champion",))
    record = out(context.topics.name("registry.models"), "guess/1", event, Envelope("m", "", "test", NOW_S))
    await (await context.log.producer()).send([record])


async def engine_of(context: Context, command: RegisterVersion) -> Any:
    return load(await artifacts.fetch(context.log, context.topics, command.place), command.place.format)


async def test_a_number_is_trained_gated_by_its_squared_error_and_compared_with_its_champion() -> None:
    context = await played(NUMBER, regressor, number_of)
    command, finished, gates = await trained(context)
    assert (finished.outcome, finished.reason) == ("registered", "")
    assert command is not None
    assert (command.output, command.classes, command.class_places) == ("number", (), ())
    assert {"holdout_rmse", "holdout_mae", "holdout_r2"} < set(command.metrics)
    assert command.metrics["holdout_rmse"] == pytest.approx(5e3, rel=0.4)
    assert "holdout_auc" not in command.metrics
    assert gates["beats_prior"].verdict == "PASS"
    assert gates["beats_prior"].measured == pytest.approx(1 - 0.0156, abs=0.3)
    assert (await engine_of(context, command)).predict(np.array([[1.0, 0.0]], np.float32), "number")[
        0
    ] == pytest.approx(1.4e5, rel=0.1)
    assert command.golden[0].value > 1_000
    await make_champion(context, command)
    again, finished, gates = await trained(context)
    assert (finished.outcome, finished.reason) == ("registered", "")
    assert (gates["not_worse_than_champion"].verdict, again is not None) == ("PASS", True)
    assert abs(gates["not_worse_than_champion"].measured or 0.0) < 0.05


async def test_five_classes_are_trained_under_their_names_and_compared_with_their_champion() -> None:
    context = await played(KIND, classifier, class_of)
    command, finished, gates = await trained(context)
    assert (finished.outcome, finished.reason) == ("registered", "")
    assert command is not None
    assert (command.output, command.classes, command.class_places) == ("classes", CLASSES, ())
    assert {"holdout_log_loss", "holdout_accuracy"} < set(command.metrics)
    assert command.metrics["holdout_accuracy"] > 0.7
    probabilities = (await engine_of(context, command)).predict(np.array([[-2.0, 0.0]], np.float32), "classes")
    assert probabilities.argmax() == CLASSES.index("ash")
    assert len(command.golden[0].probabilities) == 5
    await make_champion(context, command)
    _, finished, gates = await trained(context)
    assert (finished.outcome, gates["not_worse_than_champion"].verdict) == ("registered", "PASS")


async def test_a_class_that_was_never_seen_keeps_its_place() -> None:
    context = await played(KIND, classifier, class_but_cedar)
    command, finished, _ = await trained(context)
    assert (finished.outcome, finished.reason) == ("registered", "")
    assert command is not None
    assert (command.classes, command.class_places) == (CLASSES, (0, 1, 3, 4))
    assert all(found.probabilities[CLASSES.index("cedar")] == 0.0 for found in command.golden)


async def test_a_build_of_another_kind_than_the_label_is_refused_in_a_sentence() -> None:
    _, finished, _ = await trained(await played(KIND, without_probabilities, class_of))
    assert finished.outcome == "failed"
    assert "a DecisionTreeRegressor without predict_proba: it must return a classifier" in finished.reason
