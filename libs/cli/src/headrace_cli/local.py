"""The local installation: the folder `.headrace`, and the supervisor that runs in it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from headrace.errors import HeadraceError, Misconfigured
from headrace.settings import Settings, origins
from headrace_cli.supervisor import SERVICES, STATE_FILE

__all__ = ["SERVICES", "Local", "settings_here"]


@dataclass(frozen=True)
class Local:
    """A folder with a supervisor in it, or without."""

    home: Path

    @staticmethod
    def here() -> "Local":
        """`HEADRACE_HOME`, by default `.headrace` in this folder."""
        return Local(Path(os.environ.get("HEADRACE_HOME", ".headrace")).absolute())

    def state(self) -> dict[str, Any] | None:
        """What the supervisor wrote; None when none runs."""
        path = self.home / STATE_FILE
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        return found if found["error"] or _is_supervisor(found["pid"]) else None

    def start(self, port: int, *, fresh: bool = False) -> subprocess.Popen[bytes]:
        """Start a supervisor of its own session, with its log in the folder."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / STATE_FILE).unlink(missing_ok=True)
        command = [sys.executable, "-m", "headrace_cli.supervisor", "--home", str(self.home), "--port", str(port)]
        with (self.home / "supervisor.log").open("ab") as log:
            return subprocess.Popen(
                command + ["--fresh"] * fresh, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    async def await_started(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Until broker, topics and services are started. Raises `HeadraceError` with the supervisor's reason."""
        while process.poll() is None:
            state = self.state()
            if state is not None and state["services"]:
                return state
            await asyncio.sleep(0.05)
        path = self.home / STATE_FILE
        reason = json.loads(path.read_text())["error"] if path.exists() else f"see {self.home / 'supervisor.log'}"
        path.unlink(missing_ok=True)
        raise HeadraceError(reason)

    def stop(self, timeout_s: float = 40.0) -> bool:
        """End the supervisor and all its children; False when none ran."""
        state = self.state()
        if state is None:
            return False
        process = psutil.Process(state["pid"])
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except psutil.TimeoutExpired:
            raise HeadraceError(
                f"the supervisor (process {state['pid']}) did not end within {timeout_s:.0f} s; see {self.home}/logs"
            ) from None
        return True


def settings_here() -> Settings:
    """The settings; a broker that `headrace up` started here is found by itself."""
    settings = Settings.load()
    state = Local.here().state()
    if state and state["bootstrap_servers"] and origins()["bootstrap_servers"][1] == "default":
        return Settings.load({**os.environ, "KAFKA_BOOTSTRAP_SERVERS": state["bootstrap_servers"]})
    return settings


def refuse_running(local: Local) -> None:
    """Raise `Misconfigured` when a supervisor runs already."""
    state = local.state()
    if state is not None and not state["error"]:
        raise Misconfigured(
            f"it is up already (process {state['pid']}): `headrace status` shows it, `headrace down` ends it"
        )


def _is_supervisor(pid: int) -> bool:
    try:
        return any("headrace_cli.supervisor" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
