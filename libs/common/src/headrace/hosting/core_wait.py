"""Hung or starved: did a process without progress have a core, or did it wait for one?

Linux counts per thread the seconds on a core and the seconds in the run queue (`/proc/<pid>/schedstat` is that of the
main thread, where the event loop runs). A watchdog counts `unhindered_s` instead of the clock: the time in which the
process had a core, or did not want one. So a starved process gets more time, exactly as much as it waited, and one that
hangs in a loop on a busy machine still reaches its limit. A stopped process (SIGSTOP) does not wait for a core, and is
not starved.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

STARVED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class CoreWait:
    """One reading: seconds on a core and seconds of waiting for one since the process began, and the monotonic
    instant.
    """

    cpu_s: float
    waited_s: float
    at_s: float

    @staticmethod
    def read(pid: int | None = None) -> "CoreWait":
        """Read the main thread of a process (this one when None). Without the system's counters nothing was waited.

        Raises `ProcessLookupError` when another process does not exist.
        """
        place = Path(f"/proc/{'self' if pid is None else pid}")
        try:
            on_core, waiting, *_ = (place / "schedstat").read_text().split()
        except (OSError, ValueError):
            if pid is not None and Path("/proc/self").exists() and not place.exists():
                raise ProcessLookupError(f"no process {pid}") from None
            return CoreWait(0.0, 0.0, time.monotonic())
        return CoreWait(int(on_core) / 1e9, int(waiting) / 1e9, time.monotonic())

    @staticmethod
    def of_all_threads(pid: int) -> "CoreWait":
        """Read all living threads of a process together; zero for a process that does not exist."""
        place, threads, cpu_ns, waited_ns = Path(f"/proc/{pid}/task"), [], 0, 0
        with contextlib.suppress(OSError):
            threads = os.listdir(place)
        for thread in threads:
            with contextlib.suppress(OSError, ValueError):  # a thread that has ended meanwhile
                on_core, waiting, *_ = (place / thread / "schedstat").read_text().split()
                cpu_ns, waited_ns = cpu_ns + int(on_core), waited_ns + int(waiting)
        return CoreWait(cpu_ns / 1e9, waited_ns / 1e9, time.monotonic())


def unhindered_s(before: CoreWait, after: CoreWait) -> float:
    """The seconds between two readings in which the process had a core, or did not want one.

    >>> unhindered_s(CoreWait(0, 0, 0), CoreWait(cpu_s=6, waited_s=54, at_s=60))
    6.0
    """
    return max(0.0, float(after.at_s - before.at_s - max(0.0, after.waited_s - before.waited_s)))


def was_starved(before: CoreWait, after: CoreWait) -> bool:
    """Whether more than half of the time off a core was spent waiting for one.

    >>> idle, busy = CoreWait(1, 0.5, 60), CoreWait(6, 40, 60)
    >>> was_starved(CoreWait(0, 0, 0), idle), was_starved(CoreWait(0, 0, 0), busy)
    (False, True)
    """
    off_core_s = (after.at_s - before.at_s) - (after.cpu_s - before.cpu_s)
    waited_s = after.waited_s - before.waited_s
    return waited_s > 0.0 and waited_s > STARVED_SHARE * max(off_core_s, 0.0)
