"""Rollouts whose durations and limits agree with each other and with the label."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.wording import duration
from headrace.project.labels import why_no_rollout_verdict
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
    yield from _ends(what, plan)
    yield from _demanded(what, found)
    yield from _guardrails(what, plan)


def _ends(what: str, plan: d.RolloutDefinition) -> Iterator[Sentence]:
    """A rollout that would be given up before it could end well."""
    give_up, place = f"give_up_after {duration(plan.give_up_s)}", ("rollout", "give_up_after")
    least_s = plan.shadow_first_s + (len(plan.shares) - 1) * plan.step_s
    if plan.policy == "canary" and least_s > plan.give_up_s:
        problem = f"shadow_first and its steps take {duration(least_s)} at the least, longer than {give_up}"
        yield Sentence(f"{what}: rollout {problem}", ("rollout", "step"), place, ("rollout", "shadow_first"))
    if plan.policy == "ab_test" and plan.winner == "hand" and plan.duration_s > plan.give_up_s:
        problem = f"duration {duration(plan.duration_s)} is longer than {give_up}"
        yield Sentence(f"{what}: rollout {problem}", ("rollout", "duration"), place)


def _demanded(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """A plan whose version takes all traffic by what labels show, where they can never show it in time."""
    plan, why = found.rollout, why_no_rollout_verdict(found.label)
    is_ruled = plan.policy == "ab_test" and plan.winner == "rule"
    if why is not None and is_ruled:
        problem = f"winner='rule' needs labels that can show a version to be better, and {why}: use winner='hand'"
        yield Sentence(f"{what}: rollout {problem}", ("rollout", "winner"))
    if why is not None or not (is_ruled or plan.policy == "canary"):
        return
    limit, limit_s = ("duration", plan.duration_s) if is_ruled else ("give_up_after", plan.give_up_s)
    least_s = first_pass_s(found)
    if least_s > limit_s:
        problem = (
            f"min_cycles ({cycles(plan)}) and label_delay (or the label's horizon) take {duration(least_s)},"
            f" longer than {limit} {duration(limit_s)}: labels could never show a version to be no worse"
        )
        yield Sentence(f"{what}: rollout {problem}", ("rollout", "min_cycles"), ("rollout", limit), ("rollout",))


def first_pass_s(found: d.DeploymentDefinition) -> float:
    """The least event time from the first step of a rollout to labels that are PASS, in seconds."""
    return found.rollout.min_cycles * found.rollout.cycle_s + found.rollout.delay_s(found.label)


def cycles(plan: d.RolloutDefinition) -> str:
    """The least cycles of labels of a plan, as text: `14 cycles of 1d`."""
    return f"{plan.min_cycles:,} cycles of {duration(plan.cycle_s)}"


def _guardrails(what: str, plan: d.RolloutDefinition) -> Iterator[Sentence]:
    seen: set[str] = set()
    for number, rail in enumerate(plan.guardrails):
        place, subject = ("rollout", "guardrails", number), f"{what}: rollout guardrail {rail.metric}"
        if rail.metric in seen:
            yield Sentence(f"{subject} is declared twice", place)
        seen.add(rail.metric)
        if rail.metric in _SHARES and rail.limit >= 1:
            yield Sentence(f"{subject}: limit is a share below 1, got {rail.limit:g} (percent?)", (*place, "limit"))
        if rail.metric == "rank_correlation" and rail.limit >= 1:
            yield Sentence(f"{subject}: limit is a correlation below 1, got {rail.limit:g}", (*place, "limit"))
        if rail.metric == "latency" and rail.limit < 1:
            yield Sentence(
                f"{subject}: limit is a factor of the control's, at least 1, got {rail.limit:g}", (*place, "limit")
            )
