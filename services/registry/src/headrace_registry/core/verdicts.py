"""What follows from a verdict of the monitor, by the phase in which it comes."""

from headrace.events.registry import RollbackWindowBegun, RolloutResumed, RouteChanged
from headrace.events.verdicts import VerdictGiven
from headrace.registry.approvals import approver_of
from headrace.registry.state import Ended, Entry, Registry, Rollout
from headrace.step import Step
from headrace_registry.core import routes
from headrace_registry.core.machine import About, Fact, running, step_of
from headrace_registry.core.policies import choose_next_step, failing, harm_of
from headrace_registry.core.superseding import give_way
from headrace_registry.core.transitions import Facts, followed, rolled_back


def on_verdict(state: Registry, verdict: VerdictGiven, about: About) -> Step[Registry, Fact]:
    """While the rollout runs: whatever its policy makes of the verdict, unless it gives way to a newer version."""
    rollout = running(state, about)
    if not _is_about(rollout, verdict):
        return step_of(state)
    return step_of(state, _moved(state.entry(about.deployment), about, rollout, verdict))


def _moved(entry: Entry, about: About, rollout: Rollout, verdict: VerdictGiven) -> Facts:
    chosen = choose_next_step(rollout, verdict, approver_of(rollout.plan, entry, rollout.version))
    chosen = give_way(entry, about, rollout, chosen, verdict)
    return followed(entry, about.deployment, rollout, chosen, verdict)


def on_verdict_while_paused(state: Registry, verdict: VerdictGiven, about: About) -> Step[Registry, Fact]:
    """While an operator has paused it: only harm counts."""
    rollout = running(state, about)
    harm = harm_of(verdict) if _is_about(rollout, verdict) else None
    if harm is None:
        return step_of(state)
    return step_of(state, followed(state.entry(about.deployment), about.deployment, rollout, harm, verdict))


def on_verdict_while_unjudged(state: Registry, verdict: VerdictGiven, about: About) -> Step[Registry, Fact]:
    """While it is paused because no verdict came: it goes on."""
    rollout = running(state, about)
    if not _is_about(rollout, verdict):
        return step_of(state)
    resumed = RolloutResumed(about.deployment, rollout.id, rollout.version, "verdicts come again")
    return step_of(state, [resumed, *_moved(state.entry(about.deployment), about, rollout, verdict)])


def on_verdict_when_idle(state: Registry, verdict: VerdictGiven, about: About) -> Step[Registry, Fact]:
    """After a promotion the version is judged while the rollback window lasts: from the switch, or from the first verdict after it
    where no verdict led to the switch.
    """
    entry = state.entry(about.deployment)
    last = _promoted(entry, verdict)
    if last is None:
        return step_of(state)
    begun: list[Fact] = []
    if verdict.has_clock and not last.has_clock:
        begun.append(RollbackWindowBegun(about.deployment, last.rollout.id, verdict.version, verdict.clock_s))
    elif verdict.has_clock and verdict.clock_s - last.clock_s > last.rollout.plan.rollback_window_s:
        return step_of(state, _unpaired(entry, about.deployment, last.rollout))
    harm = harm_of(verdict)
    if harm is None or not entry.may_serve(entry.aliases.get("previous")):
        return step_of(state, begun)
    clock_s = verdict.clock_s if verdict.has_clock else None
    facts = rolled_back(entry, about.deployment, verdict.version, harm.reason, "monitor", failing(verdict), clock_s)
    return step_of(state, [*begun, *facts])


def _unpaired(entry: Entry, deployment: str, rollout: Rollout) -> list[RouteChanged]:
    """The rollback window is over: the version before does not score along any more."""
    is_paired = rollout.plan.policy != "blue_green" and entry.route is not None and entry.route.shadows
    return [RouteChanged(deployment, routes.unpaired(entry, deployment))] if is_paired else []


def _promoted(entry: Entry, verdict: VerdictGiven) -> Ended | None:
    """The last rollout, if it made the verdict's version champion and that still is; else None."""
    last = entry.last
    if last is None or last.outcome != "promoted" or not _is_about(last.rollout, verdict):
        return None
    return last if entry.aliases.get("champion") == verdict.version else None


def _is_about(rollout: Rollout, verdict: VerdictGiven) -> bool:
    return (verdict.rollout, verdict.version) == (rollout.id, rollout.version)
