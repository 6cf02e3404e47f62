"""Health reports of instances, and partitions that are stopped."""

import msgspec

# The most versions that a report lists as rejected, and as failed to load.
LOADS_REPORTED = 16
# Characters of a reason in a report.
LOAD_REASON_CHARS = 300
# The most deployments whose traffic a report lists, and the most versions of each.
DEPLOYMENTS_REPORTED = 256
VERSIONS_REPORTED = 32


class FailedLoads(msgspec.Struct, frozen=True):
    """The failed loads of one version on one instance since it was last warm there.

    `at_s`: when the newest of them failed, seconds since the epoch. `cause`, `reason`: of the last one, see
    `VersionLoadFailed`.
    """

    at_s: tuple[float, ...]
    cause: str
    reason: str


class DeploymentTraffic(msgspec.Struct, frozen=True):
    """What one instance of inference has answered for one deployment, as counts of committed decisions since the
    instance started. Two reports of one instance (equal `instance` and `started_s`) are subtracted to get an interval.

    `outcomes`: by outcome: `served`; `champion` (in place of a preview), `previous`, `baseline` and `prior`, the step
    that a request fell back to; `refused`, `expired`, `invalid`. Those without any are left out. `versions`: the
    answers by a model, by the digits of its version; under `other` those of versions that the route does not name, and
    of the version counted first once there are more than `VERSIONS_REPORTED`. `latency`: by duration, in the buckets of `headrace.latency`, which
    reads quantiles from it: from the append of the request until the decision was committed. The time of a waiting
    client differs: he gets a fast answer before the commit, and another after it. `latency_sum_s`: the sum of these
    durations. `missing`, `stale`: decisions with at least one view feature without a value, or older than its limit.
    `unknown`: rows given to a version with at least one category that the version has no code for (null, or not in its
    vocabulary); a row counts for each version that is asked.
    """

    outcomes: dict[str, int] = {}
    versions: dict[str, int] = {}
    latency: tuple[int, ...] = ()
    latency_sum_s: float = 0.0
    missing: int = 0
    stale: int = 0
    unknown: int = 0


class HealthReported(msgspec.Struct, frozen=True):
    """What one instance of a service is doing now. It is published each second, and on a change at most every 50 ms.

    `shards`: the partitions owned. `lag`: records behind, per `topic/partition`. `late`: events that came too late to
    count, per `source/partition`. `applied`: per raw or source `topic/partition` the highest offset whose effects are
    contained in what this instance answers from (inclusive). `warmed`: versions that are loaded and have run once, as
    `deployment/version`. `rejected`: versions that a route names and that are never tried here again, and why.
    `failed_loads`: versions that are tried again. Of both at most the newest `LOADS_REPORTED` are listed. `breakers`:
    the breakers that are not closed, as `STATE: why`. `overload`: deployments whose load is shed, with the level of
    `OverloadChanged`. `started_s`: wall clock. `stopping`: the last report, of an intended end unless `end` is among
    `failing`. `degraded`: deployments that a fallback answers for, and why. `state_bytes`: the estimated size of each
    growing state. `state_limits`: its bound. `in_line`: versions (`deployment/version`) that wait for other loads.
    `failing`: keys of what is wrong (`transaction:PLACE` and others), which `reason` describes. `late_requests`,
    `late_outcomes`, `late_corrections`: of the monitor, per deployment, what came after its evaluation window had
    closed. `hung_calls`: per version the calls that hang on threads which only the end of the process can end. `traffic`: of inference, per
    deployment, under "" for deployments that do not exist and beyond the first `DEPLOYMENTS_REPORTED`. It is in one
    report a second: in one that a change causes it may be empty, which is no news. `newest_event_s`: of the feature
    service, per `source/partition` the instant of the newest event contained, event time.
    """

    service: str
    instance: str
    ready: bool
    reason: str = ""
    shards: tuple[int, ...] = ()
    lag: dict[str, int] = {}
    applied: dict[str, int] = {}
    warmed: tuple[str, ...] = ()
    rejected: dict[str, str] = {}
    failed_loads: dict[str, FailedLoads] = {}
    breakers: dict[str, str] = {}
    handled_total: int = 0
    dead_lettered_total: int = 0
    late: dict[str, int] = {}
    code_version: str = ""
    pid: int = 0
    http_port: int = 0
    started_s: float = 0.0
    stopping: bool = False
    overload: dict[str, int] = {}
    degraded: dict[str, str] = {}
    state_bytes: dict[str, int] = {}
    state_limits: dict[str, int] = {}
    failing: tuple[str, ...] = ()
    late_requests: dict[str, int] = {}
    late_outcomes: dict[str, int] = {}
    late_corrections: dict[str, int] = {}
    in_line: tuple[str, ...] = ()
    hung_calls: dict[str, int] = {}
    traffic: dict[str, DeploymentTraffic] = {}
    newest_event_s: dict[str, float] = {}


class PartitionStopped(msgspec.Struct, frozen=True):
    """A service has stopped reading a partition, because too many of its records cannot be read.

    `offset`: the first record that is not handled. The stop outlasts restarts and ends with a `PartitionResumed` under
    the same key. `topic_id`: the id of the topic; the stop does not apply to a topic that was created again.
    """

    service: str
    topic: str
    partition: int
    offset: int
    reason: str
    topic_id: str = ""


class PartitionResumed(msgspec.Struct, frozen=True):
    """An operator lets a stopped partition continue at `offset`.

    `how`: `resume` for the offset where it stopped, `skip` for a later one. `by`: the operator.
    """

    service: str
    topic: str
    partition: int
    offset: int
    how: str
    by: str
    reason: str = ""
    topic_id: str = ""
