"""Gives one receiver what it must be sent: an offset is committed when everything up to it was taken.

The log is the queue: while a receiver is away nothing more is read, so nothing is lost and memory stays bounded. A body that
the receiver refuses is cut into single alerts, and a single one that is refused is logged and left out, for it would hold
back all others. Silences are given to an Alertmanager before its alerts.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.clock import Clock
from headrace.errors import Poison, Retryable
from headrace.events.alerts import AlertChanged, SilenceSet
from headrace.hosting.health import Health
from headrace.log.backoff import delays_s
from headrace.log.codec import Codec
from headrace.log.port import Log, Member, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace_cli.forwarding import bodies, silencing
from headrace_cli.forwarding.desks import RESEND_S, Desk, Heartbeat, News, Seen, State
from headrace_cli.forwarding.measures import Measures, is_away
from headrace_cli.forwarding.posting import Answer, Poster
from headrace_cli.forwarding.receivers import Receiver

_log = logging.getLogger("headrace.forwarder")
_MOST_READ = 500
_FETCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between attempts, doubling from `first_s` to `most_s`; and after how long without success a receiver is away."""

    first_s: float = 1.0
    most_s: float = 60.0
    away_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where alerts come from. `silences`: those that are set by now."""

    log: Log
    codec: Codec
    topics: Topics
    clock: Clock
    health: Health
    silences: Callable[[], Mapping[str, SilenceSet]]


class Forwarder:
    """The deliveries to one receiver. `others`: the names of those that take alerts, where this one takes the dead-man record alone."""

    def __init__(
        self, source: Source, receiver: Receiver, pace: Pace | None = None, others: Sequence[str] = ()
    ) -> None:
        self._source, self._receiver, self._pace, self._others = source, receiver, pace or Pace(), others
        self._measures = Measures(source.health, source.clock, receiver.name)
        self._namespace, self._topic = source.topics.namespace, source.topics.name("alerts")
        self._desk = self._desk_of(receiver)
        self._poster = Poster(receiver)
        self._delays = delays_s(self._pace.first_s, self._pace.most_s)
        self._failing_from_s: float | None = None
        self._anew, self._old_to = True, 0
        self._back: dict[TopicPartition, int] = {}
        self._waiting: Sequence[Record] = ()
        self._silenced: Mapping[str, SilenceSet] = {}
        self._silenced_s = float("-inf")
        self._member: Member | None = None

    def _desk_of(self, receiver: Receiver) -> Desk:
        match receiver.kind:
            case "alertmanager":
                return State()
            case "watchdog":
                return Heartbeat(self._reaches_nobody)
            case _:
                return News(self._namespace)

    def _reaches_nobody(self) -> bool:
        return bool(self._others) and all(is_away(self._source.health, name) for name in self._others)

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop`. Waits while the log or the receiver is away."""
        log, group = self._source.log, self._source.topics.group(f"forwarder.{self._receiver.name}")
        self._member = await log.member(
            group, [self._topic], on_assigned=self._on_assigned, on_revoked=self._on_assigned
        )
        try:
            while not stop.is_set():
                try:
                    await self._step(self._member, group, stop)
                except Retryable as error:
                    _log.warning("%s waits: %s", self._receiver.name, error)
                    await self._rest(stop, self._pace.first_s)
        finally:
            await self._member.close()
            await self._poster.close()

    async def _on_assigned(self, _: frozenset[TopicPartition]) -> None:
        self._anew = True

    async def _step(self, member: Member, group: str, stop: asyncio.Event) -> None:
        if self._anew and member.assignment():
            await self._begin(group)
        await member.seek(self._back)
        member.resume(member.assignment())
        self._waiting = records = await member.fetch(_FETCH_S, _MOST_READ)
        await self._measures.on_read(self._source.log, member, records)
        # NB: until it is committed it is to be read again, and the desk knows nothing of it.
        self._back = {TopicPartition(record.topic, record.partition): record.offset for record in reversed(records)}
        is_done = False
        try:
            is_done = not self._anew and await self._delivered(member, records, stop)
        finally:
            self._back = {} if is_done else self._back
            self._anew = self._anew or not is_done

    async def _delivered(self, member: Member, records: Sequence[Record], stop: asyncio.Event) -> bool:
        """Deliver what follows from these records, and commit them. Returns whether that was done."""
        seen = [found for record in records if (found := self._seen(record)) is not None]
        deliveries = deque(self._desk.take(seen, self._source.clock.now_s()))
        member.pause(member.assignment())
        if not await self._deliver(deliveries, stop):
            return False
        if records:
            places = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
            await member.commit(places)
            self._source.health.handled += len(records)
        self._waiting = ()
        return True

    async def _begin(self, group: str) -> None:
        """What the receiver has taken so far. One that is set for the first time is not sent what is over."""
        log = self._source.log
        (partition,) = await log.partitions(self._topic)
        committed = (await log.committed(group, [partition])).get(partition)
        self._old_to = 0 if committed is not None else (await log.end_offsets([partition]))[partition]
        self._anew = False
        messages = await read_all(log, self._source.codec, [self._topic])
        before = [message for message in messages if message.record.offset < (committed or 0)]
        self._desk.begin(
            Seen(message.event, message.record.timestamp_ms / 1000)
            for message in before
            if isinstance(message.event, AlertChanged)
        )

    def _seen(self, record: Record) -> Seen | None:
        try:
            event = self._source.codec.decode(record).event
        except Poison as poison:
            _log.error("%s is left out: %s", record.place, poison.reason)
            return None
        if not isinstance(event, AlertChanged):
            return None
        return Seen(event, record.timestamp_ms / 1000, record.offset < self._old_to)

    # delivering

    async def _deliver(self, deliveries: deque[tuple[AlertChanged, ...]], stop: asyncio.Event) -> bool:
        """Deliver all, however long it takes. False when it was stopped, or another process has the partition."""
        while not stop.is_set() and not self._anew:
            answer = await self._with_silences()
            if answer is None or answer.kind == "taken":
                if not deliveries:
                    self._note_well(answer)
                    return True
                answer = await self._post(deliveries[0])
            if answer.kind == "away":
                await self._wait(answer, stop)
                continue
            self._note_well(answer)
            if answer.kind == "refused":
                self._cut(deliveries, answer)
            else:
                self._measures.on_taken(len(deliveries.popleft()))
        return False

    def _cut(self, deliveries: deque[tuple[AlertChanged, ...]], answer: Answer) -> None:
        refused = deliveries.popleft()
        if len(refused) > 1:
            deliveries.extendleft((alert,) for alert in reversed(refused))
            return
        self._measures.on_refusal()
        name, found = refused[0].labels.get("alertname", ""), refused[0].fingerprint
        _log.error("%s refuses alert %s (%s), which is left out: %s", self._receiver.name, name, found, answer.reason)

    async def _with_silences(self) -> Answer | None:
        """Give an Alertmanager the silences that have changed; None where it need not be asked. Refused ones are logged, and hold back
        nothing.
        """
        wanted, now_s = dict(self._source.silences()), self._source.clock.now_s()
        is_fresh = wanted == self._silenced and 0 <= now_s - self._silenced_s < RESEND_S
        if is_fresh or not isinstance(self._desk, State):
            return None
        url = f"{self._receiver.url}/api/v2/silence"
        there = await self._poster.ask("GET", f"{url}s")
        if there.kind != "taken" or not isinstance(there.body, list):
            return Answer("away", there.reason or "it is no Alertmanager: its silences are no list")
        made, ended = silencing.changes(wanted, there.body, self._namespace, now_s)
        calls: list[tuple[str, str, Any]] = [("POST", f"{url}s", body) for body in made]
        calls += [("DELETE", f"{url}/{ident}", None) for ident in ended]
        for method, place, body in calls:
            answer = await self._poster.ask(method, place, body)
            if answer.kind == "away":
                return answer
            if answer.kind == "refused":
                _log.error("%s refuses a silence: %s", self._receiver.name, answer.reason)
        self._silenced, self._silenced_s = wanted, now_s
        return Answer("taken")

    async def _post(self, alerts: Sequence[AlertChanged]) -> Answer:
        receiver, body = self._receiver, self._body(alerts)
        url = f"{receiver.url}/api/v2/alerts" if receiver.kind == "alertmanager" else receiver.url
        return await self._poster.ask("POST", url, body)

    def _body(self, alerts: Sequence[AlertChanged]) -> Any:
        if isinstance(self._desk, State):
            return bodies.to_alertmanager(alerts, self._namespace, self._desk.until(self._source.clock.now_s()))
        if self._receiver.kind == "slack":
            return bodies.to_slack(alerts, self._namespace)
        return bodies.to_webhook(self._receiver.name, alerts, self._namespace)

    async def _wait(self, answer: Answer, stop: asyncio.Event) -> None:
        now_s = self._source.clock.monotonic_s()
        if self._failing_from_s is None:
            self._failing_from_s = now_s
            _log.warning("%s takes no alerts, and is tried again: %s", self._receiver.name, answer.reason)
        self._measures.on_failure(answer.reason, is_long=now_s - self._failing_from_s >= self._pace.away_s)
        await self._rest(stop, max(next(self._delays), answer.wait_s))

    async def _rest(self, stop: asyncio.Event, rest_s: float) -> None:
        """Wait, and stay a member of the group meanwhile: nothing is read, since all partitions are paused."""
        ends_s = self._source.clock.monotonic_s() + rest_s
        while not stop.is_set() and not self._anew and (left_s := ends_s - self._source.clock.monotonic_s()) > 0:
            if self._member is None or not self._member.assignment():
                await asyncio.sleep(min(left_s, _FETCH_S))
            else:
                await self._member.fetch(min(left_s, _FETCH_S), 1)
                await self._measures.on_read(self._source.log, self._member, self._waiting)

    def _note_well(self, answer: Answer | None) -> None:
        if answer is None:
            return
        if self._failing_from_s is not None:
            _log.info("%s takes alerts again", self._receiver.name)
        self._failing_from_s, self._delays = None, delays_s(self._pace.first_s, self._pace.most_s)
        self._measures.on_answer()
