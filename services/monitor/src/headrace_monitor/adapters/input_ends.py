"""What is read of the inputs, and what is not: the log is asked where each partition ends."""

from collections.abc import Awaitable, Callable, Mapping

from headrace.log.port import TopicPartition
from headrace_monitor.core.clock import InputPlaces, Reading
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.replay import place_of

# A partition that was written to so lately holds the clock back although it is read to its end: a plain producer that replays
# fills one partition before the next.
QUIET_S = 2.0

# How many records of each input partition are not read yet. It may block on the log.
Behind = Callable[[], Awaitable[Mapping[TopicPartition, int]]]
# How many requests of each partition are not decided yet. It may block on the log.
Undecided = Callable[[], Awaitable[Mapping[int, int]]]


async def _none_undecided() -> Mapping[int, int]:
    return {}


class InputEnds:
    """Asks the log. `decisions`, `outcomes`: full topic names. `undecided`: None where every request counts as decided."""

    def __init__(
        self, decisions: str, outcomes: str, liveness: Liveness, behind: Behind, undecided: Undecided | None
    ) -> None:
        self._liveness, self._behind, self._undecided = liveness, behind, undecided or _none_undecided
        self.places = InputPlaces(decisions, outcomes)
        self._all_unread = self.places.all_unread

    async def refresh(self) -> None:
        """Learn which partitions the inputs have. Blocks on the log; raises `Retryable` while it does not answer."""
        places: dict[str, list[str]] = {}
        for tp in await self._behind():
            places.setdefault(tp.topic, []).append(place_of(tp))
        self.places = InputPlaces(self.places.decisions, self.places.outcomes, places)
        self._all_unread = self.places.all_unread

    async def reading(self, now_s: float, *, is_idle: bool) -> Reading:
        """What is read to its end. `now_s`: of the monotonic clock. Blocks and raises as `refresh` does.

        Only while nothing is read (`is_idle`) the log is asked; else everything counts as unread.
        """
        if not is_idle:
            return self._all_unread
        # NB: first which requests are decided, then where decisions end: so no decision is overlooked.
        undecided = await self._undecided()
        unread = {place_of(tp) for tp, records in (await self._behind()).items() if records > 0}
        unread |= {f"{self.places.decisions}/{partition}" for partition, count in undecided.items() if count > 0}
        return Reading(frozenset(unread), self._liveness.stopped, now_s - QUIET_S)
