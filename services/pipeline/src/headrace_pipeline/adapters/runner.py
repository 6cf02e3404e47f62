"""One running transform, fed message by message, on a thread of its own; its state is kept between batches.

What a transform yields before it takes the next message belongs to the present one. A message on which it fails or hangs is
poison; the transform is then started anew, and goes on with the next. See `TransformThread` for what happens on the thread.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.errors import Misconfigured, Poison
from headrace_pipeline.adapters.threads import Measure, Transform, TransformThread
from headrace_pipeline.core.handled import Handled

# A transform that makes no step for longer hangs on its message: time without a core is not counted.
LIMIT_S = 30.0
# How long a transform that is asked to end may take, before its thread is left behind.
_END_WITHIN_S = 1.0
_LOOK_EVERY_S = 0.25


class TransformRunner:
    """One running transform. `limit_s`: how long it may make no step. `measure`: see `TransformThread`."""

    def __init__(
        self,
        name: str,
        transform: Transform,
        limit_s: float = LIMIT_S,
        references: Sequence[Mapping[str, Any]] = (),
        measure: Measure | None = None,
    ) -> None:
        self._name, self._transform, self._limit_s = name, transform, limit_s
        self._references = tuple(references)
        self._measure = measure or _unmeasured
        self._thread: TransformThread | None = None
        self._left: list[TransformThread] = []

    async def run(self, messages: Sequence[Any]) -> list[Handled]:
        """Feed `messages` and return what became of each, in order. After a failure the transform starts anew, and has forgotten
        what it saw. Raises `Misconfigured` when it cannot start.
        """
        handled: list[Handled] = []
        while len(handled) < len(messages):
            handled += await self.run_to_failure(messages[len(handled) :])
        return handled

    async def run_to_failure(
        self, messages: Sequence[Any], on_taken: Callable[[int], None] | None = None
    ) -> list[Handled]:
        """Feed `messages` up to the first one on which the transform fails, which comes last, or up to as many outputs as should
        be held at once: so at least one message is handled, and maybe not all. Raises `Misconfigured` when it cannot start.

        `on_taken`: called on the transform's thread with the place of each message before the transform gets it.
        """
        return await self._feed(messages, on_taken) if messages else []

    async def close(self) -> None:
        """End the transform. One that does not end within a second is left behind on its thread."""
        if self._thread is not None:
            await self._end(self._thread)
            self._thread = None

    @property
    def left_count(self) -> int:
        """How many threads that were left behind still run: they hang, and Python cannot end a thread."""
        self._left = [thread for thread in self._left if thread.is_alive]
        return len(self._left)

    async def _feed(self, messages: Sequence[Any], on_taken: Callable[[int], None] | None) -> list[Handled]:
        handled, failure = await self._try(messages, on_taken)
        if (
            failure is not None and not handled
        ):  # it ended as it was fed (by a time-out of its own): no message is to blame
            handled, failure = await self._try(messages, on_taken)
        if failure is not None and not handled:
            raise Misconfigured(f"pipeline {self._name} cannot start: {failure}")
        if failure is not None:
            handled[-1] = Handled(poison=Poison(f"pipeline {self._name} failed: {failure}"))
        return handled

    async def _try(
        self, messages: Sequence[Any], on_taken: Callable[[int], None] | None
    ) -> tuple[list[Handled], str | None]:
        """What became of the messages, and why the transform ended; None when it goes on."""
        if self._thread is None:
            self._thread = TransformThread(self._name, self._transform, self._references, self._measure)
        thread = self._thread
        if await self._is_done(thread, thread.feed(messages, on_taken)):
            return list(thread.handled), thread.failure
        handled = list(thread.handled)
        await self.close()
        return handled, f"hung: it made no step for {self._limit_s:g} s"

    async def _is_done(self, thread: TransformThread, fed: Any) -> bool:
        """Until the thread has done what it was fed; False when it makes no step for the limit, cores permitting."""
        done = asyncio.wrap_future(fed)
        look_s = min(_LOOK_EVERY_S, self._limit_s / 4)
        await asyncio.wait({done}, timeout=look_s)  # nearly always that is all
        steps, idle_s = -1, 0.0
        at_s, waited_s = time.monotonic(), thread.waited_s() if not done.done() else 0.0
        while not done.done():
            await asyncio.wait({done}, timeout=look_s)
            before_s, at_s = at_s, time.monotonic()
            before_waited_s, waited_s = waited_s, thread.waited_s()
            # NB: one look counts as one look, however late this loop itself came to take it.
            idle_s += max(min(at_s - before_s, 2 * look_s) - (waited_s - before_waited_s), 0.0)
            if steps != thread.steps:
                steps, idle_s = thread.steps, 0.0
            if idle_s >= self._limit_s and not done.done():
                done.cancel()
                return False
        return True

    async def _end(self, thread: TransformThread) -> None:
        """End a thread's transform; one that does not end is left behind."""
        thread.cancel()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                while thread.is_alive:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            thread.leave()
            self._left.append(thread)


def _unmeasured(value: Any) -> int:
    return 0
