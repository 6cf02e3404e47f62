"""Shadows: versions that score what others have answered, after the answers have left and within a budget of their own.

A score that is there when its decision is written goes into it. Each other one follows as `ShadowScored` in a later transaction of the
same shard, so that there is one of each, whichever process ends in between. What does not fit into the budget is dropped, and
recorded as such.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from headrace.events.failures import Failure, NoTime, Shed
from headrace.events.inference import DecisionMade, Score, ShadowScored
from headrace.events.registry import Route
from headrace.log.port import Headers
from headrace.step import Step
from headrace_inference.core.batch import CallResult, Name, RowScores

MOST_ROWS, MOST_BYTES = 20_000, 32 * 1024**2
# What a row that waits takes beside its bytes.
_ENTRY_BYTES = 900
FIRST_ROWS, _LARGEST_CALL = 256, 2048
_MOST_SIZES = 1_000
# After a takeover versions are still being loaded: for so long, what the former owner owed waits for them.
LOADED_WITHIN_S = 60.0
_DROPPED = Shed(f"{MOST_ROWS:,} rows or {MOST_BYTES:,} bytes wait for shadows of this shard already")


class Shadowed(msgspec.Struct, eq=False):
    """One decision that shadows are to score. `waits_for`: those that have not; `is_written`: what comes from now on is late.

    `causes`: the headers that everything which follows from its request shares.
    """

    request_id: str
    deployment: str
    unit: str
    at_s: float
    causes: Headers
    waits_for: set[int] = msgspec.field(default_factory=set)
    scores: list[Score] = []
    failures: dict[str, Failure] = {}
    took_ms: dict[str, float] = {}
    is_written: bool = False

    @classmethod
    def of(cls, decision: DecisionMade, causes: Headers) -> "Shadowed":
        """A decision that is not written yet."""
        return cls(decision.request_id, decision.deployment, decision.unit, decision.at_s, causes)

    def with_scores(self, decision: DecisionMade) -> DecisionMade:
        """The decision as it is written now, with the scores that are there, and the names of the shadows whose scores are not."""
        self.is_written = True
        return msgspec.structs.replace(
            decision,
            shadows=(*decision.shadows, *self.scores),
            failures=decision.failures | self.failures if self.failures else decision.failures,
            took_ms=decision.took_ms | self.took_ms if self.took_ms else decision.took_ms,
            shadows_due=tuple(sorted(self.waits_for)),
        )

    def take(self, version: int, result: Score | Failure, took_ms: float | None = None) -> "Sequence[Late]":
        """Take the score of a shadow, or why there is none. `took_ms`: None when it is not known how long this one took."""
        self.waits_for.discard(version)
        if self.is_written:
            score, failure = (result, None) if isinstance(result, Score) else (None, result)
            about = (self.request_id, self.deployment, self.unit, version, self.at_s)
            return (Late(ShadowScored(*about, score, failure, took_ms or 0.0), self.causes),)
        if isinstance(result, Score):
            self.scores.append(result)
            if took_ms is not None:
                self.took_ms[str(version)] = took_ms
        else:
            self.failures[str(version)] = result
        return ()


class Late(msgspec.Struct, frozen=True, gc=False):
    """A score, or why there is none, that came after its decision was written."""

    scored: ShadowScored
    causes: Headers


class Waiting(msgspec.Struct, eq=False):
    """A row that waits for one shadow. `since_s`: since when, for rows that a former owner owed; None for others."""

    shadowed: Shadowed
    row: bytes
    since_s: float | None = None


class _Queue:
    """The rows that wait for one version. `at_once`: how many of them it gets in one call."""

    def __init__(self, at_once: int) -> None:
        self.rows: deque[Waiting] = deque()
        self.at_once = at_once


class ShadowQueues:
    """The rows that wait for the shadows of one shard, by version, within the budget."""

    def __init__(self) -> None:
        self._queues: dict[Name, _Queue] = {}
        self._sizes: dict[Name, int] = {}
        self._rows = self._bytes = 0

    @property
    def bytes(self) -> int:
        """An estimate of what the waiting rows take."""
        return self._bytes

    def on_due(self, name: Name, waiting: Waiting, late_count: int) -> "Step[ShadowQueues, Late]":
        """A row is to be scored. `late_count`: how many late scores wait to be written: they count for the budget too."""
        size = len(waiting.row) + _ENTRY_BYTES
        waiting.shadowed.waits_for.add(name[1])
        if self._rows >= MOST_ROWS or self._bytes + size > MOST_BYTES or late_count >= MOST_ROWS:
            return Step(self, tuple(waiting.shadowed.take(name[1], _DROPPED)))
        self._rows += 1
        self._bytes += size
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(self._sizes.get(name, FIRST_ROWS))
        queue.rows.append(waiting)
        return Step(self)

    def first(self, name: Name) -> Waiting | None:
        """The row that has waited longest for a version; None when no row waits for it."""
        queue = self._queues.get(name)
        return queue.rows[0] if queue is not None and queue.rows else None

    def take(self, name: Name) -> list[Waiting]:
        """The rows that a version gets in its next call; they wait no longer."""
        queue = self._queues[name]
        found = [queue.rows.popleft() for _ in range(min(len(queue.rows), queue.at_once))]
        self._rows -= len(found)
        self._bytes -= sum(len(one.row) + _ENTRY_BYTES for one in found)
        return found

    def on_result(self, result: CallResult) -> None:
        """A call of a version has ended: from its duration follows how many rows the next one has."""
        call, queue = result.call, self._queues[result.call.name]
        if isinstance(result.given, RowScores):
            queue.at_once = rows_at_once(queue.at_once, len(call.rows), result.took_s, call.limit_s)
        else:
            queue.at_once = max(1, queue.at_once // 4)

    def on_idle(self, name: Name) -> None:
        """No row waits for a version any more: its queue ends, and how many rows it gets at once is remembered."""
        if len(self._sizes) >= _MOST_SIZES:
            self._sizes.clear()
        self._sizes[name] = self._queues.pop(name).at_once


def results_of(waiting: Sequence[Waiting], result: CallResult, first: int) -> Iterable[Late]:
    """Give each waiting row what a call gave for it; yields what is late. `first`: the place of these rows in the call."""
    given, version = result.given, result.call.name[1]
    took_ms = result.cpu_s * 1000 if isinstance(given, RowScores) and not given.is_split else None
    for place, one in enumerate(waiting, first):
        if not isinstance(given, RowScores):
            found: Score | Failure = given
        elif (fault := given.faults.get(place)) is not None or not given.scores:
            found = fault or NoTime("it was not reached")
        else:
            found = given.scores[place]
        yield from one.shadowed.take(version, found, took_ms)


def rows_at_once(now: int, rows: int, took_s: float, limit_s: float) -> int:
    """How many rows a version gets at once from now on: more while that takes less than half of its limit.

    >>> rows_at_once(64, 64, 0.2, 5.0), rows_at_once(1024, 1024, 4.5, 5.0), rows_at_once(64, 10, 0.2, 5.0)
    (128, 512, 64)
    """
    if took_s > 0.75 * limit_s:
        return max(1, now // 2)
    return min(_LARGEST_CALL, now * 2) if rows == now and took_s < 0.5 * limit_s else now


def is_awaited(version: int, route: Route | None, waited_s: float | None, *, is_refused: bool) -> bool:
    """Whether a version that is not loaded is waited for: for what a former owner owed, for a while, as long as the route names it.

    `waited_s`: for how long it has been waited for, None for rows that no former owner owed.
    """
    if waited_s is None or route is None or is_refused:
        return False
    return version in (*route.shadows, *route.shares, *route.warm) and waited_s < LOADED_WITHIN_S


def why_lost(decision: DecisionMade, signature: str | None) -> Failure | None:
    """Why a shadow's score of a decision that a former owner wrote cannot be made up for; None when it can.

    `signature`: the digest of the shadow's own, None when it is not registered.
    """
    if signature == decision.signature:
        return None
    return NoTime("its instance ended before it was asked, and the row that is logged is another version's")
