"""The facts by which a rollout begins, goes on and ends, each with the route that follows from it.

Whether it does so is decided elsewhere: on commands, verdicts, warm instances and waits that ran out.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    AbortCause,
    AliasMoved,
    ApprovalAwaited,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    RouteChanged,
)
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.log.envelope import derived_id
from headrace.registry.state import SWITCHED, WARMING, Entry, Rollout
from headrace_registry.core import routes
from headrace_registry.core.machine import About
from headrace_registry.core.policies import Advance, Await, Begin, End, Finish, Harm, Next, Switch, failing

Facts = list[Any]


def begun(entry: Entry, about: About, version: int, plan: RolloutDefinition, reason: str, by: str) -> Facts:
    """A rollout begins: the version is to be warmed. Without a champion there is nothing to compare with: it will switch at once."""
    deployment = about.deployment
    ident = derived_id("rollout", deployment, version, about.ident, entry.facts)[:16]
    control = entry.aliases.get("champion")
    if control is None:
        plan = replace(plan, policy="blue_green")
    started = RolloutStarted(deployment, ident, version, plan.policy, reason, plan, control, by)
    return [started, RouteChanged(deployment, routes.warming(entry, deployment, version, ident))]


def followed(entry: Entry, deployment: str, rollout: Rollout, chosen: Next, verdict: VerdictGiven | None) -> Facts:
    """What a policy has chosen, with the verdict's evidence when a verdict led to it. Nothing when it stays as it is."""
    evidence = verdict.evidence if verdict is not None else ()
    clock_s = verdict.clock_s if verdict is not None and verdict.has_clock else None
    match chosen:
        case Advance(step, share, number, reason):
            advanced = RolloutAdvanced(deployment, rollout.id, rollout.version, step, share, number, clock_s, evidence)
            return [advanced, RouteChanged(deployment, routes.shared(entry, deployment, rollout, share, reason))]
        case Begin(since_s):
            step, share = rollout.step, rollout.share
            return [RolloutAdvanced(deployment, rollout.id, rollout.version, step, share, rollout.number, since_s)]
        case Switch(reason):
            return switched(entry, deployment, rollout, reason, evidence, clock_s)
        case Finish(reason):
            route = routes.restored(entry, deployment, rollout, reason, is_harmful=False)
            at_s = clock_s or 0.0
            ended = RolloutCompleted(deployment, rollout.id, rollout.version, at_s, False, reason, evidence)
            return [ended, RouteChanged(deployment, route)]
        case Await(reason):
            return [ApprovalAwaited(deployment, rollout.id, rollout.version, reason, clock_s)]
        case End(reason, cause):
            return aborted(entry, deployment, rollout, reason, evidence, clock_s, cause=cause)
        case Harm(reason):
            assert verdict is not None
            return aborted(entry, deployment, rollout, reason, failing(verdict), clock_s, cause="harm", is_harmful=True)
        case _:
            return []


def switched(
    entry: Entry, deployment: str, rollout: Rollout, reason: str, evidence: Sequence[Evidence], clock_s: float | None
) -> Facts:
    """The version becomes champion with all traffic, and the rollout is completed.

    `clock_s`: the deployment's clock, None where no verdict led to the switch: its rollback window begins with the next verdict.
    """
    aliases, new, old = entry.aliases, rollout.version, entry.aliases.get("champion")
    why = entry.versions[new].reason if rollout.plan.policy == "blue_green" else reason
    at_s = clock_s if clock_s is not None else _clock_s(entry, rollout)
    number = rollout.number if rollout.step == WARMING else rollout.number + 1
    facts: Facts = [RolloutAdvanced(deployment, rollout.id, new, SWITCHED, 1.0, number, clock_s, tuple(evidence))]
    if old is not None:
        facts.append(AliasMoved(deployment, "previous", old, aliases.get("previous"), why))
    facts.append(AliasMoved(deployment, "champion", new, old, why))
    facts.append(RouteChanged(deployment, routes.switched(entry, deployment, rollout, why)))
    has_clock = clock_s is not None
    facts.append(RolloutCompleted(deployment, rollout.id, new, at_s, True, reason, tuple(evidence), has_clock))
    return facts


def _clock_s(entry: Entry, rollout: Rollout) -> float:
    """The newest instant of the deployment's clock that is known without a verdict."""
    return rollout.since_s if rollout.since_s is not None else entry.versions[rollout.version].lineage.request_to_s


def aborted(
    entry: Entry,
    deployment: str,
    rollout: Rollout,
    reason: str,
    evidence: Sequence[Evidence] = (),
    clock_s: float | None = None,
    *,
    cause: AbortCause,
    is_harmful: bool = False,
) -> Facts:
    """The rollout ends, and the route is as it was before it. A harmful version is rejected for ever."""
    route = routes.restored(entry, deployment, rollout, reason, is_harmful=is_harmful)
    ended = RolloutAborted(deployment, rollout.id, rollout.version, reason, is_harmful, tuple(evidence), clock_s, cause)
    return [ended, RouteChanged(deployment, route)]


def rolled_back(
    entry: Entry,
    deployment: str,
    bad: int,
    reason: str,
    by: str,
    evidence: Sequence[Evidence] = (),
    clock_s: float | None = None,
) -> Facts:
    """The champion `bad` loses all traffic to the version before it, and is rejected for ever."""
    to = entry.aliases["previous"]
    older = entry.older if entry.older != bad and entry.may_serve(entry.older) else None
    facts: Facts = [
        RolledBack(deployment, bad, to, reason, by, tuple(evidence), clock_s),
        AliasMoved(deployment, "champion", to, bad, reason),
    ]
    if older is not None:
        facts.append(AliasMoved(deployment, "previous", older, None, reason))
    facts.append(RouteChanged(deployment, routes.rolled_back(entry, deployment, bad, to, older, reason)))
    return facts
