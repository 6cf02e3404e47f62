"""Which versions exist, and what is said of them: immutable, counted from 1 per deployment, registered once per command.

A gate that failed keeps a version out unless a named person waives it and says why. Aliases move by compare-and-set, and
`champion` and `previous` by rollouts only. What is routed or named by an alias is neither archived nor deleted; deleting
takes the artifacts that no other version refers to, never the facts.
"""

from typing import Any

from headrace.events import type_name
from headrace.events.definition import LabelDefinition
from headrace.events.registry import (
    AliasMoved,
    ApproveVersion,
    ArchiveVersion,
    ArtifactPlace,
    CommandRefused,
    DeleteVersion,
    RegisterVersion,
    RouteChanged,
    SetAlias,
    SetOverride,
    TagVersion,
    VersionApproved,
    VersionArchived,
    VersionDeleted,
    VersionRegistered,
    VersionTagged,
)
from headrace.events.verdicts import FAIL
from headrace.instants import EARLIEST_S, LATEST_S
from headrace.registry.state import Entry, Registry
from headrace_registry.core import routes
from headrace_registry.core.outputs import unlike_file, unlike_label

Facts = list[Any]
VERSIONS_BYTES = 256 * 2**20
CHUNKS = 100_000
TENANTS = 1_000
TAGS = 100


def _refused(command: Any, ident: str, reason: str) -> Facts:
    return [CommandRefused(command.deployment, type_name(type(command)), ident, reason)]


def on_register(
    state: Registry,
    command: RegisterVersion,
    command_id: str,
    *,
    is_declared: bool,
    has_artifact: bool,
    now_s: float,
    label: LabelDefinition | None = None,
) -> list[VersionRegistered | CommandRefused]:
    """A new version, nothing for a repeated command, or why not. `label`: the deployment's, None when it has none."""
    if state.has_registered(command_id):
        return []
    reason = _no_registration(command, is_declared, has_artifact) or _unsound(command) or _no_room(state)
    reason = reason or unlike_label(label, command.output, command.classes) or unlike_file(command)
    if reason is not None:
        return _refused(command, command_id, reason)
    number = max(state.entry(command.deployment).versions, default=0) + 1
    return [
        VersionRegistered(
            deployment=command.deployment,
            model=command.model,
            version=number,
            place=command.place,
            model_digest=command.model_digest,
            signature=command.signature,
            output=command.output,
            classes=command.classes,
            class_places=command.class_places,
            lineage=command.lineage,
            metrics=command.metrics,
            gates=command.gates,
            reason=command.reason,
            trained_rows=command.trained_rows,
            by=command.by,
            registered_at_s=now_s,
            command_id=command_id,
            onnx=command.onnx,
            owner=command.owner,
            tags={name: value for name, value in command.tags.items() if value},
            waivers=command.waivers,
            profile=command.profile,
            slices=command.slices,
            golden=command.golden,
            twin=command.twin,
        )
    ]


def _no_registration(command: RegisterVersion, is_declared: bool, has_artifact: bool) -> str | None:
    if not is_declared:
        return f"no applied project declares a deployment {command.deployment!r}: run `headrace apply` first"
    if not has_artifact:
        return (
            f"artifact {command.place.digest[:12]} is not complete on registry.artifacts: publish it before registering"
        )
    waived = {waiver.gate for waiver in command.waivers if waiver.by.strip() and waiver.reason.strip()}
    failed = [gate for gate in command.gates if gate.verdict == FAIL and gate.gate not in waived]
    if failed:
        return f"gate {failed[0].gate} failed: measured {failed[0].measured}, limit {failed[0].limit}; only a waiver with a name and a reason lets it pass"
    return None


def _unsound(command: RegisterVersion) -> str | None:
    """What no artifact can be like, or what no clock can go on from."""
    for place in (command.place, command.onnx, command.twin):
        if place is not None and not (
            0 < place.chunk_count <= CHUNKS and place.size_bytes >= 0 and place.partition >= 0
        ):
            return f"an artifact has 1 to {CHUNKS:,} chunks, got {place.chunk_count:,} of {place.size_bytes:,} bytes in partition {place.partition}"
    lineage = command.lineage
    for name, at_s in (("request_from_s", lineage.request_from_s), ("request_to_s", lineage.request_to_s)):
        if not EARLIEST_S <= at_s <= LATEST_S:
            return f"lineage.{name} must lie in the years 1..9999 UTC, got {at_s!r}"
    if len(command.tags) > TAGS:
        return f"a version has at most {TAGS} tags, got {len(command.tags):,}"
    return None


def _no_room(state: Registry) -> str | None:
    if state.versions_bytes <= VERSIONS_BYTES:
        return None
    return (
        f"the registry holds {state.versions_bytes:,} bytes about versions, at most {VERSIONS_BYTES:,} are allowed:"
        " `headrace model archive` and `headrace model delete` make room"
    )


def on_set_alias(state: Registry, command: SetAlias, command_id: str) -> Facts:
    """Move an alias by compare-and-set: of two operators at once one wins, the other is told why."""
    entry = state.entry(command.deployment)
    stands_at = entry.aliases.get(command.alias)
    if command.alias in ("champion", "previous"):
        way = f"`headrace rollout start {command.deployment} {command.version}`"
        return _refused(command, command_id, f"{command.alias} moves by rollouts only: use {way}")
    unknown = _not_usable(entry, command.deployment, command.version)
    if unknown is not None:
        return _refused(command, command_id, unknown)
    if stands_at != command.expected:
        reason = (
            f"{command.alias} stands at {stands_at}, not at {command.expected} as expected: look again, then decide"
        )
        return _refused(command, command_id, reason)
    moved = AliasMoved(command.deployment, command.alias, command.version, stands_at, command.reason)
    if command.alias != "baseline":
        return [moved]
    route = routes.with_baseline(entry, command.deployment, command.version, command.reason)
    return [moved, RouteChanged(command.deployment, route)]


def on_set_override(state: Registry, command: SetOverride, command_id: str) -> Facts:
    """Give a tenant a version of its own, or the route again."""
    entry = state.entry(command.deployment)
    if command.version is not None:
        unknown = _not_usable(entry, command.deployment, command.version)
        if unknown is not None:
            return _refused(command, command_id, unknown)
        overrides = entry.route.overrides if entry.route is not None else {}
        if command.tenant not in overrides and len(overrides) >= TENANTS:
            reason = f"{TENANTS:,} tenants have versions of their own already: `headrace rollout tenant` without --version frees one"
            return _refused(command, command_id, reason)
    elif entry.route is None or command.tenant not in entry.route.overrides:
        return _refused(command, command_id, f"tenant {command.tenant!r} follows the route already")
    route = routes.with_override(entry, command.deployment, command.tenant, command.version, command.reason)
    return [RouteChanged(command.deployment, route)]


def on_approve(state: Registry, command: ApproveVersion, command_id: str) -> Facts:
    """A named person vouches for a version."""
    entry = state.entry(command.deployment)
    unknown = _not_usable(entry, command.deployment, command.version)
    if unknown is None and command.version in entry.approvals:
        unknown = f"version {command.version} was approved by {entry.approvals[command.version]} already"
    if unknown is not None:
        return _refused(command, command_id, unknown)
    return [VersionApproved(command.deployment, command.version, command.reason, command.by)]


def on_tag(state: Registry, command: TagVersion, command_id: str) -> Facts:
    """Set tags, or take away those with an empty value."""
    entry = state.entry(command.deployment)
    if command.version not in entry.versions:
        return _refused(command, command_id, _unknown(command.deployment, command.version))
    merged = {**entry.tags.get(command.version, {}), **command.tags}
    tags = {name: value for name, value in merged.items() if value}
    if len(tags) > TAGS:
        return _refused(command, command_id, f"a version has at most {TAGS} tags, got {len(tags):,}")
    return [VersionTagged(command.deployment, command.version, tags, command.by)]


def on_archive(state: Registry, command: ArchiveVersion, command_id: str) -> Facts:
    """Take a version out of use, unless something uses it."""
    entry = state.entry(command.deployment)
    reason = _not_archivable(entry, command.deployment, command.version)
    if reason is not None:
        return _refused(command, command_id, reason)
    return [VersionArchived(command.deployment, command.version, command.reason, command.by)]


def on_delete(state: Registry, command: DeleteVersion, command_id: str) -> Facts:
    """Give up an archived version's artifacts, those that nothing else refers to."""
    entry = state.entry(command.deployment)
    if entry.stages.get(command.version) != "archived":
        known = command.version in entry.versions
        way = f"archive it first: `headrace model archive {command.deployment} {command.version}`"
        reason = f"version {command.version} is {entry.stages[command.version]}; {way}" if known else None
        return _refused(command, command_id, reason or _unknown(command.deployment, command.version))
    gone = orphaned(state, command.deployment, command.version)
    digests = tuple(sorted({place.digest for place in gone}))
    return [VersionDeleted(command.deployment, command.version, command.reason, command.by, digests)]


def orphaned(state: Registry, deployment: str, version: int) -> list[ArtifactPlace]:
    """The artifacts of a version that no other version of any deployment refers to, deleted ones apart."""
    others = {
        place.digest
        for name, entry in state.entries.items()
        for number, found in entry.versions.items()
        if (name, number) != (deployment, version) and entry.stages.get(number) != "deleted"
        for place in places_of(found)
    }
    return [place for place in places_of(state.entry(deployment).versions[version]) if place.digest not in others]


def places_of(registered: VersionRegistered) -> tuple[ArtifactPlace, ...]:
    """Where all artifacts of a version lie."""
    return tuple(place for place in (registered.place, registered.onnx, registered.twin) if place is not None)


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


def _not_usable(entry: Entry, deployment: str, version: int) -> str | None:
    if version not in entry.versions:
        return _unknown(deployment, version)
    return None if entry.may_serve(version) else f"version {version} was {entry.stages[version]}"


def _unknown(deployment: str, version: int) -> str:
    return f"{deployment} has no version {version}: `headrace model list` shows those that there are"
