"""SIGTERM and SIGINT, from a process's first moment on, before anything heavy is imported.

The first signal stops in order. A process that is still starting ends at once with 0; later `react` is called, and a
process that has not ended after nine seconds is cut (also with 0, since its successor repeats what it had in hand). A
second signal ends it at once, with 130. A process of which a part has failed ends in the same time, with 1: if its end
hangs, it neither works nor beats, although its ports may still report that it is ready.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOP_WITHIN_S = 10.0
_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """How a process reacts to signals. `is_asked`: it has been asked to end."""

    def __init__(self) -> None:
        self.is_asked = False
        self._name = ""
        self._react: Callable[[], object] | None = None
        self._asked = threading.Event()
        self._over = threading.Event()
        self._former: dict[int, object] = {}

    def begin(self, name: str) -> None:
        """Install the handlers. A service's `__main__` does this first. It has no effect on other threads than the main
        one.
        """
        self._name = name
        if self._former or threading.current_thread() is not threading.main_thread():
            return
        self._former = {number: signal.signal(number, self._on_signal) for number in _NUMBERS}
        os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=self._let_go)
        # NB: a supervisor starts us with SIGTERM blocked, so that none is lost before this line.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)

    def fail(self, error: BaseException) -> None:
        """End the process because a part has failed. If it has not ended in nine seconds, it is cut, and the reason is
        written.
        """
        threading.Thread(target=self._cut_failed, args=(error, self._over), daemon=True, name="failing").start()

    def hand_over(self, react: Callable[[], object]) -> None:
        """From now on a signal calls `react`, and a process that has not ended nine seconds later is cut."""
        self._asked, self._over = threading.Event(), threading.Event()
        self._react = react
        threading.Thread(target=self._cut, args=(self._asked,), daemon=True, name="stopping").start()
        if self.is_asked:
            react()

    def end(self) -> None:
        """Restore the former handlers, since the process continues (in tests)."""
        self._over.set()
        for number, handler in self._former.items():
            signal.signal(number, handler)  # ty: ignore[invalid-argument-type]  as `signal` returned it
        self._former, self._react, self.is_asked = {}, None, False

    def _let_go(self) -> None:
        """In a forked child: restore the handlers, so that a signal ends it from its first moment on (as a pool ends
        its workers).
        """
        for number, handler in self._former.items():
            signal.signal(number, handler)  # ty: ignore[invalid-argument-type]  as `signal` returned it
        self._former = {}
        _let_through()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.is_asked:
            self._write(f"a second {signal.Signals(number).name}: ended at once")
            os._exit(130)
        self.is_asked = True
        if self._react is None:
            self._write(f"ended while starting, on request ({signal.Signals(number).name})")
            os._exit(0)
        self._asked.set()
        self._react()

    def _cut(self, asked: threading.Event) -> None:
        asked.wait()
        threading.Event().wait(STOP_WITHIN_S - 1)
        self._write(f"not ended {STOP_WITHIN_S - 1:.0f} s after the request: cut; its unfinished work is done again")
        os._exit(0)

    def _cut_failed(self, error: BaseException, over: threading.Event) -> None:
        if over.wait(STOP_WITHIN_S - 1):
            return
        why = f"{type(error).__name__}: {error}"[:2000]
        self._write(f"not ended {STOP_WITHIN_S - 1:.0f} s after a part of it failed ({why}): cut, to be restarted")
        os._exit(1)

    def _write(self, text: str) -> None:
        # NB: without a logger, whose lock this thread may hold when the signal comes.
        with contextlib.suppress(OSError):
            os.write(2, f"{self._name}: {text}\n".encode())


def _hold_back() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)


STOPPING = Stopping()
