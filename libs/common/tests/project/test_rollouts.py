"""Rollout policies as declared, and the plans that they compile to."""

import pytest

from headrace.errors import Misconfigured
from headrace.events.definition import GuardrailDefinition, RolloutDefinition
from headrace.project import (
    ABTest,
    Binary,
    BlueGreen,
    Canary,
    Deployment,
    Guardrail,
    Number,
    Project,
    Regression,
    Shadow,
)
from headrace.project.applicable import refusals
from headrace.project.compile import compile_project
from headrace.project.deployments import GUARDRAILS
from headrace.project.fields import LabelKind


def plan(rollout: BlueGreen | Canary | ABTest | Shadow) -> RolloutDefinition:
    deployment = Deployment("d", "unit", [Number("x")], rollout=rollout)
    return compile_project(Project("p", [deployment])).deployments[0].rollout


USUAL = tuple(GuardrailDefinition(rail.metric, rail.limit, rail.consecutive) for rail in GUARDRAILS)


@pytest.mark.parametrize(
    ("given", "found"), [(False, (False, False)), (True, (True, False)), ("another", (True, True))]
)
def test_an_approval_may_be_demanded_of_another_than_the_author(given: bool | str, found: tuple[bool, bool]) -> None:
    declared = plan(Canary(approval=given))
    assert (declared.approval, declared.approval_by_another) == found


def test_blue_green_is_the_default_with_the_usual_guardrails_and_a_week_of_labels_after_their_horizon() -> None:
    bare = compile_project(Project("p", [Deployment("d", "unit", [Number("x")])])).deployments[0]
    assert bare.rollout == RolloutDefinition("blue_green", True, guardrails=USUAL, rollback_window_s=7 * 86_400.0)
    labelled = Deployment("d", "unit", [Number("x")], label=Binary("y", "12h"))
    found = compile_project(Project("p", [labelled])).deployments[0]
    assert found.rollout.rollback_window_s == 7.5 * 86_400.0
    assert plan(BlueGreen(rollback_window="1d")).rollback_window_s == 86_400.0


def test_durations_become_seconds_and_guardrails_are_included() -> None:
    found = plan(Canary(shares=[0.1, 1], step="2h", shadow_first="1d", guardrails=[Guardrail("errors", 0.1, 5, True)]))
    assert (found.policy, found.shares, found.step_s, found.shadow_first_s) == ("canary", (0.1, 1), 7200.0, 86_400.0)
    assert found.guardrails == (GuardrailDefinition("errors", 0.1, 5, True),)
    assert (plan(ABTest(share=0.2)).shares, plan(Shadow(duration="1h")).duration_s) == ((0.2,), 3600.0)


@pytest.mark.parametrize(
    ("rollout", "reason"),
    [
        (Canary(shares=[1, 5, 100]), r"shares must lie in 0..1, got .* \(percent\?\)"),
        (Canary(shares=[0.5, 0.9]), "shares must end with 1"),
        (Canary(shares=[0.5, 0.1, 1]), "shares must grow"),
        (Canary(shares=[1]), "shares must have a step below 1; use BlueGreen"),
        (Canary(alpha=5), "alpha must lie between 0 and 1"),
        (Canary(margin=-1), "margin must not be negative"),
        (Canary(silence=0), "silence must be at least 0.001 s"),
        (Canary(without_labels="hope"), "without_labels must be 'approval' or 'promote', got 'hope'"),
        (Canary(give_up_after=0), "give_up_after must be at least 1 s"),
        (Canary(season="90m"), "season must be a multiple of block, got 5400 s and 3600 s"),
        (BlueGreen(min_cycles=4), r"min_cycles must lie in 5\.\.500, got 4"),
        (BlueGreen(ranking_limit=0), "ranking_limit must lie between 0 and 1, got 0"),
        (ABTest(share=1.0), "share must be below 1"),
        (Canary(approval="four eyes"), "approval must be True, False or 'another', got 'four eyes'"),
        (ABTest(winner="me"), "winner must be 'rule' or 'hand'"),
        (Shadow(guardrails=[Guardrail("mood", 1)]), "guardrails know errors, .*, got mood"),
    ],
)
def test_an_invalid_policy_is_refused_with_the_way_out(rollout: Canary, reason: str) -> None:
    with pytest.raises(Misconfigured, match=f"deployment d: rollout {reason}"):
        plan(rollout)


def refused(rollout: BlueGreen | Canary | ABTest | Shadow, label: LabelKind | None) -> list[tuple[str, set[str]]]:
    """What `apply` refuses of a rollout: the sentence and the arguments that it names."""
    deployment = Deployment("d", "unit", [Number("x")], rollout=rollout, label=label)
    found = refusals(compile_project(Project("p", [deployment])))
    return [(str(one), {str(place[-1]) for place in one.places}) for one in found]


Y, PRICE = Binary("y", "1d"), Regression("price", 0, 9, "1d")
NEVER = "labels could never show a version to be no worse"


@pytest.mark.parametrize(
    ("rollout", "label", "reason", "names"),
    [
        (
            Canary(season="7d"),
            Y,
            f"min_cycles (14 cycles of 7d) and label_delay (or the label's horizon) take 99d, longer than give_up_after 60d: {NEVER}",
            {"min_cycles", "give_up_after"},
        ),
        (
            Canary(give_up_after="15d", label_delay="25h"),
            Binary("y", "2d"),
            f"min_cycles (14 cycles of 1d) and label_delay (or the label's horizon) take 361h, longer than give_up_after 15d: {NEVER}",
            {"min_cycles", "give_up_after"},
        ),
        (
            Canary(season=None, min_cycles=500, give_up_after="20d"),
            PRICE,
            "min_cycles (500 cycles of 1h) and label_delay (or the label's horizon) take 524h, longer than give_up_after"
            f" 20d: {NEVER}",
            {"min_cycles", "give_up_after"},
        ),
        (
            ABTest(winner="rule", duration="14d"),
            Y,
            f"min_cycles (14 cycles of 1d) and label_delay (or the label's horizon) take 15d, longer than duration 14d: {NEVER}",
            {"min_cycles", "duration"},
        ),
        (
            ABTest(winner="rule"),
            None,
            "winner='rule' needs labels that can show a version to be better, and no label is declared: use winner='hand'",
            {"winner"},
        ),
        (
            Canary(step="21d"),
            None,
            "shadow_first and its steps take 63d at the least, longer than give_up_after 60d",
            {"step", "give_up_after", "shadow_first"},
        ),
        (
            ABTest(duration="61d"),
            None,
            "duration 61d is longer than give_up_after 60d",
            {"duration", "give_up_after"},
        ),
    ],
)
def test_a_plan_that_can_never_end_well_is_refused_with_its_arguments(
    rollout: Canary | ABTest, label: LabelKind | None, reason: str, names: set[str]
) -> None:
    ((sentence, places),) = refused(rollout, label)
    assert sentence == f"deployment d: rollout {reason}"
    assert names <= places


@pytest.mark.parametrize(
    ("rollout", "label"),
    [
        (Canary(season="7d"), None),
        (Canary(give_up_after="15d"), Y),
        (ABTest(winner="rule", duration="15d"), PRICE),
        (ABTest(duration="14d"), Y),
        (Shadow(duration="1d"), Y),
        (BlueGreen(season="7d"), Y),
    ],
)
def test_a_plan_that_can_end_or_demands_nothing_of_labels_is_not(
    rollout: BlueGreen | Canary | ABTest | Shadow, label: LabelKind | None
) -> None:
    assert refused(rollout, label) == []
