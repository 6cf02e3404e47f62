"""What a transform that remembers has seen, and what it must be shown again.

Its memory of a partition reaches from some offset to the next one that it has not seen. Before a record that lies further
on (after a start, or when the partition came back from another worker) the gap is read again. When the transform fails on
a record it starts anew and knows nothing: everything is shown again, except the records on which it failed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace.log.port import Record

Place = tuple[str, int]

# Failed records that are known one by one; forgetting an old one costs that it fails once more, without a dead letter.
MOST_BAD = 100_000
BAD_BYTES = 200
# How often a memory is shown again because of messages on which the transform fails. The first few are found one by one: each is
# judged by a transform that remembers all before it. Then a pass goes on behind each failure, with a transform that knows nothing
# yet, so that it finds all of them at once, however many, and the next one feeds the rest. What fails in the last pass only costs
# what was before it.
ONE_BY_ONE, MOST_PASSES = 5, 8


@dataclass
class Memory:
    """Per raw partition the next offset that the transform has not seen."""

    _next: dict[Place, int] = field(default_factory=dict)
    _bad: dict[tuple[str, int, int], None] = field(default_factory=dict)

    def firsts(self, records: Sequence[Record], places: Iterable[int]) -> list[Record]:
        """Of each partition the first of these records, where something before it has not been seen."""
        firsts: dict[Place, Record] = {}
        for n in places:
            firsts.setdefault(place_of(records[n]), records[n])
        return [record for place, record in firsts.items() if self._next.get(place, -1) < record.offset]

    def known_to(self, record: Record) -> int | None:
        """The next offset of the record's partition that has not been seen; None when nothing is remembered of it."""
        return self._next.get(place_of(record))

    def is_bad(self, record: Record) -> bool:
        """Whether the transform failed on this record before."""
        return (record.topic, record.partition, record.offset) in self._bad

    def handled(self, record: Record) -> None:
        """The transform has seen it."""
        self._next[place_of(record)] = record.offset + 1

    def caught_up(self, record: Record) -> None:
        """The transform has seen everything before it."""
        self._next[place_of(record)] = record.offset

    def lost(self, record: Record) -> None:
        """The transform failed on it, and knows nothing any more."""
        self._bad[record.topic, record.partition, record.offset] = None
        if len(self._bad) > MOST_BAD:
            del self._bad[next(iter(self._bad))]
        self._next.clear()

    def forget(self) -> None:
        """The transform starts anew, and no record is to blame."""
        self._next.clear()

    @property
    def held_bytes(self) -> int:
        """What is kept of failed records, by estimate."""
        return len(self._bad) * BAD_BYTES


def place_of(record: Record) -> Place:
    """The partition that a record lies in."""
    return record.topic, record.partition
