"""Plays the schedule: raw messages as they become available, each request one hour before its departure.

`headrace.asking.playback` controls steps, pace and pauses, and `headrace.asking.feeding` sends raw messages, as in `headrace replay`.
The only difference is that nothing is read from a file. In a live replay messages run 45 event minutes ahead of requests; in a
back-fill, for which nobody waits, 9 hours.
"""

import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from headrace.asking.feeding import AHEAD_S, Applied, Due, Feed
from headrace.asking.playback import Pace, Playing, Step
from headrace.errors import Misconfigured
from headrace.events.inference import PredictionRequested
from headrace.log.codec import out
from headrace.log.envelope import Envelope, read_headers
from headrace.log.partition import partition_of
from headrace.log.port import Log, Out
from headrace.log.topics import Topics
from headrace_flights.schedule import Schedule

LIVE_AHEAD_S = AHEAD_S
BACKFILL_AHEAD_S = 9 * 3600.0
DECIDED_EVERY_S = 3 * 3600.0
LONGEST_STEP_S = 6 * 3600.0
# Per partition; a busy day has a thousand flights.
_STEP_REQUESTS = 2000

Progress = Callable[[float, int, int], None]


class Player:
    """Sends a span of the year. `hold`: returns when the replay may continue (it waits for a retrain). `paced_by`: services that must
    have read their input before the replay goes far beyond it: `inference`, `monitor`.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        schedule: Schedule,
        applied: Applied,
        *,
        partitions: int,
        feature_delay_s: float,
        hold: Callable[[], Awaitable[object]],
        paced_by: Sequence[str] = ("inference",),
    ) -> None:
        self._log, self._topics, self._schedule = log, topics, schedule
        self._partitions, self._feature_delay_s = partitions, feature_delay_s
        self._playing = Playing(log, Pace(log, topics, paced_by), hold, look_every_s=DECIDED_EVERY_S)
        self._feed = Feed(log, applied)
        self._movement, self._weather = 0, 0
        self._asked: set[str] = set()

    @property
    def messages_sent(self) -> int:
        """How many raw messages were sent."""
        return self._feed.sent

    @property
    def requests_sent(self) -> int:
        """How many requests were sent."""
        return self._playing.sent

    @property
    def at_s(self) -> float:
        """The instant up to which requests are sent."""
        return self._playing.at_s

    async def resume(self, from_s: float) -> float:
        """Find on the log what an earlier run that began at `from_s` has sent; returns the instant from which to continue.

        Raw messages are sent in the schedule's order, so their count shows which come next; a player is a stream's only writer.
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
        asked = await self._last_requests()
        at_s = max(from_s, max(asked.values(), default=from_s) - LONGEST_STEP_S)
        # NB: a player that is killed within a step may have written the newest request of one partition, but not older ones of another.
        self._asked = {ident for ident, asked_s in asked.items() if asked_s >= at_s}
        return at_s

    async def _recover(self, stream: str, nth: Callable[[int], tuple[float, str, bytes]]) -> int:
        topic = self._topics.of_raw(stream)
        partitions = await self._log.partitions(topic)
        ends = await self._log.end_offsets(partitions)
        counts = dict.fromkeys(range(len(partitions)), 0)
        count = 0
        while sum(counts.values()) < sum(ends.values()):
            at_s, key, _ = nth(count)
            partition = self._partition(key)
            self._feed.note(topic, partition, at_s, counts[partition])
            counts[partition] += 1
            count += 1
        if any(counts[tp.partition] != end for tp, end in ends.items()):
            raise Misconfigured(
                f"{topic} holds messages that this player did not send: it cannot continue there; use another HEADRACE_NAMESPACE"
            )
        return count

    async def _last_requests(self) -> dict[str, float]:
        """The newest requests on the log, by id: more than one step of a player."""
        topic = self._topics.name("inference.requests")
        ends = await self._log.end_offsets(await self._log.partitions(topic))
        reader = await self._log.reader(list(ends), {tp: max(end - _STEP_REQUESTS, 0) for tp, end in ends.items()})
        found: dict[str, float] = {}
        try:
            while any([await reader.position(tp) < ends[tp] for tp in ends]):
                for record in await reader.fetch(0.5):
                    envelope = read_headers(record)
                    found[envelope.id] = envelope.time_s
        finally:
            await reader.close()
        return found

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

        `speed`: event seconds per second, None for as fast as the offsets allow. `stop_when`: called before every step; `at_s`
        is the instant that was reached.
        """

        def progressed(at_s: float, requests: int) -> None:
            if progress is not None:
                progress(at_s, requests, self.messages_sent)

        steps = self._steps(from_s, to_s, step_s, ahead_s)
        await self._playing.play(steps, speed=speed, progress=progressed, stop_when=stop_when)

    def _steps(self, from_s: float, to_s: float, step_s: float, ahead_s: float) -> Iterator[Step]:
        for start_s in np.arange(from_s, to_s, step_s).tolist():
            end_s = min(start_s + step_s, to_s)
            yield Step(start_s, end_s, functools.partial(self._make, start_s, end_s, ahead_s))

    async def _make(self, start_s: float, end_s: float, ahead_s: float) -> Sequence[Out]:
        """The requests of a step, once inference has applied the events that they may see."""
        await self._send_messages(end_s + ahead_s)
        await self._feed.await_applied(end_s - self._feature_delay_s)
        return self._requests(start_s, end_s)

    async def finish(self, to_s: float) -> None:
        """Send the messages up to `to_s` without any request, so that late labels arrive; then close."""
        await self._send_messages(to_s)
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._playing.close()
        await self._feed.close()

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
        topic = self._topics.of_raw(stream)
        made = [Due(at_s, Out(topic, key.encode(), body, (), self._partition(key))) for at_s, key, body in due]
        await self._feed.send(topic, made)

    def _partition(self, key: str) -> int:
        return partition_of(key, self._partitions)

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
            if asked.flight_id not in self._asked
        ]
