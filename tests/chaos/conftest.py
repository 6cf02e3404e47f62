"""An installation of its own per test: broker and all services as supervised processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all
from headrace_broker import free_port

ROOT = Path(__file__).parents[2]


class Installation:
    """A supervised installation in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._beside: list[subprocess.Popen[bytes]] = []
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
        self.environ = {
            **environ,
            "HEADRACE_HOME": str(self.home),
            "HEADRACE_GATEWAY_PORT": str(free_port()),
            "HEADRACE_CONSOLE_PORT": "0",
            "HEADRACE_HTTP_PORT_BASE": "0",
        }

    def run(self, *words: str) -> str:
        """Run a command line to its end."""
        command = [sys.executable, "-m", "headrace_cli", *words]
        ran = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=300, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    @property
    def state(self) -> dict[str, Any]:
        """The state that the supervisor wrote."""
        return json.loads((self.home / "supervisor.json").read_text())

    def pid(self, service: str) -> int | None:
        """The process id of a service, None while it does not run."""
        return self.state["services"][service]["pid"]

    def kill(self, service: str) -> None:
        """Kill a service with SIGKILL."""
        if pid := self.pid(service):
            os.kill(pid, signal.SIGKILL)

    def play(self, to: str) -> subprocess.Popen[bytes]:
        """Play real flights in a separate process."""
        return self.beside("headrace_flights", "--to", to)

    def beside(self, module: str, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Run one of our modules in a process that is not supervised."""
        found = {**self.environ, "KAFKA_BOOTSTRAP_SERVERS": self.state["bootstrap_servers"], **environ}
        command = [sys.executable, "-m", module, *words]
        self._beside.append(subprocess.Popen(command, env=found, stdout=subprocess.DEVNULL))
        return self._beside[-1]

    def end(self) -> None:
        """End the processes that a test left."""
        for process in self._beside:
            process.kill()
            process.wait()
        self.run("down")

    @asynccontextmanager
    async def log(self) -> AsyncIterator[KafkaLog]:
        """A log of the installation's broker."""
        log = KafkaLog(Settings(bootstrap_servers=self.state["bootstrap_servers"]))
        await log.start()
        yield log
        await log.stop()

    async def grown(self, base: str, *, by: int, within_s: float = 60.0) -> None:
        """Wait until every partition of a topic has so many more records than now."""
        names = topics_of(Settings(bootstrap_servers=self.state["bootstrap_servers"]))
        async with self.log() as log, asyncio.timeout(within_s):
            partitions = await log.partitions(names.name(base))
            begun = await log.end_offsets(partitions)
            while any(end < begun[partition] + by for partition, end in (await log.end_offsets(partitions)).items()):
                await asyncio.sleep(0.2)

    async def read(self, *topics: str) -> list[list[Any]]:
        """All messages per topic."""
        names = topics_of(Settings(bootstrap_servers=self.state["bootstrap_servers"]))
        async with self.log() as log:
            return [await read_all(log, Codec(names), [names.name(topic)]) for topic in topics]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    found = Installation(tmp_path)
    found.run("up", "--port", str(free_port()))
    yield found
    found.end()


@pytest.fixture
def instance(settings: Settings) -> Callable[..., AbstractAsyncContextManager[asyncio.subprocess.Process]]:
    """Starts instances of inference under names. Each is a process that is not supervised and that ends with its block.

    `module`: what runs; further words go into its environment.
    """

    @asynccontextmanager
    async def started(
        name: str, module: str = "headrace_inference", **environ: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        found = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": settings.namespace,
            "HEADRACE_INSTANCE": name,
            **environ,
        }
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=found, cwd=ROOT)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return started
