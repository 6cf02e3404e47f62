"""Views that are built from the beginning of their source, in a task of their own, beside the running ones."""

import asyncio

from headrace_feature.adapters.history import History
from headrace_feature.core.source_fold import SourceFold


class ViewBuild:
    """The views of one source in the making: their own fold, fed from the source's history."""

    def __init__(self, fold: SourceFold, history: History) -> None:
        self.fold, self._history = fold, history
        self._task: asyncio.Task[None] | None = None

    def begin(self, offset: int) -> None:
        """Start reading everything before `offset`; returns at once."""
        self._task = asyncio.create_task(self.read_to(offset))

    def is_reading(self) -> bool:
        """Whether the reading that was begun still goes on. Raises what it raised."""
        if self._task is None or not self._task.done():
            return self._task is not None
        self._task.result()
        return False

    def behind(self, applied: int) -> int:
        """How many offsets the running views are ahead."""
        return applied - self._history.position

    def read_share(self, applied: int) -> float:
        """How much of the history is read, 0..1."""
        return min(self._history.position / max(applied, 1), 1.0)

    async def read_to(self, offset: int) -> None:
        """Fold everything before `offset`. It lets other tasks run after each chunk."""
        async for batch in self._history.up_to(offset):
            for read in batch:
                self.fold.on_record(read)
            self.fold.fold()
            await asyncio.sleep(0)

    async def close(self) -> None:
        """End the reading and give the connection back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._history.close()
