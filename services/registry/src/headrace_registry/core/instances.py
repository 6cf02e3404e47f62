"""Which inference instances are alive, and what they have warm: by `ops.health` and `inference.facts`.

An instance that has not reported for `FRESH_S` holds nothing up: it serves nobody.
"""

from typing import Any

from headrace.events.inference import VersionUnloadable
from headrace.events.ops import HealthReported

FRESH_S = 5.0


class Instances:
    """What inference instances said last."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, HealthReported]] = {}
        self._unloadable: dict[tuple[str, int], str] = {}

    def take(self, event: Any, seen_s: float) -> None:
        """A heartbeat, or a fact of inference, and when it was written."""
        if isinstance(event, HealthReported) and event.service == "inference":
            self._reports[event.instance] = (seen_s, event)
        elif isinstance(event, VersionUnloadable):
            self._unloadable[event.deployment, event.version] = event.reason

    def warmed(self, name: str, now_s: float) -> dict[str, bool]:
        """Per live instance whether it has version `deployment/version` warm; one that is not ready has not."""
        live = {i: r for i, (seen_s, r) in self._reports.items() if now_s - seen_s <= FRESH_S and not r.stopping}
        return {instance: report.ready and name in report.warmed for instance, report in live.items()}

    def unloadable(self, deployment: str, version: int) -> str | None:
        """Why an instance refused a version; None when none did."""
        return self._unloadable.get((deployment, version))
