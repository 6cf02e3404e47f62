"""Health as each instance tells it."""

import msgspec

# Of how many versions at most a report says that they were rejected, and of how many that their loads failed.
LOADS_REPORTED = 16


class FailedLoads(msgspec.Struct, frozen=True):
    """Loads of one version that failed on one instance since it had it warm last.

    `at_s`: when each failed, seconds since the epoch, the newest ones. `cause`, `reason`: of the last one, see `VersionLoadFailed`.
    """

    at_s: tuple[float, ...]
    cause: str
    reason: str


class HealthReported(msgspec.Struct, frozen=True):
    """What one instance of a service is doing now; published each second, and on change at most every 50 ms.

    `shards`: partitions owned. `lag`: records behind, per `topic/partition`. `late`: events that came too late to count, per `source/partition`. `applied`: per raw or source partition
    (`topic/partition`) the highest offset whose effects are contained in what this instance answers from (inclusive).
    `warmed`: versions that are loaded and have been run once, as `deployment/version`; `rejected`: those that a route names and that are never tried
    here again, and why; `failed_loads`: those that are tried again (the newest `LOADS_REPORTED` each). `breakers`: those whose breaker is not closed, `STATE: why`.
    `overload`: deployments whose load is shed, and the level (see `OverloadChanged`). `started_s`: wall clock. `stopping`: a last report, by design unless `end` is among `failing`.
    `degraded`: deployments that a fallback answers for, and why. `state_bytes`: what each state that grows holds now, by estimate; `state_limits`: its bound.
    `in_line`: versions (`deployment/version`) that wait to be loaded while others are. `failing`: keys of what is not as it should be (`transaction:PLACE` and the like), of which `reason` holds the words. Of the monitor, per
    deployment: `late_requests`, `late_outcomes`, what came after its evaluation window had closed.
    `hung_calls`: per version, calls that hang for good on threads that cannot be ended before the process is.
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
    in_line: tuple[str, ...] = ()
    hung_calls: dict[str, int] = {}


class PartitionStopped(msgspec.Struct, frozen=True):
    """A service reads a partition no further: too many of its records cannot be understood.

    `offset`: the first record that is not handled. It stays so over restarts, until a `PartitionResumed` follows under the same key.
    `topic_id`: of the topic as it was; of one that was made again it says nothing.
    """

    service: str
    topic: str
    partition: int
    offset: int
    reason: str
    topic_id: str = ""


class PartitionResumed(msgspec.Struct, frozen=True):
    """An operator lets a stopped partition go on at `offset`: where it stood (`how` is `resume`), or further on (`skip`). `by`: who says so."""

    service: str
    topic: str
    partition: int
    offset: int
    how: str
    by: str
    reason: str = ""
    topic_id: str = ""
