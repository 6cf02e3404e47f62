"""Waits as long as something progresses, so that a slow machine does not count as failed.

A wait ends when its condition holds, or when nothing has progressed for `quiet_s`: no sign changed, and no process of
the installation used a core or waited for one. Meanwhile it prints what it waits for, every `REPORT_EVERY_S`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import psutil

from headrace.errors import HeadraceError
from headrace.hosting.core_wait import CoreWait

T = TypeVar("T")
Report = Callable[[str], None]

QUIET_S = 60.0
REPORT_EVERY_S = 15.0
# An idle service uses 1 to 5 % of a core for heartbeats and polls; one that works, or waits for a core, is far above that.
BUSY_SHARE = 0.3
_LOOK_EVERY_S = 5.0


class NothingMoves(HeadraceError):
    """The condition of a wait does not hold, and nothing progresses."""


@dataclass
class Patience:
    """How long nothing has progressed. `quiet_s`: how long that may last."""

    quiet_s: float = QUIET_S
    began_s: float = field(default_factory=time.monotonic)
    _moved_s: float = field(default_factory=time.monotonic)
    _sign: Hashable = None

    def note(self, sign: Hashable, *, is_busy: bool = False, now_s: float | None = None) -> bool:
        """Whether to continue to wait. `sign`: any value that changes with progress; `is_busy`: a process works or waits for a core.

        >>> patience = Patience(quiet_s=60, began_s=0, _moved_s=0)
        >>> [patience.note(sign, now_s=at_s) for sign, at_s in [("a", 50), ("a", 100), ("b", 160), ("b", 230)]]
        [True, True, True, False]
        """
        now_s = time.monotonic() if now_s is None else now_s
        if is_busy or sign != self._sign:
            self._moved_s, self._sign = now_s, sign
        return now_s - self._moved_s <= self.quiet_s

    @property
    def waited_s(self) -> float:
        """The seconds since the wait began."""
        return time.monotonic() - self.began_s


class Workers:
    """Whether any of some processes, with their children, works or waits for a core."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._seen: dict[int, CoreWait] = {}
        self._is_busy, self._read_s = True, 0.0

    def are_busy(self) -> bool:
        """Whether any was busy since the last reading, at least five seconds ago; a new process counts as busy."""
        now_s = time.monotonic()
        if now_s - self._read_s >= _LOOK_EVERY_S:
            self._read_s = now_s
            before, self._seen = self._seen, _readings(self._pids())
            self._is_busy = any(pid not in before or _is_busy(before[pid], now) for pid, now in self._seen.items())
        return self._is_busy


async def wait_for(
    has: Callable[[], Awaitable[T | None]],
    *,
    what: Callable[[], str],
    report: Report,
    sign: Callable[[], Hashable] = lambda: None,
    is_busy: Callable[[], bool] = lambda: False,
    quiet_s: float = QUIET_S,
    every_s: float = 0.2,
) -> T:
    """Wait until `has` returns something other than None. `what`: a text of what is waited for. `sign`: changes with progress.

    Raises `NothingMoves`, with this text, when nothing has progressed for `quiet_s`.
    """
    patience, reported_s = Patience(quiet_s), time.monotonic()
    while (found := await has()) is None:
        if not patience.note(sign(), is_busy=is_busy()):
            raise NothingMoves(f"{what()}: nothing has progressed for {quiet_s:.0f} s, after {patience.waited_s:.0f} s")
        if time.monotonic() - reported_s >= REPORT_EVERY_S:
            reported_s = time.monotonic()
            report(f"still waiting: {what()}, {patience.waited_s:.0f} s")
        await asyncio.sleep(every_s)
    return found


def _is_busy(before: CoreWait, now: CoreWait) -> bool:
    wanted_s = now.cpu_s - before.cpu_s + now.waited_s - before.waited_s
    return wanted_s > BUSY_SHARE * (now.at_s - before.at_s)


def _readings(pids: Iterable[int]) -> dict[int, CoreWait]:
    found: dict[int, CoreWait] = {}
    for pid in pids:
        for one in _family(pid):
            try:
                found[one] = CoreWait.read(one)
            except ProcessLookupError:
                continue
    return found


def _family(pid: int) -> list[int]:
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.Error:
        return []
