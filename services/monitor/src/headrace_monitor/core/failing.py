"""Of which deployments monitoring has failed, and why: an alert each, until a window of it closes well.

What has no window that could close well (the analysis of a rollout, a deployment that is not declared) is told for a
while after its last failure; a definition that cannot be monitored until it is another one, or taken away.
"""

import math
from collections.abc import Container
from dataclasses import dataclass, field

from headrace_monitor.core.alarm import Alarm

FAILING_S = 600.0
# What fails of a deployment: its windows, or the analysis of its rollout.
WINDOWS, ROLLOUT = "", "rollout"


@dataclass
class Failing:
    """By deployment and what of it fails: why, and until when it is told; seconds of the monotonic clock."""

    _found: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def note(self, name: str, about: str, why: str, now_s: float) -> bool:
        """It failed; whether that is news."""
        before = self._found.get((name, about))
        self._found[name, about] = (why, now_s + FAILING_S)
        return before is None or before[0] != why

    def refuse(self, name: str, why: str) -> None:
        """It cannot be monitored as it is declared."""
        self._found[name, WINDOWS] = (why, math.inf)

    def is_well(self, name: str) -> None:
        """A window of it has closed well, or it is declared anew."""
        self._found.pop((name, WINDOWS), None)

    def forget(self, name: str) -> None:
        """It is declared no more."""
        for about in (WINDOWS, ROLLOUT):
            self._found.pop((name, about), None)

    def alarms(self, monitored: Container[str], now_s: float) -> list[Alarm]:
        """Those that are on now. `monitored`: the deployments that have windows."""
        self._found = {
            (name, about): found
            for (name, about), found in self._found.items()
            if (about == WINDOWS and name in monitored) or found[1] > now_s
        }
        return [monitoring_failed(name, about, why) for (name, about), (why, _) in self._found.items()]


def monitoring_failed(name: str, about: str, why: str) -> Alarm:
    """A deployment is not monitored as it should be."""
    what = {"deployment": name} | ({"about": about} if about else {})
    summary = f"{about + ' of ' if about else ''}{name or 'a deployment'} is not monitored as it should be: {why}"
    return Alarm("MonitoringFailed", what, "critical", summary, "headrace status")
