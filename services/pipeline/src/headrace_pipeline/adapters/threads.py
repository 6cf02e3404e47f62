"""The thread that one transform runs on, with an event loop of its own: whatever it does there stops nobody else.

A transform may raise anything, wait for ever, block (`time.sleep`) or spin. All of that stays on its thread; the service's
own loop only counts its steps. What cannot be undone: Python cannot end a thread. One that is left behind ends by itself
when its loop next runs Python code (an exception is set in it); one that sleeps in a call ends after that call. One that
holds the interpreter inside a C function (a regular expression gone wild) stops the whole process, and one that crashes or calls
`os._exit` ends it: `in_flight` notes which record each transform works on, where that outlives the process.
"""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import Misconfigured, Poison
from headrace.project.raised import one_line, place_of
from headrace_pipeline.core.handled import MOST_HELD_BYTES, Handled

_LOOK_S = 0.25

Transform = Callable[..., AsyncIterator[Any]]
Measure = Callable[[Any], int]


class _Left(BaseException):
    """Set in a thread that is left behind, so that it ends when it next runs Python code."""


class TransformThread:
    """A transform, started anew whenever it has ended. `steps` grows with everything it does: messages taken, values yielded.

    `measure`: the bytes that a yielded value takes.
    """

    def __init__(
        self,
        name: str,
        transform: Transform,
        references: Sequence[Mapping[str, Any]],
        measure: Measure,
    ) -> None:
        self._name, self._transform, self._references, self._measure = name, transform, references, measure
        self.steps = 0
        self.handled: list[Handled] = []
        self._inbox: deque[Any] = deque()
        self._held_bytes = 0
        self._failure: str | None = None
        self._on_taken: Callable[[int], None] | None = None
        self._arrived = asyncio.Event()
        self._done: concurrent.futures.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"pipeline-{name}", daemon=True)
        self._thread.start()

    # called by the service's loop

    def feed(
        self, messages: Sequence[Any], on_taken: Callable[[int], None] | None = None
    ) -> concurrent.futures.Future[None]:
        """Done when all are handled, the transform ended, or what is kept of it is enough for now; see `handled`.

        `on_taken`: called on the thread with the place of each message before the transform gets it.
        """
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(self._begin, list(messages), done, on_taken)
        return done

    @property
    def failure(self) -> str | None:
        """Why the transform ended on the last message that it took; None when it goes on."""
        return self._failure

    @property
    def is_idle(self) -> bool:
        """Whether no transform runs on it now: the next message starts one."""
        return self._task is None or self._task.done()

    def waited_s(self) -> float:
        """How long this thread has waited for a core since it began."""
        return waited_s(self._thread)

    def cancel(self) -> None:
        """Ask a transform that awaits something to end."""
        self._is_closing = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def leave(self) -> None:
        """Leave the thread behind: it ends as soon as it runs Python code again."""
        if self._thread.ident is not None and self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Left))
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                self._loop.call_soon_threadsafe(lambda: None)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs still."""
        return self._thread.is_alive()

    # on the thread

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._is_closing:
            try:
                self._loop.run_forever()
            except BaseException as error:  # from a task of the user's own that raised SystemExit, for instance
                self._note(error)
        try:
            self._loop.close()
        except RuntimeError:  # left behind in the midst of a callback
            return

    def _begin(
        self, messages: list[Any], done: concurrent.futures.Future[None], on_taken: Callable[[int], None] | None
    ) -> None:
        self._on_taken = on_taken
        self._inbox, self.handled, self._held_bytes, self._done = deque(messages), [], 0, done
        self._failure = None  # of a transform that ended between two batches: no message is to blame
        self._arrived.set()
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._pump())

    def _end(self) -> None:
        if self._task is not None:
            self._task.add_done_callback(lambda _: self._loop.stop())
            if not self._task.done():
                self._task.cancel()
                return
        self._loop.stop()

    async def _pump(self) -> None:
        """NB: everything that a transform raises ends here, and not in the task, which would end the loop for some of it."""
        messages, outputs = self._messages(), None
        try:
            outputs = self._transform(messages, *self._references)
            async for value in outputs:
                self._take(value)
            self._failure = "the transform returned instead of taking the next message"
        except BaseException as error:
            self._note(error)
        for stream in (outputs, messages):
            with contextlib.suppress(BaseException):  # one that goes on yielding although it was asked to end
                await stream.aclose()  # ty: ignore[unresolved-attribute] - of a transform that is no generator
        self._finish()

    def _note(self, error: BaseException) -> None:
        if isinstance(error, Poison):
            self._failure = error.reason
        else:
            place = place_of(error, getattr(self._transform, "__module__", ""))
            self._failure = f"{one_line(error)} ({place})" if place else one_line(error)

    def _take(self, value: Any) -> None:
        self.steps += 1
        if not self.handled:
            raise Poison("it yielded before it took a message: what is yielded belongs to the message taken last")
        size = self._measure(value)
        self._held_bytes += size
        self.handled[-1].add(value, size)

    async def _messages(self) -> AsyncIterator[Any]:
        while True:
            while not self._inbox or self._held_bytes > MOST_HELD_BYTES:
                self._arrived.clear()
                self._inbox.clear()
                self._finish()
                await self._arrived.wait()
            self.steps += 1
            if self._on_taken is not None and not self._is_closing:
                self._on_taken(len(self.handled))
            self.handled.append(Handled())
            yield self._inbox.popleft()

    def _finish(self) -> None:
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(None)


async def on_own_thread(make: Callable[[], Any], limit_s: float) -> Any:
    """What `make` returns, run on a thread of its own: the user's module being imported, say.

    Whatever it raises comes as `Misconfigured`, and so does a hang of `limit_s`, waiting for a core not counted; the thread is left
    behind then.
    """
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(make())
        except Misconfigured as error:
            done.set_exception(error)
        except BaseException as error:
            done.set_exception(Misconfigured(one_line(error)))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    future, idle_s, before_s = asyncio.wrap_future(done), 0.0, waited_s(thread)
    while not future.done() and idle_s < limit_s:
        await asyncio.wait({future}, timeout=_LOOK_S)
        now_s = waited_s(thread)
        idle_s, before_s = idle_s + max(_LOOK_S - (now_s - before_s), 0.0), now_s
    if not future.done():
        future.cancel()
        raise Misconfigured(f"it was not done within {limit_s:g} s")
    return future.result()


def waited_s(thread: threading.Thread) -> float:
    """How long a thread has waited for a core since it began, as the kernel counts; 0 where it does not."""
    try:
        return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
