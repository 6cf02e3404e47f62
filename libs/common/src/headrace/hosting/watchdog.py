"""What a host of shards watches: its own progress, its place in the group, and open transactions of others."""

import asyncio
import logging

from headrace.errors import Fatal
from headrace.hosting.core_wait import CoreWait, unhindered_s
from headrace.hosting.health import Health
from headrace.log.port import Log, Member, Reader, TopicPartition

_log = logging.getLogger("headrace.hosting")

LOST_PLACE_S = 60.0
LONGEST_TRANSACTION_MS = 60_000
HELD_BACK_S = 20.0


class Watchdog:
    """Detects work without progress, for `limit_s` in which this process had a core or wanted none."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._progress, self._seen_progress = 0, -1
        self._looked_s = 0.0
        self._since = CoreWait.read()

    def note(self) -> None:
        """Note progress."""
        self._progress += 1

    def is_due(self) -> bool:
        """Whether the next check is due. NB: a reading takes as long as a step that fetches nothing."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s < min(1.0, self.limit_s / 4):
            return False
        self._looked_s = now_s
        return True

    def is_stuck(self, *, has_work: bool) -> bool:
        """Whether there was work and no progress for longer than the limit."""
        reading = CoreWait.read()
        if not has_work or self._progress != self._seen_progress:
            self._since, self._seen_progress = reading, self._progress
            return False
        return unhindered_s(self._since, reading) > self.limit_s


class Place:
    """A member's place in its group: a process that was frozen may have lost it unnoticed."""

    def __init__(self, service: str, group: str, health: Health) -> None:
        self._service, self._group, self._health = service, group, health
        self._lost_since: CoreWait | None = None

    async def look(self, member: Member) -> None:
        """Check the place. The instance is not ready without it. Raises `Fatal` when the group does not take it back in
        time.
        """
        if await member.is_known():
            self._lost_since = None
            self._health.clear("group")
            return
        now = CoreWait.read()
        self._lost_since = self._lost_since or now
        self._health.fail("group", f"group {self._group} does not count this instance: it waits to be taken in again")
        if unhindered_s(self._lost_since, now) > LOST_PLACE_S:
            raise Fatal(f"{self._service} has lost its place in group {self._group}: ending, to join again")


class Transactions:
    """Transactions of other producers: an open one holds back the records of all readers."""

    def __init__(self, log: Log, health: Health) -> None:
        self._log, self._health = log, health
        self._held_back: dict[TopicPartition, tuple[int, float]] = {}

    async def warn_of_long(self) -> None:
        """Warn when the broker allows very long transactions."""
        longest_ms = await self._log.longest_transaction_ms()
        if longest_ms is not None and longest_ms > LONGEST_TRANSACTION_MS:
            _log.warning(
                "transaction.max.timeout.ms is %s on this broker: one producer that leaves a transaction open holds back"
                " everybody's records for so long; set it to %s at most",
                longest_ms,
                LONGEST_TRANSACTION_MS,
            )

    async def look(self, reader: Reader) -> None:
        """Report the transaction of another producer that holds back what is read here."""
        stable = await reader.end_offsets()
        ends = await self._log.end_offsets(stable)
        now_s = asyncio.get_running_loop().time()
        for tp, offset in stable.items():
            known, since_s = self._held_back.get(tp, (-1, now_s))
            if ends[tp] <= offset:
                self._held_back.pop(tp, None)
            elif known != offset:
                self._held_back[tp] = (offset, now_s)
            elif now_s - since_s > HELD_BACK_S:
                reason = (
                    f"a transaction of another producer is open on {tp.topic}/{tp.partition} at offset {offset} for"
                    f" {now_s - since_s:.0f} s; it holds back {ends[tp] - offset} records"
                )
                self._health.fail(f"transaction:{tp.topic}/{tp.partition}", reason)
                continue
            self._health.clear(f"transaction:{tp.topic}/{tp.partition}")
