"""Scoring: the model calls of a batch, round by round, each within its limit and told to its breaker."""

import asyncio
import math
from collections.abc import Sequence

import numpy as np

from headrace.events.definition import BreakerDefinition
from headrace.events.failures import Failure, Hung, NoTime, is_own
from headrace.events.registry import Signature
from headrace.policy.breaker import Culprit
from headrace_inference.adapters.models import LoadedModel, NotScored, Scored
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.core.admission import call_limit_s
from headrace_inference.core.batching import Call, Case, next_calls
from headrace_inference.core.warming import Name
from headrace_inference.gather import Batch
from headrace_inference.plane import Plane

# Of the rows of one call that failed, so many are told to its breaker by name.
_MOST_CULPRITS = 64


class Scoring:
    """Asks versions."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def score(self, batch: Batch) -> None:
        """Until every case has its answer, or nothing is left to ask."""
        while calls := next_calls(batch.cases, batch.scores, batch.failures):
            if len(calls) == 1:
                await self._call(batch, calls[0])
            else:
                await asyncio.gather(*(self._call(batch, call) for call in calls))

    def make_rows(self, batch: Batch, cases: Sequence[Case], signature: Signature) -> np.ndarray:
        """Rows for these cases of one deployment, float32 (n, columns), kept in the batch."""
        maker = batch.about[cases[0].deployment.name].rows
        inputs = [batch.messages[case.index].event.inputs for case in cases]
        features = [batch.features[case.index] for case in cases] if cases[0].deployment.features else []
        rows = maker.make(signature, inputs, np.array(features) if features else np.empty((len(cases), 0)))
        for case, row in zip(cases, rows, strict=True):
            batch.rows[signature.digest, case.index] = row.tobytes()
        return rows

    async def _call(self, batch: Batch, call: Call) -> None:
        model = batch.models[call.name]
        rows = self.make_rows(batch, call.cases, model.registered.signature)
        began_s = self._plane.clock.monotonic_s()
        scored = await self._ask(batch, call, model, rows)
        if scored is None:
            return
        took_ms = (self._plane.clock.monotonic_s() - began_s) * 1000
        indexes = [case.index for case in call.cases]
        if scored.scores:
            scores, took = batch.scores[call.name], batch.took_ms[call.name]
            scores.update(zip(indexes, scored.scores, strict=True))
            if not scored.is_split:
                took.update(dict.fromkeys(indexes, took_ms))
            for row in (*scored.faults, *scored.unasked):
                del scores[indexes[row]]
                took.pop(indexes[row], None)
        self._blame(batch, call, scored, indexes)
        if scored.unasked:
            await self._go_on(batch, Call(call.name, tuple(call.cases[row] for row in scored.unasked)))

    def _blame(self, batch: Batch, call: Call, scored: Scored, indexes: Sequence[int]) -> None:
        """Note what failed: the version, when all that it was asked failed by its own fault, else the rows."""
        faults = scored.faults
        if len(faults) == len(indexes) and all(map(is_own, faults.values())):
            batch.failures[call.name] = faults[0]
            return
        for row, failure in faults.items():
            batch.failures.note_row(call.name, indexes[row], failure)

    async def _go_on(self, batch: Batch, rest: Call) -> None:
        """What a slow model did not reach in time: without a deadline it is asked on, else the ladder goes on without it."""
        if batch.due_ms == math.inf:
            if rest.name not in batch.failures:
                await self._call(batch, rest)
            return
        for case in rest.cases:
            batch.failures.note_row(rest.name, case.index, NoTime("no time was left to ask it"))

    async def _ask(self, batch: Batch, call: Call, model: LoadedModel, rows: np.ndarray) -> Scored | None:
        """One model call within its limit, told to its breaker; None when it gave nothing."""
        deployment, shelf = call.cases[0].deployment, self._plane.shelf
        breaker, left_s = deployment.breaker, batch.due_ms / 1000 - self._plane.clock.now_s()
        limit_s = call_limit_s(deployment.time_limit_s, left_s)
        began_s = self._plane.clock.monotonic_s()
        try:
            scored = await model.score(rows, limit_s, shelf.pulse)
        except NotScored as error:
            # NB: a limit that only a client's tight deadline made so short says nothing against the version.
            is_short = limit_s < min(deployment.time_limit_s, breaker.slow_s)
            batch.failures[call.name] = note_lost(shelf, call.name, breaker, error.failure, is_short=is_short)
            return None
        took_s = self._plane.clock.monotonic_s() - began_s
        note_scored(shelf, call.name, breaker, scored, rows, [case.unit for case in call.cases], took_s)
        return scored


def note_lost(
    shelf: Shelf, name: Name, breaker: BreakerDefinition, failure: Failure, *, is_short: bool = False
) -> Failure:
    """Tell the breaker of a call that gave nothing; what is to be told of it. `is_short`: its limit was no fair one."""
    if not isinstance(failure, Hung):
        return failure
    if is_short:
        return NoTime(failure.reason)
    shelf.note_hang(name, breaker, failure.reason)
    return failure


def note_scored(
    shelf: Shelf,
    name: Name,
    breaker: BreakerDefinition,
    scored: Scored,
    rows: np.ndarray,
    units: Sequence[str],
    took_s: float | None,
) -> None:
    """Tell the breaker of a call: only what is the version's own fault, and nothing of a call that shows nothing."""
    if not scored.faults:
        shelf.note(name, breaker, took_s=took_s)
        return
    own = [row for row, failure in scored.faults.items() if is_own(failure)]
    shown = len(rows) - len(scored.unasked) - (len(scored.faults) - len(own))
    if shown <= 0:
        return
    culprits: tuple[Culprit, ...] = tuple((hash(rows[row].tobytes()), hash(units[row])) for row in own[:_MOST_CULPRITS])
    reason = next((scored.faults[row].reason for row in own), "")
    # NB: one row that fails makes a call of many: that it took long is not the version's doing.
    took_s = None if scored.is_split else took_s
    shelf.note(name, breaker, took_s=took_s, failed=len(own) / shown, reason=reason, culprits=culprits)
