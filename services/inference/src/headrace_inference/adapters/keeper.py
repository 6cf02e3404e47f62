"""Looks after what is loaded, beside the traffic: tells what was loaded or not, changes of breakers and load; has the health record
kept; replaces threads that hang for good.
"""

import asyncio
import logging
from collections.abc import Callable

from headrace.clock import Clock
from headrace.errors import Fatal, Retryable
from headrace.events.inference import (
    BreakerChanged,
    OverloadChanged,
    RungChanged,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.hosting.health import Health
from headrace.log.codec import out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Log, Out, Producer
from headrace.log.topics import Topics
from headrace_inference.adapters.loads import Loads
from headrace_inference.adapters.shelf import Shelf

_log = logging.getLogger("headrace.inference")

MAX_ABANDONED = 3
LOOK_EVERY_S = 0.2
# While the broker is away only so many are kept, the newest.
MOST_FACTS = 10_000
_FACT_BYTES = 400
Fact = BreakerChanged | OverloadChanged | RungChanged | VersionLoadFailed | VersionUnloadable | VersionWarmed


class Keeper:
    """Publishes `facts` in their order; whoever has one appends it. `report`: fills in the health record."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        facts: list[Fact],
        shelf: Shelf,
        loads: Loads,
        health: Health,
        clock: Clock,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        self._log, self._topics, self._facts, self._shelf, self._loads = log, topics, facts, shelf, loads
        self._health, self._clock, self._report = health, clock, report
        self._told = 0
        self._producer: Producer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises `Fatal` when more threads than may be are left behind: a new process has none."""
        while not stop.is_set():
            self._shelf.renew_lanes()
            if self._shelf.abandoned > MAX_ABANDONED:
                raise Fatal(f"{self._shelf.abandoned} calls of models hang for good: starting anew frees their threads")
            self._loads.settle()
            self._look()
            await self._publish()
            await _pause(stop)
        await self._publish()
        self._shelf.close()
        if self._producer is not None:
            await self._producer.close()

    def _look(self) -> None:
        self._report()
        del self._facts[:-MOST_FACTS]
        self._health.holds("facts to be told", len(self._facts) * _FACT_BYTES, MOST_FACTS * _FACT_BYTES)

    async def _publish(self) -> None:
        told = list(self._facts)
        if not told:
            return
        try:
            self._producer = self._producer or await self._log.producer()
            await self._producer.send([self._out(number, fact) for number, fact in enumerate(told, self._told)])
        except Retryable as error:
            _log.warning("facts are told later: %s", error)
            return
        del self._facts[: len(told)]
        self._told += len(told)

    def _out(self, number: int, fact: Fact) -> Out:
        identity = derived_id(type(fact).__name__, self._health.instance, self._health.started_s, number)
        envelope = Envelope(identity, "", "inference", self._clock.now_s())
        return out(self._topics.name("inference.facts"), fact.deployment, fact, envelope)


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            await stop.wait()
    except TimeoutError:
        return
