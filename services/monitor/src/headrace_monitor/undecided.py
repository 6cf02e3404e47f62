"""Requests that have no decision yet, per partition: while there are any, their partition holds the clock back."""

from collections.abc import Mapping

from headrace.clock import Clock
from headrace.log.port import Log, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.core.services import Services

# Offsets at a partition's end that inference reports to have passed, for so long unchanged, are no requests (markers of a transaction).
_SETTLED_S = 5.0


class Undecided:
    """Compares the ends of `inference.requests` with what inference has committed."""

    def __init__(self, log: Log, topics: Topics, services: Services, clock: Clock) -> None:
        self._log, self._services, self._clock = log, services, clock
        self._topic, self._group = topics.name("inference.requests"), topics.group("inference")
        self._ends: dict[int, tuple[int, float]] = {}
        self._begins: dict[TopicPartition, int] = {}

    async def count(self) -> Mapping[int, int]:
        """Requests that are not decided, by partition."""
        # NB: asked for once: partitions of keyed topics never change, and what is deleted meanwhile was decided.
        if not self._begins:
            self._begins = await self._log.begin_offsets(await self._log.partitions(self._topic))
        partitions, begins = list(self._begins), self._begins
        ends = await self._log.end_offsets(partitions)
        committed = await self._log.committed(self._group, partitions)
        now_s = self._clock.monotonic_s()
        found: dict[int, int] = {}
        for tp in partitions:
            end_s = self._ends.get(tp.partition)
            if end_s is None or end_s[0] != ends[tp]:
                end_s = self._ends[tp.partition] = (ends[tp], now_s)
            behind = ends[tp] - max(committed.get(tp, 0), begins[tp])
            is_settled = now_s - end_s[1] > _SETTLED_S
            found[tp.partition] = 0 if is_settled and self._is_passed(f"{tp.topic}/{tp.partition}") else behind
        return found

    def _is_passed(self, place: str) -> bool:
        """Whether a living instance of inference reports that it has read this partition to its end."""
        return any(report.lag.get(place, 1) == 0 for report in self._services.live("inference"))
