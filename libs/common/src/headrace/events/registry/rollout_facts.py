"""What happened to rollouts."""

import msgspec

from headrace.events.definition import RolloutDefinition
from headrace.events.registry.commands import AbortCause
from headrace.events.verdicts import Evidence


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
    """An operator has paused it; or, `unjudged`, no verdict came for `silence_s`: then it goes on with the next one."""

    deployment: str
    rollout: str
    version: int
    reason: str
    unjudged: bool = False
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
