"""The newest report of each inference instance, off `ops.health`. A record that cannot be read is skipped."""

import asyncio
import logging

from headrace.clock import Clock
from headrace.errors import HeadraceError, Retryable
from headrace.events.ops import HealthReported
from headrace.log.codec import Codec
from headrace.log.port import Log, Reader, Record
from headrace.log.topics import Topics
from headrace_gateway.core.readiness import LIVE_S, Reported, living

_log = logging.getLogger("headrace.gateway")

MOST_INSTANCES = 1024
RETRY_S = 0.2


class Reports:
    """The reports of inference instances. They are read from the end of the topic: the next report of each comes within a second."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, clock: Clock) -> None:
        self._log, self._codec, self._clock = log, codec, clock
        self._topic = topics.name("ops.health")
        self._reader: Reader | None = None
        self._known: dict[str, Reported] = {}

    def living(self) -> list[HealthReported]:
        """The inference instances that live now."""
        return living(self._known.values(), self._clock.monotonic_s())

    async def start(self) -> None:
        """Read from the end of the topic on. Raises what the log raises when the broker is away."""
        self._reader = await self._log.reader(await self._log.partitions(self._topic), "end", committed=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the topic until `stop`."""
        reader = self._reader
        while reader is not None and not stop.is_set():
            try:
                records = await reader.fetch(0.5)
            except Retryable:
                await asyncio.sleep(RETRY_S)
                continue
            for record in records:
                self._take(record)
        if reader is not None:
            await reader.close()

    def _take(self, record: Record) -> None:
        try:
            report = self._codec.decode(record).event
        except (HeadraceError, ValueError) as error:
            _log.warning("a report at %s/%s cannot be read: %s", record.partition, record.offset, error)
            return
        if not isinstance(report, HealthReported) or report.service != "inference":
            return
        now_s = self._clock.monotonic_s()
        self._known[report.instance] = Reported(report, now_s)
        if len(self._known) > MOST_INSTANCES:
            self._known = {name: found for name, found in self._known.items() if now_s - found.at_s <= LIVE_S}
