"""Compiles a declared rollout policy to its plan. Wrong ones are refused with the way out."""

from collections.abc import Sequence

from msgspec.structs import replace

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.project.deployments import ABTest, BlueGreen, Canary, Guardrail, Rollout, Shadow
from headrace.project.rules import rollout_rules
from headrace.project.rules.sentences import at


def compile_rollout(deployment: str, found: Rollout) -> d.RolloutDefinition:
    """The plan of a policy. Raises `Misconfigured`, which names the deployment and the way out."""
    plan = _plan(found)
    for sentence in at(("rollout",), rollout_rules(deployment, plan)):
        raise Misconfigured(sentence)
    return plan


def _plan(found: Rollout) -> d.RolloutDefinition:
    guardrails = _guardrails(found.guardrails)
    if isinstance(found, BlueGreen):
        return d.RolloutDefinition(
            "blue_green",
            found.shadow_previous,
            rollback_window_s=seconds(found.rollback_window),
            approval=found.approval,
            guardrails=guardrails,
        )
    shared = d.RolloutDefinition(
        "shadow",
        alpha=found.alpha,
        margin=found.margin,
        block_s=seconds(found.block),
        label_delay_s=None if found.label_delay is None else seconds(found.label_delay),
        silence_s=seconds(found.silence),
        approval=found.approval,
        guardrails=guardrails,
    )
    return _special(found, shared)


def _special(found: Canary | ABTest | Shadow, shared: d.RolloutDefinition) -> d.RolloutDefinition:
    match found:
        case Canary():
            return replace(
                shared,
                policy="canary",
                shares=tuple(found.shares),
                step_s=seconds(found.step),
                min_decisions=found.min_decisions,
                shadow_first_s=seconds(found.shadow_first),
                rollback_window_s=seconds(found.rollback_window),
            )
        case ABTest():
            return replace(
                shared,
                policy="ab_test",
                shares=(found.share,),
                duration_s=seconds(found.duration),
                winner=found.winner,
                rollback_window_s=seconds(found.rollback_window),
            )
        case Shadow():
            return replace(shared, duration_s=seconds(found.duration))


def _guardrails(found: Sequence[Guardrail]) -> tuple[d.GuardrailDefinition, ...]:
    return tuple(d.GuardrailDefinition(g.metric, g.limit, g.consecutive, g.dry_run) for g in found)
