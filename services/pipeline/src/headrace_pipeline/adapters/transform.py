"""A hosted transform: it is fed the records of a batch, with or without a look-back, and started again until it starts."""

import asyncio
import logging
from collections.abc import Sequence

from headrace.clock import Clock
from headrace.errors import Misconfigured, Poison
from headrace.hosting.health import Health
from headrace.log.backoff import delays_s
from headrace.log.port import Record
from headrace_pipeline.adapters.feed import Feed
from headrace_pipeline.adapters.lookback import Refill
from headrace_pipeline.adapters.raw_history import RawHistory
from headrace_pipeline.core.batch import is_enough
from headrace_pipeline.core.handled import Handled
from headrace_pipeline.core.lookback import Lookback

_log = logging.getLogger("headrace.pipeline")


class HostedTransform:
    """The transform behind `feed`. `history`: where its look-back is read again; None for one that keeps no state."""

    def __init__(self, feed: Feed, clock: Clock, health: Health, history: RawHistory | None = None) -> None:
        self._feed, self._clock, self._health = feed, clock, health
        self._seen = Lookback()
        self._refill = Refill(self._seen, feed, history) if history is not None else None

    async def handle(self, records: Sequence[Record]) -> list[Handled]:
        """What became of the first of these records: up to a failure, or as many as should be held at once; at least one.

        NB: a transform that cannot start is no record's fault: it is reported in health, and tried again for ever.
        """
        read = [self._feed.read(record) for record in records]
        for delay_s in delays_s(1.0, 60.0):
            try:
                handled = await self._handle(records, read)
            except Misconfigured as error:
                _log.error("%s; trying again in %.0f s", error, delay_s)
                self._health.fail(f"pipeline:{self._feed.name}", str(error))
                await asyncio.sleep(delay_s)
            else:
                self._health.clear(f"pipeline:{self._feed.name}")
                return handled
        raise AssertionError("delays never end")

    async def _handle(self, records: Sequence[Record], read: Sequence[dict | Poison]) -> list[Handled]:
        if self._refill is None:
            return await self._without_lookback(records, read)
        return await self._with_lookback(self._refill, records, read)

    async def _without_lookback(self, records: Sequence[Record], read: Sequence[dict | Poison]) -> list[Handled]:
        """A transform without state starts anew after each failure; what is done is written once it took a while."""
        begun_s, handled = self._clock.monotonic_s(), list[Handled]()
        while len(handled) < len(read):
            handled += await self._feed.run_mixed(records[len(handled) :], read[len(handled) :])
            if is_enough(handled, self._clock.monotonic_s() - begun_s):
                break
        return handled

    async def _with_lookback(
        self, refill: Refill, records: Sequence[Record], read: Sequence[dict | Poison]
    ) -> list[Handled]:
        """A transform with state has it whole before every message, and is fed up to the first failure only."""
        await refill.before(records)
        handled = await self._feed.run_mixed(records, read)
        for record, found, got in zip(records, handled, read, strict=False):
            self._seen.on_handled([record])
            if found.poison is not None and not isinstance(got, Poison):
                self._seen.on_failed(record)
        return handled

    async def restart(self) -> None:
        """End the transform; the next message starts it anew, after what lies before it."""
        await self._feed.restart()
        self._seen.on_restarted()

    @property
    def hung_count(self) -> int:
        """Threads that hang and could not be ended."""
        return self._feed.hung_count

    @property
    def held_bytes(self) -> int:
        """What is kept of records on which the transform failed, by estimate."""
        return self._seen.held_bytes
