"""When a running rollout gives way to a newer version, which waits for it to end.

It does so where it has had its chance and is still open: its labels are INCONCLUSIVE, or no label can judge it and it waits for a person.
UNMEASURED labels have not had their least number of cycles: a deployment that is retrained more often than that would never finish a
rollout. A test with a duration has its chance until that is over; one that an operator has paused is the operator's.
"""

from dataclasses import replace

from headrace.events.registry import StartRollout
from headrace.events.verdicts import INCONCLUSIVE, PASS, VerdictGiven
from headrace.registry.state import Entry, Rollout
from headrace_registry.core.commands import why_incomparable, why_unfit, why_wait
from headrace_registry.core.machine import About
from headrace_registry.core.policies import Advance, Await, End, Next, Stay


def give_way(entry: Entry, about: About, rollout: Rollout, chosen: Next, verdict: VerdictGiven) -> Next:
    """What its policy has chosen; its end where a newer version is to begin instead."""
    if not isinstance(chosen, Stay | Await | Advance) or not _has_had_its_chance(rollout, chosen, verdict):
        return chosen
    newer = newer_in_line(entry, about, rollout)
    if newer is None:
        return chosen
    open_by = "no label can judge it, and nobody approved it" if verdict.unlabelled else _labels(verdict)
    way = f"`headrace rollout start {about.deployment} {rollout.version}` releases it all the same"
    return End(f"superseded by version {newer}, which is newer: {open_by}; {way}", "superseded")


def newer_in_line(entry: Entry, about: About, rollout: Rollout) -> int | None:
    """The newer version that waits and could begin at once if nothing was under way; None when there is none."""
    queued, free = entry.queued, replace(entry, rollout=None)
    if queued is None or queued.version < rollout.version:
        return None
    command = StartRollout(about.deployment, queued.version, queued.reason, queued.by)
    in_its_way = (
        why_unfit(free, command)
        or why_wait(free, command, about.plan)
        or why_incomparable(free, queued.version, about.plan)
    )
    return queued.version if in_its_way is None else None


def _has_had_its_chance(rollout: Rollout, chosen: Next, verdict: VerdictGiven) -> bool:
    plan = rollout.plan
    has_duration = plan.policy in ("ab_test", "shadow")
    if has_duration and (rollout.since_s is None or verdict.clock_s - rollout.since_s < plan.duration_s):
        return False
    if verdict.unlabelled:
        return verdict.labels != PASS and (rollout.awaits_approval or isinstance(chosen, Await))
    return verdict.labels == INCONCLUSIVE


def _labels(verdict: VerdictGiven) -> str:
    return f"{verdict.label_count:,} labels in {verdict.cycles:,} cycles did not decide it"
