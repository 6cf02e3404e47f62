"""Estimates of open windows, and what they became: for each kind of label, with new versions, and after a restart."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, PROJECT, decision

from headrace.events.definition import LabelDefinition
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import MonitorState, WindowClosed, WindowEstimated
from headrace.features.outcomes import KnownOutcome
from headrace_monitor.core import closing
from headrace_monitor.core.evaluation import WindowInputs
from headrace_monitor.core.facts import WindowReported
from headrace_monitor.core.findings import findings_of, memory_of
from headrace_monitor.core.windows import Late, Rows, Windows

ROWS = 150
LABELS = {
    "binary": LabelDefinition("y", "binary", 6 * 3600.0),
    "classes": LabelDefinition("y", "classes", 6 * 3600.0, classes=("a", "b", "c")),
    "number": LabelDefinition("y", "number", 6 * 3600.0, low=0.0, high=20.0),
}


class Days:
    """A deployment whose windows are full at midnight, and closed six hours later."""

    def __init__(self, kind: str = "binary", memory: MonitorState | None = None, since: int = 0) -> None:
        self.kind = kind
        self.deployment = replace(DEPLOYMENT, label=LABELS[kind], features=(), training=None, monitoring=())
        self.findings = findings_of(self.deployment, memory)
        self.day = since

    def full(self, version: int = 1, shadow: int = 0, rows: int = ROWS) -> WindowEstimated:
        """One more day of requests; what is said of it at its end."""
        self.rows, self.sample = self._rows(version, shadow, rows)
        bare = Rows(self.rows.table, np.full(len(self.rows), np.nan), self.rows.shadows)
        step = closing.estimate(self.findings, self.deployment, bare, self.sample, self.day * DAY)
        self.findings = step.state
        (event,) = step.facts
        return event

    def closed(self, share: float = 1.0) -> WindowClosed:
        """The labels of that day came, or a share of them."""
        labels = np.where(np.arange(len(self.rows)) < share * len(self.rows), self.rows.labels, np.nan)
        rows = Rows(self.rows.table, labels, self.rows.shadows)
        inputs = WindowInputs(PROJECT, self.deployment, rows, self.sample, {}, {}, math.inf)
        step = closing.close(self.findings, inputs, self.day * DAY, (self.day + 1) * DAY, Late())
        self.findings, self.day = step.state, self.day + 1
        return next(fact.window for fact in step.facts if isinstance(fact, WindowReported))

    def run(self, days: int, **more: Any) -> list[tuple[WindowEstimated, WindowClosed]]:
        return [(self.full(**more), self.closed()) for _ in range(days)]

    def memory(self) -> MonitorState:
        state = memory_of(self.findings, {}, 0.0)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=MonitorState)

    def _rows(self, version: int, shadow: int, count: int) -> tuple[Rows, list[DecisionMade]]:
        rng = np.random.default_rng(self.day)
        found, sample = Windows(self.deployment), []
        for n in range(count):
            score, label = self._asked(rng)
            at_s = self.day * DAY + n
            more: dict[str, Any] = {"shadows": (self._score(shadow, score),)} if shadow else {}
            made = decision(f"{self.day}-{n}", at_s, **more)
            made = replace(made, answer=Served(self._score(version, score)))
            sample.append(made)
            found.add_decision(made, 0, n)
            found.add_outcome(KnownOutcome(made.unit, label, at_s + 3600.0))
        return found.rows_of(self.day * DAY, (self.day + 2) * DAY), sample

    def _asked(self, rng: np.random.Generator) -> tuple[Any, float]:
        if self.kind == "number":
            score = rng.random() * 20
            return score, float(np.clip(score + rng.normal(0, 1 + score / 10), 0, 20))
        odds = rng.normal(0, 1.2, 3)
        if self.kind == "classes":
            chances = np.exp(odds) / np.exp(odds).sum()
            return tuple(chances.tolist()), float(rng.choice(3, p=chances))
        chance = 1 / (1 + math.exp(-odds[0]))
        return chance, float(rng.random() < chance)

    def _score(self, version: int, score: Any) -> Score:
        return Score(version, "m", None, score) if self.kind == "classes" else Score(version, "m", score)


METRICS = {
    "binary": {"accuracy", "auc", "brier", "log_loss"},
    "classes": {"accuracy", "auc", "brier", "log_loss"},
    "number": {"mae", "rmse"},
}


@pytest.mark.parametrize("kind", METRICS)
def test_a_window_is_estimated_before_its_labels_and_shows_later_what_it_became(kind: str) -> None:
    days = Days(kind)
    (*_, (before, first), _) = days.run(10)
    assert before.estimates == first.estimates == ()
    assert before.unestimated == ("version 1 has 3 windows with an estimate beside its labels: 5 are needed for bounds")
    ((estimated, closed),) = days.run(1)
    assert {one.metric for one in estimated.estimates} == METRICS[kind]
    assert (estimated.unestimated, estimated.requests, estimated.labelled) == ("", ROWS, 0)
    assert [replace(one, realised=None) for one in closed.estimates] == list(estimated.estimates)
    (quality,) = closed.qualities
    for one in closed.estimates:
        became = quality.metrics.get(one.metric, getattr(quality, one.metric, None))
        assert (one.realised, one.low < one.value < one.high) == (became, True)
        assert one.value == pytest.approx(became, abs=0.4 if kind == "number" else 0.12)
        assert one.method == ("dle" if kind == "number" else "cbpe")


def test_a_new_version_is_not_estimated_by_what_another_showed() -> None:
    days = Days()
    days.run(12)
    days.full(version=2)
    assert days.closed().estimates == ()
    found = days.full(version=2)
    assert (found.estimates, found.unestimated) == (
        (),
        "version 2 has 150 labelled rows in 1 closed windows: 500 in 5 are needed to calibrate its scores",
    )


def test_what_a_version_showed_as_a_shadow_counts_after_its_switch() -> None:
    days = Days()
    days.run(12, shadow=2)
    found = days.full(version=2)
    assert {(one.version, one.metric) for one in found.estimates} == {(2, name) for name in METRICS["binary"]}
    assert found.unestimated == ""


def test_an_estimate_is_no_verdict_and_a_window_without_enough_labels_teaches_nothing() -> None:
    days = Days()
    days.run(12)
    before = days.findings.estimation.versions
    estimated, closed = days.full(), days.closed(share=0.3)
    assert (closed.verdict, closed.estimates) == ("UNMEASURED", estimated.estimates)
    assert all(one.realised is None for one in closed.estimates)
    assert days.findings.estimation.versions == before


def test_a_restart_goes_on_exactly() -> None:
    days = Days("classes")
    days.run(12)
    days.full()
    again = Days("classes", days.memory(), days.day)
    again.rows, again.sample = days.rows, days.sample
    assert (days.closed(), days.full(), days.closed()) == (again.closed(), again.full(), again.closed())
    assert days.memory() == again.memory()


def test_a_label_of_another_kind_begins_anew() -> None:
    days = Days()
    days.run(12)
    other = Days("number", days.memory(), days.day)
    assert other.full().estimates == ()
    other.closed()
    assert [found.kind for found in other.findings.estimation.versions.values()] == ["number"]


def test_few_requests_and_no_version_are_said() -> None:
    days = Days()
    days.run(12)
    assert days.full(rows=3).unestimated == "version 1 has 3 requests: 10 are needed"
    assert days.full(version=0).unestimated == "no version of a model answered"


def test_what_is_remembered_is_bounded() -> None:
    days = Days()
    for version in range(1, 8):
        days.run(1, version=version)
    assert list(days.findings.estimation.versions) == [4, 5, 6, 7]
    for _ in range(120):
        days.full(rows=1)
        days.day += 1
    assert (len(days.findings.estimation.awaited), len(msgspec.msgpack.encode(days.memory())) < 20_000) == (100, True)
