"""What is kept of each deployment on `monitor.state`, and from where a restart reads the inputs again."""

import math
from collections.abc import Collection, Mapping

from headrace.log.port import Out, TopicPartition
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.places import Places, day_of
from headrace_monitor.rollouts import Rollouts
from headrace_monitor.telling import Telling


class Keeping:
    """`places`: where what was read lies, by day."""

    def __init__(self, deployments: Deployments, rollouts: Rollouts, telling: Telling) -> None:
        self.places = Places()
        self._deployments, self._rollouts, self._telling = deployments, rollouts, telling

    @property
    def needed_from_s(self) -> float:
        """The oldest instant that an open window or block may still look at."""
        return self._deployments.needed_from_s(self._rollouts.open_from_s)

    def is_kept(self, name: str) -> bool:
        """Whether a restart knows from where to read again for a deployment."""
        return name in self._deployments.states

    def keep(self, name: str) -> Out:
        """The memory of a deployment as it is now."""
        needed_s = self.needed_from_s
        state = self._deployments.watched[name].state(self.places.from_day(needed_s), day_of(needed_s))
        self._deployments.states[name] = state
        return self._telling.state(state)

    @property
    def whole_from_s(self) -> float:
        """From which instant on a restart reads all that there is; -inf where that is not known, or all is read."""
        states = self._deployments.states
        needed = [states[name].needed_from_s for name in self._deployments.declared if name in states]
        return min((-math.inf if at_s is None else at_s for at_s in needed), default=-math.inf)

    def starts(self, committed: Mapping[TopicPartition, int], once: Collection[str]) -> Mapping[TopicPartition, int]:
        """Open windows and blocks are rebuilt from the log, from where their states say. `once`: topics that are never read again."""
        again: dict[str, int] = {}
        for name in self._deployments.declared:
            if name in self._deployments.states:
                wanted = self._deployments.states[name].replay_from
                for tp in committed:
                    place = f"{tp.topic}/{tp.partition}"
                    again[place] = min(again.get(place, committed[tp]), wanted.get(place, 0))
        for wanted in self._rollouts.replay_from():
            again |= {place: min(again.get(place, offset), offset) for place, offset in wanted.items()}
        return {
            tp: offset if tp.topic in once else min(again.get(f"{tp.topic}/{tp.partition}", offset), offset)
            for tp, offset in committed.items()
        }
