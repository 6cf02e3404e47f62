"""Which versions are registered: immutable, counted from 1 per deployment, registered once per command.

A gate that failed keeps a version out unless a named person waives it with a reason. A version is refused too when it does not give what
its deployment's labels are, when its artifacts are not there, when no clock could go on from it, and when the registry has no room.
"""

from headrace.events.definition import LabelDefinition
from headrace.events.registry import ArtifactPlace, RegisterVersion, VersionRegistered
from headrace.events.verdicts import FAIL
from headrace.instants import EARLIEST_S, LATEST_S
from headrace.registry.state import Registry
from headrace.registry.waivers import waived
from headrace.step import Step
from headrace_registry.core.compatibility import classes_mismatch, label_mismatch
from headrace_registry.core.machine import Fact, refused, step_of

VERSIONS_BYTES = 256 * 2**20
CHUNKS = 100_000
TAGS = 100


def on_register(
    state: Registry,
    command: RegisterVersion,
    command_id: str,
    *,
    is_declared: bool,
    has_artifact: bool,
    now_s: float,
    label: LabelDefinition | None = None,
) -> Step[Registry, Fact]:
    """A new version, nothing for a repeated command, or why not.

    `is_declared`: whether an applied project declares the deployment; `label`: the deployment's, None when it has none.
    `has_artifact`: whether all artifacts that the command names are complete on the log.
    """
    if state.has_registered(command_id):
        return step_of(state)
    reason = (
        _no_registration(command, is_declared, has_artifact)
        or _unsound(command)
        or _no_room(state)
        or label_mismatch(label, command.output, command.classes)
        or classes_mismatch(command)
    )
    if reason is not None:
        return refused(state, command, command_id, reason)
    number = max(state.entry(command.deployment).versions, default=0) + 1
    return step_of(state, [_registered(command, number, command_id, now_s)])


def places_of(version: RegisterVersion | VersionRegistered) -> tuple[ArtifactPlace, ...]:
    """Where all artifacts of a version lie."""
    return tuple(place for place in (version.place, version.onnx, version.twin) if place is not None)


def _registered(command: RegisterVersion, number: int, command_id: str, now_s: float) -> VersionRegistered:
    return VersionRegistered(
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
        asked_by=command.asked_by,
        reference=command.reference,
    )


def _no_registration(command: RegisterVersion, is_declared: bool, has_artifact: bool) -> str | None:
    if not is_declared:
        return f"no applied project declares a deployment {command.deployment!r}: run `headrace apply` first"
    if not has_artifact:
        return (
            f"artifact {command.place.digest[:12]} is not complete on registry.artifacts: publish it before registering"
        )
    passed_by = waived(command.waivers)
    failed = [gate for gate in command.gates if gate.verdict == FAIL and gate.gate not in passed_by]
    if failed:
        return f"gate {failed[0].gate} failed: measured {failed[0].measured}, limit {failed[0].limit}; only a waiver with a name and a reason lets it pass"
    return None


def _unsound(command: RegisterVersion) -> str | None:
    """What no artifact can be like, or what no clock can go on from."""
    for place in places_of(command):
        if not (0 < place.chunk_count <= CHUNKS and place.size_bytes >= 0 and place.partition >= 0):
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
