"""Which events count: each origin once, whatever the pipeline repeats.

A pipeline delivers at least once and re-keys, so origins arrive out of order. Its markers close the gaps: after a
marker at raw offset X, whatever has an origin at or below X was written before, so seeing it again is a repeat. Above
the marker the origins seen are kept one by one; the next marker forgets them.

A raw topic that is deleted and made again counts its offsets from 0 again. Markers carry its id, the first one before any
record of it: with another id all begins anew.
"""

from dataclasses import dataclass, field

from headrace.envelope import Origin

_INDEX_LIMIT = 65_536
_LARGEST_OFFSET = 2**47 - 1
_LARGEST_CODE = 2**63 - 1
_LONGEST_ID = 36
# What is kept one by one, and the raw partitions that are known, fit into one record. A pipeline marks every batch and
# stays far below; origins that somebody invents are forgotten, the lowest first.
MOST_SPARSE = 50_000
MOST_PLACES = 1000


@dataclass(slots=True)
class Origins:
    """Origins that a partition's reader has taken, per raw `topic/partition`."""

    marked: dict[str, int] = field(default_factory=dict)
    sparse: dict[str, set[int]] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)
    _count: int = field(init=False, default=0, compare=False)

    def __post_init__(self) -> None:
        self._count = sum(map(len, self.sparse.values()))

    def is_repeat(self, origin: Origin | None) -> bool:
        """Whether the effects of `origin` are contained already; remembers it when not. No origin is never a repeat."""
        if origin is None:
            return False
        place = f"{origin.topic}/{origin.partition}"
        if origin.offset <= self.marked.get(place, -1):
            return True
        code = origin.offset * _INDEX_LIMIT + origin.index
        seen = self.sparse.get(place)
        if seen is None:
            if not self._knows(place):
                return False
            seen = self.sparse[place] = set()
        if code in seen:
            return True
        if not 0 <= code <= _LARGEST_CODE:
            return False
        seen.add(code)
        self._count += 1
        if self._count > MOST_SPARSE:
            self._forget()
        return False

    def advance(self, place: str, offset: int, topic_id: str = "") -> bool:
        """Take a marker; returns whether it moved anything.

        >>> origins = Origins()
        >>> origins.advance("raw.m.v1/0", 9, "first"), origins.is_repeat(Origin("raw.m.v1", 0, 4, 0))
        (True, True)
        >>> origins.advance("raw.m.v1/0", -1, "second"), origins.is_repeat(Origin("raw.m.v1", 0, 4, 0))
        (True, False)
        """
        if offset > _LARGEST_OFFSET or not self._knows(place):
            return False
        is_another = self._is_another(place, topic_id)
        if is_another:
            self._count -= len(self.sparse.pop(place, ()))
            self.marked.pop(place, None)
        if offset <= self.marked.get(place, -1):
            return is_another
        self.marked[place] = offset
        known = self.sparse.get(place, set())
        self.sparse[place] = {code for code in known if code // _INDEX_LIMIT > offset}
        self._count -= len(known) - len(self.sparse[place])
        return True

    def _is_another(self, place: str, topic_id: str) -> bool:
        """Whether the raw topic is not the one that is known. NB: a marker without an id speaks of the one that is known."""
        known = self.topic_ids.get(place, "")
        if topic_id and (known or len(self.topic_ids) < MOST_PLACES):
            self.topic_ids[place] = topic_id[:_LONGEST_ID]
        return bool(known and topic_id) and known != topic_id[:_LONGEST_ID]

    @property
    def held_bytes(self) -> int:
        """What is kept one by one, by estimate."""
        return self._count * 100 + len(self.marked) * 300 + len(self.topic_ids) * 100

    def _knows(self, place: str) -> bool:
        """Whether a raw partition is known, or one more may be."""
        is_known = place in self.sparse or place in self.marked or place in self.topic_ids
        return is_known or (len(self.sparse) < MOST_PLACES and len(self.marked) < MOST_PLACES and len(place) <= 300)

    def _forget(self) -> None:
        """Of the raw partition with the most of them, the lower half. NB: a function of the set alone, not of its order."""
        place = max(self.sparse, key=lambda found: (len(self.sparse[found]), found))
        codes = sorted(self.sparse[place])
        self.sparse[place] = set(codes[len(codes) // 2 :])
        self._count -= len(codes) // 2
