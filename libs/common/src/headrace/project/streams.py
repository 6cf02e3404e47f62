"""Helpers inside pipelines: drop repeats, and join messages within a time. Both use event time, never a clock.

    @pipeline(movements, to=[landings], remembers="6h")
    async def land(messages):
        seen, pairs = Deduplicate("1h"), Join("6h")
        async for m in messages:
            if seen.is_repeat(m["id"], m["at"]):
                continue
            for departed in pairs.match(m["kind"], m["flight"], m, m["at"]):
                yield ...

Their memory is lost when a worker ends. `remembers` of the pipeline states how much of its raw stream is then read
again before it continues; the outputs of that part are thrown away, since they were written before.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace.durations import seconds
from headrace.errors import Poison
from headrace.instants import EARLIEST_S, LATEST_S, instant_s
from headrace.log.envelope import parse_instant

At = datetime | float | str

# The number of messages that one helper remembers. Beyond it the earliest to arrive are forgotten first.
MOST = 200_000


def at_seconds(at: At) -> float:
    """Seconds since the epoch of a datetime, an RFC 3339 text, or a number. Raises `Poison` outside of the years 1 to
    9999.

    >>> at_seconds("2013-04-01T00:00:00Z")
    1364774400.0
    """
    at_s = parse_instant(at) if isinstance(at, str) else instant_s(at)
    if not EARLIEST_S <= at_s <= LATEST_S:
        raise Poison(f"an instant must lie in the years 1..9999 UTC, got {at!r:.80}")
    return at_s


@dataclass
class Deduplicate:
    """Finds repeats: messages of a key at most `within` away from the first one. `most`: how many keys are
    remembered.
    """

    within: str | float
    most: int = MOST
    _seen: dict[Hashable, float] = field(default_factory=dict)
    _order: deque[tuple[float, Hashable]] = field(default_factory=deque)
    _newest_s: float = float("-inf")

    def is_repeat(self, key: Hashable, at: At) -> bool:
        """Whether a message of this key was seen before. A new one is remembered.

        >>> seen = Deduplicate("1h")
        >>> [seen.is_repeat("a", at) for at in (0, 60, 3600)]
        [False, True, False]
        """
        at_s, within_s = at_seconds(at), seconds(self.within)
        first_s = self._seen.get(key)
        if first_s is not None and abs(at_s - first_s) < within_s:
            return True
        self._seen[key] = at_s
        self._order.append((at_s, key))
        self._newest_s = max(self._newest_s, at_s)
        # Twice the time, since a late message may still repeat one that is `within` older than the newest.
        while self._order and (self._order[0][0] < self._newest_s - 2 * within_s or len(self._order) > self.most):
            old_s, old = self._order.popleft()
            if self._seen.get(old) == old_s:
                del self._seen[old]
        return False


@dataclass
class Join:
    """Joins messages of different kinds (`side`) and the same key whose instants are at most `within` apart.

    `most`: how many messages wait.
    """

    within: str | float
    most: int = MOST
    _waiting: dict[Hashable, list[tuple[float, str, Any]]] = field(default_factory=dict)
    _order: deque[tuple[float, Hashable]] = field(default_factory=deque)
    _newest_s: float = float("-inf")

    def match(self, side: str, key: Hashable, message: Any, at: At) -> list[Any]:
        """The messages of other sides that match this one, oldest first. This one then waits for later messages itself.

        >>> pairs = Join("2h")
        >>> pairs.match("departed", "AA1", {"n": 1}, 0), pairs.match("landed", "AA1", {"n": 2}, 3600)
        ([], [{'n': 1}])
        """
        at_s, within_s = at_seconds(at), seconds(self.within)
        waiting = self._waiting.setdefault(key, [])
        found = sorted(
            (at, n) for n, (at, other, _) in enumerate(waiting) if other != side and abs(at - at_s) <= within_s
        )
        matched = [waiting[n][2] for _, n in found]
        waiting.append((at_s, side, message))
        self._order.append((at_s, key))
        self._newest_s = max(self._newest_s, at_s)
        self._forget(within_s)
        return matched

    def _forget(self, within_s: float) -> None:
        oldest_s = self._newest_s - 2 * within_s
        while self._order and (self._order[0][0] < oldest_s or len(self._order) > self.most):
            _, key = self._order.popleft()
            waiting = self._waiting[key]
            del waiting[0]  # within a key the earliest to arrive is forgotten first
            if not waiting:
                del self._waiting[key]
