"""Which events count: each origin once, whatever the pipeline repeats.

A pipeline delivers at least once and re-keys, so origins arrive out of order. Its markers close the gaps: after a
marker at raw offset X, whatever has an origin at or below X was written before, so seeing it again is a repeat. Above
the marker the origins seen are kept one by one; the next marker forgets them.
"""

from dataclasses import dataclass, field

from headrace.envelope import Origin

_INDEX_LIMIT = 65_536


@dataclass(slots=True)
class Origins:
    """Origins that a partition's reader has taken, per raw `topic/partition`."""

    marked: dict[str, int] = field(default_factory=dict)
    sparse: dict[str, set[int]] = field(default_factory=dict)

    def is_repeat(self, origin: Origin | None) -> bool:
        """Whether the effects of `origin` are contained already; remembers it when not. No origin is never a repeat."""
        if origin is None:
            return False
        place = f"{origin.topic}/{origin.partition}"
        if origin.offset <= self.marked.get(place, -1):
            return True
        code = origin.offset * _INDEX_LIMIT + origin.index
        seen = self.sparse.setdefault(place, set())
        if code in seen:
            return True
        seen.add(code)
        return False

    def advance(self, place: str, offset: int) -> bool:
        """Take a marker; returns whether it moved anything."""
        if offset <= self.marked.get(place, -1):
            return False
        self.marked[place] = offset
        self.sparse[place] = {code for code in self.sparse.get(place, ()) if code // _INDEX_LIMIT > offset}
        return True
