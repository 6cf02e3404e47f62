"""Every service is killed in turn while real flights play: nothing lost, nothing twice, features equal to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.bus.kafka import KafkaLog
from headrace.bus.runtime import topics_of
from headrace.bus.views import read_all
from headrace.codec import Codec
from headrace.settings import Settings
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(400)]

SERVICES = ("inference", "feature", "pipeline", "monitor", "registry", "gateway", "trainer")


class Installation:
    """A supervised installation in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
        self.environ = {**environ, "HEADRACE_HOME": str(self.home), "HEADRACE_GATEWAY_PORT": str(free_port())}

    def run(self, *words: str) -> str:
        command = [sys.executable, "-m", "headrace_cli.main", *words]
        ran = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.home / "supervisor.json").read_text())

    def kill(self, service: str) -> None:
        if pid := self.state["services"][service]["pid"]:
            os.kill(pid, signal.SIGKILL)

    def play(self, to: str) -> subprocess.Popen[bytes]:
        environ = {**self.environ, "KAFKA_BOOTSTRAP_SERVERS": self.state["bootstrap_servers"]}
        return subprocess.Popen(
            [sys.executable, "-m", "headrace_flights", "--to", to], env=environ, stdout=subprocess.DEVNULL
        )

    async def read(self, *topics: str) -> list[list[Any]]:
        settings = Settings(bootstrap_servers=self.state["bootstrap_servers"])
        log, names = KafkaLog(settings), topics_of(settings)
        await log.start()
        try:
            return [await read_all(log, Codec(names), [names.name(topic)]) for topic in topics]
        finally:
            await log.stop()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    found = Installation(tmp_path)
    found.run("up", "--port", str(free_port()))
    yield found
    found.run("down")


async def test_every_service_is_killed_and_nothing_is_lost_or_repeated(installation: Installation) -> None:
    installation.run("apply", "flights")
    player = installation.play("2013-01-15")
    for service in SERVICES:
        time.sleep(4)  # noqa: ASYNC251 - the player and the services run in processes of their own
        installation.kill(service)
    assert player.wait(240) == 0
    deadline = time.monotonic() + 60
    while True:
        requests, decisions, windows = await installation.read(
            "inference.requests", "inference.decisions", "monitor.windows"
        )
        decided = Counter(message.event.request_id for message in decisions)
        if {message.envelope.id for message in requests} <= decided.keys() or time.monotonic() > deadline:
            break
    assert {message.envelope.id for message in requests} == decided.keys()
    assert set(decided.values()) == {1}
    measured = [message.event for message in windows if message.event.parity_rows]
    assert len(measured) >= 10
    assert {window.parity_tiles for window in measured} == {1.0}
