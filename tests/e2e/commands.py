"""The `headrace` command in a folder of its own, with an installation of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace_broker import free_port


class Shell:
    """The `headrace` command in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway_port = free_port()
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
        self.environ = {
            **environ,
            "HEADRACE_GATEWAY_PORT": str(self.gateway_port),
            "HEADRACE_CONSOLE_PORT": "0",
            "HEADRACE_HTTP_PORT_BASE": "0",
            "HEADRACE_HOME": str(folder / "home"),
        }

    def run(self, *words: str, within_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace_cli", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=within_s, check=False
        )

    def json(self, *words: str) -> Any:
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.folder / "home" / "supervisor.json").read_text())

    def until(self, holds: Callable[[], Any], within_s: float = 240.0) -> Any:
        give_up_s = time.monotonic() + within_s
        while time.monotonic() < give_up_s:
            if found := holds():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {within_s} s; {self.run('status').stdout}")
