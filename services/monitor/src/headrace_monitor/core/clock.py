"""The clock of a deployment: how far the bulk of its traffic has come in event time, which no single request can move.

- Of each partition the newest 200 records count, and of them those that were appended within 24 h of the newest one. Their
  level is the n-th highest instant among distinct units (each by its highest instant), n = max(3, a tenth of the units). With
  one or two units only, it is their third highest instant. With fewer than three instants there is no level yet.
- A partition holds the clock back at its level while records of it are unread, while requests in it are undecided, or when it
  was written to just now (a plain producer fills one partition before the next). A partition does not hold the clock back
  that is read to its end and quiet, that is stopped, or in which the deployment is not seen any more.
- The clock is the lowest level of the partitions that hold it back, and never above the level of all of them together: when
  everything is read, that level remains. So a request of today amid a replay of 2013 moves nothing.

Outcomes hold the clock back by when they became known, and source events by when they became available, under the same rule.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

RECENT = 200
FEWEST = 3
SHARE = 0.1
RECENT_S = 86_400.0
# A partition full of others' records, in which a deployment is not seen for so many, does not wait for it: more than any backlog.
GONE_AFTER = 30_000

# One record: its instant, its unit (a hash), and its append time; instants in seconds since the epoch.
Seen = tuple[float, int, float]


def level(recent: Iterable[Seen]) -> float:
    """The n-th highest instant of these records; -inf when there are too few.

    >>> level([(float(day), day, 0.0) for day in range(10)])
    7.0
    >>> level([(float(day), 1, 0.0) for day in range(10)]), level([(5.0, 1, 0.0)])
    (7.0, -inf)
    """
    found = list(recent)
    newest_s = max((append_s for _, _, append_s in found), default=0.0)
    highest: dict[int, float] = {}
    get = highest.get
    for at_s, unit, append_s in found:
        if append_s >= newest_s - RECENT_S and at_s > get(unit, -math.inf):
            highest[unit] = at_s
    count = len(highest)
    if count >= FEWEST:
        n = max(FEWEST, math.ceil(SHARE * count))
        return heapq.nlargest(n, highest.values())[-1]
    instants = {at_s for at_s, _, append_s in found if append_s >= newest_s - RECENT_S}
    return heapq.nlargest(FEWEST, instants)[-1] if len(instants) >= FEWEST else -math.inf


@dataclass(slots=True)
class Bulk:
    """The newest records of one partition, of one deployment or of one source.

    `seen_at_count`: how many records of the partition had been read when the newest one of these was; `seen_at_s`: when that
    was, in seconds of the monotonic clock.
    """

    recent: deque[Seen] = field(default_factory=lambda: deque(maxlen=RECENT))
    seen_at_count: int = 0
    seen_at_s: float = -math.inf
    _level_s: float | None = None

    def note(self, at_s: float, unit: int, append_s: float) -> None:
        """A record was read."""
        self.recent.append((at_s, unit, append_s))
        self._level_s = None

    @property
    def level_s(self) -> float:
        """See `level`; computed once per change."""
        if self._level_s is None:
            self._level_s = level(self.recent)
        return self._level_s


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of the inputs at a look. A place is `topic/partition`.

    `unread`: the places with records that are not read, or with requests that are not decided. A place of which nothing is
    known (between two looks) counts as one of them. `stopped`: the places that are read no further. `quiet_before_s`: a place
    whose last record was read before this instant of the monotonic clock is quiet.
    """

    unread: frozenset[str]
    stopped: frozenset[str] = frozenset()
    quiet_before_s: float = -math.inf


@dataclass(frozen=True, slots=True)
class InputPlaces:
    """The partitions of the inputs, as places by topic."""

    decisions: str
    outcomes: str
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def all_unread(self) -> Reading:
        """The reading when nothing is known of any place."""
        return Reading(frozenset(place for places in self.places.values() for place in places))

    def of_deployment(self, source_topics: Iterable[str], *, has_label: bool) -> tuple[list[str], list[str]]:
        """The places of decisions, and the other ones, that the clock of a deployment depends on."""
        topics = [*source_topics, *([self.outcomes] if has_label else [])]
        others = [place for topic in topics for place in self.places.get(topic, ())]
        return list(self.places.get(self.decisions, ())), others


class Clocks:
    """The clocks of all deployments, from what was read so far. A place is `topic/partition`."""

    def __init__(self) -> None:
        self._own: dict[str, dict[str, Bulk]] = {}
        self._sources: dict[str, Bulk] = {}
        self._read: dict[str, int] = {}

    def note(self, name: str, place: str, at_s: float, unit: int, append_s: float, now_s: float) -> None:
        """A decision or an outcome of a deployment was read there. `unit`: a hash; `now_s`: of the monotonic clock."""
        own = self._own.get(name)
        if own is None:
            own = self._own[name] = {}
        bulk = own.get(place)
        if bulk is None:
            bulk = own[place] = Bulk()
        read = self._read[place] = self._read.get(place, 0) + 1
        bulk.seen_at_count, bulk.seen_at_s = read, now_s
        bulk.note(at_s, unit, append_s)

    def note_source(self, place: str, at_s: float, unit: int, append_s: float, now_s: float) -> None:
        """An event of a source was read there. `at_s`: when it became available; `now_s`: of the monotonic clock."""
        bulk = self._sources.get(place)
        if bulk is None:
            bulk = self._sources[place] = Bulk()
        bulk.seen_at_s = now_s
        bulk.note(at_s, unit, append_s)

    def forget(self, name: str) -> None:
        """A deployment is declared no more."""
        self._own.pop(name, None)

    def forget_source(self, topic: str) -> None:
        """The events of a source are read again from further back, or no more."""
        for place in [place for place in self._sources if place.rpartition("/")[0] == topic]:
            del self._sources[place]

    def time_s(self, name: str, decisions: Iterable[str], others: Iterable[str], reading: Reading) -> float:
        """The clock of a deployment, in seconds since the epoch; -inf before it runs.

        `decisions`, `others`: the places that it depends on, see `InputPlaces.of_deployment`.
        """
        own: Mapping[str, Bulk] = self._own.get(name, {})
        decisions = list(decisions)
        cap_s = level(seen for place in decisions if place in own for seen in own[place].recent)
        if cap_s == -math.inf:
            return cap_s
        lowest_s = cap_s
        for place in (*decisions, *others):
            if place in reading.stopped:
                continue
            bulk = own.get(place) or self._sources.get(place)
            if self._holds_back(place, bulk, reading):
                lowest_s = min(lowest_s, -math.inf if bulk is None else bulk.level_s)
        return lowest_s

    def _holds_back(self, place: str, bulk: Bulk | None, reading: Reading) -> bool:
        if place in reading.unread:
            seen_at = 0 if bulk is None else bulk.seen_at_count
            return place in self._sources or self._read.get(place, 0) - seen_at < GONE_AFTER
        return bulk is not None and bulk.seen_at_s >= reading.quiet_before_s
