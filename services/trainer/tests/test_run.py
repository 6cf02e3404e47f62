"""A whole training run on the log in memory: rows, gates, the ONNX artifact, the command."""

import asyncio

import numpy as np
import pytest

from headrace.bus import artifacts
from headrace.bus.admin import ensure_topics
from headrace.bus.projects import Projects
from headrace.bus.runtime import Context
from headrace.clock import ManualClock
from headrace.codec import Codec, out
from headrace.envelope import Envelope
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.events.training import GateJudged, RetrainAccepted, TrainingFinished
from headrace.models.engine import load
from headrace.obs.health import Health
from headrace.project import Binary, Category, Deployment, Number, Project, Training
from headrace.project.compile import compile_project, digest
from headrace.settings import Settings
from headrace.testing.memory import MemoryLog
from headrace.topics import Topics
from headrace_flights.train import build
from headrace_trainer.run import TrainingRun

DAY = 86_400.0
NOW_S = 1_364_774_400.0
ROWS = 2400


def declared(with_category: bool) -> Deployment:
    inputs = [Number("x"), *([Category("place")] if with_category else [])]
    training = Training(build=build, history="60d", holdout="10d", embargo="1d", first_after="1d", min_rows=500)
    return Deployment("guess", unit="thing", inputs=inputs, label=Binary("yes", horizon="1d"), training=training)


async def played(log: MemoryLog, deployment: Deployment) -> Context:
    """A log with sixty days of requests and outcomes, and the trainer's context on it."""
    project = compile_project(Project("guesses", [deployment]))
    topics = Topics.load("")
    codec, clock = Codec(topics), ManualClock(NOW_S)
    await ensure_topics(log, topics.specs(project))
    applied = ProjectApplied("guesses", digest(project), "", project, NOW_S)
    outs = [out(topics.name("project.definitions"), "guesses", applied, Envelope("p", "", "test", NOW_S))]
    rng = np.random.default_rng(0)
    for n in range(ROWS):
        at_s, x, place = NOW_S - 60 * DAY + n * 60 * DAY / ROWS, float(rng.normal()), int(rng.integers(9))
        inputs = {"x": x, **({"place": f"p{place}"} if len(deployment.inputs) > 1 else {})}
        label = float(x + (place % 3) * (len(inputs) > 1) + rng.normal() > 0.5)
        asked, told = Envelope(f"r{n}", "", "test", at_s), Envelope(f"o{n}", "", "test", at_s + 3600)
        outs.append(out(topics.name("inference.requests"), f"u{n}", PredictionRequested("guess", inputs), asked))
        outs.append(out(topics.name("inference.outcomes"), f"u{n}", OutcomeObserved("guess", f"u{n}", label), told))
    producer = await log.producer()
    await producer.send(outs)
    projects = Projects(log, codec, topics)
    await projects.start()
    health = Health("trainer", "t-1", failures={})
    return Context("trainer", "t-1", Settings(), log, topics, codec, projects, health, clock, asyncio.Event())


@pytest.mark.parametrize(("with_category", "verdict"), [(False, "PASS"), (True, "INCONCLUSIVE")])
async def test_a_run_registers_with_onnx_where_it_says_the_same_and_without_where_not(
    memory_log: MemoryLog, with_category: bool, verdict: str
) -> None:
    context, said = await played(memory_log, declared(with_category)), []
    accepted = RetrainAccepted("guess", "run-1", "q", "manual", "test", NOW_S)
    run = TrainingRun(context, accepted, said.append)
    await run.run()
    (finished,) = [fact for fact in said if isinstance(fact, TrainingFinished)]
    assert (finished.outcome, finished.reason) == ("registered", "")
    judged = {fact.result.gate: fact.result.verdict for fact in said if isinstance(fact, GateJudged)}
    assert judged["onnx_parity"] == verdict
    assert run.command is not None
    assert {gate.gate for gate in run.command.gates} == set(judged)
    assert (run.command.onnx is not None) == (verdict == "PASS")
    places = [place for place in (run.command.place, run.command.onnx) if place is not None]
    engines = [load(await artifacts.fetch(context.log, context.topics, place), place.format) for place in places]
    rows = np.zeros((3, len(run.command.signature.columns)), np.float32)
    said_by = [engine.predict(rows, "binary") for engine in engines]
    assert said_by[0] == pytest.approx(said_by[-1], abs=1e-4)
