"""Sends the events of a spool to a deployment, in steps: those that are not on the log yet. It waits while a version is made.

The log is its only state: an interrupted replay finds there what it has sent, and sends the rest.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from headrace.asking.playback import Pace, Playing, Progress, Step
from headrace.errors import HeadraceError
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.ops import HealthReported
from headrace.hosting.exclusive import Alone
from headrace.log.codec import Message, out
from headrace.log.envelope import Envelope
from headrace.log.port import Out
from headrace.log.views import View
from headrace.registry import under_way as holding
from headrace.registry.under_way import Holding
from headrace_cli.replay.fed import LONGEST_STEP_S, Fed
from headrace_cli.replay.ids import Ids, Sent
from headrace_cli.replay.spool import Asked, Event
from headrace_cli.session import Session
from headrace_cli.terminal import waiting
from headrace_cli.terminal.waiting import wait_for

STEP_EVENTS = 500
# The share of an evaluation window per step, so that the monitor's decisions come within a fraction of a window.
STEPS_A_WINDOW = 8
# The longest step of a replay in real time, by the wall clock.
SMOOTH_S = 0.2
# Services report each second; one that has been silent for this long, while others reported, has ended.
SILENT_S = 10.0
# If no service has reported for this long, by the clock of this machine, all have ended.
DEAD_S = 300.0


@dataclass
class Alive:
    """Which services report, by `ops.health`."""

    _seen_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    _newest_ms: int = 0

    def take(self, message: Message) -> None:
        """Take a report."""
        report = message.event
        if not isinstance(report, HealthReported):
            return
        self._newest_ms = max(self._newest_ms, message.record.timestamp_ms)
        if report.stopping:
            self._seen_ms.pop((report.service, report.instance), None)
        else:
            self._seen_ms[report.service, report.instance] = message.record.timestamp_ms

    def has(self, service: str, now_s: float) -> bool:
        """Whether an instance of a service reports. Clocks differ, so the log's own time is used first."""
        oldest_ms = max(self._newest_ms - SILENT_S * 1000, (now_s - DEAD_S) * 1000)
        return any(name == service and seen_ms >= oldest_ms for (name, _), seen_ms in self._seen_ms.items())


class Replay:
    """One replay of one deployment. `report`: prints messages; `places`: the exclusive rights that it holds."""

    def __init__(
        self,
        session: Session,
        deployment: DeploymentDefinition,
        ids: Ids,
        report: Callable[[str], None],
        fed: Fed | None = None,
        places: Sequence[Alone] = (),
    ) -> None:
        self.session, self._deployment, self.ids, self._report = session, deployment, ids, report
        self._fed, self._places = fed, places
        self._holding, self._alive = Holding(deployment.name), Alive()
        self._views: list[asyncio.Task[None]] = []
        self.holds = 0
        self.held_s = 0.0

    async def run(
        self, events: Iterable[Event], sent: Sent, speed: float | None, progress: Progress, wait_at_end: bool = True
    ) -> int:
        """Send what is not in `sent`, and wait until all is decided and no version is being made; returns how many records were sent."""
        async with self._following():
            pace = Pace(self.session.log, self.session.topics, self._paced_by())
            playing = Playing(self.session.log, pace, self._hold)

            def progressed(at_s: float, count: int) -> None:
                progress(at_s, count + self.events_sent)

            try:
                await playing.play(
                    self._steps(self._fresh(events, sent), pace, speed), speed=speed, progress=progressed
                )
                if self._fed:
                    await self._fed.finish(pace)
                await pace.drain()
                if wait_at_end:
                    await pace.look()
                    await self._hold()
            finally:
                self.held_s = playing.held_s
                await playing.close()
                if self._fed:
                    await self._fed.close()
        return playing.sent

    @property
    def events_sent(self) -> int:
        """How many records of streams were sent."""
        return self._fed.feed.sent if self._fed else 0

    def _fresh(self, events: Iterable[Event], sent: Sent) -> Iterator[Event]:
        """The events that are not on the log. Raises `Misconfigured` if the first request could not see all events that it should."""
        is_first = True
        for event in events:
            if _is_sent(event, sent):
                continue
            if self._fed and is_first and isinstance(event, Asked):
                is_first = False
                self._fed.refuse_gone(event.time_s)
            yield event

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[None]:
        session = self.session
        facts = View(session.log, session.codec, [session.topics.name(noun) for noun in holding.TOPICS], self._take)
        health = View(
            session.log, session.codec, [session.topics.name("ops.health")], self._take_health, committed=False
        )
        # NB: asked to stop, not cancelled: a cancellation during a record is lost (Python 3.11, `wait_for`).
        stop = asyncio.Event()
        try:
            for view in (facts, health):
                await view.start()
                self._views.append(asyncio.create_task(view.run(stop)))
            yield
        finally:
            stop.set()
            await asyncio.gather(*self._views, return_exceptions=True)
            await facts.stop()
            await health.stop()

    def _has(self, service: str) -> bool:
        return self._alive.has(service, self.session.clock.now_s())

    def _take_health(self, message: Message) -> None:
        self._alive.take(message)
        if self._fed:
            self._fed.feed.applied.take(message)

    def _take(self, message: Message) -> None:
        self._holding.take(message.event, message.envelope.id)

    def _paced_by(self) -> Sequence[str]:
        """The services that the replay waits for: also the monitor if it decides something or runs, or drift would be found too late."""
        needs_monitor = _needs_monitor(self._deployment)
        if not self._has("inference"):
            raise HeadraceError("no inference service reports: `headrace up` starts one, `headrace status` shows more")
        if needs_monitor and not self._has("monitor"):
            raise HeadraceError(
                f"no monitor reports, but training or monitoring of {self._deployment.name} needs it: see `headrace status`"
            )
        for service in (
            ("pipeline", "feature") if self._fed and self._fed.raw_topics else ("feature",) * bool(self._fed)
        ):
            if not self._has(service):
                raise HeadraceError(f"no {service} service reports, but the events need it: see `headrace status`")
        return ("inference", "monitor") if self._has("monitor") else ("inference",)

    async def _hold(self) -> None:
        """Wait until no version is being made. Raises if the responsible service has ended, nothing progresses, or facts cannot be read."""
        for view in self._views:
            if view.done():
                view.result()
        for place in self._places:
            await place.hold()
        if not self._holding.waits_for:
            return
        self.holds += 1
        self._report(f"the replay waits for {self._holding.waits_for}")

        async def is_over() -> bool | None:
            return None if self._holding.waits_for else True

        await wait_for(
            is_over,
            what=lambda: f"{self._holding.waits_for}; the same command continues from here",
            report=self._report,
            sign=lambda: self._holding.waits_for,
            is_busy=lambda: self._has("trainer") and self._has("registry"),
            quiet_s=waiting.QUIET_S,
            every_s=0.02,
        )

    def _steps(self, events: Iterable[Event], pace: Pace, speed: float | None) -> Iterator[Step]:
        if self._fed:
            self._fed.begin()
        for events_of_step in cut(events, STEP_EVENTS, self._longest_s(speed)):
            make = functools.partial(self._make, events_of_step, pace)
            yield Step(events_of_step[0].time_s, events_of_step[-1].time_s, make)

    def _longest_s(self, speed: float | None) -> float:
        needs_monitor = _needs_monitor(self._deployment)
        by_window_s = self._deployment.evaluation_window_s / STEPS_A_WINDOW if needs_monitor else float("inf")
        by_feed_s = LONGEST_STEP_S if self._fed else float("inf")
        return min(by_window_s, by_feed_s, speed * SMOOTH_S if speed else float("inf"))

    async def _make(self, events: Sequence[Event], pace: Pace) -> Sequence[Out]:
        if self._fed:
            await self._fed.advance(events[-1].time_s, self._deployment.feature_delay_s, pace)
        return [self._out(event) for event in events]

    def _out(self, event: Event) -> Out:
        name, topics, ids = self._deployment.name, self.session.topics, self.ids
        if isinstance(event, Asked):
            ident = ids.request(event.shard, event.number)
            envelope = Envelope(ident, "", ids.mapping, event.time_s, correlation_id=ident)
            request = PredictionRequested(name, event.inputs, event.unit)
            return out(topics.name("inference.requests"), event.unit, request, envelope)
        request_id = None if event.of is None else ids.request(*event.of)
        corrects = None if event.corrects is None else ids.outcome(*event.corrects)
        envelope = Envelope(
            ids.outcome(event.shard, event.number), "", ids.mapping, event.time_s, request_id, request_id
        )
        outcome = OutcomeObserved(name, event.unit, event.label, request_id, corrects)
        return out(topics.name("inference.outcomes"), event.unit, outcome, envelope)


def cut(events: Iterable[Event], most: int, longest_s: float) -> Iterator[list[Event]]:
    """Split events into steps of at most `most` events and `longest_s` seconds of event time.

    >>> from headrace_cli.replay.spool import Asked
    >>> [len(step) for step in cut([Asked(at, 0, 1, "u", {}) for at in (0, 1, 2, 9)], 2, 5.0)]
    [2, 1, 1]
    """
    step: list[Event] = []
    for event in events:
        if step and (len(step) >= most or event.time_s - step[0].time_s > longest_s):
            yield step
            step = []
        step.append(event)
    if step:
        yield step


def _needs_monitor(found: DeploymentDefinition) -> bool:
    """Whether a deployment does something that only the monitor's reports lead to."""
    return found.training is not None or bool(found.monitoring) or found.charts is not None


def _is_sent(event: Event, sent: Sent) -> bool:
    return (event.shard, event.number) in (sent.requests if isinstance(event, Asked) else sent.outcomes)
