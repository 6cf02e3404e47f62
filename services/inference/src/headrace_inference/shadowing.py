"""Shadows: versions that score what others have answered, after the answers have left and within a budget of their own.

A score that is there when its decision is written goes into it; each other one follows as `ShadowScored` in a later
transaction of the same shard, so that there is one of each, whoever dies in between. What does not fit into the budget is
dropped, and says so.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from headrace.events.definition import BreakerDefinition
from headrace.events.failures import Failure, NoTime, NotLoaded, Shed
from headrace.events.inference import DecisionMade, Score, ShadowScored
from headrace.log.port import Headers, Out
from headrace_inference.adapters.models import LoadedModel, NotScored
from headrace_inference.core.batching import Call
from headrace_inference.core.records import Records
from headrace_inference.core.warming import Name
from headrace_inference.gather import Batch
from headrace_inference.plane import Plane
from headrace_inference.scoring import Scoring, note_lost, note_scored

MOST_ROWS, MOST_BYTES = 20_000, 32 * 1024**2
# What a row that waits costs beside its bytes.
_ENTRY_BYTES = 900
_FIRST_ROWS, _LARGEST_CALL = 256, 2048
# A call's scores come all at once: so many are written down before the answers have their turn, and so many go into one commit
# beside a batch of requests (twice as many as there are requests, or these), lest answers wait for them.
_AT_ONCE, _BESIDE = 64, 256
_MOST_APPETITES = 1_000
# After a takeover versions are still being loaded: so long what the former owner owed waits for them.
_LOADED_WITHIN_S, _LOOK_EVERY_S = 60.0, 0.1
_DROPPED = Shed(f"{MOST_ROWS:,} rows or {MOST_BYTES:,} bytes wait for shadows of this shard already")
_TIME_LIMIT_S = 5.0


class Due(msgspec.Struct, eq=False):
    """One decision whose shadows are to score. `sealed`: it is written, and what comes from now on is late."""

    request_id: str
    deployment: str
    unit: str
    at_s: float
    causes: Headers
    waits_for: set[int] = msgspec.field(default_factory=set)
    scores: list[Score] = []
    failures: dict[str, Failure] = {}
    took_ms: dict[str, float] = {}
    sealed: bool = False


class _Waiting(msgspec.Struct, eq=False):
    """A row for one shadow. `since_s`: when it came, for those that a former owner owed; None for others."""

    due: Due
    row: bytes
    since_s: float | None = None


class _Queue:
    """What waits for one version. `appetite`: how many rows it gets at once."""

    def __init__(self, appetite: int) -> None:
        self.rows: deque[_Waiting] = deque()
        self.appetite = appetite
        self.task: asyncio.Task[None] | None = None


class Shadows:
    """The shadows of one shard."""

    def __init__(self, plane: Plane, scoring: Scoring, records: Records, partition: int) -> None:
        self._plane, self._scoring, self._records, self._partition = plane, scoring, records, partition
        self._queues: dict[Name, _Queue] = {}
        self._appetites: dict[Name, int] = {}
        self._late: list[Out] = []
        self._rows = self._bytes = 0

    @property
    def bytes(self) -> int:
        """About what waits here takes."""
        return self._bytes

    def add(self, batch: Batch, call: Call, dues: dict[int, Due]) -> None:
        """Let a version score these cases in its own time. `dues`: by the case's index."""
        model = batch.models[call.name]
        digest = model.registered.signature.digest
        unmade = [case for case in call.cases if (digest, case.index) not in batch.rows]
        if unmade:
            self._scoring.make_rows(batch, unmade, model.registered.signature)
        for case in call.cases:
            due = dues[case.index]
            known = batch.scores[call.name].get(case.index)
            if known is not None:
                due.scores.append(known)
            else:
                self._put(call.name, _Waiting(due, batch.rows[digest, case.index]))
        self._begin(call.name)

    def owe(self, decision: DecisionMade, version: int, causes: Headers) -> None:
        """What a former owner owed: a shadow's score of a decision that is written."""
        name = (decision.deployment, version)
        due = Due(
            decision.request_id, decision.deployment, decision.unit, decision.at_s, causes, {version}, sealed=True
        )
        registered = self._plane.control.versions.get(name)
        if registered is None or registered.signature.digest != decision.signature:
            reason = "its instance ended before it was asked, and the row that is logged is another version's"
            self._settle(due, version, NoTime(reason))
            return
        self._put(name, _Waiting(due, decision.row, asyncio.get_running_loop().time()))
        self._begin(name)

    def seal(self, decision: DecisionMade, due: Due) -> DecisionMade:
        """A decision as it is written, with what its shadows have said by now and the names of those that have not."""
        due.sealed = True
        return msgspec.structs.replace(
            decision,
            shadows=(*decision.shadows, *due.scores),
            failures=decision.failures | due.failures if due.failures else decision.failures,
            took_ms=decision.took_ms | due.took_ms if due.took_ms else decision.took_ms,
            shadows_due=tuple(sorted(due.waits_for)),
        )

    def take(self, beside: int = 0) -> list[Out]:
        """The late scores that are to be written now. `beside`: how many requests are answered with them."""
        for queue in self._queues.values():
            if queue.task is not None and queue.task.done():
                queue.task.result()
        most = max(_BESIDE, 2 * beside)
        found, self._late = self._late[:most], self._late[most:]
        return found

    async def close(self) -> None:
        """Score no more; what is owed is the next owner's."""
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _put(self, name: Name, waiting: _Waiting) -> None:
        size = len(waiting.row) + _ENTRY_BYTES
        waiting.due.waits_for.add(name[1])
        if self._rows >= MOST_ROWS or self._bytes + size > MOST_BYTES or len(self._late) >= MOST_ROWS:
            self._settle(waiting.due, name[1], _DROPPED)
            return
        self._rows += 1
        self._bytes += size
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(self._appetites.get(name, _FIRST_ROWS))
        queue.rows.append(waiting)

    def _begin(self, name: Name) -> None:
        queue = self._queues.get(name)
        if queue is not None and queue.rows and (queue.task is None or queue.task.done()):
            if queue.task is not None:
                queue.task.result()
            queue.task = asyncio.create_task(self._serve(name, queue))

    async def _serve(self, name: Name, queue: _Queue) -> None:
        while queue.rows:
            found = self._plane.definitions.deployment(name[0])
            breaker = found[1].breaker if found is not None else BreakerDefinition()
            limit_s = found[1].time_limit_s if found is not None else _TIME_LIMIT_S
            failure = self._plane.shelf.why_not(name, breaker, as_shadow=True)
            model = self._plane.shelf.find(name)
            if failure is not None and model is None and self._may_come(name, queue.rows[0]):
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            waiting = self._next(queue)
            if failure is None and model is not None:
                await self._call(name, queue, model, waiting, limit_s, breaker)
            else:
                why = failure or NotLoaded("it was let go")
                for one in waiting:
                    self._settle(one.due, name[1], why)
        if len(self._appetites) >= _MOST_APPETITES:
            self._appetites.clear()
        self._appetites[name] = queue.appetite
        del self._queues[name]

    def _may_come(self, name: Name, first: _Waiting) -> bool:
        """Whether a version that is not loaded is waited for: for what a former owner owed, as long as a route wants it."""
        route, _ = self._plane.control.route(name[0])
        if first.since_s is None or route is None or name[1] not in (*route.shadows, *route.shares, *route.warm):
            return False
        is_refused = name in self._plane.shelf.refused
        return not is_refused and asyncio.get_running_loop().time() - first.since_s < _LOADED_WITHIN_S

    def _next(self, queue: _Queue) -> list[_Waiting]:
        found = [queue.rows.popleft() for _ in range(min(len(queue.rows), queue.appetite))]
        self._rows -= len(found)
        self._bytes -= sum(len(one.row) + _ENTRY_BYTES for one in found)
        return found

    async def _call(
        self,
        name: Name,
        queue: _Queue,
        model: LoadedModel,
        waiting: Sequence[_Waiting],
        limit_s: float,
        breaker: BreakerDefinition,
    ) -> None:
        columns = len(model.registered.signature.columns)
        rows = np.frombuffer(b"".join(one.row for one in waiting), "<f4").reshape(len(waiting), columns)
        clock, shelf, version = self._plane.clock, self._plane.shelf, name[1]
        began_s = clock.monotonic_s()
        try:
            scored = await model.score_along(rows, limit_s, shelf.pulse)
        except NotScored as error:
            queue.appetite = max(1, queue.appetite // 4)
            failure = note_lost(shelf, name, breaker, error.failure)
            for one in waiting:
                self._settle(one.due, version, failure)
            return
        took_s = clock.monotonic_s() - began_s
        queue.appetite = _appetite(queue.appetite, len(rows), took_s, limit_s)
        # NB: how long it took says nothing against it: how many rows it got at once was our choice.
        note_scored(
            shelf, name, breaker, scored, rows, [one.due.unit for one in waiting], None if scored.is_split else 0.0
        )
        took_ms = None if scored.is_split else took_s * 1000
        for place, one in enumerate(waiting):
            if place % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            found = scored.faults.get(place)
            if found is None and scored.scores:
                self._settle(one.due, version, scored.scores[place], took_ms)
            else:
                self._settle(one.due, version, found or NoTime("it was not reached"), took_ms)

    def _settle(self, due: Due, version: int, said: Score | Failure, took_ms: float | None = None) -> None:
        due.waits_for.discard(version)
        if due.sealed:
            score, failure = (said, None) if isinstance(said, Score) else (None, said)
            took = took_ms or 0.0
            scored = ShadowScored(due.request_id, due.deployment, due.unit, version, due.at_s, score, failure, took)
            self._late.append(self._records.shadow(scored, due.causes, self._partition))
        elif isinstance(said, Score):
            due.scores.append(said)
            if took_ms is not None:
                due.took_ms[str(version)] = took_ms
        else:
            due.failures[str(version)] = said


def _appetite(now: int, rows: int, took_s: float, limit_s: float) -> int:
    """How many rows a version gets at once from now on: more while that takes less than half of its limit.

    >>> _appetite(64, 64, 0.2, 5.0), _appetite(1024, 1024, 4.5, 5.0), _appetite(64, 10, 0.2, 5.0)
    (128, 512, 64)
    """
    if took_s > 0.75 * limit_s:
        return max(1, now // 2)
    return min(_LARGEST_CALL, now * 2) if rows == now and took_s < 0.5 * limit_s else now
