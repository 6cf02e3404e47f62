"""The model worker: a thread of its own for one version, so that a model that hangs blocks nothing but this thread."""

import asyncio
import contextlib
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from headrace_inference.core.lateness import Spent, is_hung

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]", float | None]
# So many calls may wait for one thread. Each shard has one at a time; calls that nobody waits for any more are skipped.
MOST_WAITING = 64
_READ_EVERY_S = 0.1


class WorkerBusy(Exception):
    """The thread was busy with other calls all the while: that says nothing about this one."""


class WorkerClosed(Exception):
    """The version was unloaded."""


class Foreign(Exception):
    """A model raised something that would end this process, which no model may do."""


class _Current(NamedTuple):
    """The call that the thread is busy with. `cpu_s`: of the thread when the call began; `waited_s`: not long before."""

    done: "asyncio.Future[Any]"
    limit_s: float | None
    began_s: float
    cpu_s: float
    waited_s: float


class ModelWorker:
    """Runs functions one after the other. NB: a daemon thread, so that a hung model cannot keep the process from ending.

    The thread is made when it is first needed; `on_begin` is called from it with the identity of the thread.
    """

    def __init__(self, name: str, on_begin: Callable[[int], None] = lambda _: None) -> None:
        self._name, self._on_begin = name, on_begin
        self._is_closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._current: _Current | None = None
        self._clock: int | None = None
        self._waited_s, self._read_s = 0.0, -math.inf
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[[], T], limit_s: float | None) -> T:
        """The result of the function, run in the thread.

        Raises what the function raises, `WorkerClosed` after `close`, and after `limit_s` (never when None) `TimeoutError` when the
        thread is still busy with it, or `WorkerBusy` when its turn had not come by then.
        """
        if self._is_closed:
            raise WorkerClosed
        if self._jobs.qsize() >= MOST_WAITING:
            raise WorkerBusy
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((function, loop, done, limit_s))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        try:
            await asyncio.wait({done}, timeout=limit_s)
            if done.done():
                return done.result()
        finally:
            done.cancel()
        current = self._current
        raise TimeoutError if current is not None and current.done is done else WorkerBusy

    @property
    def waiting(self) -> int:
        """How many calls wait for the thread."""
        return self._jobs.qsize()

    @property
    def hangs_s(self) -> float:
        """For how long the thread has been busy with a call that nobody waits for any more; 0 when it is free or in time."""
        current = self._current
        return time.monotonic() - current.began_s if current is not None and current.done.cancelled() else 0.0

    def spent(self, heartbeat: "Heartbeat") -> Spent:
        """What the call that the thread is busy with has had so far; nothing when it is free."""
        current = self._current
        if current is None:
            return Spent(0.0, 0.0, 0.0)
        now_s = time.monotonic()
        cpu_s, waited_s = self._had()
        beats = heartbeat.share(current.began_s, now_s)
        return Spent(
            now_s - current.began_s, max(0.0, cpu_s - current.cpu_s), max(0.0, waited_s - current.waited_s), beats
        )

    def why_hung(self, heartbeat: "Heartbeat", least_s: float) -> str | None:
        """The reason when a call that nobody waits for any more is to blame for not having returned; None otherwise.

        `least_s`: the limit to judge it by, where its own was shorter. NB: at its limit it may merely have been late, so this is asked again.
        """
        current = self._current
        if current is None or not current.done.cancelled() or current.limit_s is None:
            return None
        spent = self.spent(heartbeat)
        return f"predict took over {spent.took_s:.3g} s" if is_hung(spent, max(current.limit_s, least_s)) else None

    def renewed(self) -> "ModelWorker":
        """A worker to replace this one, whose thread is abandoned: it ends if its call ever returns."""
        self.close()
        return ModelWorker(self._name, self._on_begin)

    def close(self) -> None:
        """Let the thread end when it has done what it was given. Does not wait for that."""
        self._is_closed = True
        self._jobs.put(None)

    def _had(self) -> tuple[float, float]:
        """Seconds of CPU, and of waiting for a core, that the thread has had; zeros where the system does not count them."""
        if self._clock is None:
            return 0.0, 0.0
        try:
            on_core, waited, *_ = os.pread(self._clock, 96, 0).split()
        except (OSError, ValueError):
            return 0.0, 0.0
        return int(on_core) / 1e9, int(waited) / 1e9

    def _begun(self, done: "asyncio.Future[Any]", limit_s: float | None) -> _Current:
        # NB: reading releases the interpreter's lock, and getting it back may take 5 ms: so this is read ten times a second, and not with
        # each call. What the thread waited in between is counted as this call's, which errs towards "late".
        now_s = time.monotonic()
        if now_s - self._read_s >= _READ_EVERY_S:
            self._read_s, (_, self._waited_s) = now_s, self._had()
        return _Current(done, limit_s, now_s, time.thread_time(), self._waited_s)

    def _work(self) -> None:
        self._on_begin(threading.get_ident())
        with contextlib.suppress(OSError):  # not on Linux
            self._clock = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        try:
            while (job := self._jobs.get()) is not None:
                self._do(*job)
        finally:
            clock, self._clock = self._clock, None
            if clock is not None:
                os.close(clock)

    def _do(
        self,
        function: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[Any]",
        limit_s: float | None,
    ) -> None:
        if done.cancelled():
            return
        self._current = self._begun(done, limit_s)
        result: Any = None
        error: Exception | None = None
        try:
            result = function()
        except (
            StopIteration,
            StopAsyncIteration,
            TimeoutError,
        ) as raised:  # no future takes the first two; the last means the limit
            error = Foreign(repr(raised))
        except Exception as raised:
            error = raised
        except BaseException as raised:  # SystemExit and its like would end the process
            error = Foreign(repr(raised))
        self._current = None
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(_settle, done, result, error)


def _settle(done: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


class Heartbeat:
    """The control: a thread that only beats. While its beats are missing, no thread of this process was allowed to run."""

    EVERY_S = 0.05

    def __init__(self) -> None:
        self._beats: deque[float] = deque(maxlen=4096)
        self._began_s = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def share(self, from_s: float, to_s: float) -> float:
        """Of the beats that were due between two monotonic instants, the share that came, 0..1; 1 when not even one was due."""
        oldest_s = self._beats[0] if len(self._beats) == self._beats.maxlen else self._began_s
        due = int((to_s - max(from_s, oldest_s)) / self.EVERY_S) - 1
        if due <= 0:
            return 1.0
        came = sum(from_s <= beat_s <= to_s for beat_s in list(self._beats))
        return min(1.0, came / due)

    def close(self) -> None:
        """Stop beating."""
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            self._beats.append(time.monotonic())
