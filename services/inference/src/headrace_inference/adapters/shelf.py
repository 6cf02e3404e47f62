"""The versions that this instance has loaded, each with its breaker; who may not be asked now, and why."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from headrace.clock import Clock
from headrace.events.definition import BreakerDefinition
from headrace.events.failures import Busy, Failure, NotLoaded
from headrace.events.inference import BreakerChanged
from headrace.hosting.health import Health
from headrace.policy.breaker import (
    CLOSED,
    OPEN,
    Breaker,
    Call,
    Culprit,
    allows,
    at,
    failure_share,
    on_call,
    slow_share,
    trip,
)
from headrace_inference.adapters.lane import Lane, Pulse
from headrace_inference.adapters.models import LoadedModel
from headrace_inference.core.lateness import is_hung
from headrace_inference.core.warming import Name

_log = logging.getLogger("headrace.inference")

# A call that hangs for so long, while it could have run, is given up: its thread is left behind, and the version gets a new one.
ABANDON_AFTER_S = 60.0
NOT_YET = "not loaded yet"


class Shelf:
    """Loaded models by (deployment, version). `tell`: takes each change of a breaker.

    `refused`: versions that are never loaded here, and why; `waits`: those whose load failed and is tried again, and why.
    """

    def __init__(self, clock: Clock, health: Health, tell: Callable[[BreakerChanged], None] = lambda _: None) -> None:
        self._clock, self._health, self._tell = clock, health, tell
        self.pulse = Pulse()
        self.waits: dict[Name, str] = {}
        self._models: dict[Name, LoadedModel] = {}
        self._breakers: dict[Name, Breaker] = {}
        self.refused: dict[Name, str] = {}
        self._left: list[tuple[Name, Lane]] = []

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
        self.waits.pop(name, None)

    def drop(self, name: Name) -> None:
        """Serve this version no more; its thread ends."""
        model = self._models.pop(name, None)
        if model is not None:
            model.lane.close()
            model.shadow_lane.close()
        if name in self._breakers:
            closed = Breaker(CLOSED, self._clock.monotonic_s())
            self._change(name, closed, BreakerDefinition(), "no route names it any more")
            del self._breakers[name]

    def find(self, name: Name) -> LoadedModel | None:
        """The model, whatever its state."""
        return self._models.get(name)

    def why_not(self, name: Name, plan: BreakerDefinition, *, as_shadow: bool = False) -> Failure | None:
        """Why a version cannot be asked now, None when it can. `as_shadow`: in the thread where it only scores along."""
        model = self._models.get(name)
        if model is None:
            return NotLoaded(self.refused.get(name) or self.waits.get(name) or NOT_YET)
        lane = model.shadow_lane if as_shadow else model.lane
        if hangs_s := lane.hangs_s:
            if not as_shadow and (hung := lane.why_hung(self.pulse, plan.slow_s)) is not None:
                self.note_hang(name, plan, hung)
            return Busy(f"a call has hung for {hangs_s:.1f} s")
        breaker = self._breakers.get(name)
        if breaker is None:
            return None
        breaker = self._change(name, at(breaker, plan, self._clock.monotonic_s()), plan, "its rest is over")
        return None if allows(breaker) else NotLoaded(f"its breaker is open: {breaker.reason}")

    def note(
        self,
        name: Name,
        plan: BreakerDefinition,
        *,
        took_s: float | None,
        failed: float = 0.0,
        reason: str = "",
        culprits: tuple[Culprit, ...] = (),
    ) -> None:
        """A call has ended. `failed`: the share of its rows that failed by the version's own fault; `culprits`: see `Call`."""
        if name not in self._models:
            return
        breaker = self._breakers.get(name, Breaker())
        after = on_call(breaker, plan, Call(self._clock.monotonic_s(), failed, took_s, reason, culprits))
        self._change(name, after, plan, after.reason if after.state == OPEN else "its probes were well")

    def note_hang(self, name: Name, plan: BreakerDefinition, reason: str) -> None:
        """A call did not return within its limit: ask no further before its thread is free."""
        breaker = self._breakers.get(name, Breaker())
        if breaker.state != OPEN:
            self._change(name, trip(breaker, self._clock.monotonic_s(), reason), plan, reason)

    def renew_lanes(self) -> None:
        """Give versions whose call hangs for good a new thread; those left behind are told, until their calls return."""
        for name, model in self._models.items():
            if self._hangs_for_good(model.lane):
                self._leave(name, model.lane)
                self._models[name] = replace(model, lane=model.lane.renewed())
            if self._hangs_for_good(model.shadow_lane):
                self._leave(name, model.shadow_lane)
                self._models[name] = replace(self._models[name], shadow_lane=model.shadow_lane.renewed())
        self._left = [(name, lane) for name, lane in self._left if lane.hangs_s]
        self._health.hung_calls = dict(Counter(f"{deployment}/{version}" for (deployment, version), _ in self._left))

    @property
    def abandoned(self) -> int:
        """How many threads are left behind with calls that have not returned."""
        return len(self._left)

    def _leave(self, name: Name, lane: Lane) -> None:
        spent = lane.spent(self.pulse)
        _log.warning(
            "a call of version %s of %s hangs for good (%.0f s, %.0f s of CPU): its thread cannot be ended, and may use a core"
            " until inference is restarted",
            *(name[1], name[0], spent.took_s, spent.cpu_s),
        )
        self._left.append((name, lane))

    def _hangs_for_good(self, lane: Lane) -> bool:
        return lane.hangs_s >= ABANDON_AFTER_S and is_hung(lane.spent(self.pulse), ABANDON_AFTER_S)

    @property
    def waiting(self) -> int:
        """How many calls wait for threads."""
        return sum(model.lane.waiting + model.shadow_lane.waiting for model in self._models.values())

    def close(self) -> None:
        """Let all threads end."""
        self.pulse.close()
        for model in self._models.values():
            model.lane.close()
            model.shadow_lane.close()

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
