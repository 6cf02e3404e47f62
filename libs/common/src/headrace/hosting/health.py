"""What an instance reports of itself: one mutable record, which its parts fill in and the heartbeat publishes."""

from dataclasses import dataclass, field

from headrace.events.ops import FailedLoads, HealthReported
from headrace.hosting.measured import Measured
from headrace.hosting.traffic import Traffic
from headrace.latency import Digest

# The failure in the last report of a process that ends because a part of it failed.
FAILED = "end"


@dataclass
class Health:
    """The state behind /ready, `ops.health` and /metrics. An instance is ready when nothing fails and nothing is
    awaited.

    - `commits`: how long its transactions took to commit; `measured`: metrics that nothing but /metrics reads.
    - Of the feature service, per `source/partition`: `newest_event_s`, the newest instant contained; `late` and
      `repeated`, the events that did not count; `building`, the share read of the history of views that are being
      built.
    - Of inference: `hung_calls`, per version (`deployment/version`) the calls that hang on threads that cannot be
      ended; `traffic`, what was answered.
    - Of the gateway: `unforeseen`, the calls that failed for an unknown reason (HTTP 500).
    - Of the monitor, per deployment: `late_requests`, `late_outcomes`, `late_corrections`, what came after its
      evaluation window had closed.
    """

    service: str
    instance: str
    pid: int = 0
    http_port: int = 0
    started_s: float = 0.0
    code_version: str = ""
    shards: tuple[int, ...] = ()
    lag: dict[str, int] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    warmed: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)
    failed_loads: dict[str, FailedLoads] = field(default_factory=dict)
    in_line: tuple[str, ...] = ()
    breakers: dict[str, str] = field(default_factory=dict)
    overload: dict[str, int] = field(default_factory=dict)
    newest_event_s: dict[str, float] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    building: dict[str, float] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)
    state_bytes: dict[str, int] = field(default_factory=dict)
    state_limits: dict[str, int] = field(default_factory=dict)
    late_requests: dict[str, int] = field(default_factory=dict)
    late_outcomes: dict[str, int] = field(default_factory=dict)
    late_corrections: dict[str, int] = field(default_factory=dict)
    hung_calls: dict[str, int] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    commits: Digest = field(default_factory=Digest)
    measured: Measured = field(default_factory=Measured)
    handled: int = 0
    dead_lettered: int = 0
    unforeseen: int = 0
    failures: dict[str, str] = field(default_factory=lambda: {"start": "starting"})
    stopping: bool = False

    def fail(self, what: str, reason: str) -> None:
        """Note that `what` fails, so that the instance is not ready."""
        self.failures[what] = reason

    def clear(self, what: str) -> None:
        """Note that `what` does not fail (any more)."""
        self.failures.pop(what, None)

    def holds(self, state: str, held_bytes: int, limit_bytes: int) -> None:
        """Note the estimated size of a growing state, and its bound."""
        self.state_bytes[state], self.state_limits[state] = held_bytes, limit_bytes

    @property
    def is_ready(self) -> bool:
        """Whether the instance does its work now."""
        return not self.failures and not self.stopping

    def report(self, *, with_traffic: bool = True) -> HealthReported:
        """The record for `ops.health`. `with_traffic`: with what was answered, which is long where deployments are many."""
        return HealthReported(
            service=self.service,
            instance=self.instance,
            ready=self.is_ready,
            reason="; ".join(self.failures.values()),
            shards=self.shards,
            lag=dict(self.lag),
            applied=dict(self.applied),
            warmed=tuple(sorted(self.warmed)),
            rejected=dict(self.rejected),
            failed_loads=dict(self.failed_loads),
            breakers=dict(self.breakers),
            overload=dict(self.overload),
            handled_total=self.handled,
            dead_lettered_total=self.dead_lettered,
            late=dict(self.late),
            code_version=self.code_version,
            pid=self.pid,
            http_port=self.http_port,
            started_s=self.started_s,
            stopping=self.stopping,
            degraded=dict(self.degraded),
            state_bytes=dict(self.state_bytes),
            state_limits=dict(self.state_limits),
            failing=tuple(sorted(self.failures)),
            late_requests=dict(self.late_requests),
            late_outcomes=dict(self.late_outcomes),
            late_corrections=dict(self.late_corrections),
            in_line=self.in_line,
            hung_calls=dict(self.hung_calls),
            traffic=self.traffic.reported() if with_traffic else {},
            newest_event_s=dict(self.newest_event_s),
        )
