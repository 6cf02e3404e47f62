"""Requests, decisions, replies and outcomes: the data plane's nouns."""

import msgspec

from headrace.events.failures import Failure

Scalar = float | int | str | bool | None


class PredictionRequested(msgspec.Struct, frozen=True, gc=False):
    """Please answer for one unit. The instant that the answer is for is the record's `ce_time`.

    `unit`: what traffic is split by; the record's key when None. `inputs`: named values, checked against the
    deployment's contract. `deadline_ms`: how long after its append time an answer is still of use; None is for ever.
    """

    deployment: str
    inputs: dict[str, Scalar] = {}
    unit: str | None = None
    deadline_ms: int | None = None


class Score(msgspec.Struct, frozen=True, gc=False):
    """The answer of one version. `value`: probability of the positive class, or the regressed number; `probabilities`: one per class of several."""

    version: int
    model_digest: str
    value: float | None = None
    probabilities: tuple[float, ...] | None = None


class Served(msgspec.Struct, frozen=True, gc=False, tag="served"):
    """The routed version answered."""

    score: Score


class FellBack(msgspec.Struct, frozen=True, gc=False, tag="fell_back"):
    """A lower step of the fallback chain answered. `step`: `previous`, `baseline` or `prior`; `score.version` is 0 for the prior."""

    step: str
    reason: str
    score: Score


class Refused(msgspec.Struct, frozen=True, gc=False, tag="refused"):
    """Not answered now: overload, or nothing on the fallback chain can answer."""

    reason: str
    retry_after_s: float = 1.0


class Expired(msgspec.Struct, frozen=True, gc=False, tag="expired"):
    """The deadline had passed before the request was reached. `late_ms`: by how much."""

    late_ms: int


class Invalid(msgspec.Struct, frozen=True, gc=False, tag="invalid"):
    """The request breaks the deployment's contract; asking again does not help."""

    reason: str
    field: str | None = None


Answer = Served | FellBack | Refused | Expired | Invalid


class DecisionMade(msgspec.Struct, frozen=True, gc=False):
    """The full record of how one request was answered: enough to explain it and to make it again.

    `request_id`: the request's `ce_id`; `at_s`: its instant; `request_offset`: where it lies in its partition (the
    decision lies in the same partition). `row`: float32 little-endian bytes of the feature row that the answering
    version saw, in the order of `signature` (a digest); b"" when no row was made. `entities`: per view the entity looked up.
    `applied`: per source topic and partition `source/partition` the source offset up to which (exclusive) the features
    contain its events. `missing`: features that had no value. `stale`: features whose source sent nothing for longer than
    their limit. `shadows`: what the other versions said of the same row.
    `assigned`: the version that the route (or an override) gave the unit to, whoever answered in the end; None when there was none.
    `override`: what set the route's shares aside, `preview` or `tenant`, "" when nothing did (only these are randomised).
    `failures`: versions that were asked, or would have been, and gave no score, and why. `took_ms`: per version how long the call
    took that scored this request; left out when others of its rows failed and were looked for. Both are keyed by the version's
    digits, since a plain reader of MessagePack takes no map with another key than a text: see `failure_of` and `took_ms_of`. `shadows_due`: shadowed versions that had not answered when this was committed; of each
    a `ShadowScored` follows on the same partition.
    `route_offset`: the record of `registry.routes` that it followed, -1 when none. `recovered`: decided again after a
    takeover; another provisional answer may have left.
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
        """Why a version gave no score, None when it gave one or was not to."""
        return self.failures.get(str(version)) if self.failures else None

    def took_ms_of(self, version: int) -> float | None:
        """How long the call took in which a version scored this request, None when that is not known."""
        return self.took_ms.get(str(version))


class ShadowScored(msgspec.Struct, frozen=True, gc=False):
    """What a shadowed version said of a request after its decision was committed: its score, or why there is none.

    At most one per request and version counts: readers join by (`deployment`, `request_id`, `version`), the first one stands.
    `at_s`: the request's instant. `took_ms`: how long the call took, 0 when there was none, or others of its rows failed.
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
    """The reply to a gateway or client that waits. `provisional`: sent before the decision was committed."""

    request_id: str
    deployment: str
    answer: Answer
    missing: tuple[str, ...] = ()
    provisional: bool = False
    stale: tuple[str, ...] = ()


class OutcomeObserved(msgspec.Struct, frozen=True, gc=False):
    """The ground truth of an earlier request; `ce_time` is when it became known.

    `label`: 0 or 1, the name of the class, or the number (`headrace.project.labels` has the table). `request_id`: of the
    request that it belongs to, where that is known. `corrects`: the id (`ce_id`) of the outcome that it sets right.
    """

    deployment: str
    unit: str
    label: float | str | bool
    request_id: str | None = None
    corrects: str | None = None


class VersionWarmed(msgspec.Struct, frozen=True, gc=False):
    """An inference instance has loaded a version and run it once. `took_s`: load and warm-up."""

    deployment: str
    version: int
    instance: str
    took_s: float


class VersionUnloadable(msgspec.Struct, frozen=True, gc=False):
    """An inference instance has rejected a version for good: by its bytes, or by what it did to a child process; the old route goes on."""

    deployment: str
    version: int
    instance: str
    reason: str


class VersionLoadFailed(msgspec.Struct, frozen=True, gc=False):
    """A version could not be loaded here and now; it is tried again, and `VersionWarmed` clears it.

    `cause`: `memory` (no room, or the kernel's memory killer), `time` (not done within the limit of wall time), `child` (its process
    died once) or `log` (the artifact could not be read). `attempt`: the how manieth failure in a row, from 1. `retry_after_s`: when it is tried again.
    `goes_on`: nothing has failed: the try takes long, and is waited for.
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
    """The breaker of a version changed on an instance. `state`: `closed`, `open` or `half_open`; `was`: the one before.

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
    """An instance sheds load, or no more. `level`: 0 nothing, 1 shadows, 2 the baseline too, 3 requests are refused."""

    deployment: str
    level: int
    was: int
    waiting_s: float
    instance: str
