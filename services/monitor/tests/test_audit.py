"""The A/A arm: the champion beside itself, trial after trial."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace as changed

from headrace.events.audit import AuditKept, AuditReported
from headrace.events.definition import DeploymentDefinition, LabelDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import MonitorState
from headrace.events.verdicts import PASS, UNMEASURED
from headrace.project import Binary, Deployment, Multiclass, Number, Project, Regression
from headrace.project.compile import compile_project
from headrace_monitor.core import audit
from headrace_monitor.core.closing import close
from headrace_monitor.core.evaluation import WindowInputs
from headrace_monitor.core.facts import WindowReported
from headrace_monitor.core.findings import findings_of, memory_of
from headrace_monitor.core.scored import Scored
from headrace_monitor.core.windows import Late, Windows

DAY, ROWS = 86_400.0, 300
LABELS = {
    "binary": Binary("y", "1h"),
    "classes": Multiclass("y", ("a", "b", "c"), "1h"),
    "number": Regression("y", 0, 10, "1h"),
}


def project(kind: str = "binary", share: float = 0.3) -> ProjectDefinition:
    found = Deployment("d", "u", [Number("x")], label=LABELS[kind], audit_share=share)
    return compile_project(Project("p", [found]))


class Days:
    """Days of a champion's traffic. A unit is asked about every day, and some units are harder than others.

    `harm`: how far the scores of the arm of each trial are moved to the wrong side.
    """

    def __init__(self, kind: str = "binary", seed: int = 1, harm: float = 0.0) -> None:
        self.project, self.kind, self.harm = project(kind), kind, harm
        self.rng = np.random.default_rng(seed)
        self.hardness = self.rng.normal(0, 0.3, ROWS)

    @property
    def deployment(self) -> DeploymentDefinition:
        return self.project.deployments[0]

    def inputs(self, number: int, trial: int) -> WindowInputs:
        storm = self.rng.normal(0, 0.7)
        logit = self.rng.normal(-0.5, 1.2, ROWS) + storm
        true = 1 / (1 + np.exp(-logit - self.hardness))
        labels = (self.rng.random(ROWS) < true).astype(float)
        scores = 1 / (1 + np.exp(-logit))
        if self.kind == "number":
            labels = np.clip(10 * true + self.rng.normal(0, 1, ROWS), 0, 10)
            scores = 10 * scores
        arm = [audit.is_in_arm("d", trial, f"u{n}", 0.3) for n in range(ROWS)]
        top = 10.0 if self.kind == "number" else 1.0
        wrong = np.where(labels > top / 2, 0.0, top)
        scores = np.where(arm, np.clip(scores + self.harm * (wrong - scores), 0, top), scores)
        return self._window(number, scores, labels)

    def _window(self, number: int, scores: Any, labels: Any) -> WindowInputs:
        made = [self._decision(number, place, float(score)) for place, score in enumerate(scores)]
        windows = Windows(self.deployment)
        for place, decision in enumerate(made):
            windows.add_decision(decision, 0, number * ROWS + place)
        rows = windows.rows_of(number * DAY, (number + 2) * DAY)
        rows.labels[:] = labels
        return WindowInputs(self.project, self.deployment, rows, made, {}, {}, 0.0)

    def _decision(self, number: int, place: int, value: float) -> DecisionMade:
        score = Score(1, "m", value)
        if self.kind == "classes":
            score = Score(1, "m", probabilities=(1 - value, value / 2, value / 2))
        at_s = number * DAY + place * DAY / ROWS
        return DecisionMade(f"r{number}-{place}", "d", f"u{place}", at_s, Served(score), 0)

    def play(self, days: int, kept: AuditKept | None = None, first: int = 0) -> tuple[AuditKept, list[AuditReported]]:
        reports: list[AuditReported] = []
        for day in range(first, first + days):
            inputs = self.inputs(day, 1 if kept is None else kept.number)
            step = audit.on_window(kept, inputs, PASS, day * DAY, (day + 1) * DAY)
            kept, reports = step.state, [*reports, *step.facts]
        assert kept is not None
        return kept, reports


@pytest.mark.parametrize("kind", ["binary", "number"])
def test_without_a_difference_no_more_trials_fail_than_is_stated(kind: str) -> None:
    kept, reports = Days(kind).play(14 * 8)
    last = reports[-1]
    assert [report.trials for report in reports] == list(range(1, 9))
    assert (last.failed, last.rolled_back, last.rate, last.rollback_rate) == (0, 0, 0.0, 0.0)
    assert (last.alpha, last.rollback_alpha) == (0.05, pytest.approx(0.05 / 2 * 0.6))
    assert last.high == pytest.approx(1 - 0.025 ** (1 / 8))
    assert (kept.number, kept.cycles, last.at_s) == (9, (), 112 * DAY)


@pytest.mark.parametrize("kind", ["binary", "number", "classes"])
def test_a_planted_difference_is_found_in_each_trial_and_rolled_back(kind: str) -> None:
    _, reports = Days(kind, harm=0.35).play(14 * 3)
    assert [(report.trials, report.failed, report.rolled_back) for report in reports] == [
        (1, 1, 1),
        (2, 2, 2),
        (3, 3, 3),
    ]
    assert (reports[-1].rate, reports[-1].high) == (1.0, 1.0)


def test_an_arm_that_does_better_is_a_false_alarm_and_no_rollback() -> None:
    _, (report,) = Days(harm=-0.5).play(14)
    assert (report.failed, report.rolled_back) == (1, 0)


def test_the_arm_is_drawn_anew_for_each_trial_and_has_its_share() -> None:
    arms = [{n for n in range(5_000) if audit.is_in_arm("d", trial, f"u{n}", 0.1)} for trial in (1, 2)]
    assert [len(arm) / 5_000 for arm in arms] == pytest.approx([0.1, 0.1], abs=0.015)
    assert len(arms[0] & arms[1]) / 5_000 == pytest.approx(0.01, abs=0.005)


def scored(scores: Sequence[float], labels: Sequence[float]) -> Scored:
    return Scored(1, "champion", np.array(scores), np.array(labels), np.arange(len(labels)))


def test_rows_of_the_arm_are_paired_with_rows_of_the_same_label() -> None:
    arm = np.array([True, False, False, True, False])
    own, rest, labels = audit.pairs_of(
        LabelDefinition("y", "binary", 60.0), scored([0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 0]), arm
    )
    assert (own.tolist(), rest.tolist(), labels.tolist()) == ([0.1, 0.4], [0.5, 0.2], [0.0, 1.0])


def test_numbers_are_paired_by_the_nearest_label_and_keep_the_residual() -> None:
    label = LabelDefinition("y", "number", 60.0, low=0.0, high=10.0)
    own, rest, labels = audit.pairs_of(label, scored([2, 5, 9], [1, 4, 8]), np.array([False, True, True]))
    assert (own, rest, labels) == (pytest.approx([0.9]), pytest.approx([0.9]), pytest.approx([0.8]))


def test_windows_that_are_not_judged_and_deployments_without_an_arm_have_no_trial() -> None:
    days = Days()
    kept = audit.on_window(None, days.inputs(0, 1), UNMEASURED, 0.0, DAY).state
    assert kept == AuditKept(0.3, 0.0)
    bare = days.inputs(0, 1)
    bare = WindowInputs(bare.project, changed(bare.deployment, audit_share=0.0), bare.rows, bare.sample, {}, {}, 0.0)
    assert audit.on_window(kept, bare, PASS, 0.0, DAY).state is None


def test_another_share_begins_anew() -> None:
    step = audit.on_window(AuditKept(0.1, 0.0, 9, 1), Days().inputs(20, 1), PASS, 20 * DAY, 21 * DAY)
    assert step.state is not None
    assert (step.state.share, step.state.trials, step.state.since_s) == (0.3, 0, 20 * DAY)


def test_a_restart_goes_on_where_it_was() -> None:
    whole, days = Days(seed=3), Days(seed=3)
    kept, reports = days.play(9)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=AuditKept)
    kept, more = days.play(10, again, first=9)
    assert (kept, [*reports, *more]) == whole.play(19)


def test_closed_windows_publish_the_rates_and_the_memory_holds_them() -> None:
    days = Days()
    findings, facts = findings_of(days.deployment, None), list[object]()
    for day in range(14):
        step = close(findings, days.inputs(day, 1), day * DAY, (day + 2) * DAY, Late())
        findings, facts = step.state, [*facts, *step.facts]
    (report,) = (fact for fact in facts if isinstance(fact, AuditReported))
    assert (report.deployment, report.trials, report.at_s) == ("d", 1, 14 * DAY)
    assert sum(isinstance(fact, WindowReported) for fact in facts) == 14
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(memory_of(findings, {}, 14 * DAY)), type=MonitorState)
    assert findings_of(days.deployment, memory).audit == findings.audit == AuditKept(0.3, 0.0, 1, number=2)
