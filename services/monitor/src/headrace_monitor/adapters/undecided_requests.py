"""How many requests have no decision yet, per partition: while there are any, their partition holds the clock back."""

from collections.abc import Mapping

from headrace.clock import Clock
from headrace.log.port import Log, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.core.liveness import Liveness

# Offsets at the end of a partition, unchanged for so long, that inference reports to have passed are no requests but the
# control records of a transaction.
_SETTLED_S = 5.0


class UndecidedRequests:
    """Compares where the partitions of `inference.requests` end with what inference has committed of them."""

    def __init__(self, log: Log, topics: Topics, liveness: Liveness, clock: Clock) -> None:
        self._log, self._liveness, self._clock = log, liveness, clock
        self._topic, self._group = topics.name("inference.requests"), topics.group("inference")
        self._ends: dict[int, tuple[int, float]] = {}
        self._begins: dict[TopicPartition, int] = {}

    async def count(self) -> Mapping[int, int]:
        """The number of undecided requests, by partition. Blocks on the log; raises `Retryable` while it does not answer."""
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
        return any(report.lag.get(place, 1) == 0 for report in self._liveness.live("inference"))
