"""Has a project's own metrics computed in a process of their own, one per project, which is begun when it is first needed.

A metric that raises, or returns what is no number, fails for that window, and is tried again in the next one. One that uses up its time
ends its process; it is not called again until its deployment is declared otherwise, or the monitor starts anew.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from threading import Timer

import msgspec

from headrace.events.definition import DeploymentDefinition
from headrace.events.project import ProjectApplied
from headrace.project.load import Allowed
from headrace.stats.metric_names import is_reference, shown
from headrace_monitor.adapters.metric_process import CPU_S, WALL_S, Answer, Asked, Rows, read, write
from headrace_monitor.core.measures import Part

# What its own limits do not end (it may undo them) is ended from here.
_BEYOND_S = 10.0

Values = dict[tuple[int, str], dict[str, float]]


class CustomMetrics:
    """`applied`: the project of a deployment, as it stands; None for none. `allowed`: what may be imported here."""

    def __init__(self, applied: Callable[[str], ProjectApplied | None], allowed: Allowed) -> None:
        self._applied, self._allowed = applied, allowed
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._given_up: dict[tuple[str, str], str] = {}

    def of(self, deployment: DeploymentDefinition, parts: Sequence[Part]) -> tuple[Values, list[tuple[str, str]]]:
        """The values by (version, role) and name, and per metric that failed why. Blocks until they are computed."""
        values: Values = {}
        failed: list[tuple[str, str]] = []
        for function in filter(is_reference, deployment.metrics):
            found = self._answer(deployment, function, parts)
            if found.failed:
                failed.append((shown(function), found.failed))
            for part, value in zip(parts, found.values, strict=False):
                if value is not None:
                    values.setdefault((part.version, part.role), {})[f"{shown(function)}{part.suffix}"] = value
        return values, failed

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            _end(process)
        self._processes.clear()

    def _answer(self, deployment: DeploymentDefinition, function: str, parts: Sequence[Part]) -> Answer:
        key, applied = (deployment.digest, function), self._applied(deployment.name)
        if key in self._given_up:
            return Answer(failed=self._given_up[key])
        if applied is None:
            return Answer(failed="its project is not applied")
        asked = Asked(
            applied.name,
            applied.reference,
            function,
            self._allowed.listed,
            self._allowed.applied_file,
            [_rows(part) for part in parts],
        )
        # NB: a process has one module of each name, so what is applied anew is imported by another process.
        name = f"{applied.reference} {applied.digest}"
        process = self._process(name)
        found = _ask(process, asked)
        if found is None:
            code = process.wait()
            _end(self._processes.pop(name))
            found = Answer(failed=_why_ended(code))
            self._given_up[key] = found.failed
        return found

    def _process(self, name: str) -> subprocess.Popen[bytes]:
        if name not in self._processes:
            environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            command = [sys.executable, "-P", "-m", "headrace_monitor.adapters.metric_process"]
            self._processes[name] = subprocess.Popen(
                command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._processes[name]


def _ask(process: subprocess.Popen[bytes], asked: Asked) -> Answer | None:
    """The answer; None where the process has ended."""
    if process.stdin is None or process.stdout is None:
        return None
    limit = Timer(WALL_S + _BEYOND_S, process.kill)
    limit.start()
    try:
        write(process.stdin, asked)
        encoded = read(process.stdout)
    except OSError:
        return None
    finally:
        limit.cancel()
    return None if encoded is None else msgspec.msgpack.decode(encoded, type=Answer)


def _rows(part: Part) -> Rows:
    classes = part.scores.shape[1] if part.scores.ndim > 1 else 0
    return Rows(part.labels.astype("<f8").tobytes(), part.scores.astype("<f8").tobytes(), classes)


def _why_ended(code: int) -> str:
    stays = "it is not called again until the deployment is applied otherwise"
    if code == -signal.SIGPROF:
        return f"it used {CPU_S:.0f} s of CPU in one window: {stays}"
    if code in (-signal.SIGALRM, -signal.SIGKILL):
        return f"it did not return within {WALL_S:.0f} s: {stays}"
    return f"its process ended with {code}: {stays}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
