"""The alerts of the supervisor: the monitor is down, and the disk is almost full.

The monitor writes all other alerts, but none while it is frozen or has ended. So the supervisor, which outlives it, follows the
monitor's heartbeats, and writes these two to the same topic (DESIGN: the one exception).
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from headrace.errors import HeadraceError, Poison
from headrace.events.alerts import AlertChanged
from headrace.events.ops import HealthReported
from headrace.hosting.alerts import OF_SUPERVISOR, Alarm, fire, linked, resolve
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, out
from headrace.log.connecting import connect
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.kafka_errors import quietly
from headrace.log.port import Reader, Record
from headrace.log.views import read_all
from headrace_cli.installation.disk import Disk

_log = logging.getLogger("headrace.supervisor")

# The limit that the monitor applies to other services (ServiceDown); the replacement of a frozen process takes longer.
AWAY_S = 10.0
FIRST_AWAY_S = 120.0  # until its first report, or after it announced its stop: a start on a busy machine
_LOOK_S = 1.0
_LATE_S = 5.0
MONITOR_DOWN = Alarm(
    "MonitorDown",
    {"service": "monitor"},
    "critical",
    f"the monitor has not reported for {AWAY_S:.0f} s: no other alert fires until it is back",
    "headrace status",
)


def disk_almost_full(disk: Disk) -> Alarm:
    """The alarm of an almost full disk, with its usage."""
    severity = "critical" if disk.is_full else "warning"
    return Alarm("DiskAlmostFull", {"service": "broker"}, severity, disk.text, "headrace status")


@dataclass
class Pulse:
    """Whether the monitor is down; only time in which its reports could be received is counted.

    >>> pulse = Pulse()
    >>> [pulse.note(at_s, reported=reported, is_connected=True) for at_s, reported in [(0, True), (4, False), (8, False)]]
    [False, False, False]
    >>> [pulse.note(float(at_s), reported=False, is_connected=True) for at_s in range(12, 60, 4)][-1]
    True
    """

    last_s: float | None = None
    silent_s: float = 0.0
    has_reported: bool = False

    def note(self, at_s: float, *, reported: bool, is_connected: bool, stops: bool = False) -> bool:
        """Take one observation; returns whether the monitor is down. `reported`: it reported since the last one; `is_connected`: the
        broker answers; `stops`: it announced its stop.
        """
        elapsed_s = 0.0 if self.last_s is None else at_s - self.last_s
        self.last_s, self.has_reported = at_s, (self.has_reported or reported) and not stops
        # NB: a late observation means that the supervisor was frozen, not that the monitor was silent.
        if reported or not is_connected or elapsed_s > _LATE_S:
            self.silent_s = 0.0
        else:
            self.silent_s += elapsed_s
        return self.silent_s > (AWAY_S if self.has_reported else FIRST_AWAY_S)


@dataclass
class Alarms:
    """Follows the monitor's heartbeat and writes alerts to their topic. `disk`: set by the supervisor."""

    settings: Settings
    disk: Disk | None = None
    firing: dict[str, AlertChanged] = field(default_factory=dict)
    _has_reported: bool = False
    _stops: bool = False

    async def run(self) -> None:
        """Run until cancelled; waits for a broker that is down."""
        while True:
            log = KafkaLog(self.settings)
            try:
                await connect(log, 30.0)
                await self._follow(log)
            except (HeadraceError, OSError, TimeoutError) as error:
                _log.info("the alerts topic cannot be reached: %s", str(error) or "no answer")
                await asyncio.sleep(_LOOK_S)
            finally:
                with quietly():
                    async with asyncio.timeout(2.0):
                        await log.stop()

    async def _follow(self, log: KafkaLog) -> None:
        topics = topics_of(self.settings)
        codec, pulse = Codec(topics), Pulse()
        # NB: with a limit, because a broker that has just come back may not serve the partition yet.
        async with asyncio.timeout(60.0):
            messages = await read_all(log, codec, [topics.name("alerts")])
        for message in messages:
            self._adopt(message.event)
        partitions = await log.partitions(topics.name("ops.health"))
        reader = await log.reader(partitions, "end", committed=False)
        producer = await log.producer()
        try:
            while True:
                is_connected = await self._receive(log, reader, codec)
                is_away = pulse.note(
                    time.monotonic(), reported=self._has_reported, is_connected=is_connected, stops=self._stops
                )
                self._has_reported = self._stops = False
                wished = {MONITOR_DOWN.name: MONITOR_DOWN} if is_away else {}
                if self.disk is not None and self.disk.is_almost_full:
                    wished["DiskAlmostFull"] = disk_almost_full(self.disk)
                for alert in self._changes(wished):
                    _log.warning(
                        "alert %s: %s %s", alert.status, alert.labels["alertname"], alert.annotations["summary"]
                    )
                    envelope = Envelope(f"{alert.fingerprint}-{time.time():.3f}", "", "supervisor", time.time())
                    await producer.send([out(topics.name("alerts"), alert.fingerprint, alert, envelope)])
                    self._adopt(alert)
        finally:
            await producer.close()
            await reader.close()

    async def _receive(self, log: KafkaLog, reader: Reader, codec: Codec) -> bool:
        """Take the reports of the last second; returns whether the broker answers."""
        began_s = time.monotonic()
        for record in await reader.fetch(_LOOK_S, 2000):
            report = _of_monitor(codec, record)
            if report is not None:
                self._has_reported, self._stops = True, report.stopping
        # NB: without a broker `fetch` returns nothing, but this raises.
        async with asyncio.timeout(4.0):
            await log.end_offsets(reader.assignment())
        await asyncio.sleep(max(0.0, _LOOK_S - (time.monotonic() - began_s)))
        return True

    def _adopt(self, alert: AlertChanged | None) -> None:
        if alert is None or alert.labels.get("alertname") not in OF_SUPERVISOR:
            return
        if alert.status == "firing":
            self.firing[alert.labels["alertname"]] = alert
        else:
            self.firing.pop(alert.labels["alertname"], None)

    def _changes(self, wished: dict[str, Alarm]) -> list[AlertChanged]:
        fired = [fire(alarm, time.time()) for name, alarm in wished.items() if name not in self.firing]
        opened = [linked(alert, self.settings.runbook_url) for alert in fired]
        return opened + [resolve(alert, time.time()) for name, alert in self.firing.items() if name not in wished]


def _of_monitor(codec: Codec, record: Record) -> HealthReported | None:
    try:
        event = codec.decode(record).event
    except Poison:
        return None
    return event if isinstance(event, HealthReported) and event.service == "monitor" else None
