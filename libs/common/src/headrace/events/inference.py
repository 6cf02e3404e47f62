"""Requests, decisions, replies and outcomes."""

import msgspec

from headrace.events.failures import Failure

Scalar = float | int | str | bool | None


class PredictionRequested(msgspec.Struct, frozen=True, gc=False):
    """A request for the answer for one unit. Its instant is the record's `ce_time`.

    `unit`: what traffic is split by; None for the record's key. `inputs`: named values, checked against the
    deployment's contract. `deadline_ms`: how long after its append time an answer is still useful; None for ever.
    """

    deployment: str
    inputs: dict[str, Scalar] = {}
    unit: str | None = None
    deadline_ms: int | None = None


class Score(msgspec.Struct, frozen=True, gc=False):
    """The answer of one version.

    `value`: the probability of the positive class, or the number. `probabilities`: one per class, where there are
    several.
    """

    version: int
    model_digest: str
    value: float | None = None
    probabilities: tuple[float, ...] | None = None


class Served(msgspec.Struct, frozen=True, gc=False, tag="served"):
    """The routed version answered."""

    score: Score


class FellBack(msgspec.Struct, frozen=True, gc=False, tag="fell_back"):
    """A lower step of the fallback chain answered. `step`: `previous`, `baseline` or `prior`; the prior's
    `score.version` is 0.
    """

    step: str
    reason: str
    score: Score


class Refused(msgspec.Struct, frozen=True, gc=False, tag="refused"):
    """The request is not answered now: overload, or no step of the fallback chain can answer."""

    reason: str
    retry_after_s: float = 1.0


class Expired(msgspec.Struct, frozen=True, gc=False, tag="expired"):
    """The deadline had passed before the request was reached. `late_ms`: by how much."""

    late_ms: int


class Invalid(msgspec.Struct, frozen=True, gc=False, tag="invalid"):
    """The request breaks the deployment's contract. Repeating it does not help."""

    reason: str
    field: str | None = None


Answer = Served | FellBack | Refused | Expired | Invalid


class DecisionMade(msgspec.Struct, frozen=True, gc=False):
    """The full record of how one request was answered: enough to explain the answer and to compute it again.

    `request_id`: the request's `ce_id`. `at_s`: its instant. `request_offset`: its offset in its partition; the
    decision is in the partition of the same number. `row`: float32 little-endian bytes of the feature row that the
    answering version got, in the order of `signature` (a digest); b"" when no row was made. `entities`: the entity
    looked up, per view. `applied`: per `source/partition` the source offset up to which (exclusive) the features
    contain its events. `missing`: features without a value. `stale`: features whose source sent nothing for longer than
    their limit. `shadows`: the scores of other versions for the same row. `assigned`: the version to which the route or
    an override assigned the unit, whichever answered; None when there was none. `override`: why the route's shares did
    not apply, `preview` or `tenant`; "" when they did (only these requests are randomised). `failures`: why versions
    that were called, or should have been, gave no score. `took_ms`: per version the CPU time of the call that scored
    this request; absent when the call was repeated to find rows that failed. `failures` and `took_ms` are keyed by the
    version's digits, since MessagePack readers in other languages expect text keys; see `failure_of` and `took_ms_of`.
    `shadows_due`: shadows that had not answered when this was committed; for each a `ShadowScored` follows on the same
    partition. `route_offset`: the offset of the record of `registry.routes` that was followed, -1 for none.
    `recovered`: it was decided again after a takeover, and another provisional answer may have been sent.
    """

    request_id: str
    deployment: str
    unit: str
    at_s: float
    answer: Answer
    request_offset: int
    row: bytes = b""
    signature: str = ""
    entities: dict[str, str] = {}
    applied: dict[str, int] = {}
    missing: tuple[str, ...] = ()
    shadows: tuple[Score, ...] = ()
    route_offset: int = -1
    recovered: bool = False
    code_version: str = ""
    stale: tuple[str, ...] = ()
    assigned: int | None = None
    failures: dict[str, Failure] = {}
    took_ms: dict[str, float] = {}
    override: str = ""
    shadows_due: tuple[int, ...] = ()

    def failure_of(self, version: int) -> Failure | None:
        """Why a version gave no score; None when it gave one or was not called."""
        return self.failures.get(str(version)) if self.failures else None

    def took_ms_of(self, version: int) -> float | None:
        """The duration of the call in which a version scored this request; None when it is not known."""
        return self.took_ms.get(str(version))


class ShadowScored(msgspec.Struct, frozen=True, gc=False):
    """The result of a shadow that came after the decision was committed: its score, or why there is none.

    At most one per request and version counts: readers join by (`deployment`, `request_id`, `version`) and keep the
    first. `at_s`: the request's instant. `took_ms`: the duration of the call; 0 when there was none, or when other rows
    of it failed.
    """

    request_id: str
    deployment: str
    unit: str
    version: int
    at_s: float
    score: Score | None = None
    failure: Failure | None = None
    took_ms: float = 0.0


class PredictionAnswered(msgspec.Struct, frozen=True, gc=False):
    """The reply to a waiting gateway or client. `provisional`: it was sent before the decision was committed."""

    request_id: str
    deployment: str
    answer: Answer
    missing: tuple[str, ...] = ()
    provisional: bool = False
    stale: tuple[str, ...] = ()


class OutcomeObserved(msgspec.Struct, frozen=True, gc=False):
    """The ground truth of an earlier request. `ce_time` is when it became known.

    `label`: 0 or 1, the name of a class, or a number (see the table in `headrace.project.labels`). `request_id`: the
    request that it belongs to, where known. `corrects`: the id (`ce_id`) of the outcome that it corrects.
    """

    deployment: str
    unit: str
    label: float | str | bool
    request_id: str | None = None
    corrects: str | None = None


class VersionWarmed(msgspec.Struct, frozen=True, gc=False):
    """An inference instance has loaded a version and run it once. `took_s`: duration of load and warm-up."""

    deployment: str
    version: int
    instance: str
    took_s: float


class VersionUnloadable(msgspec.Struct, frozen=True, gc=False):
    """An inference instance has rejected a version for good, by its bytes or by what it did to a child process.

    The old route stays.
    """

    deployment: str
    version: int
    instance: str
    reason: str


class VersionLoadFailed(msgspec.Struct, frozen=True, gc=False):
    """A version could not be loaded on an instance now. The load is tried again, and `VersionWarmed` ends the failure.

    `cause`: `memory` (no room, or the kernel's memory killer), `time` (not done within the limit of wall time), `child`
    (its process died once) or `log` (the artifact could not be read). `attempt`: the number of failures in a row, from
    1. `retry_after_s`: when it is tried again. `goes_on`: nothing has failed; the load takes long and is still waited
    for.
    """

    deployment: str
    version: int
    instance: str
    cause: str
    reason: str
    attempt: int = 1
    retry_after_s: float = 0.0
    goes_on: bool = False


class FallbackChanged(msgspec.Struct, frozen=True, gc=False):
    """The step that answers a deployment's requests changed. `step`: `champion`, `previous`, `baseline` or `prior`."""

    deployment: str
    step: str
    version: int
    reason: str
    instance: str


class BreakerChanged(msgspec.Struct, frozen=True, gc=False):
    """The breaker of a version changed on an instance. `state`: `closed`, `open` or `half_open`; `was`: the state
    before.

    `calls`, `failure_share`, `slow_share`: what its window held.
    """

    deployment: str
    version: int
    state: str
    was: str
    reason: str
    instance: str
    calls: int = 0
    failure_share: float = 0.0
    slow_share: float = 0.0


class OverloadChanged(msgspec.Struct, frozen=True, gc=False):
    """An instance starts, changes or ends load shedding.

    `level`: 0 for nothing, 1 for shadows, 2 for the baseline too, 3 when requests are refused.
    """

    deployment: str
    level: int
    was: int
    waiting_s: float
    instance: str
