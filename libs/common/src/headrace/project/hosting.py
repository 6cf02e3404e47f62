"""Which transforms run here, and how one is fed: message by message, its state kept between batches.

What a transform yields before it takes the next message belongs to the present one. A message on which it fails is
poison; the transform is then started anew, and goes on with the next.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import Misconfigured, Poison
from headrace.project.pipelines import Pipeline, Transform
from headrace.project.sources import Source

# A transform that takes longer over one message hangs: that message is poison.
LIMIT_S = 60.0


@dataclass(slots=True)
class Handled:
    """What became of one message: the values yielded for it, or why it is poison."""

    yielded: list[Any] = field(default_factory=list)
    poison: Poison | None = None


def targets_of(pipeline: Pipeline) -> dict[type, str]:
    """The source for each event type that a pipeline may yield. Raises `Misconfigured` when two sources share a type."""
    sources = [target for target in pipeline.to if isinstance(target, Source)]
    targets: dict[type, str] = {source.event: source.name for source in sources}
    if len(targets) != len(sources):
        raise Misconfigured(f"pipeline {pipeline.name}: two of its sources have the same event type; give each its own")
    return targets


class TransformRunner:
    """One running transform."""

    def __init__(
        self, name: str, transform: Transform, limit_s: float = LIMIT_S, references: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._name, self._transform, self._limit_s = name, transform, limit_s
        self._references = tuple(references)
        self._inbox: deque[Any] = deque()
        self._handled: list[Handled] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self, messages: Sequence[Any]) -> list[Handled]:
        """Feed `messages` and return what became of each, in order; after a failure the transform goes on without memory."""
        handled: list[Handled] = []
        while len(handled) < len(messages):
            handled += await self.run_to_failure(messages[len(handled) :])
        return handled

    async def run_to_failure(self, messages: Sequence[Any]) -> list[Handled]:
        """The same, but only up to the first message on which the transform fails, which comes last."""
        return await self._feed(list(messages)) if messages else []

    async def close(self) -> None:
        """End the transform."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _feed(self, messages: list[Any]) -> list[Handled]:
        """Feed until all are done, or one failed; returns those that are finished, the failed one last."""
        if self._task is not None and self._task.done():
            await self._restart_ended()
        self._inbox.extend(messages)
        self._handled = []
        self._idle.clear()
        self._arrived.set()
        if self._task is None:
            self._task = asyncio.create_task(self._pump())
        if not await self._finished(self._task):
            await self.close()
            self._note_failure(TimeoutError(f"no message was finished within {self._limit_s:g} s"))
        elif self._task.done():
            self._note_failure(self._task.exception())
        return self._handled

    async def _finished(self, task: asyncio.Task[None]) -> bool:
        """Until all messages are done or the transform ended; False when it hangs on one of them."""
        idle = asyncio.create_task(self._idle.wait())
        taken = -1
        try:
            while taken < len(self._handled):
                taken = len(self._handled)
                done, _ = await asyncio.wait({idle, task}, timeout=self._limit_s, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return True
        finally:
            idle.cancel()
        return False

    async def _restart_ended(self) -> None:
        """A transform that failed between two messages (a flush of its own, say) has none to blame: it starts anew."""
        await self.close()
        self._inbox.clear()

    def _note_failure(self, error: BaseException | None) -> None:
        self._task = None
        self._inbox.clear()
        reason = (
            f"{type(error).__name__}: {error}" if error else "the transform returned instead of taking the next message"
        )
        if not self._handled:
            raise Misconfigured(f"pipeline {self._name} cannot start: {reason}")
        self._handled[-1] = Handled(poison=Poison(f"pipeline {self._name} failed: {reason}"))

    async def _pump(self) -> None:
        async for value in self._transform(self._messages(), *self._references):
            self._handled[-1].yielded.append(value)

    async def _messages(self) -> AsyncIterator[Any]:
        while True:
            while not self._inbox:
                self._arrived.clear()
                self._idle.set()
                await self._arrived.wait()
            self._handled.append(Handled())
            yield self._inbox.popleft()
