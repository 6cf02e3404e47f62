"""What the gateway survives: a broker that freezes, and ten thousand connections."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.hosting.settings import Settings
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace_broker import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(240)]

ASK = "/v1/deployments/delay/predict"
BODY = {"inputs": {"miles": 500, "carrier": "AA"}, "deadline_ms": 1000}
FREEZE_S = 30


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _said(reader: asyncio.StreamReader) -> bytes:
    """The first line of the answer; b"" when none came within two seconds."""
    try:
        return await asyncio.wait_for(reader.readline(), 2)
    except (TimeoutError, ConnectionError):
        return b""


@asynccontextmanager
async def on(broker: Broker, running: Any) -> AsyncIterator[Any]:
    """Both services on a broker of their own."""
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, namespace=f"t{secrets.token_hex(4)}")
    log = KafkaLog(settings)
    await connect(log, 60)
    try:
        async with running(settings, log) as stack:
            yield stack
    finally:
        await log.stop()


async def test_with_the_broker_frozen_calls_end_by_their_deadline_and_then_it_goes_on(
    own_broker: Broker, running: Any
) -> None:
    async with on(own_broker, running) as stack, httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        before_mib, statuses, slowest_s = memory_mib(stack.pid), set(), 0.0
        pid = own_broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            until_s = time.monotonic() + FREEZE_S
            while time.monotonic() < until_s:
                began_s = time.monotonic()
                answers = await asyncio.gather(*(client.post(ASK, json=BODY) for _ in range(50)))
                slowest_s = max(slowest_s, time.monotonic() - began_s)
                statuses |= {answer.status_code for answer in answers}
        finally:
            os.kill(pid, signal.SIGCONT)
        assert statuses <= {503, 504}
        assert slowest_s < 3
        assert memory_mib(stack.pid) < before_mib + 50
        async with asyncio.timeout(60):
            while (await client.post(ASK, json=BODY)).status_code != 200:
                await asyncio.sleep(0.2)


async def test_ten_thousand_connections_are_refused_beyond_the_limit_and_the_others_are_served(stack: Any) -> None:
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        assert (await client.post(ASK, json=BODY)).status_code == 200
        port = int(stack.url.rpartition(":")[2])
        opened = []
        for _ in range(100):
            opened += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(100)))
            assert (await client.post(ASK, json=BODY)).status_code == 200
        answers = await asyncio.gather(*(_said(reader) for reader, _ in opened))
        assert sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers) >= 9_000
        assert memory_mib(stack.pid) < 400
        for _, writer in opened:
            writer.close()
        async with asyncio.timeout(30), httpx.AsyncClient(base_url=stack.url) as newcomer:
            while (await newcomer.post(ASK, json=BODY)).status_code != 200:
                await asyncio.sleep(0.2)
