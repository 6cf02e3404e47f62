"""Rollout policies as declared, and the plans that they compile to."""

import pytest

from headrace.errors import Misconfigured
from headrace.events.definition import GuardrailDefinition, RolloutDefinition
from headrace.project import ABTest, BlueGreen, Canary, Deployment, Guardrail, Number, Project, Shadow
from headrace.project.compile import compile_project


def plan(rollout: BlueGreen | Canary | ABTest | Shadow) -> RolloutDefinition:
    deployment = Deployment("d", "unit", [Number("x")], rollout=rollout)
    return compile_project(Project("p", [deployment])).deployments[0].rollout


def test_blue_green_is_the_default_and_compiles_to_what_it_always_was() -> None:
    compiled = compile_project(Project("p", [Deployment("d", "unit", [Number("x")])]))
    assert compiled.deployments[0].rollout == RolloutDefinition("blue_green", True)


def test_durations_become_seconds_and_guardrails_are_included() -> None:
    found = plan(Canary([0.1, 1], step="2h", shadow_first="1d", guardrails=[Guardrail("errors", 0.1, 5, True)]))
    assert (found.policy, found.shares, found.step_s, found.shadow_first_s) == ("canary", (0.1, 1), 7200.0, 86_400.0)
    assert found.guardrails == (GuardrailDefinition("errors", 0.1, 5, True),)
    assert (plan(ABTest(0.2)).shares, plan(Shadow("1h")).duration_s) == ((0.2,), 3600.0)


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
        (ABTest(share=1.0), "share must be below 1"),
        (ABTest(winner="me"), "winner must be 'rule' or 'hand'"),
        (Shadow(guardrails=[Guardrail("mood", 1)]), "guardrails know errors, .*, got mood"),
    ],
)
def test_an_invalid_policy_is_refused_with_the_way_out(rollout: Canary, reason: str) -> None:
    with pytest.raises(Misconfigured, match=f"deployment d: rollout {reason}"):
        plan(rollout)
