"""Rollouts whose durations and limits agree with each other and with the label."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.wording import duration
from headrace.project.rules.sentences import Sentence

_SHARES = ("errors", "invalid_scores", "degraded", "distribution")


def rollout_refusals(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """Refusals that concern the rollout of one deployment."""
    plan, label = found.rollout, found.label
    if plan.label_delay_s is not None:
        place = ("rollout", "label_delay")
        if label is None:
            yield Sentence(f"{what}: rollout label_delay needs a label", place)
        elif plan.label_delay_s > label.horizon_s:
            problem = f"{duration(plan.label_delay_s)} is longer than the label's horizon {duration(label.horizon_s)}"
            yield Sentence(f"{what}: rollout label_delay {problem}: no label comes after that", place)
    if plan.policy in ("ab_test", "shadow") and plan.block_s > plan.duration_s:
        problem = (
            f"block {duration(plan.block_s)} is longer than its duration {duration(plan.duration_s)}: none would close"
        )
        yield Sentence(f"{what}: rollout {problem}", ("rollout", "block"), ("rollout", "duration"))
    yield from _guardrails(what, plan)


def _guardrails(what: str, plan: d.RolloutDefinition) -> Iterator[Sentence]:
    seen: set[str] = set()
    for number, rail in enumerate(plan.guardrails):
        place, subject = ("rollout", "guardrails", number), f"{what}: rollout guardrail {rail.metric}"
        if rail.metric in seen:
            yield Sentence(f"{subject} is declared twice", place)
        seen.add(rail.metric)
        if rail.metric in _SHARES and rail.limit >= 1:
            yield Sentence(f"{subject}: limit is a share below 1, got {rail.limit:g} (percent?)", (*place, "limit"))
        if rail.metric == "latency" and rail.limit < 1:
            yield Sentence(
                f"{subject}: limit is a factor of the control's, at least 1, got {rail.limit:g}", (*place, "limit")
            )
