"""What the processes below this one use, by /proc, and how they are ended. On other systems than Linux nothing is known of them."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from headrace.hosting.core_wait import CoreWait
from headrace_trainer.core.supervision import Usage

_PROC = Path("/proc")
_TICKS_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
IS_LINUX = sys.platform == "linux"


def usage_below(pid: int) -> Usage:
    """What all processes below `pid` use."""
    cpu_s, waited_s, memory = 0.0, 0.0, 0
    for found in below(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _stat(found)
            cpu_s += (int(fields[11]) + int(fields[12])) * _TICKS_S
            memory += int((_PROC / str(found) / "statm").read_text().split()[1]) * _PAGE_BYTES
            waited_s += CoreWait.of_all_threads(found).waited_s
    return Usage(cpu_s, waited_s, memory)


def memory_below(pid: int) -> int:
    """Bytes that all processes below `pid` take, shared memory counted once: exact, and not cheap."""
    found = 0
    for descendant in below(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = (_PROC / str(descendant) / "smaps_rollup").read_text()
            found += int(text.partition("\nPss:")[2].split()[0]) * 1024
    return found


def below(pid: int) -> list[int]:
    """All descendants of `pid`, with the orphans that it adopted."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            children.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    found, waiting = [], [pid]
    while waiting:
        fresh = children.get(waiting.pop(), [])
        found += fresh
        waiting += fresh
    return found


def wake_if_stopped(pid: int) -> bool:
    """Continue a process that somebody has stopped (SIGSTOP); returns whether it was stopped."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        if _stat(pid)[0] == "T":
            os.kill(pid, signal.SIGCONT)
            return True
    return False


def adopt_orphans() -> None:
    """Make the orphans of descendants children of this process, so that they can be found and ended."""
    if IS_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """End this process when its parent ends, in whatever way. It ends at once where its parent is not `parent` any more."""
    if IS_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_below(pid: int) -> None:
    """Kill everything below `pid`, which is this process or its child, and reap the children of this process."""
    for _ in range(10):  # something may fork faster than it is killed
        found = below(pid)
        for descendant in found:
            with contextlib.suppress(OSError):
                os.kill(descendant, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            return


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: names may hold blanks and brackets."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
