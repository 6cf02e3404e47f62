"""What becomes of a version once it is registered: its aliases, tags, approvals and tenants, and how it is archived and deleted.

Aliases move by compare-and-set, and `champion` and `previous` by rollouts only. What is routed or named by an alias is neither archived
nor deleted; deleting takes the artifacts that no other version refers to, never the facts.
"""

from collections.abc import Iterable
from typing import Any

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    AliasMoved,
    ApproveVersion,
    ArchiveVersion,
    ArtifactPlace,
    DeleteVersion,
    RouteChanged,
    SetAlias,
    SetOverride,
    TagVersion,
    VersionApproved,
    VersionArchived,
    VersionDeleted,
    VersionTagged,
)
from headrace.registry.approvals import approver_of, may_approve
from headrace.registry.state import Entry, Registry
from headrace.step import Step
from headrace_registry.core import routes
from headrace_registry.core.machine import UNDECLARED, Fact, refused, step_of
from headrace_registry.core.registration import TAGS, places_of

TENANTS = 1_000


def on_set_alias(state: Registry, command: SetAlias, command_id: str) -> Step[Registry, Fact]:
    """Move an alias by compare-and-set: of two operators at once one wins, the other is refused with the reason."""
    entry = state.entry(command.deployment)
    stands_at = entry.aliases.get(command.alias)
    if command.alias in ("champion", "previous"):
        way = f"`headrace rollout start {command.deployment} {command.version}`"
        return refused(state, command, command_id, f"{command.alias} moves by rollouts only: use {way}")
    unknown = _not_usable(entry, command.deployment, command.version)
    if unknown is not None:
        return refused(state, command, command_id, unknown)
    if stands_at != command.expected:
        reason = (
            f"{command.alias} stands at {stands_at}, not at {command.expected} as expected: look again, then decide"
        )
        return refused(state, command, command_id, reason)
    moved = AliasMoved(command.deployment, command.alias, command.version, stands_at, command.reason)
    if command.alias != "baseline":
        return step_of(state, [moved])
    route = routes.with_baseline(entry, command.deployment, command.version, command.reason)
    return step_of(state, [moved, RouteChanged(command.deployment, route)])


def on_set_override(state: Registry, command: SetOverride, command_id: str) -> Step[Registry, Fact]:
    """Give a tenant a version of its own, or the route again."""
    entry = state.entry(command.deployment)
    if command.version is not None:
        unknown = _not_usable(entry, command.deployment, command.version)
        if unknown is not None:
            return refused(state, command, command_id, unknown)
        overrides = entry.route.overrides if entry.route is not None else {}
        if command.tenant not in overrides and len(overrides) >= TENANTS:
            reason = f"{TENANTS:,} tenants have versions of their own already: `headrace rollout tenant` without --version frees one"
            return refused(state, command, command_id, reason)
    elif entry.route is None or command.tenant not in entry.route.overrides:
        return refused(state, command, command_id, f"tenant {command.tenant!r} follows the route already")
    route = routes.with_override(entry, command.deployment, command.tenant, command.version, command.reason)
    return step_of(state, [RouteChanged(command.deployment, route)])


def on_approve(
    state: Registry, command: ApproveVersion, command_id: str, plan: RolloutDefinition = UNDECLARED
) -> Step[Registry, Fact]:
    """A named person vouches for a version; where the plan demands four eyes, not one of its authors."""
    entry = state.entry(command.deployment)
    reason = _not_usable(entry, command.deployment, command.version) or _not_approvable(entry, command, plan)
    if reason is not None:
        return refused(state, command, command_id, reason)
    return step_of(state, [VersionApproved(command.deployment, command.version, command.reason, command.by)])


def on_tag(state: Registry, command: TagVersion, command_id: str) -> Step[Registry, Fact]:
    """Set tags, or take away those with an empty value."""
    entry = state.entry(command.deployment)
    if command.version not in entry.versions:
        return refused(state, command, command_id, _unknown(command.deployment, command.version))
    merged = {**entry.tags.get(command.version, {}), **command.tags}
    tags = {name: value for name, value in merged.items() if value}
    if len(tags) > TAGS:
        return refused(state, command, command_id, f"a version has at most {TAGS} tags, got {len(tags):,}")
    return step_of(state, [VersionTagged(command.deployment, command.version, tags, command.by)])


def on_archive(state: Registry, command: ArchiveVersion, command_id: str) -> Step[Registry, Fact]:
    """Take a version out of use, unless something uses it."""
    entry = state.entry(command.deployment)
    reason = _not_archivable(entry, command.deployment, command.version)
    if reason is not None:
        return refused(state, command, command_id, reason)
    return step_of(state, [VersionArchived(command.deployment, command.version, command.reason, command.by)])


def on_delete(state: Registry, command: DeleteVersion, command_id: str) -> Step[Registry, Fact]:
    """Give up an archived version's artifacts, those that nothing else refers to."""
    entry = state.entry(command.deployment)
    if entry.stages.get(command.version) != "archived":
        known = command.version in entry.versions
        way = f"archive it first: `headrace model archive {command.deployment} {command.version}`"
        reason = f"version {command.version} is {entry.stages[command.version]}; {way}" if known else None
        return refused(state, command, command_id, reason or _unknown(command.deployment, command.version))
    gone = _orphaned(state, command.deployment, command.version)
    digests = tuple(sorted({place.digest for place in gone}))
    return step_of(state, [VersionDeleted(command.deployment, command.version, command.reason, command.by, digests)])


def freed(state: Registry, facts: Iterable[Any]) -> list[ArtifactPlace]:
    """The artifacts that these facts give up. `state`: before the facts."""
    deleted = [fact for fact in facts if isinstance(fact, VersionDeleted)]
    return [place for fact in deleted for place in _orphaned(state, fact.deployment, fact.version)]


def _orphaned(state: Registry, deployment: str, version: int) -> list[ArtifactPlace]:
    """The artifacts of a version that no other version of any deployment refers to, deleted ones apart."""
    others = {
        place.digest
        for name, entry in state.entries.items()
        for number, found in entry.versions.items()
        if (name, number) != (deployment, version) and entry.stages.get(number) != "deleted"
        for place in places_of(found)
    }
    return [place for place in places_of(state.entry(deployment).versions[version]) if place.digest not in others]


def _not_archivable(entry: Entry, deployment: str, version: int) -> str | None:
    if version not in entry.versions:
        return _unknown(deployment, version)
    if entry.stages.get(version) in ("archived", "deleted"):
        return f"version {version} is {entry.stages[version]} already"
    aliases = [alias for alias, named in sorted(entry.aliases.items()) if named == version]
    if aliases:
        return f"version {version} is {' and '.join(aliases)}: move that to another version first"
    if routes.names(entry.route, version):
        return f"version {version} is named by the route: end its rollout or its tenants' overrides first"
    return None


def _not_approvable(entry: Entry, command: ApproveVersion, plan: RolloutDefinition) -> str | None:
    before = approver_of(plan, entry, command.version)
    if before is not None:
        return f"version {command.version} was approved by {before} already"
    if may_approve(plan, entry.versions[command.version], command.by):
        return None
    if not command.by.strip():
        return "an approval needs a name"
    return f"{command.by} is an author of version {command.version}: {command.deployment} demands that another person approves it"


def _not_usable(entry: Entry, deployment: str, version: int) -> str | None:
    if version not in entry.versions:
        return _unknown(deployment, version)
    return None if entry.may_serve(version) else f"version {version} was {entry.stages[version]}"


def _unknown(deployment: str, version: int) -> str:
    return f"{deployment} has no version {version}: `headrace model list` shows those that there are"
