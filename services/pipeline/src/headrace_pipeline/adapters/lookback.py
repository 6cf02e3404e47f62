"""Feeding a transform what lies before a batch again, so that its own variables are as they were, in a bounded number of passes.

What it yields meanwhile is thrown away: it was written when it was new.
"""

import logging
from collections.abc import Sequence
from contextlib import aclosing

from headrace.errors import Poison
from headrace.log.port import Record
from headrace_pipeline.adapters.feed import Feed
from headrace_pipeline.adapters.raw_history import RawHistory
from headrace_pipeline.core.lookback import Lookback, Pass, passes

_log = logging.getLogger("headrace.pipeline")


class Refill:
    """Fills one transform's variables again. `seen`: what it has seen; `feed`: the transform; `history`: the raw records."""

    def __init__(self, seen: Lookback, feed: Feed, history: RawHistory) -> None:
        self._seen, self._feed, self._history = seen, feed, history

    async def before(self, records: Sequence[Record]) -> None:
        """Returns when the transform has seen what lies before these records. It reads from the broker.

        A transform that fails on a message starts anew with no state: it is fed all of them again without that one.
        See `ONE_BY_ONE` for how often.
        """
        gaps: list[Record] = []
        for made in passes():
            gaps = self._seen.gaps(records)
            failed = await self._make(made, gaps)
            if not failed:
                return
            if not made.stops_at_failure:
                _log.warning("pipeline %s looks back without %s messages on which it failed", self._feed.name, failed)
            if not made.is_last:
                await self._feed.restart()
                self._seen.on_restarted()
        self._seen.on_caught_up(gaps)

    async def _make(self, made: Pass, gaps: Sequence[Record]) -> int:
        """Feed what lies before each of these; returns on how many messages the transform failed."""
        failed = 0
        for first in gaps:
            async with aclosing(self._history.before(first, self._seen.seen_to(first))) as chunks:
                async for chunk in chunks:
                    failed += await self._feed_chunk(made, chunk)
                    if failed and made.stops_at_failure:
                        return failed
            self._seen.on_caught_up([first])
        return failed

    async def _feed_chunk(self, made: Pass, chunk: Sequence[Record]) -> int:
        known = [record for record in chunk if not self._seen.has_failed(record)]
        wanted = [(r, message) for r in known if not isinstance(message := self._feed.read(r), Poison)]
        failed = 0
        while wanted:
            found = await self._feed.run(wanted)
            if found and found[-1].poison is not None:
                self._seen.on_failed(wanted[len(found) - 1][0])
                failed += 1
                if made.stops_at_failure:
                    return failed
            wanted = wanted[len(found) :]
        self._seen.on_handled(chunk)
        return failed
