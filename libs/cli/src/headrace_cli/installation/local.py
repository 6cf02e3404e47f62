"""The local installation: the folder `.headrace`, and the supervisor that runs in it.

The lock on the folder shows whether one runs: it is released when its process ends, however that happens. The files
in the folder only have details.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from headrace.errors import HeadraceError, Misconfigured, Retryable
from headrace.hosting.settings import Settings, origins
from headrace_cli.installation.folder import LOCK_FILE, STATE_FILE, locked, sign
from headrace_cli.installation.hung import observe
from headrace_cli.terminal.waiting import Patience, Workers

STOP_WITHIN_S = 10.0


@dataclass(frozen=True)
class Local:
    """A folder with or without a supervisor."""

    home: Path

    @staticmethod
    def here() -> "Local":
        """`HEADRACE_HOME`, by default `.headrace` in this folder."""
        home = Path(os.environ.get("HEADRACE_HOME", ".headrace")).absolute()
        if home.exists() and not home.is_dir():
            raise Misconfigured(
                f"HEADRACE_HOME={home} is not a folder: name a folder; it is created if it does not exist"
            )
        return Local(home)

    def supervisor(self) -> int | None:
        """The process id of the supervisor, from its start on; None if none runs."""
        if not self.home.exists():
            return None
        descriptor = locked(self.home)
        if descriptor is not None:
            os.close(descriptor)
            return None
        # NB: the process that starts one holds the lock for a moment before it writes the process id.
        for _ in range(40):
            with contextlib.suppress(OSError, ValueError):
                return int((self.home / LOCK_FILE).read_text())
            time.sleep(0.05)
        return None

    def state(self) -> dict[str, Any] | None:
        """The state that the supervisor wrote; None if none runs. After a failed start: its last state, with the `error`."""
        found = self._written()
        if found is None:
            return None
        return found if found["error"] or self.supervisor() == found["pid"] else None

    def pids(self) -> list[int]:
        """The process id of the supervisor, whose descendants are all processes of the installation; empty if none runs."""
        pid = self.supervisor()
        return [] if pid is None else [pid]

    def why_unattended(self) -> str:
        """A sentence about a supervisor that somebody stopped (SIGSTOP), which cannot report this itself; "" if it is not stopped."""
        pid = self.supervisor()
        seen = None if pid is None else observe(pid, 0.0, None)
        if seen is None or seen.state not in ("T", "t"):
            return ""
        return (
            f"the supervisor (process {pid}) is stopped: it restarts nothing that ends; `kill -CONT {pid}` continues it"
        )

    def start(self, port: int, *, fresh: bool = False, anywhere: bool = True) -> subprocess.Popen[bytes]:
        """Start a supervisor in its own session, with its log in the folder. `anywhere`: every HTTP port is a free one.

        `fresh`: the broker's log is deleted first. Raises `HeadraceError` if one already runs or starts here, or if a
        setting is wrong.
        """
        Settings.load()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"HEADRACE_HOME={self.home} cannot be created: {error.strerror}") from None
        lock = self._locked()
        try:
            self._end_left_over()
            (self.home / STATE_FILE).unlink(missing_ok=True)
            command = [
                sys.executable,
                "-P",
                "-m",
                "headrace_cli.installation.supervisor",
                "--home",
                str(self.home),
                "--port",
                str(port),
            ]
            command += ["--fresh"] * fresh + ["--anywhere"] * anywhere + ["--lock", str(lock)]
            with (self.home / "supervisor.log").open("ab") as log:
                process = subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[lock]
                )
            sign(lock, process.pid)
            return process
        finally:
            os.close(lock)

    async def await_started(
        self, process: subprocess.Popen[bytes], report: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any]:
        """Wait until broker, topics and services are started. `report`: gets the current phase. Raises `HeadraceError` with the reason."""
        patience, workers = Patience(), Workers(lambda: [process.pid])
        while process.poll() is None:
            found = self._written() or {}
            if found.get("pid") == process.pid and found["services"]:
                return found
            phase = found.get("phase", "starting")
            report(phase)
            if not patience.note(phase, is_busy=workers.are_busy()):
                raise HeadraceError(
                    f"{phase}: nothing has progressed for {patience.quiet_s:.0f} s; see {self.home / 'supervisor.log'}; `headrace down` ends it"
                )
            await asyncio.sleep(0.05)
        found = self._written() or {}
        (self.home / STATE_FILE).unlink(missing_ok=True)
        if process.returncode == 0 or process.returncode == -signal.SIGTERM:
            raise HeadraceError("it was ended during its start (`headrace down`, or a signal)")
        raise HeadraceError(found.get("error") or f"the supervisor ended: see {self.home / 'supervisor.log'}")

    def stop(self, timeout_s: float = STOP_WITHIN_S) -> bool:
        """End the supervisor and all its children within ten seconds, by force if necessary; False if none ran."""
        pid = self.supervisor()
        if pid is None:
            self._end_left_over()
            (self.home / STATE_FILE).unlink(missing_ok=True)
            return False
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout_s)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(2.0)
        self._end_left_over()
        (self.home / STATE_FILE).unlink(missing_ok=True)
        return True

    def _locked(self) -> int:
        """Take the folder's lock. Raises `HeadraceError` if a supervisor runs here. A process that only checks holds it for a moment."""
        for _ in range(5):
            lock = locked(self.home)
            if lock is not None:
                return lock
            if (pid := self.supervisor()) is not None and psutil.pid_exists(pid):
                break
        raise HeadraceError(self._is_up_already())

    def _written(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.home / STATE_FILE).read_text())
        except (OSError, ValueError):
            return None
        return found if _is_state(found) else None

    def _is_up_already(self) -> str:
        pid, found = self.supervisor(), self._written() or {}
        if found.get("phase") == "running":
            return f"it is up already (process {pid}): `headrace status` shows it, `headrace down` ends it"
        if found.get("phase") == "stopping":
            return f"it is ending (process {pid}): try again in a moment"
        return f"it is starting already (process {pid}): `headrace down` ends it"

    def _end_left_over(self) -> None:
        """End processes that a killed supervisor left behind. The system has asked its children to end, but frozen ones do not get the signal."""
        found = self._written() or {}
        known = [*found.get("services", {}).values(), {"pid": found.get("broker_pid")}]
        left = [process for one in known if (process := _ours(one.get("pid"))) is not None]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        _, alive = psutil.wait_procs(left, timeout=STOP_WITHIN_S - 2)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=2)


def settings_here() -> Settings:
    """The settings, with the address of a broker that `headrace up` started here.

    Raises `Retryable` while one runs here at an unknown address, because the default address may belong to another installation.
    """
    found = environ_here()
    if origins(found)["bootstrap_servers"][1] == "default" and (pid := Local.here().supervisor()) is not None:
        phase = (Local.here().state() or {}).get("phase")
        why = f"it is {phase}" if phase else f"{STATE_FILE} is missing or damaged; it is written again within seconds"
        raise Retryable(
            f"`headrace up` runs here (process {pid}), but the address of its broker is not known: {why}; try again"
            " in a moment, or set KAFKA_BOOTSTRAP_SERVERS"
        )
    return Settings.load(found)


def environ_here() -> dict[str, str]:
    """The environment for commands of the running installation: with the address of the broker that `headrace up` started here."""
    state = Local.here().state()
    if state and state["bootstrap_servers"] and origins()["bootstrap_servers"][1] == "default":
        return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": state["bootstrap_servers"]}
    return dict(os.environ)


def refuse_running(local: Local) -> None:
    """Raise `HeadraceError` if a supervisor runs in a folder that is to be emptied."""
    if local.supervisor() is not None:
        raise HeadraceError(f"{local.home}: {local._is_up_already()} (HEADRACE_HOME={local.home})")


def _is_state(found: Any) -> bool:
    """Whether this is a supervisor's state: the file may hold anything."""
    kinds = {"pid": int, "phase": str, "error": str, "bootstrap_servers": str, "services": dict}
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in kinds.items()):
        return False
    return all(isinstance(child, dict) for child in found["services"].values())


def _ours(pid: Any) -> psutil.Process | None:
    """The process of this id, if a Headrace supervisor started it; None if the id belongs to another process by now."""
    if not isinstance(pid, int):
        return None
    try:
        process = psutil.Process(pid)
        words = " ".join(process.cmdline())
    except psutil.Error:
        return None
    return process if "headrace_" in words or "kafka.Kafka" in words else None
