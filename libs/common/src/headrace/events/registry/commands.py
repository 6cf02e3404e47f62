"""Commands to the registry. Each is answered by a fact, or refused."""

from typing import Literal

import msgspec

from headrace.events.references import VersionReference
from headrace.events.registry.versions import ArtifactPlace, GateResult, GoldenRow, Lineage, Signature, Waiver


class RegisterVersion(msgspec.Struct, frozen=True):
    """Command: register an immutable version of `model` for `deployment`.

    It is refused when the artifact is missing, or when a gate failed without a waiver. `command_id` derives from the
    cause, so that a repeated command registers once. `rollout`: start a rollout at once. `onnx`: the same model for
    ONNX Runtime, where the gate on their parity passed. `profile`: figures of the training data, per column. `slices`:
    metrics per slice of the holdout. `golden`: see `GoldenRow`. `twin`: the same recipe as measured by the gates,
    fitted on older rows only; a successor is compared with it on rows that this version was trained on. `class_places`:
    where the classes of the model's file stand among `classes`, in the file's order; () where both are the same. A
    class that the file does not know has probability 0. `asked_by`: the person who asked for the training by hand. `reference`: what live data is compared
    with.
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
    asked_by: str = ""
    reference: VersionReference | None = None


class SetAlias(msgspec.Struct, frozen=True):
    """Command: move `alias` to `version` if it names `expected` now (None: it is unset)."""

    deployment: str
    alias: str
    version: int
    expected: int | None
    reason: str
    by: str


class StartRollout(msgspec.Struct, frozen=True):
    """Command: release `version` by the deployment's rollout policy, or this once by `policy`.

    `policy`: `blue_green`, `canary`, `ab_test` or `shadow`; None for the deployment's own.
    """

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
    """Command: stay at the present share whatever the verdicts are, except for harm."""

    deployment: str
    reason: str
    by: str


class ResumeRollout(msgspec.Struct, frozen=True):
    """Command: continue a paused rollout."""

    deployment: str
    reason: str
    by: str


class PromoteRollout(msgspec.Struct, frozen=True):
    """Command: make the version under rollout champion now, without waiting for evidence.

    `version` must be the one under rollout.
    """

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
    """Command: give all traffic back to the previous version. `expected`: who must be champion now."""

    deployment: str
    expected: int
    reason: str
    by: str


class ApproveVersion(msgspec.Struct, frozen=True):
    """Command: a named person approves a version, where the deployment requires approvals."""

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
    """Command: delete an archived version's artifacts, except those that others use; its facts stay."""

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


# What ran out: `pause`, no verdict for `silence_s`; `silence`, none for twice as long while paused for that; `warming`,
# no live instance loaded the version in time; `load`, an instance failed to load it too often.
WaitedFor = Literal["pause", "silence", "warming", "load"]
# What ended a rollout: an operator, evidence of harm, a version rejected by its bytes, a wait that ran out, nothing that
# decided it for `give_up_s`, or a newer version while its labels were inconclusive.
AbortCause = Literal["", "operator", "harm", "unloadable", "silence", "warming", "load", "undecided", "superseded"]


class TimedOut(msgspec.Struct, frozen=True):
    """Command of the registry to itself: a wait in a rollout ran out. It is recorded so that the state is a function of
    the log.

    `what`: see `WaitedFor`. `for_s`: the length of the wait, counting only seconds in which the awaited services lived.
    It counts only for the rollout and the phase in which it was written.
    """

    deployment: str
    rollout: str
    what: WaitedFor
    for_s: float
    reason: str
