"""A rollout, whole: every field of its view, its row of evidence, and its line in the table."""

import pytest
from msgspec import to_builtins
from msgspec.structs import replace
from services.console.tests.known import Known

from headrace.events.definition import GuardrailDefinition, RolloutDefinition
from headrace.events.registry import (
    ApprovalAwaited,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    RolloutStarted,
)
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.testing.registry import version_of
from headrace_console.core.documents import EvidenceRow, RolloutBrief
from headrace_console.core.rollouts import at_of, brief_of, steps_of

GUARD = GuardrailDefinition("errors", 0.02, dry_run=True)
PLAN = RolloutDefinition("canary", shares=(0.05, 0.25, 1.0), min_decisions=100, min_cycles=14, guardrails=(GUARD,))
STARTED = RolloutStarted("d", "r1", 2, "canary", "better", PLAN, 1, "anna")
STEP = RolloutAdvanced("d", "r1", 2, "canary", 0.25, 1, 5.0)
PAUSED, UNJUDGED = (RolloutPaused("d", "r1", 2, "wait", unjudged=unjudged) for unjudged in (False, True))
ERRORS = Evidence("errors", "guardrail", "PASS", 0.01, 0.02, "1 of 100", 100, 3, alpha=0.04, bound="b")
LEVEL = Evidence("level", "label", "PASS", 0.0, 0.01, "", 900, 14)
VERDICT = VerdictGiven(
    "d", "r1", 2, 1, "PASS", "UNMEASURED", 9.0, 70, 80, 60, 3, (ERRORS, LEVEL), "decisions", cycles=14
)


def known(*facts: object) -> Known:
    return Known().champion().facts(version_of(2), STARTED, *facts)


def test_the_view_of_a_running_rollout_is_whole() -> None:
    found = known(STEP).take("monitor.verdicts", VERDICT).document("deployment/d")["rollout"]
    offers, evidence = found.pop("offers"), found.pop("evidence")
    assert [offer["act"] for offer in offers] == ["pause", "promote", "abort"]
    assert sorted(evidence) == ["errors", "level"]
    assert found == {
        "id": "r1", "version": 2, "control": 1, "policy": "canary", "state": "canary", "steps": (0.05, 0.25, 1.0), "at": 1,
        "share": 0.25, "since_s": 5.0, "clock_s": 9.0, "guardrails": "PASS", "labels": "UNMEASURED", "step_decisions": 70,
        "label_count": 60, "cycles": 14, "waits_for": "requests: 70 of 100 decisions", "outcome": "", "reason": "better",
        "place": "registry.facts/0/6", "by": "anna", "history": {"errors": ((9.0, 0.01),), "level": ((9.0, 0.0),)},
    }  # fmt: skip


def test_without_a_verdict_nothing_is_claimed() -> None:
    found = known(STEP).document("deployment/d")["rollout"]
    assert (found["guardrails"], found["labels"], found["clock_s"], found["evidence"], found["history"]) == (
        "",
        "",
        None,
        {},
        {},
    )
    assert (found["step_decisions"], found["label_count"], found["cycles"], found["waits_for"]) == (0, 0, 0, "")
    clockless = (
        known(STEP).take("monitor.verdicts", replace(VERDICT, has_clock=False)).document("deployment/d")["rollout"]
    )
    assert (clockless["clock_s"], clockless["history"]) == (None, {})


def test_a_row_of_evidence_is_whole() -> None:
    found = known(STEP).take("monitor.verdicts", VERDICT).document("deployment/d")["rollout"]["evidence"]
    row = EvidenceRow("errors", "guardrail", "PASS", 0.01, 0.02, "", 100, 3, 0.04, "b", "1 of 100", True)
    assert found["errors"] == to_builtins(row)
    assert (found["level"]["needs"], found["level"]["is_dry_run"]) == ("", False)


@pytest.mark.parametrize(
    ("rows", "cycles", "needs"), [(99, 13, ("100 decisions, 99", "14 cycles, 13")), (100, 14, ("", ""))]
)
def test_what_is_missing_stands_beside_what_is_there(rows: int, cycles: int, needs: tuple[str, str]) -> None:
    verdict = replace(
        VERDICT, evidence=(replace(ERRORS, rows=rows), LEVEL, replace(LEVEL, metric="ranking")), cycles=cycles
    )
    found = known(STEP).take("monitor.verdicts", verdict).document("deployment/d")["rollout"]["evidence"]
    assert (found["errors"]["needs"], found["level"]["needs"], found["ranking"]["needs"]) == (*needs, "")


@pytest.mark.parametrize(
    ("facts", "state", "mark"),
    [
        ((), "warming", "ok"), ((STEP,), "canary", "ok"), ((STEP, PAUSED), "paused", "attention"),
        ((STEP, UNJUDGED), "unjudged", "attention"), ((STEP, PAUSED, RolloutResumed("d", "r1", 2, "on")), "canary", "ok"),
        ((STEP, ApprovalAwaited("d", "r1", 2, "no label")), "awaits approval", "attention"),
    ],
)  # fmt: skip
def test_a_line_of_the_table(facts: tuple, state: str, mark: str) -> None:
    share = 0.25 if STEP in facts else 0.0
    assert brief_of(known(*facts).world.releases.entry("d")) == RolloutBrief(2, "canary", state, share, mark)


def test_what_is_queued_is_a_line_too_and_nothing_is_none() -> None:
    queued = Known().champion().facts(version_of(2), RolloutQueued("d", 2, "waits", "trainer"))
    assert brief_of(queued.world.releases.entry("d")) == RolloutBrief(2, "", "queued", 0.0, "ok")
    assert brief_of(Known().champion().world.releases.entry("d")) is None


def test_a_promoted_rollout_is_at_its_end() -> None:
    found = known(STEP, RolloutCompleted("d", "r1", 2, 9.0, reason="all passed")).document("deployment/d")["rollout"]
    assert (found["outcome"], found["state"], found["at"], found["reason"]) == ("promoted", "promoted", 3, "all passed")


@pytest.mark.parametrize(
    ("facts", "harmful", "outcome", "at"),
    [
        ((), True, "rolled_back", 0), ((STEP,), True, "rolled_back", 1), ((STEP,), False, "aborted", 1),
    ],
)  # fmt: skip
def test_a_rollout_that_did_harm_was_rolled_back_where_it_ended(
    facts: tuple, harmful: bool, outcome: str, at: int
) -> None:
    known_ = known(*facts, RolloutAborted("d", "r1", 2, "errors", harmful=harmful))
    found = known_.document("deployment/d")["rollout"]
    word = outcome.replace("_", " ")
    assert (found["outcome"], found["state"], found["at"], found["waits_for"]) == (outcome, word, at, "")
    assert [mark["text"] for mark in known_.document("series/d")["marks"].values()][-1] == f"version 2 {word}"


@pytest.mark.parametrize(
    ("policy", "shares", "shadow_first_s", "steps"),
    [
        ("canary", (0.1, 1.0), 0.0, (0.1, 1.0)), ("canary", (0.1, 1.0), 9.0, (0.0, 0.1, 1.0)), ("ab_test", (0.5,), 0.0, (0.5,)),
        ("shadow", (), 0.0, (0.0,)), ("blue_green", (), 0.0, (1.0,)), ("blue_green", (), 9.0, (0.0, 1.0)),
    ],
)  # fmt: skip
def test_the_steps_of_a_policy(policy: str, shares: tuple, shadow_first_s: float, steps: tuple) -> None:
    assert steps_of(RolloutDefinition(policy, shares=shares, shadow_first_s=shadow_first_s)) == steps


def test_the_current_step_follows_the_share() -> None:
    places = [at_of(known(*facts).world.releases.entry("d").rollout, (0.05, 0.25, 1.0), "") for facts in ((), (STEP,))]
    assert places == [0, 1]


@pytest.mark.parametrize(
    ("evidence", "verdict", "needs"),
    [
        (replace(ERRORS, verdict="INCONCLUSIVE"), VERDICT, "more requests"),
        (Evidence("ranking", "label", "UNMEASURED", 0.1, 0.15, "", 80), VERDICT, "more labels"),
        (Evidence("level", "label", "UNMEASURED"), replace(VERDICT, cycles=2), "14 cycles, 2"),
        (Evidence("level", "label", "UNMEASURED"), replace(VERDICT, cycles=0, unlabelled=True), ""),
        (replace(LEVEL, verdict="FAIL"), replace(VERDICT, cycles=2), ""),
    ],
)
def test_what_is_not_judged_yet_needs_more_unless_nothing_can_come(
    evidence: Evidence, verdict: VerdictGiven, needs: str
) -> None:
    found = known(STEP).take("monitor.verdicts", replace(verdict, evidence=(evidence,)))
    assert found.document("deployment/d")["rollout"]["evidence"][evidence.metric]["needs"] == needs


def test_a_rollout_that_is_over_needs_nothing() -> None:
    short = replace(VERDICT, evidence=(Evidence("level", "label", "UNMEASURED"),), cycles=2)
    found = known(STEP).take("monitor.verdicts", short).facts(RolloutAborted("d", "r1", 2, "enough"))
    assert found.document("deployment/d")["rollout"]["evidence"]["level"]["needs"] == ""
