"""Models, versions, aliases, routes and rollouts."""

from typing import Literal

import msgspec

from headrace.events.verdicts import Evidence
from headrace.project.definition import RolloutDefinition


class ColumnPin(msgspec.Struct, frozen=True):
    """One column of a feature row. `vocabulary`: for a category, its values in code order; None for a number.

    `default`: what stands in the row where there is no value; None for NaN.
    """

    name: str
    vocabulary: tuple[str, ...] | None = None
    default: float | None = None


class Signature(msgspec.Struct, frozen=True):
    """What a version's rows look like: the columns in order. `digest`: of the columns and of the views behind them.

    `frame`: the model wants a frame with names and words instead of the matrix (slower).
    """

    columns: tuple[ColumnPin, ...]
    digest: str
    views_digest: str = ""
    frame: bool = False


class ArtifactPlace(msgspec.Struct, frozen=True):
    """Where an artifact's chunks lie: `registry.artifacts` partition, digest of the bytes, their size and format.

    `first_offset`, `last_offset`: of the first chunk and of the manifest; None where it was published before they were noted,
    and in the manifest itself.
    """

    digest: str
    partition: int
    size_bytes: int
    chunk_count: int
    format: str = "skops"
    first_offset: int | None = None
    last_offset: int | None = None


class ArtifactManifest(msgspec.Struct, frozen=True):
    """Written last, in the same transaction as the chunks: a set of chunks without it is not complete."""

    place: ArtifactPlace
    chunk_digests: tuple[str, ...]


class Lineage(msgspec.Struct, frozen=True):
    """What a version was made from: next offsets of each `topic/partition`, the code, seeds, and the parent version.

    `twin_to_s`: the gated twin (`RegisterVersion.twin`) has seen no row from this instant on. `changed_at_s`: of the change that the version was made to
    follow.
    """

    offsets: dict[str, int] = {}
    request_from_s: float = 0.0
    request_to_s: float = 0.0
    code_version: str = ""
    definition_digest: str = ""
    seed: int = 0
    parent: int | None = None
    packages: dict[str, str] = {}
    twin_to_s: float | None = None
    changed_at_s: float | None = None


class GateResult(msgspec.Struct, frozen=True):
    """One gate's word on one artifact. `verdict`: PASS, INCONCLUSIVE, UNMEASURED or FAIL; `artifact`: the model digest measured."""

    gate: str
    verdict: str
    measured: float | None
    limit: float | None
    artifact: str
    detail: str = ""


class Waiver(msgspec.Struct, frozen=True):
    """A named operator lets a version pass a gate that failed, and says why."""

    gate: str
    by: str
    reason: str


class GoldenRow(msgspec.Struct, frozen=True):
    """A row and what the version said of it where it was made. `row`: float32 little-endian bytes; `value`: the positive
    class's probability, or the number; `shares`: the probability per class of several, () otherwise. `inputs`: the request that
    the row was made of, None where it was not made of one. An instance that makes another row of it, or scores it otherwise,
    does not serve the version.
    """

    row: bytes
    value: float
    shares: tuple[float, ...] = ()
    inputs: dict[str, float | int | str | bool | None] | None = None


class RegisterVersion(msgspec.Struct, frozen=True):
    """Command: make an immutable version of `model` for `deployment`; refused when the artifact is not there or a gate
    failed without a waiver.

    `command_id` derives from the cause, so that a repeated command registers once. `rollout`: ask for one at once.
    `onnx`: the same model for ONNX Runtime, where the gate on their parity allowed it. `profile`: figures of the data
    that it was trained on, per column. `slices`: metrics per slice of the holdout. `golden`: see `GoldenRow`. `twin`: the same recipe
    as the gates measured it, fitted on older rows only: a successor is compared with it where this version knows the rows.
    `class_places`: where the classes of the model's file stand among `classes`, in the file's order; () where they are the
    same. A class that the file does not know has probability 0.
    """

    deployment: str
    model: str
    place: ArtifactPlace
    model_digest: str
    signature: Signature
    output: str = "binary"
    classes: tuple[str, ...] = ()
    lineage: Lineage = Lineage()
    metrics: dict[str, float] = {}
    gates: tuple[GateResult, ...] = ()
    reason: str = ""
    trained_rows: int = 0
    rollout: bool = True
    by: str = "trainer"
    onnx: ArtifactPlace | None = None
    owner: str = ""
    tags: dict[str, str] = {}
    waivers: tuple[Waiver, ...] = ()
    profile: dict[str, dict[str, float]] = {}
    slices: dict[str, dict[str, float]] = {}
    golden: tuple[GoldenRow, ...] = ()
    class_places: tuple[int, ...] = ()
    twin: ArtifactPlace | None = None


class SetAlias(msgspec.Struct, frozen=True):
    """Command: move `alias` to `version` if it stands at `expected` now (None: unset)."""

    deployment: str
    alias: str
    version: int
    expected: int | None
    reason: str
    by: str


class StartRollout(msgspec.Struct, frozen=True):
    """Command: release `version` by the deployment's rollout policy, or by `policy` (`blue_green`, `canary`, `ab_test`,
    `shadow`) for this once."""

    deployment: str
    version: int
    reason: str
    by: str
    policy: str | None = None


class AbortRollout(msgspec.Struct, frozen=True):
    """Command: stop the running rollout; the champion keeps all traffic."""

    deployment: str
    reason: str
    by: str


class PauseRollout(msgspec.Struct, frozen=True):
    """Command: stay at the present share whatever the verdicts say, harm excepted."""

    deployment: str
    reason: str
    by: str


class ResumeRollout(msgspec.Struct, frozen=True):
    """Command: go on with a paused or held rollout."""

    deployment: str
    reason: str
    by: str


class PromoteRollout(msgspec.Struct, frozen=True):
    """Command: make the version under rollout champion now, without waiting for evidence; `version` must be the one under rollout."""

    deployment: str
    version: int
    reason: str
    by: str


class RetryRollout(msgspec.Struct, frozen=True):
    """Command: start the last rollout again, if it was aborted without harm."""

    deployment: str
    reason: str
    by: str


class RollBack(msgspec.Struct, frozen=True):
    """Command: give all traffic back to the version before; `expected`: who must be champion now."""

    deployment: str
    expected: int
    reason: str
    by: str


class ApproveVersion(msgspec.Struct, frozen=True):
    """Command: a named person approves a version, where the deployment asks for approvals."""

    deployment: str
    version: int
    reason: str
    by: str


class ArchiveVersion(msgspec.Struct, frozen=True):
    """Command: take a version out of use; refused while it is routed."""

    deployment: str
    version: int
    reason: str
    by: str


class DeleteVersion(msgspec.Struct, frozen=True):
    """Command: delete an archived version's artifacts (only those that nothing else refers to); its facts stay."""

    deployment: str
    version: int
    reason: str
    by: str


class TagVersion(msgspec.Struct, frozen=True):
    """Command: set tags of a version; an empty value removes one."""

    deployment: str
    version: int
    tags: dict[str, str]
    by: str


class SetOverride(msgspec.Struct, frozen=True):
    """Command: send all requests of a tenant to one version, None to send them by the route again."""

    deployment: str
    tenant: str
    version: int | None
    reason: str
    by: str


# What ran out: `hold`, no verdict for `silence_s`; `silence`, none for twice as long while it was held; `warming`, no live instance
# got the version warm; `load`, an instance has failed to load it too often.
WaitedFor = Literal["hold", "silence", "warming", "load"]
# Who or what ended a rollout: an operator, evidence of harm, a version that was rejected by its bytes, or a wait that ran out.
AbortCause = Literal["", "operator", "harm", "unloadable", "silence", "warming", "load"]


class TimedOut(msgspec.Struct, frozen=True):
    """Command of the registry to itself: a wait in a rollout ran out. Recorded, so that what follows is a function of the log.

    `what`: see `WaitedFor`. `for_s`: how long was waited, in seconds in which the others lived. It counts only for the rollout
    and the phase that it was written in.
    """

    deployment: str
    rollout: str
    what: WaitedFor
    for_s: float
    reason: str


class VersionRegistered(msgspec.Struct, frozen=True):
    """A version exists, for ever as it is. `version` counts from 1 per model; the rest as in `RegisterVersion`."""

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


class CardWritten(msgspec.Struct, frozen=True):
    """The model card of a version, in Markdown with front matter, as the registry wrote it at registration."""

    deployment: str
    version: int
    markdown: str


class VersionApproved(msgspec.Struct, frozen=True):
    """A version may be released, by the word of a named person."""

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
    """A version's artifacts are gone. `artifacts`: digests that were deleted; others are in use by other versions."""

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


class RolloutStarted(msgspec.Struct, frozen=True):
    """A rollout began: the version is to be loaded and warmed on every inference instance.

    `policy`: the kind; `plan`: the policy in full, as it is followed to the end whatever is applied meanwhile. `control`:
    the champion that it is compared with. `clock_s`: the deployment's clock.
    """

    deployment: str
    rollout: str
    version: int
    policy: str
    reason: str
    plan: RolloutDefinition | None = None
    control: int | None = None
    by: str = ""
    clock_s: float | None = None


class RolloutQueued(msgspec.Struct, frozen=True):
    """A trained version waits for the running rollout to end, or for its approval; it takes the place of one that waited before."""

    deployment: str
    version: int
    reason: str
    by: str


class RolloutAdvanced(msgspec.Struct, frozen=True):
    """A rollout went a step on. `step`: `shadowing`, `canary`, `testing` or `switched`; `share`: of traffic to the new version.

    `number` counts the steps of a canary from 0. `evidence`: why it may. `clock_s`: when the step began by the deployment's
    clock; None when it was not known yet: then the same step is told once more with the clock of the first verdict on it.
    """

    deployment: str
    rollout: str
    version: int
    step: str
    share: float
    number: int = 0
    clock_s: float | None = None
    evidence: tuple[Evidence, ...] = ()


class RolloutPaused(msgspec.Struct, frozen=True):
    """An operator has paused it, or (`held`) no verdict came for long."""

    deployment: str
    rollout: str
    version: int
    reason: str
    held: bool = False
    clock_s: float | None = None


class RolloutResumed(msgspec.Struct, frozen=True):
    """It goes on."""

    deployment: str
    rollout: str
    version: int
    reason: str


class RolloutCompleted(msgspec.Struct, frozen=True):
    """The rollout reached its end. `clock_s`: the deployment's clock. `promoted`: the version is champion and takes all
    traffic (not so at the end of a shadow, or of an A/B test that the control won).
    """

    deployment: str
    rollout: str
    version: int
    clock_s: float
    promoted: bool = True
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()


class RolloutAborted(msgspec.Struct, frozen=True):
    """The rollout ended without a switch, or was undone; the version is `rejected` when `harmful`, else it may be tried again.
    `evidence`: which metric, block, value and limit. `cause`: see `AbortCause`; "" in records of before."""

    deployment: str
    rollout: str
    version: int
    reason: str
    harmful: bool = False
    evidence: tuple[Evidence, ...] = ()
    clock_s: float | None = None
    cause: AbortCause = ""


class RolledBack(msgspec.Struct, frozen=True):
    """After its promotion a version lost all traffic to the one before, and is `rejected`."""

    deployment: str
    version: int
    to: int
    reason: str
    by: str
    evidence: tuple[Evidence, ...] = ()
    clock_s: float | None = None


class RouteChanged(msgspec.Struct, frozen=True):
    """The route of a deployment from now on (the fact; `Route` on registry.routes is the state)."""

    deployment: str
    route: "Route"


class ModelVersion(msgspec.Struct, frozen=True):
    """Current state of one version. `stage`: `registered`, `warming`, `rolling_out`, `champion`, `retired`, `rejected`,
    `archived` or `deleted`. `tags`: as they are now."""

    registered: VersionRegistered
    stage: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    approved_by: str = ""


class PassedOver(msgspec.Struct, frozen=True):
    """A version that no request is answered by for now, whatever the shares say: it scores along. `finding`: why, with its `reason` in words."""

    version: int
    finding: str
    reason: str


class Route(msgspec.Struct, frozen=True):
    """Current route of a deployment.

    `shares`: traffic per version, sums to 1 (empty: no version yet, the prior answers). `shadows`: versions that score
    along. `warm`: versions to keep loaded. `overrides`: versions per tenant. `rollout`: the id of the one under way. `previous`: the rung below the champion.
    `revision` counts changes. `passed_over`: versions that steps of the ladder pass over, by findings that are open.
    """

    deployment: str
    shares: dict[int, float]
    salt: str
    revision: int
    champion: int | None = None
    previous: int | None = None
    baseline: int | None = None
    shadows: tuple[int, ...] = ()
    warm: tuple[int, ...] = ()
    reason: str = ""
    overrides: dict[str, int] = {}
    rollout: str = ""
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def named(self) -> tuple[int, ...]:
        """The versions that it names in whatever role, those with traffic first: what is kept loaded."""
        rungs = [version for version in (self.previous, self.baseline) if version is not None]
        found = [*self.shares, *rungs, *self.overrides.values(), *self.warm, *self.shadows]
        return tuple(dict.fromkeys(found))
