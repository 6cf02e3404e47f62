"""Which events count: each origin once, whatever the pipeline repeats.

A pipeline delivers at least once and re-keys, so origins arrive out of order. Its markers close the gaps: a marker at
raw offset X means that everything with an origin at or below X was written before, so that it is a repeat when it comes
again. Origins above the marker are kept one by one until the next marker.

A raw topic that was deleted and created again counts its offsets from 0. Markers carry its id, the first one before any
record of the topic. With another id everything starts anew.

The whole state is one record of a shard, which readers limit to 1 MiB. So it has a budget in bytes as written
(`ORIGINS_BYTES`), and only places that Kafka could have are kept. Anything else in a marker or an origin is ignored.
"""

import re
from dataclasses import dataclass, field

from headrace.events.features import RAW_TOPIC, TOPIC_ID
from headrace.log.envelope import Origin

_INDEX_LIMIT = 65_536
_LARGEST_OFFSET = 2**47 - 1
_LARGEST_CODE = 2**63 - 1
_PLACE = re.compile(rf"(?:{RAW_TOPIC})/[0-9]{{1,10}}").fullmatch
_ID = re.compile(TOPIC_ID).fullmatch
# The bounds make both parts fit into one record. A pipeline marks every batch and stays far below. Invented origins
# beyond it are forgotten, the lowest first.
MOST_SPARSE = 50_000
MOST_PLACES = 1000
# Sizes in MessagePack: an origin's code; a place's name with its length; its marker, its id, and the length of its
# origins.
_CODE_BYTES, _NAME_BYTES, _REST_BYTES = 9, 3, 9 + 38 + 5
PLACES_BYTES = 500_000
ORIGINS_BYTES = PLACES_BYTES + MOST_SPARSE * _CODE_BYTES


@dataclass(slots=True)
class Origins:
    """The origins that a reader of a partition has taken, per raw `topic/partition`."""

    marked: dict[str, int] = field(default_factory=dict)
    sparse: dict[str, set[int]] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)
    _count: int = field(init=False, default=0, compare=False)
    _places: set[str] = field(init=False, default_factory=set, compare=False)
    _places_bytes: int = field(init=False, default=0, compare=False)

    def __post_init__(self) -> None:
        # NB: older records may exceed the budget of places.
        for known in (self.marked, self.topic_ids, self.sparse):
            for place in [place for place in known if not self._knows(place)]:
                del known[place]
        for place in [place for place, known in self.topic_ids.items() if not _ID(known)]:
            del self.topic_ids[place]
        self._count = sum(map(len, self.sparse.values()))

    def is_repeat(self, origin: Origin | None) -> bool:
        """Whether the effects of `origin` are contained already. A new one is remembered. None is never a repeat."""
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
        """Take a marker. Returns whether it changed anything.

        >>> origins = Origins()
        >>> origins.advance("raw.m.v1/0", 9, "first"), origins.is_repeat(Origin("raw.m.v1", 0, 4, 0))
        (True, True)
        >>> origins.advance("raw.m.v1/0", -1, "second"), origins.is_repeat(Origin("raw.m.v1", 0, 4, 0))
        (True, False)
        """
        if offset > _LARGEST_OFFSET or not _ID(topic_id) or not self._knows(place):
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
        """Whether the raw topic is another one than before. NB: a marker without an id means the known topic."""
        known = self.topic_ids.get(place, "")
        if topic_id:
            self.topic_ids[place] = topic_id
        return bool(known and topic_id) and known != topic_id

    @property
    def held_bytes(self) -> int:
        """The estimated size of the origins and markers."""
        return self._count * 100 + len(self.marked) * 300 + len(self.topic_ids) * 100

    def _knows(self, place: str) -> bool:
        """Whether a raw partition is known, or can be added; then it is added."""
        if place in self._places:
            return True
        size = 3 * (len(place) + _NAME_BYTES) + _REST_BYTES
        is_full = len(self._places) >= MOST_PLACES or self._places_bytes + size > PLACES_BYTES
        if is_full or not _PLACE(place):
            return False
        self._places.add(place)
        self._places_bytes += size
        return True

    def _forget(self) -> None:
        """Drop the lower half of the origins of the raw partition with the most. NB: the result must not depend on
        their order.
        """
        place = max(self.sparse, key=lambda found: (len(self.sparse[found]), found))
        codes = sorted(self.sparse[place])
        self.sparse[place] = set(codes[len(codes) // 2 :])
        self._count -= len(codes) // 2
