"""Calls of loaded models: each within its limit, and recorded with the breaker of its version."""

import time
from collections.abc import Callable
from functools import partial

from headrace.clock import Clock
from headrace.events.failures import Busy, Failure, NotLoaded
from headrace_inference.adapters import models
from headrace_inference.adapters.model_cache import ModelCache
from headrace_inference.adapters.model_worker import WorkerBusy, WorkerClosed
from headrace_inference.core.batch import CallResult, ModelCall, RowScores
from headrace_inference.core.evidence import evidence_of, recorded
from headrace_inference.core.isolation import Pace
from headrace_inference.core.lateness import why_late

_ASKING_SHARE = 0.8
_GONE = NotLoaded("it was unloaded")


def _timed(ask: Callable[[], RowScores | Failure]) -> tuple[RowScores | Failure, float]:
    """What a version gives, and the seconds of CPU that this thread used for it."""
    began_s = time.thread_time()
    given = ask()
    return given, time.thread_time() - began_s


class ModelCalls:
    """Asks the versions of a cache."""

    def __init__(self, cache: ModelCache, clock: Clock) -> None:
        self._cache, self._clock = cache, clock

    async def ask(self, call: ModelCall) -> CallResult:
        """The scores of a version, or why there are none at all. Waits no longer than the limit of the call.

        Raises `MemoryError` where the model does.
        """
        model = self._cache.find(call.name)
        if model is None:
            return CallResult(call, _GONE, 0.0)
        # A shadow is asked by another worker, all rows at once.
        worker, pace = (model.shadow_worker, Pace()) if call.as_shadow else (model.worker, model.pace)
        began_s = self._clock.monotonic_s()
        # NB: a portion that is begun shortly before the limit would look like a hang.
        until_s = time.monotonic() + call.limit_s * _ASKING_SHARE
        given: RowScores | Failure
        cpu_s = 0.0
        try:
            ask = partial(models.ask, model.registered, model.engine, call.rows, pace, until_s)
            given, cpu_s = await worker.run(partial(_timed, ask), call.limit_s)
        except TimeoutError:
            given = why_late(worker.spent(self._cache.heartbeat), call.limit_s)
        except WorkerBusy:
            given = Busy(f"its thread was at other calls for {call.limit_s:.3g} s")
        except WorkerClosed:
            given = _GONE
        now_s = self._clock.monotonic_s()
        result = CallResult(call, recorded(given, is_short=call.is_short), now_s - began_s, cpu_s)
        evidence = evidence_of(result, now_s)
        if evidence is not None:
            self._cache.note(call.name, call.breaker, evidence)
        return result
