"""From where a restart must read again: the first offset of each day, per input partition."""

import math
from dataclasses import dataclass, field

DAY_S = 86_400.0


@dataclass
class Places:
    """Lowest offset per `topic/partition` and day of event time."""

    first: dict[str, dict[int, int]] = field(default_factory=dict)

    def note(self, place: str, at_s: float, offset: int) -> None:
        """A record of this instant lies at this offset."""
        days = self.first.setdefault(place, {})
        day = math.floor(at_s / DAY_S)
        if offset < days.get(day, 2**62):
            days[day] = offset

    def from_day(self, at_s: float) -> dict[str, int]:
        """Per place the lowest offset that holds a record of the day of `at_s` or later; older days are forgotten."""
        oldest = math.floor(at_s / DAY_S)
        for days in self.first.values():
            for day in [day for day in days if day < oldest]:
                del days[day]
        return self.since(at_s)

    def since(self, at_s: float) -> dict[str, int]:
        """The same, and nothing is forgotten. A clock that does not run yet (minus infinity) needs everything again."""
        oldest = math.floor(at_s / DAY_S) if math.isfinite(at_s) else at_s
        found = {place: [first for day, first in days.items() if day >= oldest] for place, days in self.first.items()}
        return {place: min(offsets) for place, offsets in found.items() if offsets}
