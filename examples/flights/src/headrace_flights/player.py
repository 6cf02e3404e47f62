"""Plays the schedule: raw messages as they become available, each request one hour before its departure.

Steps, pace and holds are those of `headrace.bus.playing`, as `headrace replay` has them; what is special here are the raw
streams. They are paced by applied offsets: no request for instant t goes out before inference has applied what was
available at t - settle. Messages may run ahead of requests: that hides the lag, and leaks nothing, because a feature
never reads panes after t - settle. In a live replay they run 45 event minutes ahead; in a back-fill, which nobody
answers for, 9 hours.
"""

import asyncio
import functools
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.bus.partition import partition_of
from headrace.bus.playing import RESEND_S, STUCK_S, Pace, Playing, Step
from headrace.bus.port import Ack, Log, Out, Producer, TopicPartition
from headrace.codec import Message, out
from headrace.envelope import Envelope, read_headers
from headrace.errors import Misconfigured, Retryable
from headrace.events.inference import PredictionRequested
from headrace.events.ops import HealthReported
from headrace.topics import Topics
from headrace_flights.schedule import Schedule

LIVE_AHEAD_S = 45 * 60.0
BACKFILL_AHEAD_S = 9 * 3600.0
DECIDED_EVERY_S = 3 * 3600.0
SILENT_S = 5.0

Progress = Callable[[float, int, int], None]


@dataclass
class Applied:
    """What inference says that it has applied: per raw `topic/partition` the highest offset, of the slowest instance."""

    by_instance: dict[str, dict[str, int]] = field(default_factory=dict)
    _seen_ms: dict[str, int] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """A record of `ops.health`. An instance that has been silent while others spoke is dead, and holds nobody back."""
        report = message.event
        newest_ms = message.record.timestamp_ms
        for instance in [i for i, seen_ms in self._seen_ms.items() if newest_ms - seen_ms > SILENT_S * 1000]:
            self._seen_ms.pop(instance)
            self.by_instance.pop(instance, None)
        if not isinstance(report, HealthReported) or report.service != "inference":
            return
        if report.stopping:
            self.by_instance.pop(report.instance, None)
            self._seen_ms.pop(report.instance, None)
        else:
            self.by_instance[report.instance] = report.applied
            self._seen_ms[report.instance] = newest_ms

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
    """Sends a span of the year. `hold`: returns when the replay may go on (a retrain holds it). `paced_by`: services that must
    have read what they are to read before the replay goes far beyond it: `inference`, `monitor`.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        schedule: Schedule,
        applied: Applied,
        *,
        partitions: int,
        settle_s: float,
        hold: Callable[[], Awaitable[object]],
        paced_by: Sequence[str] = ("inference",),
    ) -> None:
        self._log, self._topics, self._schedule, self._applied = log, topics, schedule, applied
        self._partitions, self._settle_s = partitions, settle_s
        self._playing = Playing(log, Pace(log, topics, paced_by), hold, look_every_s=DECIDED_EVERY_S)
        self._sent: dict[str, _Sent] = {}
        self._ends: dict[str, dict[TopicPartition, int]] = {}
        self._movement, self._weather = 0, 0
        self._producer: Producer | None = None
        self.messages_sent = 0

    @property
    def requests_sent(self) -> int:
        """How many went out."""
        return self._playing.sent

    @property
    def at_s(self) -> float:
        """The instant up to which requests are sent."""
        return self._playing.at_s

    async def resume(self, from_s: float) -> float:
        """Find on the log what an earlier run that began at `from_s` has sent; returns the instant to play on from.

        Raw messages go out in the schedule's order, so their count says which come next; a player is a stream's only writer.
        """
        at, places, kinds = self._schedule.movements
        first = (int(np.searchsorted(at, from_s)), int(np.searchsorted(self._schedule.weather_s, from_s)))
        counts = [
            await self._recover(
                "movements",
                lambda n: (
                    at[first[0] + n],
                    *self._schedule.movement(at[first[0] + n], int(places[first[0] + n]), int(kinds[first[0] + n])),
                ),
            )
        ]
        counts.append(
            await self._recover(
                "weather", lambda n: (self._schedule.weather_s[first[1] + n], *self._schedule.weather_row(first[1] + n))
            )
        )
        self._movement, self._weather = first[0] + counts[0], first[1] + counts[1]
        requests = await self._last_request_s()
        return max(from_s, requests)

    async def _recover(self, stream: str, nth: Callable[[int], tuple[float, str, bytes]]) -> int:
        topic = self._topics.of_raw(stream)
        partitions = await self._log.partitions(topic)
        ends = await self._log.end_offsets(partitions)
        taken = dict.fromkeys(range(len(partitions)), 0)
        count = 0
        while sum(taken.values()) < sum(ends.values()):
            at_s, key, _ = nth(count)
            partition = partition_of(key, self._partitions)
            sent = self._sent.setdefault(f"{topic}/{partition}", _Sent())
            sent.instants.append(at_s)
            sent.offsets.append(taken[partition])
            taken[partition] += 1
            count += 1
        if any(taken[tp.partition] != end for tp, end in ends.items()):
            raise Misconfigured(f"{topic} holds messages that this player did not send: it cannot go on there")
        return count

    async def _last_request_s(self) -> float:
        """Just past the newest request on the log; 0 when there is none."""
        topic = self._topics.name("inference.requests")
        ends = await self._log.end_offsets(await self._log.partitions(topic))
        reader = await self._log.reader(list(ends), {tp: max(end - 1, 0) for tp, end in ends.items()})
        newest = 0.0
        try:
            while any([await reader.position(tp) < ends[tp] for tp in ends]):
                newest = max([newest, *(read_headers(record).time_s for record in await reader.fetch(0.5))])
        finally:
            await reader.close()
        return newest + 1e-3 if newest else 0.0

    async def play(
        self,
        from_s: float,
        to_s: float,
        *,
        step_s: float,
        ahead_s: float,
        speed: float | None = None,
        progress: Progress | None = None,
        stop_when: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send all requests with an instant in [from_s, to_s), and the messages up to `ahead_s` beyond.

        `speed`: event seconds per second, None for as fast as the offsets allow. `stop_when`: asked before every step; `at_s`
        says how far it came.
        """

        def told(at_s: float, requests: int) -> None:
            if progress is not None:
                progress(at_s, requests, self.messages_sent)

        steps = self._steps(from_s, to_s, step_s, ahead_s)
        await self._playing.play(steps, speed=speed, progress=told, stop_when=stop_when)

    def _steps(self, from_s: float, to_s: float, step_s: float, ahead_s: float) -> Iterator[Step]:
        for start_s in np.arange(from_s, to_s, step_s).tolist():
            end_s = min(start_s + step_s, to_s)
            yield Step(start_s, end_s, functools.partial(self._make, start_s, end_s, ahead_s))

    async def _make(self, start_s: float, end_s: float, ahead_s: float) -> Sequence[Out]:
        """The requests of a step, once inference knows what they are to be answered from."""
        await self._send_messages(end_s + ahead_s)
        await self._await_applied(end_s - self._settle_s)
        return self._requests(start_s, end_s)

    async def finish(self, to_s: float) -> None:
        """Send the messages up to `to_s` without any request, so that late labels arrive; then close."""
        await self._send_messages(to_s)
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._playing.close()
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
        acks = await self._send_once(topic, outs)
        for (at_s, _, _), ack in zip(due, acks, strict=True):
            sent = self._sent.setdefault(f"{topic}/{ack.partition}", _Sent())
            sent.instants.append(at_s)
            sent.offsets.append(ack.offset)
        self.messages_sent += len(due)

    async def _await_applied(self, at_s: float) -> None:
        wanted = {place: sent.last_by(at_s) for place, sent in self._sent.items()}
        loop = asyncio.get_running_loop()
        stands, since_s = None, loop.time()
        while missing := {p: offset for p, offset in wanted.items() if self._applied.reached(p) < offset}:
            reached = {place: self._applied.reached(place) for place in missing}
            if reached != stands:
                stands, since_s = reached, loop.time()
            elif loop.time() - since_s > STUCK_S:
                place, offset = next(iter(missing.items()))
                raise Retryable(
                    f"for {STUCK_S:.0f} s inference has applied {place} only up to {reached[place]}, the replay needs {offset}: "
                    "see `headrace status`"
                )
            await asyncio.sleep(0.005)

    def _requests(self, from_s: float, to_s: float) -> Sequence[Out]:
        topic = self._topics.name("inference.requests")
        return [
            out(
                topic,
                asked.flight_id,
                PredictionRequested("flight-delay", asked.inputs, asked.flight_id),
                Envelope(asked.flight_id, "prediction.requested", "flights-player", asked.at_s),
            )
            for asked in self._schedule.requests(from_s, to_s)
        ]

    async def _send_once(self, topic: str, outs: list[Out]) -> list[Ack]:
        """Send raw messages without ever writing one twice: a copy would be a new origin, and count again.

        After an unknown outcome the partitions are read from where they ended before, and only what is missing is sent.
        """
        producer = self._producer = self._producer or await self._log.producer()
        partitions = await self._log.partitions(topic)
        before = self._ends.get(topic) or await self._log.end_offsets(partitions)
        found: dict[tuple[int, bytes], Ack] = {}
        while missing := [out for out in outs if _identity(out) not in found]:
            try:
                for written, ack in zip(missing, await producer.send(missing), strict=True):
                    found[_identity(written)] = ack
            except Retryable:
                await asyncio.sleep(RESEND_S)
                found |= await self._written_since(before)
        acks = [found[_identity(out)] for out in outs]
        self._ends[topic] = {**before, **{TopicPartition(topic, ack.partition): ack.offset + 1 for ack in sorted(acks)}}
        return acks

    async def _written_since(self, before: Mapping[TopicPartition, int]) -> dict[tuple[int, bytes], Ack]:
        ends = await self._log.end_offsets(before)
        reader = await self._log.reader(list(before), before)
        found: dict[tuple[int, bytes], Ack] = {}
        try:
            while any([await reader.position(tp) < ends[tp] for tp in ends]):
                for record in await reader.fetch(0.5):
                    found[record.partition, record.value or b""] = Ack(record.topic, record.partition, record.offset)
        finally:
            await reader.close()
        return found


def _identity(out: Out) -> tuple[int, bytes]:
    return (out.partition or 0, out.value or b"")
