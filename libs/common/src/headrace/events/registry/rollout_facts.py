"""Facts about rollouts."""

import msgspec

from headrace.events.definition import RolloutDefinition
from headrace.events.registry.commands import AbortCause
from headrace.events.verdicts import Evidence


class RolloutStarted(msgspec.Struct, frozen=True):
    """A rollout began: every inference instance is to load and warm the version.

    `policy`: the kind. `plan`: the full policy, which is followed to the end whatever is applied meanwhile. `control`:
    the champion that the version is compared with. `clock_s`: the deployment's clock.
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
    """A trained version waits for the running rollout to end, or for its approval. It replaces one that waited
    before.
    """

    deployment: str
    version: int
    reason: str
    by: str


class RolloutAdvanced(msgspec.Struct, frozen=True):
    """A rollout went to the next step. `step`: `shadowing`, `canary`, `testing` or `switched`; `share`: traffic of the
    new version.

    `number` counts the steps of a canary from 0. `evidence`: why the step is allowed. `clock_s`: the deployment's clock
    when the step began; None when it was not known yet: then the same step is published again with the clock of its
    first verdict.
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
    """The rollout is paused: by an operator, or (`unjudged`) because no verdict came for `silence_s`.

    An unjudged rollout continues with the next verdict.
    """

    deployment: str
    rollout: str
    version: int
    reason: str
    unjudged: bool = False
    clock_s: float | None = None


class ApprovalAwaited(msgspec.Struct, frozen=True):
    """A canary that no label can judge has passed its guardrails at its last share below 1: from now on it waits for a
    named person to approve the version.

    `clock_s`: the deployment's clock.
    """

    deployment: str
    rollout: str
    version: int
    reason: str
    clock_s: float | None = None


class RolloutResumed(msgspec.Struct, frozen=True):
    """A paused rollout continues."""

    deployment: str
    rollout: str
    version: int
    reason: str


class RolloutCompleted(msgspec.Struct, frozen=True):
    """The rollout reached its end. `clock_s`: the deployment's clock. `has_clock`: False for a switch without a
    verdict, by an operator or of a warm version: `clock_s` is then an instant before it, see `RollbackWindowBegun`.

    `promoted`: the version is champion and takes all traffic. It is False at the end of a shadow, and of an A/B test
    that the control won.
    """

    deployment: str
    rollout: str
    version: int
    clock_s: float
    promoted: bool = True
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    has_clock: bool = True


class RollbackWindowBegun(msgspec.Struct, frozen=True):
    """The first verdict after a switch without a clock has come: the rollback window lasts from its clock on."""

    deployment: str
    rollout: str
    version: int
    clock_s: float


class RolloutAborted(msgspec.Struct, frozen=True):
    """The rollout ended without a switch, or was undone.

    The version is `rejected` when `harmful`, else it may be tried again. `evidence`: which metric, block, value and
    limit. `cause`: see `AbortCause`; "" in older records.
    """

    deployment: str
    rollout: str
    version: int
    reason: str
    harmful: bool = False
    evidence: tuple[Evidence, ...] = ()
    clock_s: float | None = None
    cause: AbortCause = ""


class RolledBack(msgspec.Struct, frozen=True):
    """After its promotion a version lost all traffic to the previous one, and is `rejected`."""

    deployment: str
    version: int
    to: int
    reason: str
    by: str
    evidence: tuple[Evidence, ...] = ()
    clock_s: float | None = None
