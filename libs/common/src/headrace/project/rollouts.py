"""From a declared rollout policy to its compiled plan: wrong ones are refused here, with what to change."""

from collections.abc import Sequence

from msgspec.structs import replace

from headrace.errors import Misconfigured
from headrace.project import definition as d
from headrace.project.deployments import ABTest, BlueGreen, Canary, Guardrail, Rollout, Shadow
from headrace.project.durations import seconds

METRICS = ("errors", "invalid_scores", "latency", "degraded", "distribution")


def compile_rollout(deployment: str, found: Rollout) -> d.RolloutDefinition:
    """The plan of a policy. Raises `Misconfigured` naming the deployment and the way out."""
    plan = _plan(found)
    _refuse(deployment, plan)
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


def _refuse(deployment: str, plan: d.RolloutDefinition) -> None:
    for holds, otherwise in _rules(plan):
        if not holds:
            raise Misconfigured(f"deployment {deployment}: rollout {otherwise}")


def _rules(plan: d.RolloutDefinition) -> list[tuple[bool, str]]:
    shares, strangers = plan.shares, sorted({g.metric for g in plan.guardrails} - set(METRICS))
    rules = [
        (0 < plan.alpha < 1, f"alpha must lie between 0 and 1, got {plan.alpha}"),
        (plan.margin >= 0, f"margin must not be negative, got {plan.margin}"),
        (plan.block_s > 0, f"block must be longer than nothing, got {plan.block_s} s"),
        (
            plan.label_delay_s is None or plan.label_delay_s >= 0,
            f"label_delay must not be negative, got {plan.label_delay_s} s",
        ),
        (plan.silence_s > 0, f"silence must be longer than nothing, got {plan.silence_s} s"),
        (all(0 < s <= 1 for s in shares), f"shares must lie in 0..1, got {shares} (percent?)"),
        (not strangers, f"guardrails know {', '.join(METRICS)}, got {', '.join(strangers)}"),
    ]
    if plan.policy == "canary":
        rules.append((bool(shares) and shares[-1] == 1, f"shares must end with 1, got {shares}"))
        rules.append((list(shares) == sorted(set(shares)), f"shares must grow from step to step, got {shares}"))
        rules.append((len(shares) > 1, "shares must have a step below 1; use BlueGreen() to switch at once"))
    if plan.policy == "ab_test":
        rules.append((all(s < 1 for s in shares), f"share must be below 1, got {shares[0]}"))
        rules.append((plan.winner in ("rule", "hand"), f"winner must be 'rule' or 'hand', got {plan.winner!r}"))
    return rules
