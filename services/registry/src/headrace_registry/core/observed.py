"""What is observed of a rollout: instances that are warm or have rejected the version, verdicts, and waits that ran out."""

from typing import assert_never

from headrace.events.registry import RolloutPaused, RolloutResumed, RouteChanged, TimedOut
from headrace.events.verdicts import VerdictGiven
from headrace.registry.state import HELD, RUNNING, WARMING, Rollout
from headrace_registry.core import routes
from headrace_registry.core.case import Case, Facts, Unloadable
from headrace_registry.core.outcomes import aborted, follow, rolled_back
from headrace_registry.core.steps import failing, first_step, harm_of, next_step


def on_warmed(case: Case) -> Facts:
    """The first step."""
    return follow(case, first_step(case.rollout), None)


def on_unloadable(case: Case) -> Facts:
    """An instance has rejected the version by its bytes or by what it did to a process: it must never take traffic."""
    message: Unloadable = case.message
    if message.version != case.rollout.version:
        return []
    return aborted(
        case, f"version {message.version} was rejected: {message.reason}", cause="unloadable", is_harmful=True
    )


def on_verdict(case: Case) -> Facts:
    """Whatever the policy makes of it."""
    verdict: VerdictGiven = case.message
    if not _is_about(case.rollout, verdict):
        return []
    return follow(case, next_step(case.rollout, verdict), verdict)


def on_verdict_while_paused(case: Case) -> Facts:
    """Harm counts always."""
    verdict: VerdictGiven = case.message
    harm = harm_of(verdict) if _is_about(case.rollout, verdict) else None
    return [] if harm is None else follow(case, harm, verdict)


def on_verdict_while_held(case: Case) -> Facts:
    """It speaks again: go on."""
    rollout, verdict = case.rollout, case.message
    if not _is_about(rollout, verdict):
        return []
    resumed = RolloutResumed(case.deployment, rollout.id, rollout.version, "verdicts come again")
    return [resumed, *follow(case, next_step(rollout, verdict), verdict)]


def on_verdict_when_idle(case: Case) -> Facts:
    """After a promotion the version is judged while the rollback window lasts."""
    verdict: VerdictGiven = case.message
    entry, last = case.entry, case.entry.last
    if last is None or last.outcome != "promoted" or not _is_about(last.rollout, verdict):
        return []
    if entry.aliases.get("champion") != verdict.version:
        return []
    if verdict.has_clock and verdict.clock_s - last.clock_s > last.rollout.plan.rollback_window_s:
        is_paired = last.rollout.plan.policy != "blue_green" and entry.route is not None and entry.route.shadows
        return [RouteChanged(case.deployment, routes.unpaired(entry, case.deployment))] if is_paired else []
    harm = harm_of(verdict)
    if harm is None or not entry.may_serve(entry.aliases.get("previous")):
        return []
    return rolled_back(
        case, verdict.version, harm.reason, "monitor", failing(verdict), verdict.clock_s if verdict.has_clock else None
    )


def _is_about(rollout: Rollout, verdict: VerdictGiven) -> bool:
    return (verdict.rollout, verdict.version) == (rollout.id, rollout.version)


def on_timed_out(case: Case) -> Facts:
    """A wait ran out: hold where it is, or end so that it may be tried again. What was written in another phase is over."""
    waited: TimedOut = case.message
    rollout = case.rollout
    if waited.rollout != rollout.id:
        return []
    again = f": `headrace rollout retry {case.deployment}` tries again"
    match waited.what:
        case "hold" if rollout.step != WARMING and rollout.standing == RUNNING:
            return [RolloutPaused(case.deployment, rollout.id, rollout.version, waited.reason, held=True)]
        case "silence" if rollout.standing == HELD:
            return aborted(case, waited.reason + again, cause="silence")
        case "warming" if rollout.step == WARMING and rollout.standing == RUNNING:
            return aborted(case, waited.reason + again, cause="warming")
        case "load":
            return aborted(case, waited.reason + again, cause="load")
        case "hold" | "silence" | "warming":
            return []
        case _:
            assert_never(waited.what)
