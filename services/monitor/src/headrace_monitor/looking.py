"""When windows are looked at, and how far each deployment's clock has come by then."""

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.core.clock import Clocks, Reading
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.services import Services

# A partition that was written to so lately holds the clock back although it is read to its end: a plain producer that
# replays fills one partition before the next.
QUIET_S = 2.0
# While there is a backlog, windows are looked at after so many records: when they close does not depend on it.
LOOK_EVERY = 500
LOOK_IDLE_S = 0.5

# Per input partition how many records are not read yet; per request partition how many requests are not decided.
Behind = Callable[[], Awaitable[Mapping[TopicPartition, int]]]
Undecided = Callable[[], Awaitable[Mapping[int, int]]]


class Looks:
    """Asks the log where it ends: so not with every record, and not with every tick."""

    def __init__(
        self,
        topics: Topics,
        deployments: Deployments,
        clocks: Clocks,
        services: Services,
        behind: Behind,
        undecided: Undecided | None,
    ) -> None:
        self._topics, self._deployments, self._clocks, self._services = topics, deployments, clocks, services
        self._behind, self._undecided = behind, undecided
        self._decisions, self._outcomes = topics.name("inference.decisions"), topics.name("inference.outcomes")
        self._inputs: dict[str, list[str]] = {}
        self._all_unread = Reading(frozenset())
        self._unlooked = 0
        self._looked_idle_s = -math.inf

    async def begin(self) -> None:
        """Which partitions there are; again when there are others."""
        self._inputs.clear()
        for tp in await self._behind():
            self._inputs.setdefault(tp.topic, []).append(f"{tp.topic}/{tp.partition}")
        self._all_unread = Reading(frozenset(place for places in self._inputs.values() for place in places))

    def note(self, records: int) -> None:
        """So many were read."""
        self._unlooked += records

    def is_time(self, now_s: float, *, is_idle: bool) -> bool:
        """Whether to look now. `now_s`: of the monotonic clock."""
        if not is_idle and self._unlooked < LOOK_EVERY:
            return False
        if is_idle and now_s - self._looked_idle_s < LOOK_IDLE_S:
            return False
        self._looked_idle_s = now_s if is_idle else self._looked_idle_s
        self._unlooked = 0
        return True

    async def clocks(self, now_s: float, *, is_idle: bool) -> Mapping[str, float]:
        """The clocks of all deployments, -inf before they run; only an idle shard knows which inputs are read to their end."""
        reading = await self._reading(now_s) if is_idle else self._all_unread
        return _Lazily(self._deployments.declared, lambda name: self._clock_of(name, reading))

    async def _reading(self, now_s: float) -> Reading:
        """What is read to its end. First which requests are decided, then where decisions end: so none is overlooked."""
        undecided = await self._undecided() if self._undecided is not None else {}
        unread = {f"{tp.topic}/{tp.partition}" for tp, records in (await self._behind()).items() if records > 0}
        unread |= {f"{self._decisions}/{partition}" for partition, count in undecided.items() if count > 0}
        return Reading(frozenset(unread), self._services.stopped, now_s - QUIET_S)

    def _clock_of(self, name: str, reading: Reading) -> float:
        topics = map(self._topics.of_source, self._deployments.sources_of(name))
        others = [place for topic in topics for place in self._inputs.get(topic, ())]
        if self._deployments.declared[name].label is not None:
            others += self._inputs.get(self._outcomes, ())
        return self._clocks.time_s(name, self._inputs.get(self._decisions, ()), others, reading)


class _Lazily(Mapping[str, float]):
    """Clocks, each made when it is first asked for."""

    def __init__(self, names: Collection[str], make: Callable[[str], float]) -> None:
        self._names, self._make = names, make
        self._made: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        if name not in self._made:
            self._made[name] = self._make(name) if name in self._names else -math.inf
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
