"""Which instances of inference and monitor live, and which versions they have warm or could not load, by `ops.health`.

An instance that has not reported for `FRESH_S` is not waited for: it serves nobody. How long the registry has waited is counted by what
was recorded: the time between heartbeats that follow each other closely (`living_s`). While nobody reports, that time stands still.
"""

from collections.abc import Iterable
from typing import Any

from headrace.events.ops import LOADS_REPORTED, FailedLoads, HealthReported

FRESH_S = 10.0
# A gap between heartbeats counts as so much at the most.
GAP_S = 5.0
# How many reports are remembered, and of how many versions it is known how often they became warm; the newest ones.
REPORTS_KEPT, WARMINGS_KEPT = 1_000, 10_000
# Of a report, of what it says of one version that is not loaded, and of one count.
REPORT_BYTES, LOAD_BYTES, WARMING_BYTES = 4_096, 512, 256
_NOTHING = FailedLoads((), "", "")


class Instances:
    """What each instance has reported last.

    NB: it changes in place, with every heartbeat of every instance. `living_s`: see above.
    """

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], tuple[float, HealthReported]] = {}
        self._warmed: dict[str, int] = {}
        self._beat_s: float | None = None
        self.living_s = 0.0

    def take(self, event: Any, seen_s: float) -> None:
        """Note a heartbeat; `seen_s`: when it was written, seconds since the epoch."""
        if not isinstance(event, HealthReported) or event.service not in ("inference", "monitor"):
            return
        if event.service == "inference":
            _, before = self._reports.get((event.service, event.instance), (0.0, None))
            for name in set(event.warmed).difference(before.warmed if before is not None else ()):
                _put(self._warmed, name, self._warmed.get(name, 0) + 1, WARMINGS_KEPT)
        _put(self._reports, (event.service, event.instance), (seen_s, event), REPORTS_KEPT)
        if event.service != "inference" or event.stopping:
            return
        if self._beat_s is not None:
            self.living_s += min(max(seen_s - self._beat_s, 0.0), GAP_S)
        self._beat_s = max(seen_s, self._beat_s or seen_s)

    def warmed(self, name: str, now_s: float) -> dict[str, bool]:
        """Per live inference instance whether it has version `deployment/version` warm; one that is not ready has not."""
        return {r.instance: r.ready and name in r.warmed for r in self._live("inference", now_s)}

    def in_line(self, name: str, now_s: float) -> bool:
        """Whether version `deployment/version` waits on a live instance until others are loaded. An instance that died does not count."""
        return any(name in report.in_line for report in self._live("inference", now_s))

    def warmings(self, name: str) -> int:
        """How often instances have reported version `deployment/version` as newly warm: a sign that something goes on."""
        return self._warmed.get(name, 0)

    def unloadable(self, name: str) -> str | None:
        """Why an instance has rejected version `deployment/version` for good; None when none did. What an instance that died said last counts too."""
        reports = (report for _, report in self._reports.values())
        return next((report.rejected[name] for report in reports if name in report.rejected), None)

    def failing(self, name: str, since_s: float, now_s: float) -> tuple[str, int, FailedLoads] | None:
        """The live instance on which loads of version `deployment/version` have failed most often since then, how often, and why.

        None when none did. `since_s`, `now_s`: seconds since the epoch.
        """
        found = [
            (report.instance, report.failed_loads.get(name, _NOTHING)) for report in self._live("inference", now_s)
        ]
        counts = [(sum(at_s >= since_s for at_s in failed.at_s), instance, failed) for instance, failed in found]
        count, instance, failed = max(counts, key=lambda one: one[:2], default=(0, "", _NOTHING))
        return (instance, count, failed) if count else None

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
        loads = sum(len(report.rejected) + len(report.failed_loads) for _, report in self._reports.values())
        held = len(self._reports) * REPORT_BYTES + loads * LOAD_BYTES + len(self._warmed) * WARMING_BYTES
        of_report = REPORT_BYTES + 2 * LOADS_REPORTED * LOAD_BYTES
        return held, REPORTS_KEPT * of_report + WARMINGS_KEPT * WARMING_BYTES


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
