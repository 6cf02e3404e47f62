"""What the kernel reports of this machine and of processes on it; None where it has no /proc."""

import os
from pathlib import Path

from headrace_inference.core.load_check import ProcessTimes

_TICKS = os.sysconf("SC_CLK_TCK")


def free_bytes() -> int | None:
    """Memory that is available now, within the limit of this process's control group too."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    room = _group_room_bytes()
    return free if room is None else min(free, room)


def _group_room_bytes() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no such group, or its limit is `max`
        return None


def times_of(pid: int) -> ProcessTimes | None:
    """What a process has had so far, all its threads together; None when it is gone, or that is not known."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        waited_ns = sum(int(path.read_text().split()[1]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return ProcessTimes((int(fields[10]) + int(fields[11])) / _TICKS, waited_ns / 1e9, state == "D")
    except (OSError, IndexError, ValueError):
        return None


def data_bytes() -> int | None:
    """How much of the memory that `RLIMIT_DATA` counts this process has."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    except (OSError, StopIteration, ValueError):
        return None
