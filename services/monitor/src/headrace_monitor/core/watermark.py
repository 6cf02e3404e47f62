"""How far time has come on the inputs together: a cohort closes only when all of them have been read past it.

Each partition's watermark is the highest time seen on it. One that is read to its end does not hold the others back;
one that is not, and has shown nothing yet, holds everything.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Watermark:
    """Highest time per `topic/partition`, over the partitions that carry time."""

    highest_s: dict[str, float] = field(default_factory=dict)

    def expect(self, places: Iterable[str]) -> None:
        """These partitions count from the start."""
        for place in places:
            self.highest_s.setdefault(place, -math.inf)

    def note(self, place: str, time_s: float) -> None:
        """A record of this time was read there."""
        if time_s > self.highest_s.get(place, -math.inf):
            self.highest_s[place] = time_s

    def time_s(self, read_to_end: frozenset[str] = frozenset()) -> float:
        """The lowest of the highest times; infinite when everything is read to its end."""
        return min((time_s for place, time_s in self.highest_s.items() if place not in read_to_end), default=math.inf)
