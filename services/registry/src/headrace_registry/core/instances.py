"""Which instances of inference and monitor live, and what they have done, by `ops.health` and `inference.facts`.

An instance that has not reported for `FRESH_S` is not waited for: it serves nobody. How long the registry has waited is counted by what
was recorded: the time between heartbeats that follow each other closely (`living_s`). While nobody reports, that time stands still.
A load that failed is forgotten when the instance has the version warm; a rejection is never forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.ops import HealthReported

FRESH_S = 10.0
# A gap between heartbeats counts as so much at the most.
GAP_S = 5.0
# How many reports, failed loads and rejections are remembered, the newest ones; and failures of one version on one instance.
REPORTS_KEPT, LOADS_KEPT, REJECTIONS_KEPT, FAILURES_KEPT = 1_000, 1_000, 10_000, 16
REPORT_BYTES, LOAD_BYTES, REJECTION_BYTES = 4_096, 2_048, 1_024
_REASON_CHARS = 300


@dataclass(slots=True)
class Failing:
    """Loads of one version that failed on one instance since it had it warm last. `at_s`: when each was recorded."""

    at_s: list[float] = field(default_factory=list)
    cause: str = ""
    reason: str = ""


class Instances:
    """What each instance has reported last, and which versions it could not load.

    NB: it changes in place, with every heartbeat of every instance. `living_s`: see above.
    """

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], tuple[float, HealthReported]] = {}
        self._unloadable: dict[tuple[str, int], str] = {}
        self._failing: dict[tuple[str, int, str], Failing] = {}
        self._warmed: dict[tuple[str, int], int] = {}
        self._beat_s: float | None = None
        self.living_s = 0.0

    def take(self, event: Any, seen_s: float) -> None:
        """Note a heartbeat, or a fact of inference; `seen_s`: when it was written, seconds since the epoch."""
        match event:
            case HealthReported(service="inference" | "monitor"):
                self._take_report(event, seen_s)
            case VersionUnloadable():
                _put(self._unloadable, (event.deployment, event.version), event.reason[:_REASON_CHARS], REJECTIONS_KEPT)
            case VersionLoadFailed(goes_on=False):
                self._take_failure(event, seen_s)
            case VersionWarmed():
                self._failing.pop((event.deployment, event.version, event.instance), None)
                key = (event.deployment, event.version)
                _put(self._warmed, key, self._warmed.get(key, 0) + 1, REJECTIONS_KEPT)
            case _:
                pass

    def _take_report(self, report: HealthReported, seen_s: float) -> None:
        _put(self._reports, (report.service, report.instance), (seen_s, report), REPORTS_KEPT)
        if report.service != "inference" or report.stopping:
            return
        if self._beat_s is not None:
            self.living_s += min(max(seen_s - self._beat_s, 0.0), GAP_S)
        self._beat_s = max(seen_s, self._beat_s or seen_s)
        if self._failing and report.warmed:
            warmed = set(report.warmed)
            mine = [key for key in self._failing if key[2] == report.instance and f"{key[0]}/{key[1]}" in warmed]
            for key in mine:
                del self._failing[key]

    def _take_failure(self, event: VersionLoadFailed, seen_s: float) -> None:
        key = (event.deployment, event.version, event.instance)
        failing = self._failing.pop(key, None) or Failing()
        failing.at_s = [*failing.at_s, seen_s][-FAILURES_KEPT:]
        failing.cause, failing.reason = event.cause, event.reason[:_REASON_CHARS]
        _put(self._failing, key, failing, LOADS_KEPT)

    def warmed(self, name: str, now_s: float) -> dict[str, bool]:
        """Per live inference instance whether it has version `deployment/version` warm; one that is not ready has not."""
        return {r.instance: r.ready and name in r.warmed for r in self._live("inference", now_s)}

    def in_line(self, name: str, now_s: float) -> bool:
        """Whether version `deployment/version` waits on a live instance until others are loaded. An instance that died does not count."""
        return any(name in report.in_line for report in self._live("inference", now_s))

    def warmings(self, deployment: str, version: int) -> int:
        """How often instances have reported the version as newly warm: a sign that something goes on."""
        return self._warmed.get((deployment, version), 0)

    def unloadable(self, deployment: str, version: int) -> str | None:
        """Why an instance has rejected a version for good; None when none did."""
        return self._unloadable.get((deployment, version))

    def failing(self, deployment: str, version: int, since_s: float, now_s: float) -> tuple[str, int, Failing] | None:
        """The live instance on which loads of a version have failed most often since then, how often, and why; None when none did."""
        live = {report.instance for report in self._live("inference", now_s)}
        found = [
            (sum(at_s >= since_s for at_s in failing.at_s), instance, failing)
            for (name, number, instance), failing in self._failing.items()
            if (name, number) == (deployment, version) and instance in live
        ]
        count, instance, failing = max(found, key=lambda one: one[:2], default=(0, "", Failing()))
        return (instance, count, failing) if count else None

    def served(self) -> int:
        """How many records all inference instances have handled: it grows while requests flow."""
        return sum(r.handled_total for (service, _), (_, r) in self._reports.items() if service == "inference")

    def monitor(self, now_s: float) -> HealthReported | None:
        """The monitor's report; of several instances the one that owns its shard. None while none lives."""
        live = self._live("monitor", now_s)
        return max(live, key=lambda report: (bool(report.shards), report.handled_total)) if live else None

    def _live(self, service: str, now_s: float) -> list[HealthReported]:
        return [
            report
            for (name, _), (seen_s, report) in self._reports.items()
            if name == service and now_s - seen_s <= FRESH_S and not report.stopping
        ]

    def held_bytes(self) -> tuple[int, int]:
        """What is kept, by estimate, and its bound."""
        held = len(self._reports) * REPORT_BYTES + len(self._failing) * LOAD_BYTES
        held += (len(self._unloadable) + len(self._warmed)) * REJECTION_BYTES
        bound = REPORTS_KEPT * REPORT_BYTES + LOADS_KEPT * LOAD_BYTES + 2 * REJECTIONS_KEPT * REJECTION_BYTES
        return held, bound


def _put(kept: dict[Any, Any], key: Any, value: Any, limit: int) -> None:
    """The newest ones stay."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > limit:
        del kept[next(iter(kept))]


def lag_of(report: HealthReported) -> int:
    """How many records an instance has yet to read."""
    return sum(report.lag.values())


def names_of(instances: Iterable[str], limit: int = 3) -> str:
    """A few names, and how many more."""
    found = sorted(instances)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
