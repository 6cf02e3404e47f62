"""Models, versions, aliases, routes and rollouts."""

import msgspec


class ColumnPin(msgspec.Struct, frozen=True):
    """One column of a feature row. `vocabulary`: for a category, its values in code order; None for a number.

    `default`: what stands in the row where there is no value; None for NaN.
    """

    name: str
    vocabulary: tuple[str, ...] | None = None
    default: float | None = None


class Signature(msgspec.Struct, frozen=True):
    """What a version's rows look like: the columns in order. `digest`: of the columns and of the views behind them."""

    columns: tuple[ColumnPin, ...]
    digest: str
    views_digest: str = ""


class ArtifactPlace(msgspec.Struct, frozen=True):
    """Where an artifact's chunks lie: `registry.artifacts` partition, digest of the bytes, their size and format."""

    digest: str
    partition: int
    size_bytes: int
    chunk_count: int
    format: str = "skops"


class ArtifactManifest(msgspec.Struct, frozen=True):
    """Written last, in the same transaction as the chunks: a set of chunks without it is not complete."""

    place: ArtifactPlace
    chunk_digests: tuple[str, ...]


class Lineage(msgspec.Struct, frozen=True):
    """What a version was made from: next offsets of each `topic/partition`, the code, seeds, and the parent version."""

    offsets: dict[str, int] = {}
    request_from_s: float = 0.0
    request_to_s: float = 0.0
    code_version: str = ""
    definition_digest: str = ""
    seed: int = 0
    parent: int | None = None
    packages: dict[str, str] = {}


class GateResult(msgspec.Struct, frozen=True):
    """One gate's word on one artifact. `verdict`: PASS, INCONCLUSIVE, UNMEASURED or FAIL; `artifact`: the model digest measured."""

    gate: str
    verdict: str
    measured: float | None
    limit: float | None
    artifact: str
    detail: str = ""


class RegisterVersion(msgspec.Struct, frozen=True):
    """Command: make an immutable version of `model` for `deployment`; refused when the artifact is not there or a gate failed.

    `command_id` derives from the cause, so that a repeated command registers once. `rollout`: ask for one at once.
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


class SetAlias(msgspec.Struct, frozen=True):
    """Command: move `alias` to `version` if it stands at `expected` now (None: unset)."""

    deployment: str
    alias: str
    version: int
    expected: int | None
    reason: str
    by: str


class StartRollout(msgspec.Struct, frozen=True):
    """Command: release `version` by the deployment's rollout policy."""

    deployment: str
    version: int
    reason: str
    by: str


class AbortRollout(msgspec.Struct, frozen=True):
    """Command: stop the running rollout; the champion keeps all traffic."""

    deployment: str
    reason: str
    by: str


class VersionRegistered(msgspec.Struct, frozen=True):
    """A version exists, for ever as it is. `version` counts from 1 per model."""

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
    """A rollout began: the version is to be loaded and warmed on every inference instance."""

    deployment: str
    rollout: str
    version: int
    policy: str
    reason: str


class RolloutAdvanced(msgspec.Struct, frozen=True):
    """A rollout went a step on. `step`: `warming`, `switched`; `share`: of traffic to the new version."""

    deployment: str
    rollout: str
    version: int
    step: str
    share: float


class RolloutCompleted(msgspec.Struct, frozen=True):
    """The version is champion and takes all traffic. `clock_s`: the deployment's clock at the switch."""

    deployment: str
    rollout: str
    version: int
    clock_s: float


class RolloutAborted(msgspec.Struct, frozen=True):
    """The rollout ended without a switch; the version is `rejected` when `harmful`."""

    deployment: str
    rollout: str
    version: int
    reason: str
    harmful: bool = False


class RouteChanged(msgspec.Struct, frozen=True):
    """The route of a deployment from now on (the fact; `Route` on registry.routes is the state)."""

    deployment: str
    route: "Route"


class ModelVersion(msgspec.Struct, frozen=True):
    """Current state of one version. `stage`: `registered`, `warming`, `champion`, `retired` or `rejected`."""

    registered: VersionRegistered
    stage: str
    aliases: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True):
    """Current route of a deployment.

    `shares`: traffic per version, sums to 1 (empty: no version yet, the prior answers). `shadows`: versions that score
    along. `warm`: versions to keep loaded. `previous`: the rung below the champion. `places`: where each named version's
    artifact and signature are found. `revision` counts changes.
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
