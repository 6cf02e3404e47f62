"""`python -m headrace_inference.trial`: loads versions and asks them for the first time, in the service's stead.

Reads tasks from standard input and writes what it found to what was standard output, each a MessagePack value behind its
length (4 bytes, big endian). It dies with whoever started it, and before it when memory runs out.
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
from headrace_inference.core.trial import Task, Told, memory_limit_bytes

_PR_SET_PDEATHSIG = 1
_LIBRARIES = {"skops": "skops.io", "onnx": "onnxruntime", "xgboost": "xgboost", "lightgbm": "lightgbm"}
_PROBES = 64
_MOST_TOLD = 2_000


def main() -> int:
    """Answer tasks until there are no more."""
    told = os.fdopen(os.dup(1), "wb", 0)
    # NB: a library that prints must not be taken for an answer.
    os.dup2(2, 1)
    _die_first()
    while (value := read_frame(sys.stdin.buffer)) is not None:
        told.write(frame(msgspec.msgpack.encode(_answer(msgspec.msgpack.decode(value, type=Task)))))
    return 0


def frame(value: bytes) -> bytes:
    """A value behind its length."""
    return len(value).to_bytes(4, "big") + value


def read_frame(source: BinaryIO) -> bytes | None:
    """The next value, None at the end."""
    head = source.read(4)
    return source.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def _die_first() -> None:
    """No core file, an end with the parent, and first in the line of the kernel's memory killer."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text("1000")
    except (OSError, AttributeError):  # not on Linux: the limits below remain
        return


def _answer(task: Task) -> Told:
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
            # NB: what it answers to these is nobody's concern: only that it lives on.
            try:
                tried.ask(probe)
            except Exception:
                continue
    except Unloadable as error:
        return Told("rejected", str(error)[:_MOST_TOLD], size, limit)
    except MemoryError as error:
        return Told("memory", (str(error) or "MemoryError")[:_MOST_TOLD], size, limit)
    except Exception as error:
        # NB: whatever else goes wrong here is not the version's fault.
        return Told("broken", f"{type(error).__name__}: {error}"[:_MOST_TOLD])
    return Told("passed", "", size, limit)


def _import_for(format: str) -> None:
    """The library of a format, before anything is measured: what it takes is not the version's."""
    with contextlib.suppress(ImportError):
        importlib.import_module(_LIBRARIES.get(format, "numpy"))


def _limit_cpu(limit_s: int) -> None:
    """So many seconds of CPU from now on, whoever else needs the machine."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + limit_s, most))


def _limit_memory(limit_bytes: int) -> None:
    has = data_bytes()
    if has is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (has + limit_bytes, most))


def _probes(columns: int) -> list[np.ndarray]:
    """Rows far and wide: a tree that points outside of itself does so on some branch only."""
    drawn = np.random.default_rng(0).normal(size=(_PROBES, columns))
    rows = [drawn * scale for scale in (1.0, 100.0, 1e6, 1e30)]
    holes = np.where(drawn > 1.0, np.nan, drawn)
    return [found.astype(np.float32) for found in (*rows, holes, np.full((1, columns), np.nan))]


if __name__ == "__main__":
    raise SystemExit(main())
