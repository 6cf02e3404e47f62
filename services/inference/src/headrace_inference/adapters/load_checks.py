"""Load checks of versions in a child process, one at a time: a fresh interpreter, never a fork of this one.

A child does one task after the other. It is replaced when it crashed, and ended when nothing is left to check.
"""

import asyncio
import contextlib
import logging
import os
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace_inference.adapters.machine import free_bytes, times_of
from headrace_inference.core.load_check import (
    CHILD,
    CPU_LIMIT_S,
    HUNG_AFTER_S,
    ChildReport,
    Failed,
    Task,
    Verdict,
    is_alive,
    judge,
)

_log = logging.getLogger("headrace.inference")

_LOOK_EVERY_S = 0.25
# A child that is idle ends at once; one that is busy has nothing to save.
_ENDS_WITHIN_S = 1.0


class LoadChecks:
    """Checks versions. `cpu_s`: what each check may use; `hung_after_s`: for how long a child may do nothing at all; `memory_bytes`:
    what a check may take, by the file's own declaration when None.
    """

    def __init__(
        self,
        *,
        cpu_s: int = CPU_LIMIT_S,
        hung_after_s: float = HUNG_AFTER_S,
        memory_bytes: int | None = None,
    ) -> None:
        self._cpu_s, self._hung_after_s, self._memory_bytes = cpu_s, hung_after_s, memory_bytes
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process id of the child, None when there is none."""
        return self._child.pid if self._child is not None else None

    async def judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray, *, fresh: bool = False
    ) -> Verdict:
        """Check one version. `rows`: float32 (n, columns), such as its contract allows; `fresh`: in a child that checked nothing before.

        Waits for its turn and for the child, for as long as that makes progress. What goes wrong is part of the verdict.
        """
        async with self._turn:
            if fresh:
                await self._end()
            try:
                path = await asyncio.to_thread(_written, data)
            except OSError as error:
                return Failed(CHILD, f"its file could not be handed to the process that tries it: {error}")
            try:
                task = Task(str(path), registered, place, rows.tobytes(), self._cpu_s, self._memory_bytes)
                return await self._check(task)
            except OSError as error:
                await self._end()
                return Failed(CHILD, f"the process that tries it could not be started: {error}")
            finally:
                path.unlink(missing_ok=True)

    async def close(self) -> None:
        """End the child, if there is one."""
        async with self._turn:
            await self._end()

    async def _check(self, task: Task) -> Verdict:
        child = self._child = self._child or await start_child()
        assert child.stdin is not None and child.stdout is not None  # noqa: PT018 - both are pipes
        # NB: read before the check: what it takes is given back as soon as it ends.
        free = free_bytes()
        with contextlib.suppress(ConnectionError):
            value = msgspec.msgpack.encode(task)
            child.stdin.write(len(value).to_bytes(4, "big") + value)
            await child.stdin.drain()
        report = asyncio.create_task(_report(child.stdout))
        try:
            hung_s = await self._watch(child.pid, report)
            reported = await report
        finally:
            if not report.done() or report.cancelled() or report.exception() is not None:
                report.cancel()
                await self._end()
        if reported is not None:
            return judge(reported, None, free, task.cpu_s)
        exit_code = await child.wait()
        self._child = None
        return judge(None, exit_code, free, task.cpu_s, hung_s)

    async def _watch(self, pid: int, report: "asyncio.Task[ChildReport | None]") -> float:
        """Until there is a report or the child is gone. Kills one that does nothing, and returns for how long it did nothing."""
        loop = asyncio.get_running_loop()
        moved_s = looked_s = loop.time()
        times = times_of(pid)
        while not report.done():
            await asyncio.wait([report], timeout=_LOOK_EVERY_S)
            now_s, found = loop.time(), times_of(pid)
            # NB: while this process itself was not allowed to run, nobody looked: that time does not count.
            moved_s += max(0.0, now_s - looked_s - 4 * _LOOK_EVERY_S)
            looked_s = now_s
            if found is None or times is None or is_alive(times, found):
                moved_s, times = now_s, found
            if now_s - moved_s >= self._hung_after_s and not report.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
                await report
                return now_s - moved_s
        return 0.0

    async def _end(self) -> None:
        # NB: the child is kept until it is gone, so that after a cancellation in the middle it is ended again.
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
        self._child = None


async def start_child() -> asyncio.subprocess.Process:
    """A process that does tasks until its standard input ends. Raises `OSError` when it cannot be started."""
    # NB: a session of its own, for a Ctrl-C at the terminal is the service's to handle.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "headrace_inference.adapters.load_check_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def _report(source: asyncio.StreamReader) -> ChildReport | None:
    try:
        size = int.from_bytes(await source.readexactly(4), "big")
        return msgspec.msgpack.decode(await source.readexactly(size), type=ChildReport)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _written(data: bytes) -> Path:
    number, name = tempfile.mkstemp(prefix="headrace-load-check-")
    with os.fdopen(number, "wb") as file:
        file.write(data)
    return Path(name)
