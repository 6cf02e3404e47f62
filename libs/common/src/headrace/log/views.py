"""A topic read into memory. It is ready when everything that was there at the start has been read, and then follows for
ever.

There is no group: every instance reads everything. Positions are compared with end offsets, not with record offsets,
because control records and compaction leave gaps.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from headrace.errors import Fatal, Poison, Retryable
from headrace.log.codec import Codec, Message
from headrace.log.port import Log, Reader, Record, Start
from headrace.log.same_topics import SameTopics

_log = logging.getLogger("headrace.log")

RETRY_S = 1.0

OnMessage = Callable[[Message], None]


class View:
    """Passes every message of `topics` to `on_message`, in offset order per partition. A tombstone has the event None.

    A record that cannot be read stops the view with `Fatal`. On users' topics it is skipped instead, since its owner
    dead-letters it.
    """

    def __init__(
        self,
        log: Log,
        codec: Codec,
        topics: Sequence[str],
        on_message: OnMessage,
        *,
        committed: bool = True,
        start: Start = "beginning",
    ) -> None:
        self._log, self._codec, self._topics, self._on_message = log, codec, topics, on_message
        self._committed, self._start = committed, start
        self._reader: Reader | None = None
        self._same = SameTopics(log)
        self.is_ready = False
        self.is_stopped = False
        self._is_followed = False
        self.changed = asyncio.Event()

    async def start(self) -> None:
        """Read up to the present end offsets. Waits for the broker; raises `Retryable`, `Restart` or `Fatal`."""
        await self._same.look(self._topics)
        partitions = [tp for topic in self._topics for tp in await self._log.partitions(topic)]
        self._reader = await self._log.reader(partitions, self._start, committed=self._committed)
        ends = await self._reader.end_offsets()
        while not await self._has_reached(ends):
            await self._step(0.1)
            await self._same.look_now_and_then(self._topics)
        self.is_ready = True

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set; call `start` before. It waits while the log does not answer."""
        self._is_followed = True
        try:
            while not stop.is_set():
                await self._step_or_hold()
        finally:
            await self.stop()

    async def follow(self) -> None:
        """Follow until cancelled."""
        self._is_followed = True
        while True:
            await self._step_or_hold()

    async def catch_up(self, timeout_s: float = 1.0) -> bool:
        """Wait until everything that is there now has been taken. Returns whether it was.

        Gives up after `timeout_s`, and when the log does not answer. Without a follower it reads the records itself.
        """
        with contextlib.suppress(TimeoutError, Retryable):
            async with asyncio.timeout(timeout_s):
                ends = await self._opened().end_offsets()
                while not await self._has_reached(ends):
                    await (asyncio.sleep(0.005) if self._is_followed else self._step(0.1))
                return True
        return False

    async def stop(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self.is_stopped = True
            with contextlib.suppress(Exception):
                await self._reader.close()
            self._reader = None

    async def _has_reached(self, ends: dict) -> bool:
        reader = self._opened()
        for tp, end in ends.items():
            if await reader.position(tp) < end:
                return False
        return True

    async def _step_or_hold(self) -> None:
        try:
            await self._step(0.5)
            await self._same.look_now_and_then(self._topics)
        except Retryable as error:
            _log.warning("the view of %s waits: %s", ", ".join(self._topics), error)
            await asyncio.sleep(RETRY_S)

    async def _step(self, timeout_s: float) -> None:
        reader = self._opened()
        records = await reader.fetch(timeout_s, max_records=2000)
        if reader.has_gone_back():
            await self._same.look(self._topics)
        for record in records:
            self._take(record)
        if records:
            self.changed.set()
            self.changed = asyncio.Event()
            await asyncio.sleep(0)

    def _take(self, record: Record) -> None:
        try:
            message = self._codec.decode(record)
        except Poison as poison:
            if self._codec.is_users(record.topic):
                return
            raise Fatal(f"{record.place} cannot be read: {poison}") from poison
        self._on_message(message)

    def _opened(self) -> Reader:
        if self._reader is None:
            raise Fatal("the view is not started")
        return self._reader


async def read_all(
    log: Log, codec: Codec, topics: Sequence[str], *, start: Start = "beginning", committed: bool = True
) -> list[Message]:
    """Everything that the topics hold now."""
    found: list[Message] = []
    view = View(log, codec, topics, found.append, start=start, committed=committed)
    try:
        await view.start()
    finally:
        await view.stop()
    return found
