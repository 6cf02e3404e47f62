"""`python -m headrace_inference.adapters.load_check_process`: loads versions and asks them for the first time, in place of the service.

Reads tasks from standard input and writes its reports to what was standard output, each a MessagePack value behind its length
(4 bytes, big endian). It ends with the process that started it, and before that one when memory runs out.
"""

import os

# NB: before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import ctypes
import importlib
import math
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from headrace_inference.adapters.machine import data_bytes
from headrace_inference.adapters.models import Unloadable, footprint, try_out
from headrace_inference.core.load_check import ChildReport, Task, memory_limit_bytes

_PR_SET_PDEATHSIG = 1
_LIBRARIES = {"skops": "skops.io", "onnx": "onnxruntime", "xgboost": "xgboost", "lightgbm": "lightgbm"}
_PROBES = 64
_MOST_CHARS = 2_000


def main() -> int:
    """Do tasks until there are no more."""
    reports = os.fdopen(os.dup(1), "wb", 0)
    # NB: what a library prints must not be taken for a report.
    os.dup2(2, 1)
    _die_first()
    while (value := read_frame(sys.stdin.buffer)) is not None:
        reports.write(frame(msgspec.msgpack.encode(_report(msgspec.msgpack.decode(value, type=Task)))))
    return 0


def frame(value: bytes) -> bytes:
    """A value behind its length."""
    return len(value).to_bytes(4, "big") + value


def read_frame(source: BinaryIO) -> bytes | None:
    """The next value, None at the end."""
    head = source.read(4)
    return source.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def _die_first() -> None:
    """Write no core file, end with the parent, and be the first that the kernel's memory killer takes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text("1000")
    except (OSError, AttributeError):  # not on Linux: the limits below remain
        return


def _report(task: Task) -> ChildReport:
    size = limit = 0
    try:
        _import_for(task.place.format)
        _limit_cpu(task.cpu_s)
        data = Path(task.path).read_bytes()
        size = footprint(data, task.place.format)
        limit = task.memory_bytes or memory_limit_bytes(size)
        _limit_memory(limit)
        columns = len(task.registered.signature.columns)
        rows = np.frombuffer(task.rows, np.float32).reshape(-1, columns)
        tried = try_out(task.registered, task.place, data, rows)
        for probe in _probes(columns):
            # NB: its scores of these rows do not matter, only that the process survives.
            try:
                tried.ask(probe)
            except Exception:
                continue
    except Unloadable as error:
        return ChildReport("rejected", str(error)[:_MOST_CHARS], size, limit)
    except MemoryError as error:
        return ChildReport("memory", (str(error) or "MemoryError")[:_MOST_CHARS], size, limit)
    except Exception as error:
        # NB: whatever else goes wrong here is no fault of the version.
        return ChildReport("broken", f"{type(error).__name__}: {error}"[:_MOST_CHARS])
    return ChildReport("passed", "", size, limit)


def _import_for(format: str) -> None:
    """Import the library of a format before anything is measured: what that takes is not the version's."""
    with contextlib.suppress(ImportError):
        importlib.import_module(_LIBRARIES.get(format, "numpy"))


def _limit_cpu(limit_s: int) -> None:
    """Limit this process to so many seconds of CPU from now on, however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + limit_s, most))


def _limit_memory(limit_bytes: int) -> None:
    has = data_bytes()
    if has is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (has + limit_bytes, most))


def _probes(columns: int) -> list[np.ndarray]:
    """Rows far and wide, for a tree that points outside of itself does so on some branch only."""
    drawn = np.random.default_rng(0).normal(size=(_PROBES, columns))
    rows = [drawn * scale for scale in (1.0, 100.0, 1e6, 1e30)]
    holes = np.where(drawn > 1.0, np.nan, drawn)
    return [found.astype(np.float32) for found in (*rows, holes, np.full((1, columns), np.nan))]


if __name__ == "__main__":
    raise SystemExit(main())
