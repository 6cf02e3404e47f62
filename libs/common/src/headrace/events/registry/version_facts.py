"""Facts about versions and aliases."""

import msgspec

from headrace.events.references import VersionReference
from headrace.events.registry.versions import ArtifactPlace, GateResult, GoldenRow, Lineage, Signature, Waiver


class VersionRegistered(msgspec.Struct, frozen=True):
    """A version exists and never changes. `version` counts from 1 per model; the other fields are as in
    `RegisterVersion`.
    """

    deployment: str
    model: str
    version: int
    place: ArtifactPlace
    model_digest: str
    signature: Signature
    output: str
    classes: tuple[str, ...]
    lineage: Lineage
    metrics: dict[str, float]
    gates: tuple[GateResult, ...]
    reason: str
    trained_rows: int
    by: str
    registered_at_s: float
    command_id: str
    onnx: ArtifactPlace | None = None
    owner: str = ""
    tags: dict[str, str] = {}
    waivers: tuple[Waiver, ...] = ()
    profile: dict[str, dict[str, float]] = {}
    slices: dict[str, dict[str, float]] = {}
    golden: tuple[GoldenRow, ...] = ()
    class_places: tuple[int, ...] = ()
    twin: ArtifactPlace | None = None
    asked_by: str = ""
    reference: VersionReference | None = None


class CardWritten(msgspec.Struct, frozen=True):
    """The model card of a version, in Markdown with front matter, as the registry wrote it at registration."""

    deployment: str
    version: int
    markdown: str


class VersionApproved(msgspec.Struct, frozen=True):
    """A named person allows a version to be released."""

    deployment: str
    version: int
    reason: str
    by: str


class VersionArchived(msgspec.Struct, frozen=True):
    """A version is out of use."""

    deployment: str
    version: int
    reason: str
    by: str


class VersionDeleted(msgspec.Struct, frozen=True):
    """A version's artifacts are deleted. `artifacts`: the deleted digests; the others are in use by other versions."""

    deployment: str
    version: int
    reason: str
    by: str
    artifacts: tuple[str, ...] = ()


class VersionTagged(msgspec.Struct, frozen=True):
    """A version's tags from now on."""

    deployment: str
    version: int
    tags: dict[str, str]
    by: str


class CommandRefused(msgspec.Struct, frozen=True):
    """A command was not carried out. `command`: its type, `command_id`: its `ce_id`."""

    deployment: str
    command: str
    command_id: str
    reason: str


class AliasMoved(msgspec.Struct, frozen=True):
    """`alias` names `version` from now on; `was` is what it named before."""

    deployment: str
    alias: str
    version: int
    was: int | None
    reason: str
