"""Is the event loop hung, or does it wait for a core? A thread watches a beat that only the loop can make.

Only time in which the loop's thread had a core, or did not want one, counts. A pause of the whole process (frozen,
swapped out) counts as one check.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from headrace.hosting.core_wait import CoreWait, unhindered_s

LOOK_S = 1.0
BEAT_S = 0.5


@dataclass
class Silence:
    """How long a loop has not beaten, by the clock and without hindrance. `limit_s`: of the unhindered time.

    >>> silence = Silence(limit_s=60)
    >>> for second in range(1, 100): silence.add(1.0, cpu_s=0.05, unhindered_s=0.05)
    >>> silence.is_hung, silence.description
    (False, 'the event loop has not turned for 99 s: it waited 94 s for a core and used 5 s; continuing')
    >>> for second in range(1, 100): silence.add(1.0, cpu_s=0.9, unhindered_s=1.0)
    >>> silence.is_hung
    True
    """

    limit_s: float
    silent_s: float = 0.0
    cpu_s: float = 0.0
    unhindered_s: float = 0.0

    def add(self, elapsed_s: float, cpu_s: float, unhindered_s: float) -> None:
        """Add a check without a beat. A late check shows that the whole process stood still."""
        self.silent_s += elapsed_s
        self.cpu_s += cpu_s
        self.unhindered_s += min(unhindered_s, 2 * LOOK_S)

    @property
    def is_hung(self) -> bool:
        """Whether the loop had enough unhindered time."""
        return self.unhindered_s > self.limit_s

    @property
    def description(self) -> str:
        """The state as a sentence."""
        if self.is_hung:
            how = "slept" if self.cpu_s < 0.1 * self.unhindered_s else f"used {self.cpu_s:.0f} s of a core"
            return f"the event loop hung for {self.unhindered_s:.0f} s (it {how}): ending, to be restarted"
        waited_s = max(self.silent_s - self.unhindered_s, 0.0)
        return f"the event loop has not turned for {self.silent_s:.0f} s: it waited {waited_s:.0f} s for a core and used {self.cpu_s:.0f} s; continuing"


class LoopGuard:
    """Ends the process when its loop hangs, and logs where it hangs. Logs a warning when it is only starved."""

    def __init__(self, service: str, limit_s: float, end: Callable[[int], None] = os._exit) -> None:
        self._service, self._limit_s, self._end = service, limit_s, end
        self._beat = threading.Event()
        self._is_over = threading.Event()
        self._loop_thread = 0
        self.silence = Silence(limit_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set."""
        self._loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, daemon=True, name="loop guard").start()
        try:
            while not stop.is_set():
                self._beat.set()
                await asyncio.sleep(BEAT_S)
        finally:
            self._is_over.set()

    def _watch(self) -> None:
        before, warned_s = CoreWait.read(), time.monotonic()
        while not self._is_over.wait(LOOK_S):
            now = CoreWait.read()
            if self._beat.is_set():
                self._beat.clear()
                self.silence, warned_s = Silence(self._limit_s), time.monotonic()
            else:
                self.silence.add(now.at_s - before.at_s, now.cpu_s - before.cpu_s, unhindered_s(before, now))
            if self.silence.is_hung:
                self._write("critical", self.silence.description, self._where())
                self._end(1)
                return
            if time.monotonic() - warned_s > self._limit_s:
                warned_s = time.monotonic()
                self._write("warning", self.silence.description)
            before = now

    def _where(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame, limit=12)) if frame else ""

    def _write(self, level: str, message: str, error: str = "") -> None:
        # NB: without a logger, whose lock the hung thread may hold.
        line = {"level": level, "service": self._service, "logger": "headrace.runtime", "message": message}
        with contextlib.suppress(OSError):
            os.write(2, (json.dumps(line | ({"error": error} if error else {})) + "\n").encode())
