"""A thread of its own for one version: a model that hangs takes nothing with it but its lane."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class LaneBusy(Exception):
    """The thread was at other calls all the while: that says nothing about this one."""


class Lane:
    """Runs functions one after the other. NB: a daemon thread, so that a hung model cannot keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._current: tuple[asyncio.Future[Any], float] | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[[], T], limit_s: float) -> T:
        """The function's result; raises what it raises, and after `limit_s` `TimeoutError` (the thread is busy with it still),
        or `LaneBusy` when its turn had not come by then.
        """
        if self._is_closed:
            raise RuntimeError("the version was let go")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((function, loop, done))
        try:
            return await asyncio.wait_for(done, limit_s)
        except TimeoutError:
            current = self._current
            if current is None or current[0] is not done:
                raise LaneBusy from None
            raise

    @property
    def hangs_s(self) -> float:
        """For how long the thread has been at a call that nobody waits for any more; 0 when it is free or in time."""
        current = self._current
        return time.monotonic() - current[1] if current is not None and current[0].cancelled() else 0.0

    def renewed(self) -> "Lane":
        """A lane in this one's stead: its thread is abandoned, and ends if ever its call returns."""
        self.close()
        return Lane(self._name)

    def close(self) -> None:
        """Let the thread end when it has done what it was given."""
        self._is_closed = True
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, loop, done = job
            if done.cancelled():
                continue
            self._current = (done, time.monotonic())
            result: Any = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            self._current = None
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, done, result, error)


def _settle(done: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
