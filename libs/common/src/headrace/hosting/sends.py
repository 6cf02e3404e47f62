"""Records that are sent outside of transactions, in tasks of their own. None is dropped while the broker is away."""

import asyncio
import logging

from headrace.errors import Misconfigured, Retryable
from headrace.log.port import Log, Out, Producer

_log = logging.getLogger("headrace.hosting")

_RETRY_S = 1.0


class Sends:
    """The records being sent, by one producer."""

    def __init__(self) -> None:
        self._producer: Producer | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, log: Log) -> None:
        """Open the producer."""
        self._producer = await log.producer()

    def later(self, outs: list[Out]) -> asyncio.Task[None]:
        """Send records. The task ends when they are acknowledged, or cannot be sent at all."""
        task = asyncio.create_task(self._send(outs))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def finish(self, within_s: float) -> None:
        """Wait for what is being sent, at most `within_s`."""
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)

    async def close(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            await self._producer.close()

    async def _send(self, outs: list[Out]) -> None:
        while self._producer is not None:
            try:
                await self._producer.send(outs)
            except Retryable as error:
                _log.warning("replies cannot be sent yet: %s", error)
                await asyncio.sleep(_RETRY_S)
            except Misconfigured as error:
                _log.error("%s records are not sent: %s", len(outs), error)
                return
            else:
                return
