"""The services as separate processes, and versions that reach them as usual: by `RegisterVersion`, a load check in inference's child, a release."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.zoo.keeping import Kept

from headrace.hosting.settings import Settings
from headrace_cli.models.registration import Done, Registration, register_file

ENDINGS = {"skops": ".skops", "onnx": ".onnx", "xgboost": ".ubj", "lightgbm": ".txt"}
SERVICES = ("registry", "inference", "gateway")


@dataclass
class Whole:
    """Services, each a process; `gateway_port`: where HTTP is asked."""

    settings: Settings
    folder: Path
    services: Sequence[str] = SERVICES
    gateway_port: int = field(default_factory=lambda: _free_port())
    children: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The environment with which services and commands find the broker of this test."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": self.settings.namespace,
            "HEADRACE_HOME": str(self.folder / "home"),
            "HEADRACE_GATEWAY_PORT": str(self.gateway_port),
            "HEADRACE_GATEWAY_BODY_BYTES": str(1024**2),
            "OMP_NUM_THREADS": "1",
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the services until the end of the block."""
        for name in self.services:
            with (self.folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-m", f"headrace_{name}"]
                environ = os.environ | self.environ
                self.children[name] = subprocess.Popen(command, env=environ, cwd=self.folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            for child in self.children.values():
                child.terminate()
            for child in self.children.values():
                child.wait(30)

    async def register(self, kept: Sequence[Kept]) -> dict[str, Done]:
        """Register each file as `headrace model register` does, one after the other."""
        return {found.exhibit.name: await asyncio.to_thread(self._register, found) for found in kept}

    def _register(self, kept: Kept) -> Done:
        exhibit = kept.exhibit
        ending = ".json" if exhibit.format == "xgboost" and exhibit.data[:2] == b'{"' else ENDINGS[exhibit.format]
        file = self.folder / f"{exhibit.name}{ending}"
        file.write_bytes(exhibit.data)
        words = self.folder / f"{exhibit.name}.words.json"
        words.write_text(json.dumps({name: list(known) for name, known in exhibit.words.items()}))
        about = Registration(exhibit.name, "zoo", words if exhibit.words else None, frame=exhibit.frame)
        return register_file(file, about)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
