"""Compiles a declared rollout policy to its plan. Wrong ones are refused with the way out."""

from collections.abc import Sequence

from msgspec.structs import replace

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.project.deployments import ABTest, BlueGreen, Canary, Guardrail, Rollout, Shadow
from headrace.project.rules import rollout_rules
from headrace.project.rules.sentences import at

WEEK_S = 604_800.0


def compile_rollout(deployment: str, found: Rollout, horizon_s: float | None = None) -> d.RolloutDefinition:
    """The plan of a policy. `horizon_s`: of the label, None without one. Raises `Misconfigured`, which names the
    deployment and the way out.
    """
    if found.approval not in (True, False, "another"):
        given = f"approval must be True, False or 'another', got {str(found.approval)[:80]!r}"
        raise Misconfigured(f"deployment {deployment[:80]}: rollout {given}")
    plan = _plan(found, horizon_s or 0.0)
    for sentence in at(("rollout",), rollout_rules(deployment, plan)):
        raise Misconfigured(sentence)
    return plan


def _plan(found: Rollout, horizon_s: float) -> d.RolloutDefinition:
    shared = d.RolloutDefinition(
        "shadow",
        alpha=found.alpha,
        margin=found.margin,
        ranking_limit=found.ranking_limit,
        season_s=None if found.season is None else seconds(found.season),
        min_cycles=found.min_cycles,
        block_s=seconds(found.block),
        label_delay_s=None if found.label_delay is None else seconds(found.label_delay),
        missing=found.missing,
        silence_s=seconds(found.silence),
        give_up_s=seconds(found.give_up_after),
        approval=found.approval is not False,
        approval_by_another=found.approval == "another",
        guardrails=_guardrails(found.guardrails),
    )
    return _special(found, shared, horizon_s)


def _special(found: Rollout, shared: d.RolloutDefinition, horizon_s: float) -> d.RolloutDefinition:
    match found:
        case BlueGreen():
            return replace(
                shared,
                policy="blue_green",
                shadow_previous=found.shadow_previous,
                rollback_window_s=_window_s(found.rollback_window, horizon_s),
            )
        case Canary():
            return replace(
                shared,
                policy="canary",
                shares=tuple(found.shares),
                step_s=seconds(found.step),
                min_decisions=found.min_decisions,
                shadow_first_s=seconds(found.shadow_first),
                without_labels=found.without_labels,
                rollback_window_s=_window_s(found.rollback_window, horizon_s),
            )
        case ABTest():
            return replace(
                shared,
                policy="ab_test",
                shares=(found.share,),
                duration_s=seconds(found.duration),
                winner=found.winner,
                rollback_window_s=_window_s(found.rollback_window, horizon_s),
            )
        case Shadow():
            return replace(shared, duration_s=seconds(found.duration))


def _window_s(declared: str | float | None, horizon_s: float) -> float:
    """The rollback window: by default a week of labels, the first of which come a horizon after the switch."""
    return horizon_s + WEEK_S if declared is None else seconds(declared)


def _guardrails(found: Sequence[Guardrail]) -> tuple[d.GuardrailDefinition, ...]:
    return tuple(d.GuardrailDefinition(g.metric, g.limit, g.consecutive, g.dry_run) for g in found)
