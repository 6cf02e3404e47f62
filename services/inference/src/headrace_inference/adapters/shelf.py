"""The versions that this instance has loaded, each with its breaker; who may not be asked now, and why."""

from collections.abc import Callable
from dataclasses import replace

from headrace.clock import Clock
from headrace.events.inference import BreakerChanged
from headrace.obs.health import Health
from headrace.policy.breaker import CLOSED, OPEN, Breaker, Call, allows, at, failure_share, on_call, slow_share, trip
from headrace.project.definition import BreakerDefinition
from headrace_inference.adapters.models import LoadedModel
from headrace_inference.core.warming import Name

# A call that hangs for so long is given up: its thread is left behind, and the version gets a new one.
ABANDON_AFTER_S = 60.0


class Shelf:
    """Loaded models by (deployment, version). `tell`: takes each change of a breaker."""

    def __init__(self, clock: Clock, health: Health, tell: Callable[[BreakerChanged], None] = lambda _: None) -> None:
        self._clock, self._health, self._tell = clock, health, tell
        self._models: dict[Name, LoadedModel] = {}
        self._breakers: dict[Name, Breaker] = {}
        self.refused: dict[Name, str] = {}
        self.abandoned = 0

    @property
    def loaded(self) -> set[Name]:
        """Names of what can be asked."""
        return set(self._models)

    @property
    def bytes(self) -> int:
        """About how much memory the loaded versions take."""
        return sum(model.footprint_bytes for model in self._models.values())

    def put(self, name: Name, model: LoadedModel) -> None:
        """Serve this version from now on."""
        self._models[name] = model

    def drop(self, name: Name) -> None:
        """Serve this version no more; its thread ends."""
        model = self._models.pop(name, None)
        if model is not None:
            model.lane.close()
        if name in self._breakers:
            closed = Breaker(CLOSED, self._clock.monotonic_s())
            self._change(name, closed, BreakerDefinition(), "no route names it any more")
            del self._breakers[name]

    def find(self, name: Name) -> LoadedModel | None:
        """The model, whatever its state."""
        return self._models.get(name)

    def why_not(self, name: Name, plan: BreakerDefinition) -> str | None:
        """Why a version cannot be asked now, None when it can."""
        model = self._models.get(name)
        if model is None:
            return self.refused.get(name, "not loaded yet")
        if hangs_s := model.lane.hangs_s:
            return f"a call has hung for {hangs_s:.1f} s"
        breaker = self._breakers.get(name)
        if breaker is None:
            return None
        breaker = self._change(name, at(breaker, plan, self._clock.monotonic_s()), plan, "its rest is over")
        return None if allows(breaker) else f"its breaker is open: {breaker.reason}"

    def note(
        self, name: Name, plan: BreakerDefinition, *, took_s: float, failed: float = 0.0, reason: str = ""
    ) -> None:
        """A call has ended. `failed`: the share of its rows without a usable score."""
        if name not in self._models:
            return
        breaker = self._breakers.get(name, Breaker())
        after = on_call(breaker, plan, Call(self._clock.monotonic_s(), failed, took_s, reason))
        self._change(name, after, plan, after.reason if after.state == OPEN else "its probes were well")

    def note_hang(self, name: Name, plan: BreakerDefinition, reason: str) -> None:
        """A call did not return within its limit: ask no further before its thread is free."""
        breaker = self._breakers.get(name, Breaker())
        if breaker.state != OPEN:
            self._change(name, trip(breaker, self._clock.monotonic_s(), reason), plan, reason)

    def renew_lanes(self) -> None:
        """Give versions whose call hangs for good a new thread; `abandoned` counts the threads left behind."""
        for name, model in self._models.items():
            if model.lane.hangs_s >= ABANDON_AFTER_S:
                self._models[name] = replace(model, lane=model.lane.renewed())
                self.abandoned += 1

    def _change(self, name: Name, after: Breaker, plan: BreakerDefinition, reason: str) -> Breaker:
        before = self._breakers.get(name, Breaker())
        self._breakers[name] = after
        if after.state != before.state:
            shares = (len(after.window), failure_share(after), slow_share(after, plan))
            self._tell(BreakerChanged(*name, after.state, before.state, reason, self._health.instance, *shares))
            place = f"{name[0]}/{name[1]}"
            told = self._health.breakers | {place: f"{after.state}: {reason}"}
            self._health.breakers = {key: text for key, text in told.items() if key != place or after.state != CLOSED}
        return after
