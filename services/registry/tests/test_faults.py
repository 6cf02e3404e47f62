"""Two registries, killed and frozen in mid-rollout: the rollout goes on where it was, by one writer."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headrace.events.ops import HealthReported
from headrace.events.registry import RolloutAdvanced, RolloutCompleted, RolloutStarted
from headrace.registry.state import Fold

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(200)]

Bench = Any  # the fixture of conftest.py
HOUR_S = 3600.0
SHARES = (0.05, 0.25, 0.5, 1.0)


class Pair:
    """Two registries as processes: one is active, the other stands by."""

    def __init__(self, bench: Bench, settings: Any) -> None:
        self.bench = bench
        self.environ = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": settings.namespace,
            "HEADRACE_HTTP_PORT": "0",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        if name in self.processes:
            self.processes[name].wait(10)
        command = [sys.executable, "-m", "headrace_registry"]
        environ = {**self.environ, "HEADRACE_INSTANCE": name}
        self.processes[name] = subprocess.Popen(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )

    async def active(self) -> str:
        """Who owns the shard, by what was reported last, as soon as that is exactly one of those that run."""
        async with asyncio.timeout(60):
            while True:
                reports = {
                    m.event.instance: m.event
                    for m in await self.bench.read("ops.health")
                    if isinstance(m.event, HealthReported) and m.event.service == "registry"
                }
                running = [name for name, process in self.processes.items() if process.poll() is None]
                owners = [name for name in running if name in reports and reports[name].shards]
                if len(owners) == 1:
                    return owners[0]
                await asyncio.sleep(0.2)

    def send(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)


@asynccontextmanager
async def heartbeats(bench: Bench) -> AsyncIterator[None]:
    """An inference instance that has versions 1 and 2 warm, as the registries see it."""

    async def beat() -> None:
        names = ("d/1", "d/2")
        while True:
            report = HealthReported("inference", "i", True, warmed=names)
            await bench.send("ops.health", "inference/i", report)
            await asyncio.sleep(0.5)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


async def test_a_rollout_goes_on_when_the_registry_is_killed_and_frozen(kafka_bench: Bench, settings: Any) -> None:
    bench = await kafka_bench.with_shares(SHARES)
    pair = Pair(bench, settings)
    try:
        pair.start("one")
        pair.start("two")
        async with heartbeats(bench):
            await bench.start_canary()
            killed = await pair.active()
            pair.send(killed, signal.SIGKILL)
            await bench.judge(HOUR_S)
            await bench.until(RolloutAdvanced, lambda fact: fact.number == 1)
            pair.start(killed)
            frozen = await pair.active()
            pair.send(frozen, signal.SIGSTOP)
            await bench.judge(2 * HOUR_S, number=1)
            await bench.until(RolloutAdvanced, lambda fact: fact.number == 2)
            pair.send(frozen, signal.SIGCONT)
            await bench.judge(3 * HOUR_S, number=2)
            await bench.until(RolloutCompleted, lambda fact: fact.version == 2)
    finally:
        pair.end()
    messages = await bench.read("registry.facts")
    idents = [message.envelope.id for message in messages]
    assert len(idents) == len(set(idents))
    facts = [message.event for message in messages if getattr(message.event, "version", None) == 2]
    assert sum(isinstance(fact, RolloutStarted) for fact in facts) == 1
    advanced = [(fact.number, fact.share) for fact in facts if isinstance(fact, RolloutAdvanced)]
    assert advanced == [(0, 0.05), (0, 0.05), (1, 0.25), (2, 0.5), (3, 1.0)]
    fold = Fold()
    for message in messages:
        fold.take(message.event, message.envelope.id)
    *_, route = await bench.read("registry.routes")
    assert route.event == fold.state.entry("d").route
    assert route.event.shares == {2: 1.0}
