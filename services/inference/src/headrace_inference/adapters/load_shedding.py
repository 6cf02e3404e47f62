"""The load of each deployment on this instance, as its shards see it: kept by the clock, published and reported when it changes."""

from collections.abc import Callable

from headrace.clock import Clock
from headrace.events.inference import OverloadChanged
from headrace.hosting.health import Health
from headrace_inference.core.overload import Load, Waited, on_pressure


class LoadShedding:
    """Levels of load by deployment. `publish`: takes each change of a level."""

    def __init__(self, clock: Clock, health: Health, publish: Callable[[OverloadChanged], None]) -> None:
        self._clock, self._health, self._publish = clock, health, publish
        self._loads: dict[str, Load] = {}

    def note(self, deployment: str, waited: Waited) -> int:
        """Take in how long requests of a shard have waited; returns the level from now on."""
        step = on_pressure(self._loads.get(deployment, Load()), waited.share, self._clock.monotonic_s())
        self._loads[deployment] = step.state
        for change in step.facts:
            fact = OverloadChanged(deployment, change.level, change.was, waited.waited_s, self._health.instance)
            self._publish(fact)
            self._health.overload = {name: load.level for name, load in self._loads.items() if load.level}
        return step.state.level

    def level(self, deployment: str) -> int:
        """The level as it is, 0 for none."""
        load = self._loads.get(deployment)
        return 0 if load is None else load.level

    def calm_down(self) -> None:
        """Let levels end when no request comes any more."""
        for deployment, load in self._loads.items():
            if load.level:
                self.note(deployment, Waited(0.0, 0.0))
