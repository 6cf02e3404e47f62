"""A rollout as people see it: its steps, its evidence with the limit beside each value, and what it waits for."""

from headrace.events.definition import RolloutDefinition
from headrace.events.verdicts import FAIL, PASS, Evidence, VerdictGiven
from headrace.evidence.rollouts import waits_for
from headrace.registry.state import PAUSED, RUNNING, UNJUDGED, WARMING, Ended, Entry, Rollout
from headrace_console.core.documents import EvidenceRow, Mark, Offer, RolloutBrief, RolloutView
from headrace_console.core.releases import Story

# Metrics of labels that count whole cycles of traffic.
_BY_CYCLES = ("level",)
_AWAITS, _QUEUED = "awaits approval", "queued"


def brief_of(entry: Entry) -> RolloutBrief | None:
    """The rollout in one line: the running one, else the version that waits for one; None for neither."""
    rollout = entry.rollout
    if rollout is not None:
        state = state_of(rollout, entry)
        return RolloutBrief(rollout.version, rollout.plan.policy, state, rollout.share, _mark(state))
    if entry.queued is not None:
        return RolloutBrief(entry.queued.version, "", _QUEUED, 0.0, "ok")
    return None


def state_of(rollout: Rollout, entry: Entry) -> str:
    """The state of a running rollout in one word or two."""
    if rollout.standing != RUNNING:
        return rollout.standing
    if rollout.awaits_approval and rollout.version not in entry.approvals:
        return _AWAITS
    return rollout.step


def _mark(state: str) -> Mark:
    return "attention" if state in (PAUSED, UNJUDGED, _AWAITS) else "ok"


def view_of(
    name: str, entry: Entry, story: Story, verdict: VerdictGiven | None, offers: tuple[Offer, ...]
) -> RolloutView | None:
    """The rollout of a deployment: the running one, else the one that ended last; None where there was none."""
    ended = entry.last if entry.rollout is None else None
    rollout = entry.rollout or (ended.rollout if ended else None)
    if rollout is None:
        return None
    steps = steps_of(rollout.plan)
    outcome = outcome_of(ended) if ended else ""
    waits = None if ended else waits_for(name, rollout, verdict, entry.approvals.get(rollout.version))
    return RolloutView(
        id=rollout.id,
        version=rollout.version,
        control=rollout.control,
        policy=rollout.plan.policy,
        state=outcome.replace("_", " ") if ended else state_of(rollout, entry),
        steps=steps,
        at=at_of(rollout, steps, ended.outcome if ended else ""),
        share=rollout.share,
        since_s=rollout.since_s,
        clock_s=verdict.clock_s if verdict is not None and verdict.has_clock else None,
        guardrails=verdict.guardrails if verdict is not None else "",
        labels=verdict.labels if verdict is not None else "",
        step_decisions=verdict.step_decisions if verdict is not None else 0,
        label_count=verdict.label_count if verdict is not None else 0,
        cycles=verdict.cycles if verdict is not None else 0,
        waits_for=waits or "",
        outcome=outcome,
        reason=ended.reason if ended else rollout.reason,
        place=story.last_place or story.rollout_place,
        by=rollout.by,
        evidence=_evidence(verdict, rollout.plan, is_over=ended is not None),
        history={name: tuple(points) for name, points in story.history.items()} if _is_of(story, rollout) else {},
        offers=() if ended else offers,
    )


def outcome_of(ended: Ended) -> str:
    """How a rollout ended. One that was aborted because it did harm was rolled back, as alerts and timelines say too."""
    return "rolled_back" if ended.outcome == "aborted" and ended.is_harmful else ended.outcome


def _is_of(story: Story, rollout: Rollout) -> bool:
    return story.history_of == rollout.id


def steps_of(plan: RolloutDefinition) -> tuple[float, ...]:
    """The shares of a plan in order: a shadow step is 0, and a switch is 1.

    >>> steps_of(RolloutDefinition("canary", shares=(0.01, 1.0), shadow_first_s=60.0))
    (0.0, 0.01, 1.0)
    """
    shadow = (0.0,) if plan.policy == "shadow" or plan.shadow_first_s > 0 else ()
    shares = plan.shares if plan.policy in ("canary", "ab_test") else () if plan.policy == "shadow" else (1.0,)
    return shadow + shares


def at_of(rollout: Rollout, steps: tuple[float, ...], outcome: str) -> int:
    """The index of the current step, or of the one in which it was aborted; the length of `steps` once it is promoted.

    `outcome`: of the registry's fold, where a rollout is `rolled_back` after its promotion only.
    """
    if outcome in ("promoted", "completed", "rolled_back"):
        return len(steps)
    if rollout.step == WARMING or not steps:
        return 0
    later = [place for place, share in enumerate(steps) if share >= rollout.share - 1e-12]
    return later[0] if later else len(steps) - 1


def _evidence(verdict: VerdictGiven | None, plan: RolloutDefinition, *, is_over: bool) -> dict[str, EvidenceRow]:
    if verdict is None:
        return {}
    dry = {found.metric for found in plan.guardrails if found.dry_run}
    return {
        found.metric: _row(found, "" if is_over else _needs(found, verdict, plan), is_dry=found.metric in dry)
        for found in verdict.evidence
    }


def _row(found: Evidence, needs: str, *, is_dry: bool) -> EvidenceRow:
    return EvidenceRow(
        found.metric,
        found.kind,
        found.verdict,
        found.measured,
        found.limit,
        needs,
        found.rows,
        found.blocks,
        found.alpha,
        found.bound,
        found.detail,
        is_dry,
    )


def _needs(found: Evidence, verdict: VerdictGiven, plan: RolloutDefinition) -> str:
    """What is still missing, beside what is there; "" when nothing is, and where no label can ever come."""
    if found.kind == "guardrail":
        is_short = found.rows < plan.min_decisions
        more = "" if found.verdict in (PASS, FAIL) else "more requests"
        return f"{plan.min_decisions:,} decisions, {found.rows:,}" if is_short else more
    if verdict.unlabelled or found.verdict == FAIL:
        return ""
    if found.metric in _BY_CYCLES and verdict.cycles < plan.min_cycles:
        return f"{plan.min_cycles:,} cycles, {verdict.cycles:,}"
    return "" if found.verdict == PASS else "more labels"
