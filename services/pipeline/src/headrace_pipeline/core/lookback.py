"""Which earlier records a transform must be fed again, so that its own variables are as they were.

A pipeline with `remembers="6h"` keeps state of its own that reaches so far back. What its transform has seen of a partition
reaches from some offset to the next one that it has not seen. Before a record that lies further on (after a start, or when the
partition came back from another worker) the gap is read again. When the transform fails on a record it starts anew with
no state: everything is fed again, except the records on which it failed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace.log.port import Record

Place = tuple[str, int]

# Failed records that are known one by one; forgetting an old one costs that it fails once more, without a dead letter.
MOST_FAILED = 100_000
FAILED_BYTES = 200
# How often the records before a batch are fed again because of messages on which the transform fails. The first few are found one by one:
# each is judged by a transform that has seen all before it. Then a pass goes on behind each failure, with a transform that has seen
# nothing yet, so that it finds all of them at once, however many, and the next one feeds the rest. What fails in the last pass only
# costs what was before it.
ONE_BY_ONE, MOST_PASSES = 5, 8


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the records before a batch. `stops_at_failure`: it ends with the first message on which the transform fails.

    `is_last`: a transform that failed in it is not started anew, but goes on with what it has seen since.
    """

    stops_at_failure: bool
    is_last: bool


def passes() -> Iterator[Pass]:
    """The passes, in order: each is made only when the one before it met a failure.

    >>> [found.stops_at_failure for found in passes()].count(True), [found.is_last for found in passes()].index(True)
    (5, 7)
    """
    for number in range(MOST_PASSES):
        yield Pass(number < ONE_BY_ONE, number == MOST_PASSES - 1)


@dataclass
class Lookback:
    """Per raw partition the next offset that the transform has not seen, and the records on which it failed.

    NB: it changes in place: it holds up to 100,000 failed records, and is asked for every record.
    """

    _next: dict[Place, int] = field(default_factory=dict)
    _failed: dict[tuple[str, int, int], None] = field(default_factory=dict)

    def gaps(self, records: Iterable[Record]) -> list[Record]:
        """Of each partition the first of these records, where something before it has not been seen."""
        firsts: dict[Place, Record] = {}
        for record in records:
            firsts.setdefault(place_of(record), record)
        return [record for place, record in firsts.items() if self._next.get(place, -1) < record.offset]

    def seen_to(self, record: Record) -> int | None:
        """The next offset of the record's partition that has not been seen; None when nothing of it was."""
        return self._next.get(place_of(record))

    def has_failed(self, record: Record) -> bool:
        """Whether the transform failed on this record before."""
        return (record.topic, record.partition, record.offset) in self._failed

    def on_handled(self, records: Sequence[Record]) -> None:
        """The transform has seen these, in this order."""
        for record in records:
            self._next[place_of(record)] = record.offset + 1

    def on_caught_up(self, records: Iterable[Record]) -> None:
        """The transform has seen everything before each of these that it ever will."""
        for record in records:
            self._next[place_of(record)] = record.offset

    def on_failed(self, record: Record) -> None:
        """The transform failed on it, and starts anew with no state."""
        self._failed[record.topic, record.partition, record.offset] = None
        if len(self._failed) > MOST_FAILED:
            del self._failed[next(iter(self._failed))]
        self._next.clear()

    def on_restarted(self) -> None:
        """The transform starts anew with no state, and no record is to blame."""
        self._next.clear()

    @property
    def held_bytes(self) -> int:
        """What is kept of failed records, by estimate."""
        return len(self._failed) * FAILED_BYTES


def place_of(record: Record) -> Place:
    """The partition that a record lies in."""
    return record.topic, record.partition
