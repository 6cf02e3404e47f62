"""Corrections of labels that came after the window of their request had closed: they change no report any more, and are counted.

A correction waits until a window closes at an instant at which it was known. If its outcome then belongs to a request of that window,
or of one that is still open, it is used there. If not, it came too late: the window of what it corrects had closed before, or nobody
knows what it corrects. So the count depends on instants, and neither on when records were read nor on how they were batched; one that was sent again counts once. What waits
lies wherever `Keep` puts it, and nothing of closed windows is kept.
"""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from headrace.events.definition import LabelDefinition
from headrace.features.outcomes import STRAY, UNKNOWN, Asked, KnownOutcome, Table, fates_of, packed, table_of
from headrace_monitor.core.held_rows import Among, HeldRows, InMemory, Keep
from headrace_monitor.core.labels import Labels


class LateCorrections:
    """The corrections of one deployment that wait, and how many came too late since the beginning (`count`)."""

    def __init__(self, keep: Keep = InMemory) -> None:
        self.count = 0
        self._keep, self._waiting = keep, HeldRows(keep)

    @property
    def held_bytes(self) -> int:
        """How many bytes they take in memory."""
        return self._waiting.held_bytes

    def add(self, correction: KnownOutcome) -> None:
        """Take a correction that no closing has looked at."""
        self._waiting.add(packed(*correction))

    def settle(self, label: LabelDefinition, labels: Labels, open_rows: Iterable[Table], closes_s: float) -> None:
        """A window closes at `closes_s`: count what came too late. `open_rows`: those of all open windows, this one included."""
        if not len(self._waiting):
            return
        waiting = table_of(bytes(self._waiting))
        is_due = waiting["known_s"] <= closes_s
        if not is_due.any():
            return
        due = waiting[is_due]
        units = Among(due["unit"])
        rows = np.concatenate([table[units.places(table["unit"])] for table in open_rows])
        outcomes = labels.between(-math.inf, math.inf, units)
        fates = fates_of(
            label, Asked(*(np.ascontiguousarray(rows[name]) for name in ("unit", "at_s", "request"))), outcomes
        )
        is_late = (fates == STRAY) | (fates == UNKNOWN)
        known = Counter(row.tobytes() for row in outcomes[outcomes["corrects"] != 0])
        late = {row.tobytes() for row in outcomes[is_late]}
        # NB: of one that was sent again unchanged the first counts, which an earlier closing may have looked at.
        for row, count in Counter(one.tobytes() for one in due).items():
            self.count += row not in known or (row in late and known[row] <= count)
        self._waiting = HeldRows(self._keep)
        self._waiting.add(waiting[~is_due].tobytes())

    def adopt(self, other: "LateCorrections") -> None:
        """Take over what waits and what was counted for another definition of the deployment."""
        self.count, self._waiting = other.count, other._waiting
