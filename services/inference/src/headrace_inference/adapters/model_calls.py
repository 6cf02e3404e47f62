"""Calls of loaded models: each within its limit, and recorded with the breaker of its version."""

from collections.abc import Sequence

import numpy as np

from headrace.clock import Clock
from headrace.events.failures import Failure, NotLoaded
from headrace.project.definition import BreakerDefinition
from headrace_inference.adapters.model_cache import ModelCache
from headrace_inference.core.batch import CallResult, ModelCall, Name, RowScores
from headrace_inference.core.evidence import evidence_of, recorded

_GONE = NotLoaded("it was let go")


class ModelCalls:
    """Asks the versions of a cache. Waits for one no longer than the limit of the call, and raises `MemoryError` where a model does."""

    def __init__(self, models: ModelCache, clock: Clock) -> None:
        self._models, self._clock = models, clock

    async def ask(self, call: ModelCall) -> CallResult:
        """What a version answers."""
        model = self._models.find(call.name)
        if model is None:
            return CallResult(call, _GONE, 0.0)
        began_s = self._clock.monotonic_s()
        given = await model.score(call.rows, call.limit_s, self._models.heartbeat)
        given, now_s = recorded(given, is_short=call.is_short), self._clock.monotonic_s()
        units = [case.unit for case in call.cases]
        evidence = evidence_of(given, call.rows, units, now_s, now_s - began_s)
        if evidence is not None:
            self._models.note(call.name, call.breaker, evidence)
        return CallResult(call, given, now_s - began_s)

    async def ask_shadow(
        self, name: Name, rows: np.ndarray, units: Sequence[str], limit_s: float, plan: BreakerDefinition
    ) -> tuple[RowScores | Failure, float]:
        """What a version says that only scores along, and how long that took."""
        model = self._models.find(name)
        if model is None:
            return _GONE, 0.0
        began_s = self._clock.monotonic_s()
        given = await model.score(rows, limit_s, self._models.heartbeat, as_shadow=True)
        now_s = self._clock.monotonic_s()
        # NB: the duration says nothing against the version: how many rows it got at once was our choice.
        evidence = evidence_of(given, rows, units, now_s, took_s=0.0)
        if evidence is not None:
            self._models.note(name, plan, evidence)
        return given, now_s - began_s
