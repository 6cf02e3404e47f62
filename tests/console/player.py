"""Plays the recording of the demo on a real broker, while the console follows it.

What was before the first stop is written with its true distances in time, so that "now" is where the play stands; what
follows, as soon as it is asked for. The services of the demo are not there: the newest report of each is written again
once a second, as a living one would.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from tests.console.recording import Recorded, read

from headrace.clock import SystemClock
from headrace.events.alerts import AlertChanged
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.envelope import format_instant, parse_instant
from headrace.log.kafka import KafkaLog, client_options
from headrace.log.port import Record, TopicSpec
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace_console.app import wire
from headrace_console.core.world import HEALTH

Wanted = Callable[[Any], bool]
REPORT_S = 1.0


class Player:
    """The recording on the broker of `settings`, up to where it was played."""

    def __init__(self, settings: Settings, log: KafkaLog) -> None:
        self.settings, self._log = settings, log
        self.topics = Topics.load(settings.namespace)
        self.clock = SystemClock()
        self.url = ""
        self._codec = Codec(self.topics)
        self._records = [(one, self._event(one)) for one in read()]
        self._at, self._shift_s, self._written_s = 0, 0.0, 0.0
        self._started: dict[tuple[str, str, float], float] = {}
        self._reports: dict[str, HealthReported] = {}

    async def load(self, wanted: Wanted | None) -> None:
        """Make the topics, and write all records before the first that is `wanted`, or all there are."""
        project = next(event.definition for _, event in reversed(self._records) if isinstance(event, ProjectApplied))
        await self._log.create_topics([_with_given_times(spec) for spec in self.topics.specs(project)])
        end = len(self._records) if wanted is None else self._place(wanted)
        self._shift_s = self.clock.now_s() - self._records[end - 1][0].appended_s
        await self._write(end, with_reports=True)

    async def play_to(self, wanted: Wanted) -> Any:
        """Write the records up to the next one that is `wanted`; returns its event."""
        end = self._place(wanted)
        await self._write(end + 1, with_reports=False)
        return self._records[end][1]

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[str]:
        """The console, and the reports of the services of the demo; gives its address."""
        projects = Projects(self._log, self._codec, self.topics)
        await projects.start()
        health = Health("console", "console-1", failures={})
        settings = msgspec.structs.replace(self.settings, console_port=0)
        console = wire(self._log, self._codec, self.topics, projects, health, self.clock, settings, folder)
        stop, is_over = asyncio.Event(), asyncio.Event()
        running = [asyncio.create_task(part) for part in (console.run(stop), self._report(stop), projects.run(is_over))]
        try:
            yield f"http://127.0.0.1:{console.port}"
        finally:
            async with asyncio.timeout(10):
                stop.set()
                await asyncio.gather(*running[:2])
                is_over.set()
                await running[2]

    def _event(self, one: Recorded) -> Any:
        record = Record(self.topics.name(one.topic), 0, 0, one.key, one.value, one.headers)
        return self._codec.decode(record).event

    def _place(self, wanted: Wanted) -> int:
        return next(at for at in range(self._at, len(self._records)) if wanted(self._records[at][1]))

    def _now_s(self, recorded_s: float) -> float:
        """The instant of the recording as one of now: never later than now."""
        return min(recorded_s + self._shift_s, self.clock.now_s())

    async def _write(self, end: int, *, with_reports: bool) -> None:
        chosen = self._records[self._at : end]
        async with self._producer() as send:
            for left, (one, event) in zip(range(len(chosen), 0, -1), chosen, strict=True):
                # NB: two records at one instant would have no order among topics.
                latest_s = min(self._now_s(one.appended_s), self.clock.now_s() - left / 1000)
                self._written_s = max(latest_s, self._written_s + 0.001)
                if isinstance(event, HealthReported):
                    report = self._reports[f"{event.service}/{event.instance}"] = self._present(event)
                    if with_reports:
                        await send(one, report, self._written_s)
                else:
                    await send(one, self._alert(event), self._written_s)
        self._at = end

    async def _report(self, stop: asyncio.Event) -> None:
        """Write the newest report of each instance that has not ended again and again."""
        async with self._producer() as send:
            while not stop.is_set():
                for key, report in list(self._reports.items()):
                    if not report.stopping:
                        await send(Recorded(HEALTH, key.encode(), b"", (), 0.0), report, self.clock.now_s())
                await asyncio.wait([asyncio.create_task(stop.wait())], timeout=REPORT_S)

    def _present(self, report: HealthReported) -> HealthReported:
        """A report of a process that started in our time; equal for all reports of a process."""
        key = (report.service, report.instance, report.started_s)
        started_s = self._started.setdefault(key, self._now_s(report.started_s))
        return msgspec.structs.replace(report, started_s=started_s)

    def _alert(self, event: Any) -> Any:
        """An alert's instants are wall clock too."""
        if not isinstance(event, AlertChanged):
            return event
        starts, ends = (
            format_instant(self._now_s(parse_instant(at))) if at else "" for at in (event.starts_at, event.ends_at)
        )
        return msgspec.structs.replace(event, starts_at=starts, ends_at=ends)

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[Callable[[Recorded, Any, float], Any]]:
        async with AIOKafkaProducer(**client_options(self.settings), enable_idempotence=True) as producer:

            async def send(one: Recorded, event: Any, appended_s: float) -> None:
                changed = isinstance(event, HealthReported | AlertChanged)
                value = msgspec.msgpack.encode(event) if changed else one.value
                await producer.send(
                    self.topics.name(one.topic), value, one.key, 0, int(appended_s * 1000), list(one.headers)
                )

            yield send
            await producer.flush()


def _with_given_times(spec: TopicSpec) -> TopicSpec:
    """A topic whose append times are ours."""
    return msgspec.structs.replace(spec, config=spec.config | {"message.timestamp.type": "CreateTime"})
