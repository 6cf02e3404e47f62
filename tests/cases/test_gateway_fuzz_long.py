"""The fuzz test on a real broker with real gateway and inference processes, for `HEADRACE_FUZZ_SECONDS` (300)."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cases.wild_requests import answer_to, attack, set_up, stay_served

from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics


@contextmanager
def process(module: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-m", module], env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        yield running
        assert running.poll() is None, f"{module} ended with {running.returncode}"
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=15) == 0
    finally:
        running.kill()
        running.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def until_served(port: int) -> None:
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(OSError, AssertionError):
                if await stay_served(port, time.monotonic() + 0.01, 2.0):
                    return
            await asyncio.sleep(0.2)


async def count_unforeseen(port: int) -> float:
    answer = await answer_to(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    (line,) = (line for line in answer.split(b"\n") if line.startswith(b"headrace_unforeseen_errors_total{"))
    return float(line.rpartition(b" ")[2])


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1200)
async def test_five_minutes_of_wild_requests_harm_neither_gateway_nor_inference_nor_a_good_client(
    settings: Settings, kafka_log: KafkaLog
) -> None:
    seconds = float(os.environ.get("HEADRACE_FUZZ_SECONDS", "300"))
    await set_up(kafka_log, Topics.load(settings.namespace))
    port, metrics, other = free_ports(3)
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "HEADRACE_NAMESPACE": settings.namespace,
        "HEADRACE_GATEWAY_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    with (
        process("headrace_inference", environ | {"HEADRACE_HTTP_PORT": str(other)}) as inference,
        process("headrace_gateway", environ | {"HEADRACE_HTTP_PORT": str(metrics)}) as gateway,
    ):
        await until_served(port)
        await attack(port, seconds / 5, askers=8, within_s=20.0)
        warm = [memory_mib(found.pid) for found in (gateway, inference)]
        _, served = await attack(port, seconds * 4 / 5, askers=8, within_s=20.0)
        after = [memory_mib(found.pid) for found in (gateway, inference)]
        assert served > seconds / 10
        assert await count_unforeseen(metrics) == 0
        print(f"memory after a fifth of it and at the end, MiB: {warm}, {after}")
        assert all(end < begin * 1.1 + 20 for begin, end in zip(warm, after, strict=True))
