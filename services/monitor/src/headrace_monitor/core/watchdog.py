"""The dead-man record: an alert that always fires and is written again and again, so that somebody outside can miss it.

It is written where all other alerts are, in the same transactions. So it is missed when the monitor is down, frozen or
fenced, and when the broker takes nothing. It fires since the first one that the log still has.
"""

import math

from headrace.events.alerts import AlertChanged
from headrace.hosting.alerts import WATCHDOG, WATCHDOG_EVERY_S, WATCHDOG_MISSED_S, Alarm, fire

_ALARM = Alarm(
    WATCHDOG,
    {"service": "monitor"},
    "none",
    f"alerts are written; where this is missed for {WATCHDOG_MISSED_S:.0f} s, no other alert comes either",
    "headrace status",
)


class Watchdog:
    """When the record was last written, by the monotonic clock, and how it reads.

    `at_s`: when it was last written, since the epoch; None before the first time.
    """

    def __init__(self) -> None:
        self.at_s: float | None = None
        self._record: AlertChanged | None = None
        self._written_s = -math.inf

    def on_history(self, alert: AlertChanged) -> None:
        """The record as it was written before this start."""
        self._record = alert

    def due(self, wall_s: float, monotonic_s: float) -> list[AlertChanged]:
        """The record, when it is time to write it."""
        if monotonic_s - self._written_s < WATCHDOG_EVERY_S:
            return []
        self._written_s, self.at_s = monotonic_s, wall_s
        self._record = self._record or fire(_ALARM, wall_s)
        return [self._record]
