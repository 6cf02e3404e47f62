"""The versions that this instance has loaded, each with its breaker: which of them may not be asked now, and why."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from headrace.clock import Clock
from headrace.events.definition import BreakerDefinition
from headrace.events.failures import BreakerOpen, Busy, Failure, Hung, NotLoaded
from headrace.events.inference import BreakerChanged
from headrace.hosting.health import Health
from headrace_inference.adapters.model_worker import Heartbeat, ModelWorker
from headrace_inference.adapters.models import LoadedModel
from headrace_inference.core.batch import Name
from headrace_inference.core.breaker import (
    CLOSED,
    Breaker,
    BreakerStep,
    Call,
    allows,
    on_call,
    on_hang,
    on_removal,
    on_time,
)
from headrace_inference.core.lateness import is_hung

_log = logging.getLogger("headrace.inference")

# A call that hangs for so long, although it could have run, is given up: its thread is left behind, and the version gets a new one.
ABANDON_AFTER_S = 60.0
NOT_YET = "not loaded yet"


class ModelCache:
    """Loaded models by (deployment, version). `publish`: takes each change of a breaker. No method waits for a model.

    `refused`: versions that are never loaded here, and why; `waits`: those whose load failed and is tried again, and why.
    """

    def __init__(
        self, clock: Clock, health: Health, publish: Callable[[BreakerChanged], None] = lambda _: None
    ) -> None:
        self._clock, self._health, self._publish = clock, health, publish
        self.heartbeat = Heartbeat()
        self.waits: dict[Name, str] = {}
        self.refused: dict[Name, str] = {}
        self._models: dict[Name, LoadedModel] = {}
        self._breakers: dict[Name, Breaker] = {}
        self._left_behind: list[tuple[Name, ModelWorker]] = []

    @property
    def loaded(self) -> set[Name]:
        """The names of the versions that are loaded."""
        return set(self._models)

    @property
    def bytes(self) -> int:
        """An estimate of the memory that the loaded versions take."""
        return sum(model.footprint_bytes for model in self._models.values())

    def put(self, name: Name, model: LoadedModel) -> None:
        """Serve this version from now on."""
        self._models[name] = model
        self.waits.pop(name, None)

    def drop(self, name: Name) -> None:
        """Serve this version no more; its threads end."""
        model = self._models.pop(name, None)
        if model is not None:
            model.worker.close()
            model.shadow_worker.close()
        if name in self._breakers:
            self._take(name, on_removal(self._breakers[name], self._clock.monotonic_s()))
            del self._breakers[name]

    def find(self, name: Name) -> LoadedModel | None:
        """The model, in any state; None when it is not loaded."""
        return self._models.get(name)

    def why_not(self, name: Name, plan: BreakerDefinition, *, as_shadow: bool = False) -> Failure | None:
        """Why a version cannot be asked now, None when it can. `as_shadow`: by the worker with which it only scores along.

        Time passes for its breaker with each look, and a hang that is found is noted and published.
        """
        model = self._models.get(name)
        if model is None:
            return NotLoaded(self.refused.get(name) or self.waits.get(name) or NOT_YET)
        worker = model.shadow_worker if as_shadow else model.worker
        if hangs_s := worker.hangs_s:
            if not as_shadow and (hung := worker.why_hung(self.heartbeat, plan.slow_s)) is not None:
                self.note_hang(name, plan, hung)
            reason = f"a call has hung for {hangs_s:.1f} s"
            return BreakerOpen(reason, self._breakers[name].openings) if self.is_open(name) else Busy(reason)
        breaker = self._breakers.get(name)
        if breaker is None:
            return None
        breaker = self._take(name, on_time(breaker, plan, self._clock.monotonic_s()))
        if allows(breaker):
            return None
        return BreakerOpen(f"its breaker is open: {breaker.reason}", breaker.openings)

    def is_open(self, name: Name) -> bool:
        """Whether the breaker of a version is open: it is not asked before its rest is over."""
        return name in self._breakers and not allows(self._breakers[name])

    def note(self, name: Name, plan: BreakerDefinition, evidence: Call | Hung) -> None:
        """A call of a version has ended, or hangs."""
        if isinstance(evidence, Hung):
            self.note_hang(name, plan, evidence.reason)
        elif name in self._models:
            self._take(name, on_call(self._breakers.get(name, Breaker()), plan, evidence))

    def note_hang(self, name: Name, plan: BreakerDefinition, reason: str) -> None:
        """A call did not return within its limit: the version is not asked before its thread is free."""
        self._take(name, on_hang(self._breakers.get(name, Breaker()), plan, self._clock.monotonic_s(), reason))

    def renew_workers(self) -> None:
        """Give versions whose call hangs for good a new thread. Those left behind are reported until their calls return."""
        for name, model in self._models.items():
            if self._hangs_for_good(model.worker):
                self._leave_behind(name, model.worker)
                self._models[name] = replace(model, worker=model.worker.renewed())
            if self._hangs_for_good(model.shadow_worker):
                self._leave_behind(name, model.shadow_worker)
                self._models[name] = replace(self._models[name], shadow_worker=model.shadow_worker.renewed())
        self._left_behind = [(name, worker) for name, worker in self._left_behind if worker.hangs_s]
        hung = Counter(f"{deployment}/{version}" for (deployment, version), _ in self._left_behind)
        self._health.hung_calls = dict(hung)

    @property
    def abandoned(self) -> int:
        """How many threads are left behind with calls that have not returned."""
        return len(self._left_behind)

    def _leave_behind(self, name: Name, worker: ModelWorker) -> None:
        spent = worker.spent(self.heartbeat)
        _log.warning(
            "a call of version %s of %s hangs for good (%.0f s, %.0f s of CPU): its thread cannot be ended, and may use a core"
            " until inference is restarted",
            *(name[1], name[0], spent.took_s, spent.cpu_s),
        )
        self._left_behind.append((name, worker))

    def _hangs_for_good(self, worker: ModelWorker) -> bool:
        return worker.hangs_s >= ABANDON_AFTER_S and is_hung(worker.spent(self.heartbeat), ABANDON_AFTER_S)

    def close(self) -> None:
        """Let all threads end. Does not wait for them."""
        self.heartbeat.close()
        for model in self._models.values():
            model.worker.close()
            model.shadow_worker.close()

    def _take(self, name: Name, step: BreakerStep) -> Breaker:
        """Keep a breaker, and publish that it changed."""
        self._breakers[name] = step.state
        for change in step.facts:
            shares = (change.calls, change.failure_share, change.slow_share)
            fact = BreakerChanged(*name, change.state, change.was, change.reason, self._health.instance, *shares)
            self._publish(fact)
            place = f"{name[0]}/{name[1]}"
            others = {key: text for key, text in self._health.breakers.items() if key != place}
            is_open = change.state != CLOSED
            self._health.breakers = others | ({place: f"{change.state}: {change.reason}"} if is_open else {})
        return step.state
