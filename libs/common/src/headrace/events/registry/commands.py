"""What the registry is asked to do; each is answered by a fact or refused."""

from typing import Literal

import msgspec

from headrace.events.registry.versions import ArtifactPlace, GateResult, GoldenRow, Lineage, Signature, Waiver


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
    """Command: go on with a paused rollout."""

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


# What ran out: `pause`, no verdict for `silence_s`; `silence`, none for twice as long while it was paused for that; `warming`, no live instance
# got the version warm; `load`, an instance has failed to load it too often.
WaitedFor = Literal["pause", "silence", "warming", "load"]
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
