"""How a version takes traffic: blue-green.

    state      message                     -> facts
    idle       start                       -> started, route keeps the version warm
    warming    every instance has it warm  -> switched: aliases, route, completed
    warming    an instance cannot load it  -> aborted (harmful), route without it
    warming    abort                       -> aborted, route without it

A pair that is not in the table is refused: the champion keeps all traffic.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.envelope import derived_id
from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    CommandRefused,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
    RouteChanged,
    StartRollout,
)
from headrace.project.definition import RolloutDefinition
from headrace_registry.core.state import SWITCHED, WARMING, Entry, Registry

Facts = list[Any]


def on_start(state: Registry, command: StartRollout, command_id: str) -> Facts:
    """Begin a rollout, or say why not: one at a time per deployment."""
    entry = state.entry(command.deployment)
    reason = _refusal(entry, command)
    if reason is not None:
        return [CommandRefused(command.deployment, "start.rollout", command_id, reason)]
    ident = derived_id("rollout", command.deployment, command.version, command_id)[:16]
    return [
        RolloutStarted(command.deployment, ident, command.version, "blue_green", command.reason),
        RouteChanged(command.deployment, warming_route(entry.route, command.deployment, command.version)),
    ]


def _refusal(entry: Entry, command: StartRollout) -> str | None:
    if command.version not in entry.versions:
        return f"{command.deployment} has no version {command.version}"
    if entry.stages.get(command.version) == "rejected":
        return f"version {command.version} was rejected, and is never released again"
    if entry.aliases.get("champion") == command.version:
        return f"version {command.version} is champion already"
    if entry.rollout is not None:
        return f"a rollout of version {entry.rollout.version} is under way: wait for it, or abort it"
    return None


def on_warmed(state: Registry, deployment: str, instances: Mapping[str, bool], policy: RolloutDefinition) -> Facts:
    """Switch when every live inference instance has the version warm. `instances`: per instance whether it has."""
    entry = state.entry(deployment)
    rollout = entry.rollout
    if rollout is None or rollout.step != WARMING or not instances or not all(instances.values()):
        return []
    old, new = entry.aliases.get("champion"), rollout.version
    reason = entry.versions[new].reason
    route = switched_route(entry.route, deployment, new, old, policy.shadow_previous, reason)
    facts: Facts = [RolloutAdvanced(deployment, rollout.id, new, SWITCHED, 1.0)]
    if old is not None:
        facts.append(AliasMoved(deployment, "previous", old, entry.aliases.get("previous"), reason))
    facts.append(AliasMoved(deployment, "champion", new, old, reason))
    facts.append(RouteChanged(deployment, route))
    facts.append(RolloutCompleted(deployment, rollout.id, new, entry.versions[new].lineage.request_to_s))
    return facts


def on_unloadable(state: Registry, deployment: str, version: int, reason: str) -> Facts:
    """An instance refused the version: it must not take traffic."""
    entry = state.entry(deployment)
    if entry.rollout is None or entry.rollout.version != version:
        return []
    return _aborted(entry, deployment, f"version {version} cannot be loaded: {reason}", harmful=True)


def on_abort(state: Registry, command: AbortRollout, command_id: str) -> Facts:
    """An operator stops the rollout."""
    entry = state.entry(command.deployment)
    if entry.rollout is None:
        return [CommandRefused(command.deployment, "abort.rollout", command_id, "no rollout is under way")]
    return _aborted(entry, command.deployment, f"aborted by {command.by}: {command.reason}", harmful=False)


def _aborted(entry: Entry, deployment: str, reason: str, *, harmful: bool) -> Facts:
    rollout = entry.rollout
    assert rollout is not None
    route = entry.route or Route(deployment, {}, deployment, 0)
    without = tuple(version for version in route.warm if version != rollout.version)
    changed = msgspec.structs.replace(route, warm=without, revision=route.revision + 1, reason=reason)
    return [RolloutAborted(deployment, rollout.id, rollout.version, reason, harmful), RouteChanged(deployment, changed)]


def warming_route(route: Route | None, deployment: str, version: int) -> Route:
    """The route as it is, with one more version to keep warm."""
    before = route or Route(deployment, {}, deployment, 0)
    warm = tuple(sorted({*before.warm, version}))
    return msgspec.structs.replace(before, warm=warm, revision=before.revision + 1, reason=f"warming version {version}")


def switched_route(
    route: Route | None, deployment: str, new: int, old: int | None, shadow_old: bool, reason: str
) -> Route:
    """All traffic to the new version; the old one stays warm as `previous`, and scores along if asked for."""
    before = route or Route(deployment, {}, deployment, 0)
    warm = (new,) if old is None else (new, old)
    shadows = (old,) if shadow_old and old is not None else ()
    return Route(
        deployment, {new: 1.0}, before.salt, before.revision + 1, new, old, before.baseline, shadows, warm, reason
    )
