"""The verdicts about a running rollout, from its decisions and outcomes alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.failures import Failure, Hung, InvalidScore, Raised, Shed
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.registry import RolloutAdvanced, RolloutCompleted, RolloutStarted, Route
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence, VerdictGiven, evidence_text
from headrace.features.outcomes import KnownOutcome
from headrace.project import Binary, Canary, Deployment, Guardrail, Number, Project
from headrace.project.compile import compile_project
from headrace.project.labels import why_no_rollout_verdict
from headrace_monitor.core.rollout_analysis import RolloutAnalysis, begin
from headrace_monitor.core.rollout_requests import Seen

HOUR = 3600.0
OLD, NEW = 1, 2
RAILS = (
    Guardrail("errors", 0.02, consecutive=20),
    Guardrail("invalid_scores", 0.01),
    Guardrail("latency", 3.0),
    Guardrail("degraded", 0.05),
    Guardrail("distribution", 0.5),
)


def deployment(*rails: Guardrail, **changed) -> DeploymentDefinition:
    canary = Canary(
        shares=[0.1, 1], margin=0.02, label_delay="2h", guardrails=rails or RAILS, min_decisions=20, **changed
    )
    found = Deployment("d", "u", [Number("x")], label=Binary("y", horizon="4h"), rollout=canary)
    return compile_project(Project("p", raw=[], sources=[], views=[], deployments=[found])).deployments[0]


@dataclass
class Behaviour:
    """What a version does with a request: its score of a probability, why it fails, how long it takes."""

    score: float | None = None
    fails: Failure | None = None
    took_ms: float = 1.0


@dataclass
class World:
    """A deployment with 60 requests an hour, half of them with a high risk; the control knows which."""

    analysis: RolloutAnalysis
    share: float = 0.1
    at_s: float = 0.0
    count: int = 0
    verdicts: list[VerdictGiven] = field(default_factory=list)
    outcomes: list[tuple[str, float, float]] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def decision(self, new: Behaviour, old: Behaviour, risk: float) -> DecisionMade:
        assigned = NEW if self.rng.random() < self.share else OLD
        versions = {NEW: new, OLD: old}
        scores = {
            v: Score(v, "", behaviour.score if behaviour.score is not None else risk)
            for v, behaviour in versions.items()
            if not behaviour.fails
        }
        other = OLD if assigned == NEW else NEW
        if assigned in scores:
            answer = Served(scores[assigned])
        else:
            answer = FellBack("previous", "failed", scores.get(other, Score(0, "", 0.5)))
        shadows = tuple(s for v, s in scores.items() if v != answer.score.version)
        return DecisionMade(
            f"r{self.count}", "d", f"u{self.count}", self.at_s, answer, self.count, shadows=shadows, route_offset=0,
            assigned=assigned, failures={str(v): behaviour.fails for v, behaviour in versions.items() if behaviour.fails},
            took_ms={str(v): behaviour.took_ms + self.count * 1e-6 for v, behaviour in versions.items() if not behaviour.fails},
        )  # fmt: skip

    def serve(self, requests: int, new: Behaviour | None = None, old: Behaviour | None = None) -> list[DecisionMade]:
        """So many requests, one a minute, their labels an hour later; a look after every ten."""
        made: list[DecisionMade] = []
        for _ in range(requests):
            risk = 0.8 if self.rng.random() < 0.5 else 0.2
            found = self.decision(new or Behaviour(), old or Behaviour(), risk)
            outcome = (found.unit, float(self.rng.random() < risk), self.at_s + HOUR)
            self.outcomes.append(outcome)
            self.analysis.add_outcome(KnownOutcome(*outcome))
            self.analysis.take([Seen("decisions/0", self.count, found)])
            made.append(found)
            self.count, self.at_s = self.count + 1, self.at_s + 60
            if self.count % 10 == 0:
                self.look()
        return made

    def look(self, *, is_silent: bool = False) -> VerdictGiven | None:
        given = self.analysis.look(self.at_s, is_silent=is_silent).facts
        self.verdicts += given
        return given[0] if given else None

    def evidence(self, metric: str) -> Evidence:
        (verdict,) = self.analysis.look(self.at_s, is_silent=True).facts
        return next(found for found in verdict.evidence if found.metric == metric)


def world(found: DeploymentDefinition | None = None, share: float = 0.1) -> World:
    found = found or deployment()
    started = RolloutStarted("d", "r1", NEW, "canary", "", found.rollout, OLD, clock_s=0.0)
    analysis = begin(found, started)
    analysis.on_route(Route("d", {OLD: 1 - share, NEW: share}, "s", 1), 0)
    analysis.on_advanced(RolloutAdvanced("d", "r1", NEW, "canary", share, 0, clock_s=0.0))
    return World(analysis, share)


def test_a_version_that_always_raises_fails_by_its_twentieth_unit() -> None:
    found = world()
    found.serve(400, new=Behaviour(fails=Raised("ValueError: no")))
    first = next(verdict for verdict in found.verdicts if verdict.guardrails == FAIL)
    assert first.decisions <= 25
    errors = next(e for e in first.evidence if e.metric == "errors")
    assert (errors.verdict, errors.measured, errors.limit) == (FAIL, 1.0, 0.02)


def test_so_many_failures_in_a_row_fail_whatever_the_limit() -> None:
    found = world(deployment(Guardrail("errors", 1.0, consecutive=20)), share=0.5)
    found.serve(38)
    found.serve(60, new=Behaviour(fails=Raised("ValueError: no")))
    assert found.evidence("errors").detail.endswith("in a row")
    assert found.verdicts[-1].guardrails == FAIL


@pytest.mark.parametrize(
    ("metric", "new"),
    [
        ("errors", Behaviour(fails=Raised("ValueError: no"))),
        ("invalid_scores", Behaviour(fails=InvalidScore("predict returned NaN or infinity"))),
        ("degraded", Behaviour(fails=Hung("it did not end"))),
        ("latency", Behaviour(took_ms=40.0)),
        ("distribution", Behaviour(score=0.999)),
    ],
)
def test_each_guardrail_fails_on_what_it_guards(metric: str, new: Behaviour) -> None:
    rail = next(rail for rail in RAILS if rail.metric == metric)
    found = world(deployment(Guardrail(metric, rail.limit)), share=0.5)
    found.serve(120, new=new)
    assert found.verdicts[-1].guardrails == FAIL
    assert found.evidence(metric).verdict == FAIL


BOUNDS = [
    ("errors", Behaviour(fails=Raised("ValueError: no")), r"its share is over 0.02 above its control's, 97.5 % sure"),
    ("invalid_scores", Behaviour(fails=InvalidScore("it is NaN")), r"its share is over 0.01 above its control's, 97.5 % sure"),
    ("degraded", Behaviour(fails=Hung("it did not end")), r"its share is over 0.05 above its control's, 97.5 % sure"),
    ("distribution", Behaviour(score=0.999), r"its scores' distribution lies over 0.5 from its control's, 97.5 % sure"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "new", "bound"), BOUNDS, ids=[metric for metric, _, _ in BOUNDS])
def test_what_failed_is_described_by_the_bound_that_was_crossed(metric: str, new: Behaviour, bound: str) -> None:
    rail = next(rail for rail in RAILS if rail.metric == metric)
    found = world(deployment(Guardrail(metric, rail.limit)), share=0.5)
    found.serve(120, new=new)
    evidence = found.evidence(metric)
    assert evidence.bound == bound
    assert evidence_text(evidence) == f"{metric}: {bound} ({evidence.detail})"


def test_a_version_that_is_slow_now_and_then_is_not_described_as_within_its_limit() -> None:
    found = world(deployment(Guardrail("latency", 3.0)), share=0.5)
    for n in range(300):
        found.serve(1, new=Behaviour(took_ms=20.0 if n % 3 == 0 else 0.5))
    evidence = found.evidence("latency")
    assert evidence.verdict == FAIL
    assert evidence.measured is not None
    assert evidence.measured < 3
    assert evidence_text(evidence).startswith(
        "latency: it takes over 3 times as long as its control in over 10% of calls, less those the other way, 97.5 % sure ("
    )
    assert "over 3 times as long in 100 of them, its control in 0" in evidence.detail


def test_failures_in_a_row_are_described_as_such() -> None:
    found = world(deployment(Guardrail("errors", 1.0, consecutive=20)), share=0.5)
    found.serve(38)
    found.serve(60, new=Behaviour(fails=Raised("ValueError: no")))
    assert found.evidence("errors").bound.endswith("in a row failed beside a healthy control, 20 end it")


def test_a_good_version_passes_every_guardrail_and_is_shown_to_be_no_worse() -> None:
    found = world()
    found.serve(60 * 24 * 3)
    last = found.verdicts[-1]
    assert {e.metric: e.verdict for e in last.evidence if e.kind == "guardrail"} == dict.fromkeys(
        ("errors", "invalid_scores", "latency", "degraded", "distribution", "sample_ratio"), PASS
    )
    assert (last.guardrails, last.labels) == (PASS, PASS)
    assert {e.bound for e in last.evidence} == {""}
    assert last.step_decisions == last.decisions > 20


def test_a_version_that_is_sure_of_nothing_true_fails_by_its_labels_and_the_evidence_names_the_block() -> None:
    found = world(deployment(Guardrail("errors", 0.02)))
    found.serve(60 * 24, new=Behaviour(score=0.95))
    first = next(verdict for verdict in found.verdicts if verdict.labels == FAIL)
    gross = next(e for e in first.evidence if e.verdict == FAIL)
    assert first.guardrails == PASS
    assert (gross.metric, gross.limit, gross.alpha) == ("gross", 0.1, pytest.approx(0.0025))
    assert (gross.measured or 0) > 0.1
    assert gross.bound == "its Brier score is over 0.1 above its control's, 99.75 % sure"
    assert (gross.e_value or 0) >= 1 / (gross.alpha or 1)
    assert (gross.block_to_s or 0) - (gross.block_from_s or 0) == HOUR
    assert 100 <= gross.rows <= 240


def test_what_strikes_both_arms_alike_is_not_held_against_the_new_one() -> None:
    found = world(deployment(Guardrail("errors", 0.02), Guardrail("latency", 3.0)))
    for _ in range(5):
        found.serve(100)
        found.serve(60, new=Behaviour(fails=Raised("MemoryError")), old=Behaviour(fails=Raised("MemoryError")))
        found.serve(40, new=Behaviour(took_ms=500), old=Behaviour(took_ms=500))
    assert FAIL not in {verdict.guardrails for verdict in found.verdicts}


def test_a_dry_run_is_described_and_has_no_effect() -> None:
    found = world(deployment(Guardrail("errors", 0.02, consecutive=5, dry_run=True), Guardrail("degraded", 1.0)))
    found.serve(300, new=Behaviour(fails=Raised("ValueError: no")))
    assert found.evidence("errors").detail.endswith("dry run: would be FAIL")
    assert FAIL not in {verdict.guardrails for verdict in found.verdicts}


def test_requests_in_shadow_count_for_errors_and_nobody_is_degraded() -> None:
    found = world(share=0.0)
    found.serve(40, new=Behaviour(fails=Raised("ValueError: no")))
    assert found.evidence("errors").verdict == FAIL
    assert found.evidence("degraded").verdict == UNMEASURED


def test_failures_of_shadows_that_were_spared_under_load_do_not_count() -> None:
    found = world(deployment(Guardrail("errors", 0.02, consecutive=5)), share=0.0)
    found.serve(200, new=Behaviour(fails=Shed("shadows do not score along")))
    assert found.evidence("errors").verdict == UNMEASURED
    assert found.evidence("level").verdict == UNMEASURED


def test_units_that_are_not_split_as_the_route_says_hold_the_share() -> None:
    found = world()
    found.share = 0.4
    found.serve(600)
    assert found.evidence("sample_ratio").verdict == INCONCLUSIVE
    assert found.verdicts[-1].guardrails == INCONCLUSIVE


def test_a_version_that_fails_where_it_is_hard_gains_nothing_by_it() -> None:
    found = world(deployment(Guardrail("errors", 1.0)))
    found.serve(60 * 24 * 4, new=Behaviour(fails=Raised("it cannot")))
    assert next(v for v in found.verdicts if v.labels == FAIL)


def test_labels_give_no_evidence_before_their_delay_is_over() -> None:
    found = world()
    found.serve(60 * 2 + 50)
    assert {verdict.label_count for verdict in found.verdicts} == {0}
    found.serve(20)
    assert (found.verdicts[-1].label_count, found.verdicts[-1].blocks) == (60, 1)


def test_a_verdict_is_given_when_a_step_has_its_least_decisions_and_its_time() -> None:
    found = world(deployment(Guardrail("degraded", 0.05), step="30m"))
    found.serve(400)
    counts = [verdict.step_decisions for verdict in found.verdicts]
    clocks = [verdict.clock_s for verdict in found.verdicts]
    assert any(20 <= count < 25 for count in counts)
    assert any(1800 <= clock_s < 1800 + 600 for clock_s in clocks)
    assert all(later - former <= HOUR for former, later in pairwise(clocks))


def test_silence_is_broken_when_the_shell_asks_for_it() -> None:
    found = world()
    found.serve(20)
    assert found.look() is None
    assert found.look(is_silent=True) is not None


def test_a_promoted_version_is_judged_until_the_rollback_window_is_over() -> None:
    found = world(deployment(*RAILS, rollback_window="6h"))
    found.serve(60)
    found.analysis.on_completed(RolloutCompleted("d", "r1", NEW, found.at_s))
    found.share = 1.0
    found.serve(30, new=Behaviour(fails=Raised("ValueError: no")))
    assert found.verdicts[-1].guardrails == FAIL
    found.serve(60 * 7)
    assert found.analysis.state.ended


def test_a_restart_goes_on_with_the_same_verdicts() -> None:
    straight, broken = world(), world()
    straight.serve(60 * 30, new=Behaviour(score=0.6))
    made = broken.serve(60 * 17 + 13, new=Behaviour(score=0.6))
    broken.analysis = restarted(broken, made)
    broken.serve(60 * 30 - len(made), new=Behaviour(score=0.6))
    assert [stable(v) for v in broken.verdicts] == [stable(v) for v in straight.verdicts]


def restarted(found: World, made: Iterable[DecisionMade]) -> RolloutAnalysis:
    """From its memory, as it lies on the topic, and the log from where it asks to read again."""
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(found.analysis.memory({})), type=type(found.analysis.state))
    analysis = RolloutAnalysis(found.analysis.deployment, memory)
    for unit, value, known_s in found.outcomes:  # read again
        analysis.add_outcome(KnownOutcome(unit, value, known_s))
    from_s = analysis.open_from_s
    assert from_s is not None
    analysis.take([Seen("decisions/0", d.request_offset, d) for d in made if d.at_s >= from_s])
    return analysis


def stable(verdict: VerdictGiven) -> VerdictGiven:
    """Without the split of units, which is counted anew after a restart."""
    kept = tuple(e for e in verdict.evidence if e.metric != "sample_ratio")
    return msgspec.structs.replace(verdict, evidence=kept)


def test_a_rollout_without_a_bounded_score_or_a_control_has_the_reason_why_no_label_judges_it() -> None:
    number = msgspec.structs.replace(deployment(), label=LabelDefinition("y", "number", HOUR))
    started = RolloutStarted("d", "r1", NEW, "canary", "", number.rollout, OLD, clock_s=0.0)
    for found, fact, why in (
        (number, started, why_no_rollout_verdict(number.label)),
        (msgspec.structs.replace(number, label=None), started, "no label is declared"),
        (deployment(), msgspec.structs.replace(started, control=None), "there is no control to compare with"),
    ):
        (verdict,) = begin(found, fact).look(0.0).facts
        level = next(evidence for evidence in verdict.evidence if evidence.metric == "level")
        assert (verdict.labels, verdict.unlabelled, level.detail) == (UNMEASURED, True, why)
