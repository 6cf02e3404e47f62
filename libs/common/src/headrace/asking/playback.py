"""Plays history into the log: steps of event time in order, no faster than the readers follow.

A fast replay loses nothing. Before each step, all that was sent before the last look is decided, and, if `monitor` must
follow, read by the monitor. So a year in ten minutes gets the same versions as a year in real time. Requests and
outcomes have ids of their own; what may not have been written is sent again, and a copy is answered once.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.errors import Retryable
from headrace.log.port import Ack, Log, Out, Producer, TopicPartition
from headrace.log.reading import pin_offsets
from headrace.log.topics import Topics

RESEND_S = 1.0
MONITOR_BEHIND = 100
STUCK_S = 120.0
_LOOK_S = 0.01

Progress = Callable[[float, int], None]


@dataclass(frozen=True, slots=True)
class Step:
    """An interval of event time, [from_s, to_s), and its records, which are made when the step begins."""

    from_s: float
    to_s: float
    make: Callable[[], Awaitable[Sequence[Out]]]


class Pace:
    """The progress of those who read what is sent. `services`: who must follow, `inference` and perhaps `monitor`."""

    def __init__(self, log: Log, topics: Topics, services: Iterable[str] = ("inference",)) -> None:
        self._log, self._topics, self._services = log, topics, tuple(services)
        self._requests = topics.name("inference.requests")
        self._sent: dict[TopicPartition, int] = {}
        self._wanted: dict[TopicPartition, int] = {}
        self._unseen = 0

    def note(self, acks: Iterable[Ack]) -> None:
        """Note that records were written."""
        for ack in acks:
            self._unseen += 1
            if ack.topic == self._requests:
                tp = TopicPartition(ack.topic, ack.partition)
                self._sent[tp] = max(self._sent.get(tp, 0), ack.offset + 1)

    async def look(self) -> None:
        """Wait until all requests that were sent before the last look are decided, and the monitor has nearly caught
        up.
        """
        wanted, self._wanted = self._wanted, dict(self._sent)
        await self._reach(wanted)

    async def drain(self) -> None:
        """Wait until all requests are decided, and the monitor has nearly caught up."""
        await self._reach(self._sent)

    async def _reach(self, wanted: Mapping[TopicPartition, int]) -> None:
        await self.follow("inference", wanted, 0)
        if "monitor" in self._services:
            ends, unseen = await self._ends(), self._unseen or MONITOR_BEHIND
            self._unseen = 0
            # NB: the ends as of now. With other traffic on the topics the monitor is always a little behind, and a
            # transaction marker may follow the last record of a partition. In a sparse history a hundred records are
            # days, so the limit is the number sent since the last look.
            await self.follow("monitor", ends, min(MONITOR_BEHIND, max(unseen, len(ends))))

    async def _ends(self) -> Mapping[TopicPartition, int]:
        """The ends of decisions and outcomes. While the monitor lags there, it finds no drift and judges no rollout in
        time.
        """
        topics = [self._topics.name(noun) for noun in ("inference.decisions", "inference.outcomes")]
        while True:
            with contextlib.suppress(Retryable):
                return await pin_offsets(self._log, topics)
            await asyncio.sleep(RESEND_S)

    async def follow(self, service: str, ends: Mapping[TopicPartition, int], most: int) -> None:
        """Wait until a service has at most `most` records left before `ends`.

        Raises `Retryable` when it has made no progress for `STUCK_S`, or the broker has not answered for as long.
        """
        clock = asyncio.get_running_loop().time
        before_left, since_s = math.inf, clock()
        while (left := await self._left(service, ends, before_left)) > most:
            if left < before_left:
                before_left, since_s = left, clock()
            elif clock() - since_s > STUCK_S:
                what = "its progress is unknown" if math.isinf(left) else f"{left:,.0f} are left"
                raise Retryable(
                    f"for {STUCK_S:.0f} s {service} has read none of the records that it must read ({what}):"
                    " see `headrace status`; the same command continues where this one ends"
                )
            await asyncio.sleep(_LOOK_S)

    async def _left(self, service: str, ends: Mapping[TopicPartition, int], before_left: float) -> float:
        """How many records before `ends` a service has not read; as many as before while the broker is away."""
        if not ends:
            return 0
        try:
            reached = await self._log.committed(self._topics.group(service), ends)
        except Retryable:
            return before_left
        return sum(max(end - reached.get(tp, 0), 0) for tp, end in ends.items())


class Playing:
    """Sends steps. `hold`: returns when the replay may continue. `look_every_s`: event time between two looks at the
    readers.
    """

    def __init__(
        self, log: Log, pace: Pace, hold: Callable[[], Awaitable[object]], *, look_every_s: float = 0.0
    ) -> None:
        self._log, self.pace, self._hold, self._look_every_s = log, pace, hold, look_every_s
        self._producer: Producer | None = None
        self.sent = 0
        self.held_s = 0.0
        self.at_s = 0.0

    async def play(
        self,
        steps: Iterable[Step],
        *,
        speed: float | None = None,
        progress: Progress | None = None,
        stop_when: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send all steps, in order.

        `speed`: event seconds per second, None for as fast as the readers follow. `progress`: called with the instant
        reached and the number of records sent. `stop_when`: called before every step; `at_s` is the instant reached.
        """
        clock = asyncio.get_running_loop().time
        began_s, first_s, looked_s = clock(), None, None
        for step in steps:
            held_s = await self._wait(clock)
            if stop_when():
                return
            first_s = step.from_s if first_s is None else first_s
            looked_s = step.from_s if looked_s is None else looked_s
            if step.from_s >= looked_s + self._look_every_s:
                looked_s = step.from_s
                await self.pace.look()
                # NB: the monitor may request a version because of what it has just read.
                held_s += await self._wait(clock)
            began_s += held_s
            if speed is not None:
                await asyncio.sleep(max(0.0, began_s + (step.from_s - first_s) / speed - clock()))
            await self.send(await step.make())
            self.at_s = step.to_s
            if progress is not None:
                progress(step.to_s, self.sent)

    async def _wait(self, clock: Callable[[], float]) -> float:
        """Hold, and return for how long. A replay with a speed does not catch up that time."""
        before_s = clock()
        await self._hold()
        held_s = clock() - before_s
        self.held_s += held_s
        return held_s

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        """Write until acknowledged. When the outcome is unknown, everything is sent again under the same ids."""
        if not outs:
            return []
        while True:
            with contextlib.suppress(Retryable):
                self._producer = self._producer or await self._log.producer()
                acks = await self._producer.send(outs)
                break
            await asyncio.sleep(RESEND_S)
        self.pace.note(acks)
        self.sent += len(outs)
        return acks

    async def close(self) -> None:
        """Close the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()
