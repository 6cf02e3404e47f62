"""Plays the schedule: raw messages as they become available, each request one hour before its departure.

The replay is paced by applied offsets: no request for instant t goes out before inference has applied what was
available at t - settle. Messages may run ahead of requests: that hides the lag, and leaks nothing, because a feature
never reads panes after t - settle. In a live replay they run 45 event minutes ahead; in a back-fill, which nobody
answers for, 12 hours.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from headrace.bus.partition import partition_of
from headrace.bus.port import Log, Out, Producer
from headrace.codec import Message, out
from headrace.envelope import Envelope
from headrace.errors import Retryable
from headrace.events.inference import PredictionRequested
from headrace.events.ops import HealthReported
from headrace.topics import Topics
from headrace_flights.schedule import Schedule

LIVE_AHEAD_S = 45 * 60.0
BACKFILL_AHEAD_S = 12 * 3600.0
RESEND_S = 1.0

Progress = Callable[[float, int, int], None]


@dataclass
class Applied:
    """What inference says that it has applied: per raw `topic/partition` the highest offset, of the slowest instance."""

    by_instance: dict[str, dict[str, int]] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """A record of `ops.health`."""
        report = message.event
        if not isinstance(report, HealthReported) or report.service != "inference":
            return
        if report.stopping:
            self.by_instance.pop(report.instance, None)
        else:
            self.by_instance[report.instance] = report.applied

    def reached(self, place: str) -> int:
        """Highest offset of a raw partition that every instance has applied; -1 for none."""
        return min((applied.get(place, -1) for applied in self.by_instance.values()), default=-1)


@dataclass
class _Sent:
    """Where the raw records of one partition lie: ascending instants, and the offset of each."""

    instants: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def last_by(self, at_s: float) -> int:
        """Offset of the newest record that was available at `at_s`; -1 for none."""
        place = bisect_right(self.instants, at_s)
        return self.offsets[place - 1] if place else -1


class Player:
    """Sends a span of the year. `hold`: an event that is clear while the replay must wait (a retrain is running)."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        schedule: Schedule,
        applied: Applied,
        *,
        partitions: int,
        settle_s: float,
        go: asyncio.Event,
    ) -> None:
        self._log, self._topics, self._schedule, self._applied = log, topics, schedule, applied
        self._partitions, self._settle_s, self._go = partitions, settle_s, go
        self._sent: dict[str, _Sent] = {}
        self._movement, self._weather = 0, 0
        self._producer: Producer | None = None
        self.requests_sent = 0
        self.messages_sent = 0
        self.at_s = 0.0

    def skip_to(self, at_s: float) -> None:
        """Go on at an instant: raw messages available before it were sent by an earlier run."""
        self._movement = int(np.searchsorted(self._schedule.movements[0], at_s))
        self._weather = int(np.searchsorted(self._schedule.weather_s, at_s))

    async def play(
        self,
        from_s: float,
        to_s: float,
        *,
        step_s: float,
        ahead_s: float,
        speed: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Send all requests with an instant in [from_s, to_s), and the messages up to `ahead_s` beyond.

        `speed`: event seconds per second, None for as fast as the offsets allow.
        """
        self._producer = self._producer or await self._log.producer()
        began_s = asyncio.get_running_loop().time()
        for start_s in np.arange(from_s, to_s, step_s):
            end_s = min(start_s + step_s, to_s)
            await self._go.wait()
            if speed is not None:
                await asyncio.sleep(max(0.0, began_s + (start_s - from_s) / speed - asyncio.get_running_loop().time()))
            await self._send_messages(end_s + ahead_s)
            await self._await_applied(end_s - self._settle_s)
            await self._send_requests(start_s, end_s)
            self.at_s = end_s
            if progress is not None:
                progress(end_s, self.requests_sent, self.messages_sent)

    async def finish(self, to_s: float) -> None:
        """Send the messages up to `to_s` without any request, so that late labels arrive; then give the connection back."""
        await self._send_messages(to_s)
        if self._producer is not None:
            await self._producer.close()
            self._producer = None

    async def _send_messages(self, until_s: float) -> None:
        await self._send_raw("movements", self._due_movements(until_s))
        await self._send_raw("weather", self._due_weather(until_s))

    def _due_movements(self, until_s: float) -> list[tuple[float, str, bytes]]:
        at, places, kinds = self._schedule.movements
        first, self._movement = self._movement, max(self._movement, int(np.searchsorted(at, until_s)))
        due = range(first, self._movement)
        return [(at[n], *self._schedule.movement(at[n], int(places[n]), int(kinds[n]))) for n in due]

    def _due_weather(self, until_s: float) -> list[tuple[float, str, bytes]]:
        at = self._schedule.weather_s
        first, self._weather = self._weather, max(self._weather, int(np.searchsorted(at, until_s)))
        return [(at[n], *self._schedule.weather_row(n)) for n in range(first, self._weather)]

    async def _send_raw(self, stream: str, due: list[tuple[float, str, bytes]]) -> None:
        if not due:
            return
        topic = self._topics.of_raw(stream)
        outs = [Out(topic, key.encode(), body, (), partition_of(key, self._partitions)) for _, key, body in due]
        acks = await self._send(outs)
        for (at_s, _, _), ack in zip(due, acks, strict=True):
            sent = self._sent.setdefault(f"{topic}/{ack.partition}", _Sent())
            sent.instants.append(at_s)
            sent.offsets.append(ack.offset)
        self.messages_sent += len(due)

    async def _await_applied(self, at_s: float) -> None:
        wanted = {place: sent.last_by(at_s) for place, sent in self._sent.items()}
        while any(self._applied.reached(place) < offset for place, offset in wanted.items()):
            await asyncio.sleep(0.005)

    async def _send_requests(self, from_s: float, to_s: float) -> None:
        topic = self._topics.name("inference.requests")
        outs = [
            out(
                topic,
                asked.flight_id,
                PredictionRequested("flight-delay", asked.inputs, asked.flight_id),
                Envelope(asked.flight_id, "prediction.requested", "flights-player", asked.at_s),
            )
            for asked in self._schedule.requests(from_s, to_s)
        ]
        if outs:
            await self._send(outs)
            self.requests_sent += len(outs)

    async def _send(self, outs: list[Out]) -> list:
        assert self._producer is not None
        while True:
            try:
                return await self._producer.send(outs)
            except Retryable:
                # Ids are the flights': what was written twice is answered once, and origins are counted from the new copy.
                await asyncio.sleep(RESEND_S)
