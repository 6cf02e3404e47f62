"""The load of each deployment on this instance, as its shards see it."""

from collections.abc import Callable

from headrace.clock import Clock
from headrace.events.inference import OverloadChanged
from headrace.hosting.health import Health
from headrace_inference.core.overload import Load, on_pressure


class Loads:
    """Loads by deployment. `tell`: takes each change of a level."""

    def __init__(self, clock: Clock, health: Health, tell: Callable[[OverloadChanged], None]) -> None:
        self._clock, self._health, self._tell = clock, health, tell
        self._loads: dict[str, Load] = {}

    def note(self, deployment: str, pressure: float, waiting_s: float) -> int:
        """Take in what a shard's queue looks like; returns the level from now on."""
        before = self._loads.get(deployment, Load())
        after = self._loads[deployment] = on_pressure(before, pressure, self._clock.monotonic_s())
        if after.level != before.level:
            self._tell(OverloadChanged(deployment, after.level, before.level, waiting_s, self._health.instance))
            self._health.overload = {name: load.level for name, load in self._loads.items() if load.level}
        return after.level

    def level(self, deployment: str) -> int:
        """The level as it stands, 0 for none."""
        load = self._loads.get(deployment)
        return 0 if load is None else load.level

    def settle(self) -> None:
        """Let levels end when nothing comes any more."""
        for deployment, load in self._loads.items():
            if load.level:
                self.note(deployment, 0.0, 0.0)
