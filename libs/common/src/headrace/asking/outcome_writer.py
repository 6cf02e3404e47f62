"""Writes outcomes to the log, for the gateway, the Python client and the command line."""

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


def record_of(topics: Topics, deployment: str, observed: Observed, source: str) -> Out:
    """An outcome as a record. `source`: the writer's name in the record."""
    event = OutcomeObserved(deployment, observed.unit, observed.label, observed.request_id, observed.corrects)
    envelope = Envelope(observed.id, "", source, observed.at_s, observed.request_id, observed.request_id or observed.id)
    return out(topics.name("inference.outcomes"), observed.unit, event, envelope)


class Observer:
    """Sends outcomes by its own producer, which is made when it is first needed, and again after a failure."""

    def __init__(self, log: Log, topics: Topics, source: str) -> None:
        self._log, self._topics, self._source = log, topics, source
        self._producer: Producer | None = None
        self._making = asyncio.Lock()

    async def send(self, deployment: str, outcomes: Sequence[Observed], within_s: float = SEND_WITHIN_S) -> None:
        """Return when all outcomes are on the log.

        Raises `Retryable` when that is not known after `within_s`; they may be sent again, since repeats change
        nothing.
        """
        records = [record_of(self._topics, deployment, one, self._source) for one in outcomes]
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
        """Close the connection."""
        await self._drop()

    async def _made(self) -> Producer:
        async with self._making:
            if self._producer is None:
                self._producer = await self._log.producer()
            return self._producer

    async def _drop(self) -> None:
        dropped, self._producer = self._producer, None
        if dropped is not None:
            with contextlib.suppress(Exception):  # NB: the first failure is raised already
                await dropped.close()
