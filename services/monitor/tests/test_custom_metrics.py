"""A project's own metrics: computed in a process of their own, and what goes wrong in one of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, decision
from services.monitor.tests.watched import PROJECT as PROJECT_OF_ALL

from headrace.events.project import ProjectApplied
from headrace.features.outcomes import KnownOutcome
from headrace.log.topics import Topics
from headrace.project.compile import compile_project
from headrace.project.load import Allowed, load_project
from headrace_monitor.adapters.custom_metrics import CustomMetrics
from headrace_monitor.adapters.inputs import names_of
from headrace_monitor.adapters.window_evaluation import WindowEvaluation
from headrace_monitor.core.facts import MonitoringFailed, WindowReported
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.measures import Part
from headrace_monitor.core.monitoring import Monitoring

PROJECT = """
import math, os
from headrace.project import Binary, Deployment, Number, Project


def cost(labels, scores):
    print("a user's line")
    return float((5 * labels * (scores < 0.5) + (1 - labels) * (scores >= 0.5)).mean())


def raises(labels, scores):
    raise KeyError("no such carrier")


def words(labels, scores):
    return "good"


def undefined(labels, scores):
    return math.nan


def leaves(labels, scores):
    os._exit(3)


def hangs(labels, scores):
    while True:
        pass


def deployment(name, *metrics):
    return Deployment(name, "u", [Number("x")], label=Binary("y", "1h"), metrics=[*metrics, "f1"])


project = Project("custom", [
    deployment("d", cost, raises, words, undefined, leaves), deployment("after", cost), deployment("slow", hangs)
])
"""
PARTS = [
    Part(1, "champion", "", np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.4, 0.6, 0.9, 0.1])),
    Part(1, "champion", "@x=a", np.array([1.0, 0.0]), np.array([0.4, 0.6])),
    Part(2, "shadow", "", np.array([1.0]), np.array([0.9])),
]


class Applied:
    def __init__(self, folder: Path) -> None:
        (folder / "measured").mkdir()
        (folder / "measured" / "custom_project.py").write_text(PROJECT)
        found, self.reference = load_project(str(folder / "measured" / "custom_project.py"))
        self.definition = compile_project(found)
        applied = ProjectApplied("custom", "digest", self.reference, self.definition, 0.0)
        self.metrics = CustomMetrics(lambda _: applied, Allowed(self.reference))
        self.stranger = CustomMetrics(lambda _: applied, Allowed("other"))


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    found = Applied(tmp_path_factory.mktemp("project"))
    yield found
    found.metrics.close()
    found.stranger.close()


def test_a_metric_has_its_value_and_others_that_fail_a_sentence_each(applied: Applied) -> None:
    values, failed = applied.metrics.of(applied.definition.deployment("d"), PARTS)
    assert values == {(1, "champion"): {"cost": 1.5, "cost@x=a": 3.0}, (2, "shadow"): {"cost": 0.0}}
    reasons = dict(failed)
    assert reasons["raises"].endswith("KeyError: 'no such carrier'")
    assert "custom_project.py:12: " in reasons["raises"]
    assert reasons["words"] == "it returned 'good' for 4 rows, and must return a finite number"
    assert reasons["leaves"] == (
        "its process ended with 3: it is not called again until the deployment is applied otherwise"
    )
    assert set(reasons) == {"raises", "words", "leaves"}


def test_the_process_of_a_metric_that_ended_it_is_begun_again_for_others(applied: Applied) -> None:
    applied.metrics.of(applied.definition.deployment("d"), PARTS)
    values, failed = applied.metrics.of(applied.definition.deployment("after"), PARTS[:1])
    assert (values, failed) == ({(1, "champion"): {"cost": 1.5}}, [])


def test_what_is_not_allowed_here_is_not_imported(applied: Applied) -> None:
    values, failed = applied.stranger.of(applied.definition.deployment("after"), PARTS)
    ((name, why),) = failed
    assert (values, name) == ({}, "cost")
    assert why.startswith("project custom is not allowed here")


@pytest.mark.slow
def test_a_metric_that_hangs_is_ended_and_called_no_more(applied: Applied) -> None:
    slow = applied.definition.deployment("slow")
    ((_, first),), ((_, second),) = (applied.metrics.of(slow, PARTS[:1])[1] for _ in range(2))
    assert first == second
    assert first.startswith(("it used 10 s of CPU in one window", "it did not return within 60 s"))


async def test_a_window_has_the_metrics_and_one_alarm_per_metric_that_failed() -> None:
    deployment = replace(DEPLOYMENT, features=(), metrics=("m:cost", "m:raises"))
    core = Monitoring(names_of(Topics.load()), [replace(PROJECT_OF_ALL, deployments=(deployment,))], Liveness())
    core.start_offsets({}, ())
    watched = core.deployments.watched["d"]
    for n in range(4):
        watched.windows.add_decision(decision(f"u{n}", float(n), 0.5), 0, n)
        watched.windows.add_outcome(KnownOutcome(f"u{n}", float(n % 2), n + 1.0))

    def custom(_: object, parts: Sequence[Part]) -> tuple[dict, list]:
        return {(part.version, part.role): {"cost": float(len(part.labels))} for part in parts}, [("raises", "why")]

    evaluation = WindowEvaluation(core, "inference.decisions.v1", None, custom)
    facts = [fact async for found in evaluation.due("d", 3 * DAY) for fact in found]
    (window,) = [fact.window for fact in facts if isinstance(fact, WindowReported)]
    (failed,) = [fact for fact in facts if isinstance(fact, MonitoringFailed)]
    assert (window.qualities[0].metrics["cost"], window.verdict, window.qualities[0].auc) == (4.0, "PASS", 0.5)
    assert (failed.deployment, failed.part, str(failed.error)) == ("d", "metric raises", "why")
