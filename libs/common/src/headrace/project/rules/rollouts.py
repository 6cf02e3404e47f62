"""Rules of a rollout's plan: its policy, shares, durations and guardrails."""

import math
from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.sentences import Place, Sentence, at

METRICS = ("errors", "invalid_scores", "latency", "degraded", "distribution", "rank_correlation")
POLICIES = ("blue_green", "canary", "ab_test", "shadow")
MISSING, WITHOUT_LABELS = ("worst", "at_random"), ("approval", "promote")
# With fewer cycles their spread is not known; more than these are not kept.
MIN_CYCLES, MOST_CYCLES = 5, 500


def rollout_rules(deployment: str, plan: d.RolloutDefinition) -> Iterator[str]:
    """The rules of a rollout's plan that are broken."""
    what = f"{bounds.named('deployment', deployment)}: rollout"
    stranger = next((n for n, rail in enumerate(plan.guardrails) if rail.metric not in METRICS), None)
    exact: dict[str, Place] = {} if stranger is None else {"guardrails": ("guardrails", stranger)}
    for name, holds, otherwise in _of_plan(plan):
        if not holds:
            yield Sentence(f"{what} {otherwise}", exact.get(name, (name,)), (name,))
    for name, value, least_s in (
        ("step", plan.step_s, 0),
        ("shadow_first", plan.shadow_first_s, 0),
        ("block", plan.block_s, 1),
        ("label_delay", plan.label_delay_s, 0),
        ("duration", plan.duration_s, 1),
        ("silence", plan.silence_s, 0.001),
        ("give_up_after", plan.give_up_s, 1),
        *(() if plan.season_s is None else (("season", plan.season_s, 1),)),
        ("rollback_window", plan.rollback_window_s, 0),
    ):
        rule = bounds.seconds(bounds.named("deployment", deployment), f"rollout {name}", value, least_s)
        yield from at((name,), rule)
    for number, guardrail in enumerate(plan.guardrails):
        if not (0 <= guardrail.limit < math.inf and 0 <= guardrail.consecutive <= 1_000_000):
            here: Place = ("guardrails", number)
            is_limit = not 0 <= guardrail.limit < math.inf
            yield Sentence(
                f"{what} guardrail {guardrail.metric[:80]}: limit and consecutive must not be negative,"
                f" got {bounds.figure(guardrail.limit)} and {guardrail.consecutive}",
                (*here, "limit" if is_limit else "consecutive"),
            )


Rule = tuple[str, bool, str]


def _of_plan(plan: d.RolloutDefinition) -> list[Rule]:
    """Per rule: the argument, whether the rule holds, and the message otherwise."""
    return [*_of_judging(plan), *_of_season(plan), *_of_steps(plan), *_of_policy(plan)]


def _of_judging(plan: d.RolloutDefinition) -> list[Rule]:
    has_margin = plan.margin is None or 0 <= plan.margin <= 1
    has_cycles = MIN_CYCLES <= plan.min_cycles <= MOST_CYCLES
    cycles = f"min_cycles must lie in {MIN_CYCLES}..{MOST_CYCLES}, got {bounds.figure(plan.min_cycles)}"
    without = f"without_labels must be 'approval' or 'promote', got {plan.without_labels[:80]!r}"
    ranking = f"ranking_limit must lie between 0 and 1, got {plan.ranking_limit}"
    return [
        ("policy", plan.policy in POLICIES, f"knows {', '.join(POLICIES)}, got {plan.policy[:80]!r}"),
        ("alpha", 0 < plan.alpha < 1, f"alpha must lie between 0 and 1, got {plan.alpha}"),
        ("margin", has_margin, f"margin must not be negative and at most 1, got {plan.margin}"),
        ("ranking_limit", 0 < plan.ranking_limit < 1, ranking),
        ("min_cycles", has_cycles, cycles),
        ("missing", plan.missing in MISSING, f"missing must be 'worst' or 'at_random', got {plan.missing[:80]!r}"),
        ("without_labels", plan.without_labels in WITHOUT_LABELS, without),
        ("approval", plan.approval or not plan.approval_by_another, "approval_by_another needs approval"),
        ("winner", plan.winner in ("rule", "hand"), f"winner must be 'rule' or 'hand', got {plan.winner[:80]!r}"),
    ]


def _of_steps(plan: d.RolloutDefinition) -> list[Rule]:
    shares, strangers = plan.shares, sorted({rail.metric[:80] for rail in plan.guardrails} - set(METRICS))
    decisions = f"min_decisions must be at least 1, got {bounds.figure(plan.min_decisions)}"
    in_range = f"shares must lie in 0..1, got {str(shares)[:200]} (percent?)"
    return [
        ("min_decisions", 1 <= plan.min_decisions <= 10**9, decisions),
        ("shares", len(shares) <= 100, f"may have 100 steps, got {len(shares)}"),
        ("shares", all(0 < share <= 1 for share in shares), in_range),
        ("guardrails", not strangers, f"guardrails know {', '.join(METRICS)}, got {', '.join(strangers)}"),
        ("guardrails", len(plan.guardrails) <= 100, f"may have 100 guardrails, got {len(plan.guardrails)}"),
    ]


def _of_policy(plan: d.RolloutDefinition) -> list[Rule]:
    shares, shown = plan.shares, str(plan.shares)[:200]
    if plan.policy == "ab_test":
        is_one = len(shares) == 1 and all(share < 1 for share in shares)
        return [("share", is_one, f"share must be below 1, got {shown}")]
    if plan.policy != "canary":
        return []
    does_grow = list(shares) == sorted(set(shares))
    return [
        ("shares", bool(shares) and shares[-1] == 1, f"shares must end with 1, got {shown}"),
        ("shares", does_grow, f"shares must grow from step to step, got {shown}"),
        ("shares", len(shares) > 1, "shares must have a step below 1; use BlueGreen() to switch at once"),
    ]


def _of_season(plan: d.RolloutDefinition) -> list[Rule]:
    """A season is made of whole blocks."""
    if plan.season_s is None or not (plan.block_s > 0 and math.isfinite(plan.season_s)):
        return []
    blocks = plan.season_s / plan.block_s
    fits = round(blocks) >= 1 and abs(blocks - round(blocks)) < 1e-9
    return [("season", fits, f"season must be a multiple of block, got {plan.season_s:g} s and {plan.block_s:g} s")]
