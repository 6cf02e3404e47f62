"""The newest report of each instance, from `ops.health`, and what follows from two of them.

An instance that has not reported for `FRESH_S` is silent. One that said that it stops, and one that was silent for
`FORGOTTEN_S`, is no longer shown.
"""

from dataclasses import dataclass

from headrace.events.ops import HealthReported

FRESH_S = 10.0
FORGOTTEN_S = 600.0
KEPT = 1_000
RATE_OVER_S = 10.0


@dataclass
class Instance:
    """An instance: its newest report, when it was written, and its rate."""

    report: HealthReported
    seen_s: float
    base_s: float
    base_handled: int
    per_s: float | None = None


class Reports:
    """All instances by `service/instance`."""

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}

    def take(self, report: HealthReported, seen_s: float) -> HealthReported | None:
        """Take a report. Returns the one before it of the same process, None for none."""
        key = f"{report.service}/{report.instance}"
        known = self.instances.pop(key, None)
        if known is None or known.report.started_s != report.started_s:
            self.instances[key] = Instance(report, seen_s, seen_s, report.handled_total)
            while len(self.instances) > KEPT:
                del self.instances[next(iter(self.instances))]
            return None
        before = known.report
        self.instances[key] = known
        known.report, known.seen_s = report, seen_s
        if seen_s - known.base_s >= RATE_OVER_S:
            known.per_s = max(report.handled_total - known.base_handled, 0) / (seen_s - known.base_s)
            known.base_s, known.base_handled = seen_s, report.handled_total
        return before

    def shown(self, now_s: float) -> dict[str, Instance]:
        """The instances that should be there: neither ended on purpose nor silent for long."""
        return {
            key: found
            for key, found in sorted(self.instances.items())
            if not found.report.stopping and now_s - found.seen_s <= FORGOTTEN_S
        }

    def fresh(self, service: str, now_s: float) -> list[HealthReported]:
        """The reports of the instances of a service that live."""
        return [
            found.report
            for found in self.instances.values()
            if found.report.service == service and now_s - found.seen_s <= FRESH_S and not found.report.stopping
        ]
