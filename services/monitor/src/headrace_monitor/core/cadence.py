"""When the monitor looks: at the windows that may close, and at what services report.

A look asks the log where its partitions end, so it is not made with every record, nor with every tick. When a window closes
does not depend on when it is looked at.
"""

import math

# While there is a backlog, windows are looked at after so many records.
LOOK_EVERY = 500
# While there is none, at most so often.
LOOK_IDLE_S = 0.5
SERVICES_EVERY_S = 1.0


class Cadence:
    """When the last looks were, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._unlooked = 0
        self._looked_idle_s = self._looked_at_services_s = -math.inf

    def note_records(self, count: int) -> None:
        """So many records were read."""
        self._unlooked += count

    def is_time_for_windows(self, now_s: float, *, is_idle: bool) -> bool:
        """Whether to look at windows now; if so, this is the look. `is_idle`: nothing was read in this step."""
        if not is_idle and self._unlooked < LOOK_EVERY:
            return False
        if is_idle and now_s - self._looked_idle_s < LOOK_IDLE_S:
            return False
        self._looked_idle_s = now_s if is_idle else self._looked_idle_s
        self._unlooked = 0
        return True

    def is_time_for_services(self, now_s: float) -> bool:
        """Whether to look at what services report now; if so, this is the look."""
        if now_s - self._looked_at_services_s < SERVICES_EVERY_S:
            return False
        self._looked_at_services_s = now_s
        return True
