"""Writes outcomes to the log: what the gateway, the Python client and the command line share."""

import asyncio
import contextlib
from collections.abc import Sequence

from headrace.asking.outcomes import Observed
from headrace.errors import Retryable
from headrace.events.inference import OutcomeObserved
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Log, Out, Producer
from headrace.log.topics import Topics

SEND_WITHIN_S = 10.0


def record_of(topics: Topics, deployment: str, told: Observed, source: str) -> Out:
    """An outcome as a record. `source`: who writes it."""
    event = OutcomeObserved(deployment, told.unit, told.label, told.request_id, told.corrects)
    envelope = Envelope(told.id, "", source, told.at_s, told.request_id, told.request_id or told.id)
    return out(topics.name("inference.outcomes"), told.unit, event, envelope)


class Observer:
    """Sends outcomes by a producer of its own, made when it is first needed, and anew after a failure."""

    def __init__(self, log: Log, topics: Topics, source: str) -> None:
        self._log, self._topics, self._source = log, topics, source
        self._producer: Producer | None = None
        self._making = asyncio.Lock()

    async def send(self, deployment: str, told: Sequence[Observed], within_s: float = SEND_WITHIN_S) -> None:
        """Return when all are on the log. Raises `Retryable` when that is not known: sent again they change nothing."""
        records = [record_of(self._topics, deployment, one, self._source) for one in told]
        try:
            async with asyncio.timeout(within_s):
                await (await self._made()).send(records)
        except TimeoutError:
            await self._drop()
            raise Retryable(f"the broker did not acknowledge the outcomes within {within_s:g} s") from None
        except Exception:
            await self._drop()
            raise

    async def close(self) -> None:
        """Give the connection back."""
        await self._drop()

    async def _made(self) -> Producer:
        async with self._making:
            if self._producer is None:
                self._producer = await self._log.producer()
            return self._producer

    async def _drop(self) -> None:
        dropped, self._producer = self._producer, None
        if dropped is not None:
            with contextlib.suppress(Exception):  # NB: it failed already, and that is told
                await dropped.close()
