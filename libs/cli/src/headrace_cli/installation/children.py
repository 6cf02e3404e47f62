"""One supervised process: it is started, restarted after a growing pause, and replaced; its log is kept short."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.log.envelope import format_instant
from headrace_broker import die_with_parent
from headrace_cli.installation.hung import Oversight

RESTART_AT_ONCE = 75
MISCONFIGURED = 2
LOG_BYTES = 8 * 1024 * 1024
_LONGEST_PAUSE_S = 10.0
_LIVED_LONG_S = 30.0


@dataclass
class Child:
    """One supervised process. `page_port`: of the console's page, 0 for others. `restarts`: how often it was restarted; `reason`, `at`: why and when it last ended."""

    name: str
    command: list[str]
    log: Path
    environ: dict[str, str]
    http_port: int = 0
    page_port: int = 0
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    pause_s: float = 0.0
    due_s: float = 0.0
    started_s: float = 0.0
    last_code: int | None = None
    reason: str = ""
    at: str = ""
    oversight: Oversight = field(default_factory=Oversight)
    _replaced_because: str = ""
    _cannot_start: str = ""

    def start(self, now_s: float) -> None:
        """Start the process; it ends with the supervisor. Raises `OSError` if it cannot be started; `report` also has the reason."""
        self.started_s, self.oversight, self._replaced_because = now_s, Oversight(), ""
        try:
            self._start()
        except OSError as error:
            self._cannot_start = f"cannot be started: {error}"
            raise
        self._cannot_start = ""

    def _start(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_before_exec,
            )

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def tend(self, now_s: float) -> bool:
        """Restart it if it has ended and its pause is over; returns whether anything changed."""
        if self.process is not None and self.process.poll() is None:
            return False
        if self.process is not None:
            self._note_end(self.process.returncode, now_s)
            return True
        if now_s < self.due_s:
            return False
        self.start(now_s)
        self.restarts += 1
        return True

    def _note_end(self, code: int, now_s: float) -> None:
        self.process, self.last_code = None, code
        self.reason, self.at = self._replaced_because or _ended(code, self.log), format_instant(int(time.time()))
        # NB: a wrongly configured process never ran, however long its start took on a busy machine.
        lived_long = now_s - self.started_s > _LIVED_LONG_S and code != MISCONFIGURED
        quick = code == RESTART_AT_ONCE or lived_long
        self.pause_s = 0.0 if quick else min(max(self.pause_s * 2, 0.5), _LONGEST_PAUSE_S)
        self.due_s = now_s + self.pause_s

    def replace(self, reason: str) -> None:
        """Kill it at once, frozen or not; `tend` restarts it. Nothing is lost: it is fenced, and its successor continues from the log."""
        self._replaced_because = f"replaced: {reason}"
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        """Ask it to end; a stopped process must be continued to get the signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()

    def kill(self) -> None:
        """Kill it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def report(self) -> dict[str, Any]:
        """Its state for `supervisor.json`."""
        return {
            "pid": self.pid,
            "http_port": self.http_port,
            "page_port": self.page_port,
            "log": str(self.log),
            "restarts": self.restarts,
            "last_code": self.last_code,
            "reason": "; ".join(filter(None, (self.reason, self._cannot_start))),
            "at": self.at,
        }


def _before_exec() -> None:
    """Between fork and exec: end with the supervisor, and block SIGTERM until the process handles it, so that none is lost."""
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _ended(code: int, log: Path) -> str:
    if code == RESTART_AT_ONCE:
        last = last_line(log)
        return "restarted itself" + (f"; last log line: {last}" if last else "")
    if code == MISCONFIGURED:
        return "ended with 2: wrongly configured"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def rotate(log: Path, most_bytes: int = LOG_BYTES) -> bool:
    """Keep a log below `most_bytes`, with one older part in a second file; its writer only appends, so it is not affected.

    On a full disk the older part is deleted to make room for newer lines. A line written meanwhile may be lost.
    """
    try:
        if log.stat().st_size < most_bytes:
            return False
    except OSError:
        return False
    older = log.with_suffix(log.suffix + ".1")
    try:
        shutil.copyfile(log, older)
    except OSError:
        older.unlink(missing_ok=True)
    try:
        os.truncate(log, 0)
    except OSError:
        return False
    return True


def reunite(log: Path, pid: int | None) -> bool:
    """Restore a log that somebody removed while `pid` writes to it: the lines written since are moved back to its path, where
    they are found and bounded. Returns whether there was anything to do.
    """
    written = Path(f"/proc/{pid}/fd/1")
    try:
        if os.readlink(written) != f"{log.parent.resolve() / log.name} (deleted)":
            return False
        log.parent.mkdir(exist_ok=True)
        with written.open("rb") as lost, log.open("ab") as found:
            shutil.copyfileobj(lost, found)
        os.truncate(written, 0)
    except OSError:
        return False
    return True


def last_line(log: Path) -> str:
    """The last log line of a process, shortened; empty if there is none. Lines of its libraries are used only if it has
    written none itself, because they do not explain its end.
    """
    try:
        with log.open("rb") as opened:
            opened.seek(max(log.stat().st_size - 20_000, 0))
            lines = [line.strip() for line in opened.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    parsed = [_parsed(line) for line in lines]
    own = [text for logger, text in parsed if logger.startswith("headrace")]
    return (own or [text for _, text in parsed] or [""])[-1]


def _parsed(line: str) -> tuple[str, str]:
    """The logger and the text of a line; a line in another format (a traceback, a print) counts as the process's own."""
    try:
        found = json.loads(line)
    except ValueError:
        return "headrace", line[:300]
    if not isinstance(found, dict):
        return "headrace", line[:300]
    return str(found.get("logger", "headrace")), str(found.get("message", line))[:300]
