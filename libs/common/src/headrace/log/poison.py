"""When unreadable records are too many to be an accident: a faulty release must not move a whole topic to the dead
letters.

A partition of `raw.*` or `events.*` stops at the limit. Topics that all deployments share never stop: beyond the limit
their dead letters are sampled, and each records how many it stands for.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

IN_A_ROW = 100
SHARE = 0.05
WINDOW = 10_000
SAMPLE_EVERY = 100


@dataclass(slots=True)
class PoisonLedger:
    """Counts per place (a partition). The limit is over 100 in a row, or over 5 % of the last 10,000 records."""

    _in_a_row: dict[Hashable, int] = field(default_factory=dict)
    _seen: dict[Hashable, int] = field(default_factory=dict)
    _bad: dict[Hashable, int] = field(default_factory=dict)

    def good(self, place: Hashable, count: int = 1) -> None:
        """Count records that were read, one after the other."""
        if count:
            self._in_a_row[place] = 0
            self._count(place, 0, count)

    def bad(self, place: Hashable) -> bool:
        """Count a record that was not. Returns whether the limit is exceeded."""
        self._in_a_row[place] = self._in_a_row.get(place, 0) + 1
        self._count(place, 1, 1)
        return self._in_a_row[place] > IN_A_ROW or self._bad[place] > SHARE * WINDOW

    def forget(self, place: Hashable) -> None:
        """Reset the counts of a place, after an operator let it continue."""
        for counts in (self._in_a_row, self._seen, self._bad):
            counts.pop(place, None)

    def copy(self) -> "PoisonLedger":
        """A copy of the present counts."""
        return PoisonLedger(dict(self._in_a_row), dict(self._seen), dict(self._bad))

    def restore(self, before: "PoisonLedger") -> None:
        """Return to earlier counts: the records since then are read again."""
        self._in_a_row, self._seen, self._bad = before._in_a_row, before._seen, before._bad

    def _count(self, place: Hashable, bad: int, count: int) -> None:
        if self._seen.get(place, 0) >= WINDOW:
            self._seen[place], self._bad[place] = 0, 0
        self._seen[place] = self._seen.get(place, 0) + count
        self._bad[place] = self._bad.get(place, 0) + bad


@dataclass(slots=True)
class Samples:
    """Which dead letters are written for a place that is beyond its limit and continues.

    >>> samples = Samples()
    >>> [samples.take(0, is_beyond=True) for _ in range(100)].count(0), samples.take(0, is_beyond=False)
    (99, 1)
    """

    _unwritten: dict[Hashable, int] = field(default_factory=dict)

    def take(self, place: Hashable, *, is_beyond: bool) -> int:
        """The number of records that the dead letter of this record stands for; 0 when it gets none."""
        count = self._unwritten.get(place, 0) + 1
        if is_beyond and count < SAMPLE_EVERY:
            self._unwritten[place] = count
            return 0
        self._unwritten.pop(place, None)
        return count
