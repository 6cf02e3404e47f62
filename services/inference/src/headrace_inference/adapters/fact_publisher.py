"""Publishes the facts of an instance to `inference.facts`, in their order, beside the traffic."""

import logging

from headrace.clock import Clock
from headrace.errors import Retryable
from headrace.events.inference import (
    BreakerChanged,
    OverloadChanged,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.hosting.health import Health
from headrace.log.codec import out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Log, Out, Producer
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.inference")

# While the broker is away only so many are kept, the newest.
MOST_FACTS = 10_000
_FACT_BYTES = 400
Fact = BreakerChanged | OverloadChanged | VersionLoadFailed | VersionUnloadable | VersionWarmed


class FactPublisher:
    """Facts that wait to be published."""

    def __init__(self, log: Log, topics: Topics, health: Health, clock: Clock) -> None:
        self._log, self._topics, self._health, self._clock = log, topics, health, clock
        self._waiting: list[Fact] = []
        self._published = 0
        self._producer: Producer | None = None

    def add(self, fact: Fact) -> None:
        """Publish a fact at the next `publish`. Does not wait."""
        self._waiting.append(fact)

    async def publish(self) -> None:
        """Publish what waits, as far as the broker can be reached: waits for it, and raises nothing when it is away."""
        del self._waiting[:-MOST_FACTS]
        self._health.holds("facts to be told", len(self._waiting) * _FACT_BYTES, MOST_FACTS * _FACT_BYTES)
        facts = list(self._waiting)
        if not facts:
            return
        try:
            self._producer = self._producer or await self._log.producer()
            await self._producer.send([self._out(number, fact) for number, fact in enumerate(facts, self._published)])
        except Retryable as error:
            _log.warning("facts are published later: %s", error)
            return
        del self._waiting[: len(facts)]
        self._published += len(facts)

    async def close(self) -> None:
        """Give the connection back."""
        if self._producer is not None:
            await self._producer.close()

    def _out(self, number: int, fact: Fact) -> Out:
        identity = derived_id(type(fact).__name__, self._health.instance, self._health.started_s, number)
        envelope = Envelope(identity, "", "inference", self._clock.now_s())
        return out(self._topics.name("inference.facts"), fact.deployment, fact, envelope)
