"""From where a restart must read again: the first offset of each day, per input partition.

Days are the user's to choose, so their number is bounded: over the bound the oldest day is joined to the next one, from
where more is read again than needed, never less.
"""

import math
from dataclasses import dataclass, field

DAY_S = 86_400.0
MOST_DAYS = 4096
LIMIT_BYTES = 64 * 1024 * 1024
# By estimate: a day with its offset.
_PLACE_BYTES = 100


def day_of(at_s: float) -> float | None:
    """The beginning of an instant's day, from which on `Places.from_day` finds everything; None for no instant: all of it."""
    return math.floor(at_s / DAY_S) * DAY_S if math.isfinite(at_s) else None


@dataclass
class Places:
    """Lowest offset per `topic/partition` and day of event time; `read_to`: the next offset per place."""

    first: dict[str, dict[float, int]] = field(default_factory=dict)
    read_to: dict[str, int] = field(default_factory=dict)

    def note(self, place: str, at_s: float, offset: int) -> None:
        """A record of this instant lies at this offset."""
        self.read_to[place] = offset + 1
        days = self.first.get(place)
        if days is None:
            days = self.first[place] = {}
        day = at_s // DAY_S
        if offset < days.get(day, 2**62):
            days[day] = offset
            if len(days) > MOST_DAYS:
                _join_oldest(days)

    def skip(self, place: str, offset: int) -> None:
        """A record without an instant was read."""
        self.read_to[place] = offset + 1

    def from_day(self, at_s: float) -> dict[str, int]:
        """Per place the lowest offset that holds a record of the day of `at_s` or later; older days are forgotten."""
        oldest = math.floor(at_s / DAY_S) if math.isfinite(at_s) else at_s
        for days in self.first.values():
            for day in [day for day in days if day < oldest]:
                del days[day]
        return self.since(at_s)

    def since(self, at_s: float) -> dict[str, int]:
        """The same, and nothing is forgotten; where nothing so new was read, what is not read yet.

        A clock that does not run yet (minus infinity) needs everything again.
        """
        oldest = math.floor(at_s / DAY_S) if math.isfinite(at_s) else at_s
        found = {place: [first for day, first in days.items() if day >= oldest] for place, days in self.first.items()}
        return self.read_to | {place: min(offsets) for place, offsets in found.items() if offsets}

    @property
    def held_bytes(self) -> int:
        """What they take, by estimate."""
        return sum(map(len, self.first.values())) * _PLACE_BYTES


def _join_oldest(days: dict[float, int]) -> None:
    oldest, second = sorted(days)[:2]
    days[second] = min(days[second], days.pop(oldest))
