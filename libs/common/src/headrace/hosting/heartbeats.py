"""The heartbeat of an instance, and the checks on which its readiness rests.

Ready means: the broker acknowledges, the topics exist, and no partition has work without progress.
"""

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from headrace.clock import Clock
from headrace.errors import HeadraceError, Restart
from headrace.hosting.core_wait import CoreWait, unhindered_s
from headrace.hosting.definitions import Definitions
from headrace.hosting.health import Health
from headrace.hosting.needs import needed, tended
from headrace.log.codec import out
from headrace.log.envelope import Envelope, format_instant
from headrace.log.port import Log, Producer
from headrace.log.same_topics import LOOK_EVERY_S, SameTopics
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.runtime")

BEAT_S = 1.0
SHORTEST_BEAT_S = 0.05
SEND_WITHIN_S = 3.0
# How long the broker may acknowledge nothing, and work may make no progress, before the instance is not ready.
BROKER_SILENT_S = 6.0
NO_PROGRESS_S = 30.0
_LOOK_S = 0.5
# Fields that change with every record do not trigger a report.
_COUNTS = {
    "lag": {}, "handled_total": 0, "late": {}, "late_requests": {}, "late_outcomes": {}, "late_corrections": {},
    "state_bytes": {}, "state_limits": {}, "newest_event_s": {},
}  # fmt: skip


class Heartbeats:
    """Publishes the health record each second, and on a change at most every 50 ms. Counters of work are no change, and
    a report that a change causes carries no traffic unless a second has passed since the last one that did.

    `acked_s`: when the broker acknowledged the last one, wall clock.
    """

    def __init__(self, log: Log, topics: Topics, health: Health, clock: Clock) -> None:
        self._log, self._topics, self._health, self._clock = log, topics, health, clock
        self._producer: Producer | None = None
        self.acked_s = clock.now_s()
        self.why = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set."""
        loop = asyncio.get_running_loop()
        sent, sent_s, counted_s = None, 0.0, 0.0
        while not stop.is_set():
            news = msgspec.structs.replace(self._health.report(with_traffic=False), **_COUNTS)
            if news != sent or loop.time() - sent_s >= BEAT_S:
                sent, sent_s = news, loop.time()
                counted = sent_s - counted_s >= BEAT_S
                counted_s = sent_s if counted else counted_s
                await self._publish(with_traffic=counted)
            await asyncio.sleep(SHORTEST_BEAT_S)

    async def close(self) -> None:
        """Publish the last report: an intended end, unless `FAILED` is among the failures."""
        self._health.stopping = True
        await self._publish(with_traffic=True)
        if self._producer is not None:
            await self._producer.close()

    async def _publish(self, *, with_traffic: bool) -> None:
        health, now_s = self._health, self._clock.now_s()
        report = health.report(with_traffic=with_traffic)
        envelope = Envelope(f"{health.instance}-{now_s:.3f}", "", health.service, now_s)
        beat = out(self._topics.name("ops.health"), f"{health.service}/{health.instance}", report, envelope)
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                self._producer = self._producer or await self._log.producer()
                await self._producer.send([beat])
        except (HeadraceError, TimeoutError) as error:
            self.why = str(error) or f"no answer within {SEND_WITHIN_S:.0f} s"
            _log.warning("heartbeat not sent: %s", self.why)
        else:
            self.acked_s, self.why = self._clock.now_s(), ""


@dataclass
class Progress:
    """Whether work exists and does not move. Time in which the process waited for a core does not count.

    >>> progress = Progress()
    >>> [progress.note(behind, handled, 20.0) for behind, handled in [(5, 0), (5, 0), (5, 0), (5, 1), (0, 1)]]
    [0.0, 20.0, 40.0, 0.0, 0.0]
    """

    handled: int = -1
    stuck_s: float = 0.0

    def note(self, behind: int, handled: int, unhindered_s: float) -> float:
        """The seconds for which `behind` records have waited and none was handled."""
        moved, self.handled = handled != self.handled or behind == 0, handled
        self.stuck_s = 0.0 if moved else self.stuck_s + unhindered_s
        return self.stuck_s


class Vitals:
    """Keeps `health` current about the broker, the topics and the work.

    `watches_work`: False for services that take long for one record. `same`: the topics as they were when the process
    began. When one was created again since, `run` raises `Restart`, so that readers, members, producers and state in
    memory start anew.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        projects: Definitions,
        health: Health,
        beats: Heartbeats,
        where: str,
        *,
        watches_work: bool,
        same: SameTopics | None = None,
    ) -> None:
        self._same = same or SameTopics(log)
        self._log, self._topics, self._projects, self._health, self._beats = log, topics, projects, health, beats
        self._where, self._watches_work = where, watches_work
        self._progress = Progress()
        self._seen = CoreWait.read()
        self._silent_s = 0.0
        self._acked_s = beats.acked_s

    async def run(self, stop: asyncio.Event) -> None:
        """Check until `stop` is set."""
        looking = asyncio.create_task(self._look_for_topics(stop))
        try:
            while not stop.is_set():
                self.look()
                await asyncio.sleep(_LOOK_S)
                if looking.done():
                    return await looking
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def look(self) -> None:
        """Do one check."""
        seen, self._seen = self._seen, CoreWait.read()
        # NB: a process that was frozen had no time to be acknowledged.
        elapsed_s = min(unhindered_s(seen, self._seen), 2.0)
        self._look_at_broker(elapsed_s)
        if self._watches_work:
            self._look_at_work(elapsed_s)

    def _look_at_broker(self, elapsed_s: float) -> None:
        acked_s = self._beats.acked_s
        self._silent_s = 0.0 if acked_s != self._acked_s else self._silent_s + elapsed_s
        self._acked_s = acked_s
        if self._silent_s <= BROKER_SILENT_S:
            self._health.clear("broker")
            return
        why = f": {self._beats.why}" if self._beats.why else ""
        self._health.fail(
            "broker", f"the broker at {self._where} has acknowledged nothing since {format_instant(int(acked_s))}{why}"
        )

    def _look_at_work(self, elapsed_s: float) -> None:
        health = self._health
        behind = sum(health.lag.values())
        stuck_s = self._progress.note(behind, health.handled + health.dead_lettered, elapsed_s)
        if stuck_s <= NO_PROGRESS_S or "broker" in health.failures:
            health.clear("progress")
            return
        place = max(health.lag, key=lambda found: health.lag[found])
        health.fail(
            "progress",
            f"records wait and none was handled for over {NO_PROGRESS_S:.0f} s; most in {place}"
            " (an open transaction there holds back all records behind it)",
        )

    async def _look_for_topics(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(LOOK_EVERY_S)
            if self._silent_s > 2 * SEND_WITHIN_S:
                continue
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self.look_for_topics()
            except Restart:
                raise
            # NB: any error of the admin client while the broker is away; `_look_at_broker` reports that.
            except Exception as error:
                _log.info("topics could not be looked for: %r", error)

    async def look_for_topics(self) -> None:
        """Report which topics are missing. Raises `Restart` for one that was created again, unless the service handles
        that.
        """
        names = needed(self._topics, self._health.service, self._projects.definitions)
        tends = tended(self._topics, self._health.service)
        there = await self._log.topic_ids(tends)
        missing = sorted([*await self._same.look(names - tends), *(tends - there.keys())])
        if missing:
            self._health.fail(
                "topics", f"topics are missing: {', '.join(missing)}; `headrace topic apply` creates them"
            )
        else:
            self._health.clear("topics")
