"""`python -m headrace_trainer.adapters.supervisor FOLDER`: supervises one training run.

It begins the run's process, watches it, and records how it ended. It is small, imports no user's code and needs no log. It is a session
of its own, so that it goes on when the trainer ends; and only a parent learns how a process ended. It ends when the run has finished, when
it is asked to stop, when no trainer has looked after the run for long, and when the run's folder is gone. Everything that it started
ends with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO

from msgspec import structs

from headrace.events.training import TrainingFinished, TrainingProgressed
from headrace.hosting.runs import AttemptBegan, AttemptEnded, Progress, RunFolder
from headrace.hosting.settings import Settings
from headrace_trainer.adapters.processes import (
    IS_LINUX,
    adopt_orphans,
    end_below,
    memory_below,
    usage_below,
    wake_if_stopped,
)
from headrace_trainer.core import supervision
from headrace_trainer.core.attempts import Again, Ended, Failed, Limits, decide_again, decide_next
from headrace_trainer.core.supervision import Idleness, Stop, Usage, choose_exceeded, why_stop

LOG_BYTES = 1024 * 1024
REPORT_IDLE_S = 300.0
# A process that somebody has stopped (SIGSTOP) is continued after so long.
WAKE_S = 30.0


class _Stopped(Exception):
    """The supervisor must end."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


@dataclass
class Supervisor:
    """Supervises the run in `folder`, whose lock this process holds.

    `alone_s`: how long no trainer may look after it. `command`: begins the run's process. `before`: how the attempts before ended.
    """

    folder: RunFolder
    limits: Limits
    alone_s: float
    command: list[str]
    before: list[str] = field(default_factory=list)
    _touched: int = 0
    _touched_s: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Attempt after attempt, until the run has finished or must stop."""
        self.folder.mend()
        entries, _ = self.folder.read()
        self.before = [entry.how for entry in entries if isinstance(entry, AttemptEnded)]
        began = sum(isinstance(entry, AttemptBegan) for entry in entries)
        try:
            if began > len(self.before):  # NB: the supervisor of that attempt was killed, and could not record its end
                self._act(began, decide_again("killed", "the run's processes were killed", self.before))
            while not self._is_finished():
                began += 1
                self._attempt(began)
        except _Stopped as stopped:
            self._record_stop(began, stopped.stop)

    def _attempt(self, number: int) -> None:
        began_s = time.monotonic()
        process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.folder.append(AttemptBegan(number, process.pid))
        assert process.stdout is not None
        pump = threading.Thread(target=_copy_output, args=(process.stdout, self.folder.log), daemon=True)
        pump.start()
        try:
            exceeded = self._watch(process)
        finally:
            process.kill()
            process.wait()
            end_below(os.getpid())
            pump.join(1.0)
        if not self._is_finished():
            ended = Ended(process.returncode, exceeded)
            self._act(number, decide_next(ended, self.limits, self.before), time.monotonic() - began_s)

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        """Wait until the process ends, or exceeds a limit: returns which one, "" for none."""
        idleness, seen_s, is_reported = Idleness(), time.monotonic(), False
        woken_s = seen_s
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(supervision.LOOK_S)
                return ""
            self._check_stop()
            usage, now_s = usage_below(os.getpid()), time.monotonic()
            idle_s = idleness.look(self.folder.written_at(), usage, now_s - seen_s) if IS_LINUX else 0.0
            seen_s = now_s
            if exceeded := choose_exceeded(self._exact(usage), idle_s, self.limits):
                return exceeded
            if idle_s > WAKE_S and now_s - woken_s > WAKE_S:
                woken_s = now_s
                wake_if_stopped(process.pid)
            if idle_s > REPORT_IDLE_S and not is_reported:
                is_reported = True
                self._report_idle(idle_s)

    def _exact(self, usage: Usage) -> Usage:
        """With shared memory counted once, where that may matter: it is not cheap to count."""
        if usage.memory_bytes <= self.limits.memory_bytes:
            return usage
        return replace(usage, memory_bytes=memory_below(os.getpid()))

    def _report_idle(self, idle_s: float) -> None:
        order, now = self.folder.order(), self.folder.progress()
        left_s = self.limits.idle_s - idle_s
        detail = f"has neither computed nor read anything for {idle_s:.0f} s; it is ended after {left_s:.0f} s more"
        self.folder.append(TrainingProgressed(order.deployment, order.run, now.stage, now.share, detail))

    def _check_stop(self) -> None:
        """Raise `_Stopped` where the run must stop."""
        touched, now_s = self.folder.touched_at(), time.monotonic()
        if touched != self._touched:
            self._touched, self._touched_s = touched, now_s
        stop = why_stop(self.folder.path.exists(), self.folder.stop_asked(), now_s - self._touched_s, self.alone_s)
        if stop is not None:
            raise _Stopped(stop)

    def _act(self, number: int, decided: Again | Failed, took_s: float = 0.0) -> None:
        """Record how an attempt ended, and what follows; where that is another attempt, wait until it is due."""
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

    def _waiting(self, detail: str) -> TrainingProgressed:
        order = self.folder.order()
        return TrainingProgressed(order.deployment, order.run, "waiting", 0.0, detail)

    def _pause(self, after_s: float) -> None:
        until_s = time.monotonic() + after_s
        while time.monotonic() < until_s:
            self._check_stop()
            time.sleep(min(supervision.LOOK_S, after_s))

    def _record_stop(self, number: int, stop: Stop) -> None:
        """Record why the run stops, unless it has finished. A stop by a person ends the run for good; after any other it may be begun again."""
        if not self.folder.path.exists() or self._is_finished():
            return
        self.folder.append(AttemptEnded(number, "stopped", stop.reason))
        if stop.by:
            order = self.folder.order()
            self.folder.append(TrainingFinished(order.deployment, order.run, "failed", stop.reason))
        self.folder.write_progress(structs.replace(Progress(), stage="stopped", detail=stop.reason))

    def _is_finished(self) -> bool:
        self.folder.mend()
        return any(isinstance(entry, TrainingFinished) for entry in self.folder.read()[0])


def _copy_output(stream: IO[bytes], path: Path) -> None:
    """Copy what the run prints: the last 1 to 2 MiB of it are kept, in `out.log` and, before that, `out.log.1`."""
    while data := os.read(stream.fileno(), 65_536):
        # NB: read on whatever fails: a full pipe would hold up the run.
        with contextlib.suppress(OSError):
            if path.exists() and path.stat().st_size + len(data) > LOG_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
            with path.open("ab", buffering=0) as log:
                log.write(data)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _stop_on_signal(number: int, _: FrameType | None) -> None:
    for found in _SIGNALS:
        signal.signal(found, signal.SIG_IGN)
    raise _Stopped(Stop(f"it was ended by {signal.Signals(number).name}"))


def main(path: str, program: Sequence[str] = ("-m", "headrace_trainer.adapters.training_process")) -> int:
    """Supervise the run in `path`, done by `python -P PROGRAM PATH PID`. Returns at once when another process supervises it already."""
    folder = RunFolder(Path(path))
    settings = Settings.load()
    if folder.hold() is None:
        return 0
    for number in _SIGNALS:
        signal.signal(number, _stop_on_signal)
    adopt_orphans()
    limits = Limits(settings.training_memory_bytes, settings.training_cpu_s, settings.training_idle_s)
    command = [sys.executable, "-P", *program, path, str(os.getpid())]
    try:
        Supervisor(folder, limits, settings.training_alone_s, command).run()
    finally:
        end_below(os.getpid())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
