"""`python -m headrace_trainer.keeper FOLDER`: keeps one training run: begins its process, watches it, tells how it ended.

The keeper is small, imports no user's code and needs no log. It is a session of its own, so it goes on when the trainer
ends; and only a parent is told how a process ended. It ends when the run has finished, when it is asked to stop, when
nobody has looked after the run for long, and when the run's folder is gone; what it started ends with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from msgspec.structs import replace

from headrace.events.training import TrainingFinished, TrainingProgressed
from headrace.hosting.runs import AttemptBegan, AttemptEnded, Progress, RunFolder
from headrace.hosting.settings import Settings
from headrace_trainer.adapters.processes import (
    IS_LINUX,
    Usage,
    adopt_orphans,
    end_below,
    memory_below,
    usage_below,
    wake_if_stopped,
)
from headrace_trainer.core.attempts import Again, Ended, Failed, Limits, again, on_end

LOOK_S = 0.25
LOG_BYTES = 1024 * 1024
TELL_IDLE_S = 300.0
# A process that somebody has stopped is let go on after so long.
WAKE_S = 30.0
# A process that computes less than this share of the time that it was not waiting for a core stands still.
_COMPUTES = 0.02


class _Stopped(Exception):
    """The keeper is to end. `by`: a person who ends the run for good, "" when it may be begun again."""

    def __init__(self, reason: str, by: str = "") -> None:
        super().__init__(reason)
        self.reason, self.by = reason, by


@dataclass
class Still:
    """For how long a process has neither computed nor said anything, waiting for a core left out; seconds."""

    said: int = 0
    usage: Usage = field(default_factory=Usage)
    idle_s: float = 0.0

    def look(self, said: int, usage: Usage, passed_s: float) -> float:
        """After `passed_s`: the seconds of standing still."""
        computed_s = max(usage.cpu_s - self.usage.cpu_s, 0.0)
        waited_s = max(usage.waited_s - self.usage.waited_s, 0.0)
        free_s = max(passed_s - waited_s, 0.0)
        if said != self.said or computed_s > _COMPUTES * max(free_s, LOOK_S):
            self.idle_s = 0.0
        else:
            self.idle_s += free_s
        self.said, self.usage = said, usage
        return self.idle_s


@dataclass
class Keeper:
    """Keeps the run in `folder`, whose lock this process holds."""

    folder: RunFolder
    limits: Limits
    alone_s: float
    command: list[str]
    before: list[str] = field(default_factory=list)
    _touched: int = 0
    _touched_s: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Attempt after attempt, until the run has finished."""
        self.folder.mend()
        entries, _ = self.folder.read()
        self.before = [entry.how for entry in entries if isinstance(entry, AttemptEnded)]
        began = sum(isinstance(entry, AttemptBegan) for entry in entries)
        try:
            if began > len(self.before):  # NB: its keeper was killed, and could not say so
                self._decided(began, again("killed", "the run's processes were killed", self.before))
            while not self._is_finished():
                began += 1
                self._attempt(began)
        except _Stopped as stopped:
            self._stop(began, stopped)

    def _attempt(self, number: int) -> None:
        began_s = time.monotonic()
        process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.folder.append(AttemptBegan(number, process.pid))
        assert process.stdout is not None
        pump = threading.Thread(target=_keep_log, args=(process.stdout, self.folder.log), daemon=True)
        pump.start()
        try:
            over = self._watch(process)
        finally:
            process.kill()
            process.wait()
            end_below(os.getpid())
            pump.join(1.0)
        if not self._is_finished():
            ended = Ended(process.returncode, over)
            self._decided(number, on_end(ended, self.limits, self.before), time.monotonic() - began_s)

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        """Until the process ends, or is over a limit: which one."""
        still, seen_s, told = Still(), time.monotonic(), False
        looked_s = seen_s
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
                return ""
            self._refuse_to_go_on()
            usage = usage_below(os.getpid())
            now_s = time.monotonic()
            idle_s = still.look(self.folder.said_at(), usage, now_s - seen_s) if IS_LINUX else 0.0
            seen_s = now_s
            most = self.limits.memory_bytes
            if usage.memory_bytes > most and memory_below(os.getpid()) > most:
                return "memory"
            if usage.cpu_s > self.limits.cpu_s:
                return "cpu"
            if idle_s > self.limits.idle_s:
                return "idle"
            if idle_s > WAKE_S and now_s - looked_s > WAKE_S:
                looked_s = now_s
                wake_if_stopped(process.pid)
            if idle_s > TELL_IDLE_S and not told:
                told = True
                self._tell_idle(idle_s)

    def _tell_idle(self, idle_s: float) -> None:
        order, now = self.folder.order(), self.folder.progress()
        left_s = self.limits.idle_s - idle_s
        told = f"has neither computed nor read anything for {idle_s:.0f} s; it is ended after {left_s:.0f} s more"
        self.folder.append(TrainingProgressed(order.deployment, order.run, now.stage, now.share, told))

    def _refuse_to_go_on(self) -> None:
        if not self.folder.path.exists():
            raise _Stopped("its folder is gone")
        if (by := self.folder.stop_asked()) is not None:
            raise _Stopped(f"it was stopped by {by}" if by else "it was asked to stop", by)
        touched = self.folder.touched_at()
        if touched != self._touched:
            self._touched, self._touched_s = touched, time.monotonic()
        elif time.monotonic() - self._touched_s > self.alone_s:
            raise _Stopped(f"no trainer has looked after it for {self.alone_s:.0f} s")

    def _decided(self, number: int, decided: Again | Failed, took_s: float = 0.0) -> None:
        match decided:
            case Failed(reason):
                order = self.folder.order()
                finished = TrainingFinished(order.deployment, order.run, "failed", reason, took_s=took_s)
                self.folder.append(AttemptEnded(number, "failed", reason))
                self.folder.append(finished)
            case Again(how, reason, after_s):
                self.before.append(how)
                self.folder.append(AttemptEnded(number, how, reason))
                self.folder.append(self._waiting(f"{reason}: again in {after_s:.0f} s"))
                self._pause(after_s)

    def _waiting(self, told: str) -> TrainingProgressed:
        order = self.folder.order()
        return TrainingProgressed(order.deployment, order.run, "waiting", 0.0, told)

    def _pause(self, after_s: float) -> None:
        until_s = time.monotonic() + after_s
        while time.monotonic() < until_s:
            self._refuse_to_go_on()
            time.sleep(min(LOOK_S, after_s))

    def _stop(self, number: int, stopped: _Stopped) -> None:
        """Say why, unless the run is over anyway; what was asked for once is not asked for again."""
        if not self.folder.path.exists() or self._is_finished():
            return
        self.folder.append(AttemptEnded(number, "stopped", stopped.reason))
        if stopped.by:
            order = self.folder.order()
            self.folder.append(TrainingFinished(order.deployment, order.run, "failed", stopped.reason))
        self.folder.tell(replace(Progress(), stage="stopped", detail=stopped.reason))

    def _is_finished(self) -> bool:
        self.folder.mend()
        return any(isinstance(entry, TrainingFinished) for entry in self.folder.read()[0])


def _keep_log(stream: IO[bytes], path: Path) -> None:
    """What the run prints: the last 1 to 2 MiB of it, in `out.log` and, before that, `out.log.1`."""
    while data := os.read(stream.fileno(), 65_536):
        # NB: read on, come what may: a full pipe would hold up the run.
        with contextlib.suppress(OSError):
            if path.exists() and path.stat().st_size + len(data) > LOG_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
            with path.open("ab", buffering=0) as log:
                log.write(data)


def _on_signals(end: Callable[[str], None]) -> None:
    def on_signal(number: int, _: FrameType | None) -> None:
        end(f"it was told to end by {signal.Signals(number).name}")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)


def _end(reason: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped(reason)


def main(path: str, work: Sequence[str] = ("-m", "headrace_trainer.work")) -> int:
    """Keep the run in `path`, done by `python -P WORK PATH PID`; at once at its end when somebody keeps it already."""
    folder = RunFolder(Path(path))
    settings = Settings.load()
    if folder.hold() is None:
        return 0
    _on_signals(_end)
    adopt_orphans()
    limits = Limits(settings.training_memory_bytes, settings.training_cpu_s, settings.training_idle_s)
    command = [sys.executable, "-P", *work, path, str(os.getpid())]
    try:
        Keeper(folder, limits, settings.training_alone_s, command).run()
    finally:
        end_below(os.getpid())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
