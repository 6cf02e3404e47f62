"""Which deployments could not be monitored, and why: one alarm each, until a window of the deployment closes well.

Some failures have no window that could close well: that of the analysis of a rollout, and that of a deployment which is not
declared. They stay on for a while after the last failure. A definition that cannot be monitored stays on until the
deployment is declared otherwise, or is removed.
"""

import math
from collections.abc import Container
from dataclasses import dataclass, field

from headrace.hosting.alerts import Alarm

FAILING_S = 600.0
# Which part of a deployment's monitoring fails: its windows, the analysis of its rollout, the estimates before labels, or `metric NAME`.
WINDOWS, ROLLOUT, ESTIMATES = "", "rollout", "estimates"


@dataclass
class MonitoringFailures:
    """Per deployment and part: why it failed, and until when that stays on, in seconds of the monotonic clock."""

    _found: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def is_known(self, name: str, part: str, why: str) -> bool:
        """Whether that part of the deployment failed before, for the same reason, and the failure is still on."""
        return self._found.get((name, part), ("", 0.0))[0] == why

    def add(self, name: str, part: str, why: str, now_s: float) -> None:
        """Note that a part of a deployment failed. `now_s`: of the monotonic clock."""
        self._found[name, part] = (why, now_s + FAILING_S)

    def refuse(self, name: str, why: str) -> None:
        """Note that a deployment cannot be monitored as it is declared."""
        self._found[name, WINDOWS] = (why, math.inf)

    def note_well(self, name: str) -> None:
        """Note that a window of the deployment closed well, or that the deployment is declared anew."""
        self._found.pop((name, WINDOWS), None)

    def forget(self, name: str) -> None:
        """Drop a deployment that is declared no more."""
        for key in [key for key in self._found if key[0] == name]:
            del self._found[key]

    def alarms(self, monitored: Container[str], now_s: float) -> list[Alarm]:
        """The alarms that are on. `monitored`: the deployments that have windows; `now_s`: of the monotonic clock."""
        self._found = {
            (name, part): found
            for (name, part), found in self._found.items()
            if (part == WINDOWS and name in monitored) or found[1] > now_s
        }
        return [monitoring_failed(name, part, why) for (name, part), (why, _) in self._found.items()]


def monitoring_failed(name: str, part: str, why: str) -> Alarm:
    """A part of a deployment is not monitored as it should be. `name`: "" when no deployment is known."""
    about = {"deployment": name} | ({"about": part} if part else {})
    summary = f"{part + ' of ' if part else ''}{name or 'a deployment'} is not monitored as it should be: {why}"
    return Alarm("MonitoringFailed", about, "critical", summary, "headrace status")
