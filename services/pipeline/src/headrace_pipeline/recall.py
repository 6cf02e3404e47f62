"""Showing a transform that remembers what lies before a batch, so that it is whole again, in a bounded number of passes."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from headrace.errors import Poison
from headrace.log.port import Record
from headrace.project.hosting import Handled
from headrace_pipeline.adapters.rewind import Rewind
from headrace_pipeline.core.memory import MOST_PASSES, ONE_BY_ONE, Memory

_log = logging.getLogger("headrace.pipeline")

Read = dict | Poison


class Recall:
    """What comes of it is thrown away: it was written when it was new.

    `read`: a record's message. `run`: what became of the first of these, up to the first failure. `restart`: the transform knows
    nothing any more.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        rewind: Rewind,
        read: Callable[[Record], Read],
        run: Callable[[Sequence[tuple[Record, Read]]], Awaitable[list[Handled]]],
        restart: Callable[[], Awaitable[None]],
    ) -> None:
        self._name, self._memory, self._rewind = name, memory, rewind
        self._read, self._run, self._restart = read, run, restart

    async def before(self, records: Sequence[Record]) -> None:
        """Returns when the transform has seen what lies before these.

        One that fails on a message knows nothing any more: it is shown all of them anew without that one. See `ONE_BY_ONE`
        for how often.
        """
        firsts: list[Record] = []
        for shown in range(MOST_PASSES):
            firsts = self._memory.firsts(records, range(len(records)))
            failed = await self._show(firsts, to_the_end=shown >= ONE_BY_ONE)
            if not failed:
                return
            if shown >= ONE_BY_ONE:
                _log.warning("pipeline %s is reminded without %s messages on which it failed", self._name, failed)
            if shown < MOST_PASSES - 1:
                await self._restart()
                self._memory.forget()
        for first in firsts:
            self._memory.caught_up(first)

    async def _show(self, firsts: Sequence[Record], to_the_end: bool) -> int:
        """Feed what lies before each of these; returns on how many it failed: on one at most, unless it is fed `to_the_end`."""
        failed = 0
        for first in firsts:
            async with aclosing(self._rewind.before(first, self._memory.known_to(first))) as chunks:
                async for chunk in chunks:
                    failed += await self._show_chunk(chunk, to_the_end)
                    if failed and not to_the_end:
                        return failed
            self._memory.caught_up(first)
        return failed

    async def _show_chunk(self, chunk: Sequence[Record], to_the_end: bool) -> int:
        wanted = [(r, m) for r in chunk if not self._memory.is_bad(r) and not isinstance(m := self._read(r), Poison)]
        failed = 0
        while wanted:
            found = await self._run(wanted)
            if found and found[-1].poison is not None:
                self._memory.lost(wanted[len(found) - 1][0])
                failed += 1
                if not to_the_end:
                    return failed
            wanted = wanted[len(found) :]
        for record in chunk:
            self._memory.handled(record)
        return failed
