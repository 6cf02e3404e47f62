"""Replay: what is remembered of each deployment, and from where a restart must read the inputs again.

A restart rebuilds the open windows and blocks by reading the log again. For that the first offset of each day of event time is
kept, per input partition. Users choose the days, so their number is bounded: over the bound the oldest day is joined to the
next one, from where more than needed is read again, never less.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from headrace.events.monitor import MonitorState
from headrace.log.port import TopicPartition
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.rollouts import Rollouts

DAY_S = 86_400.0
MOST_DAYS = 4096
LIMIT_BYTES = 64 * 1024 * 1024
# By estimate: a day with its offset.
_DAY_BYTES = 100


def day_of(at_s: float) -> float | None:
    """The beginning of the day of an instant, from which `ReplayOffsets.from_day` finds everything.

    None for an instant that is not finite: then everything is needed.
    """
    return math.floor(at_s / DAY_S) * DAY_S if math.isfinite(at_s) else None


@dataclass
class ReplayOffsets:
    """The lowest offset per place (`topic/partition`) and day of event time. `read_to`: per place the next offset."""

    first: dict[str, dict[float, int]] = field(default_factory=dict)
    read_to: dict[str, int] = field(default_factory=dict)

    def note(self, place: str, at_s: float, offset: int) -> None:
        """A record of this instant of event time lies at this offset."""
        self.read_to[place] = offset + 1
        days = self.first.get(place)
        if days is None:
            days = self.first[place] = {}
        day = at_s // DAY_S
        if offset < days.get(day, 2**62):
            days[day] = offset
            if len(days) > MOST_DAYS:
                _join_oldest(days)

    def skip(self, place: str, offset: int) -> None:
        """A record without an instant was read."""
        self.read_to[place] = offset + 1

    def from_day(self, at_s: float) -> dict[str, int]:
        """Per place the lowest offset that holds a record of the day of `at_s` or later. Older days are forgotten."""
        oldest = math.floor(at_s / DAY_S) if math.isfinite(at_s) else at_s
        for days in self.first.values():
            for day in [day for day in days if day < oldest]:
                del days[day]
        return self.since(at_s)

    def since(self, at_s: float) -> dict[str, int]:
        """The same, and nothing is forgotten. Where nothing so new was read, the next offset.

        A clock that does not run yet (minus infinity) needs everything again.
        """
        oldest = math.floor(at_s / DAY_S) if math.isfinite(at_s) else at_s
        found = {place: [first for day, first in days.items() if day >= oldest] for place, days in self.first.items()}
        return self.read_to | {place: min(offsets) for place, offsets in found.items() if offsets}

    @property
    def held_bytes(self) -> int:
        """How many bytes the days take, by estimate."""
        return sum(map(len, self.first.values())) * _DAY_BYTES


class Replay:
    """The memory of all deployments, and where a restart reads again. `offsets`: where the days of the inputs lie."""

    def __init__(self, deployments: Deployments, rollouts: Rollouts) -> None:
        self.offsets = ReplayOffsets()
        self._deployments, self._rollouts = deployments, rollouts

    @property
    def needed_from_s(self) -> float:
        """The oldest instant that an open window or block may still look at; -inf while there is none."""
        return self._deployments.needed_from_s(self._rollouts.open_from_s)

    @property
    def whole_from_s(self) -> float:
        """The instant from which on a restart reads everything; -inf where that is not known, or everything is read."""
        memories = self._deployments.memories
        needed = [memories[name].needed_from_s for name in self._deployments.declared if name in memories]
        return min((-math.inf if at_s is None else at_s for at_s in needed), default=-math.inf)

    def is_remembered(self, name: str) -> bool:
        """Whether a restart knows from where to read again for a deployment."""
        return name in self._deployments.memories

    def remember(self, name: str) -> MonitorState:
        """The memory of a monitored deployment as it is now; it counts from now on, and is to be published."""
        needed_s = self.needed_from_s
        memory = self._deployments.watched[name].memory(self.offsets.from_day(needed_s), day_of(needed_s))
        self._deployments.memories[name] = memory
        return memory

    def holds(self) -> dict[str, tuple[int, int]]:
        """How many bytes the offsets hold, and the bound of it."""
        return {"places": (self.offsets.held_bytes, LIMIT_BYTES)}

    def starts(
        self, committed: Mapping[TopicPartition, int], read_once: Collection[str]
    ) -> Mapping[TopicPartition, int]:
        """From which offset a restart reads each partition, so that open windows and blocks are rebuilt.

        `committed`: the next offset of each partition; `read_once`: the topics that are never read again.
        """
        again: dict[str, int] = {}
        for name in self._deployments.declared:
            if name in self._deployments.memories:
                wanted = self._deployments.memories[name].replay_from
                for tp in committed:
                    place = place_of(tp)
                    again[place] = min(again.get(place, committed[tp]), wanted.get(place, 0))
        for wanted in self._rollouts.replay_from():
            again |= {place: min(again.get(place, offset), offset) for place, offset in wanted.items()}
        return {
            tp: offset if tp.topic in read_once else min(again.get(place_of(tp), offset), offset)
            for tp, offset in committed.items()
        }


def place_of(partition: TopicPartition) -> str:
    """`topic/partition`.

    >>> place_of(TopicPartition("inference.decisions.v1", 3))
    'inference.decisions.v1/3'
    """
    return f"{partition.topic}/{partition.partition}"


def _join_oldest(days: dict[float, int]) -> None:
    oldest, second = sorted(days)[:2]
    days[second] = min(days[second], days.pop(oldest))
