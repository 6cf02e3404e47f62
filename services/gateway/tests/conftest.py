"""Gateway and inference as real processes on a real broker, for one deployment with a prior."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.bus.admin import ensure_topics
from headrace.bus.kafka import KafkaLog
from headrace.codec import out
from headrace.envelope import Envelope
from headrace.events.project import ProjectApplied
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project, digest
from headrace.settings import Settings
from headrace.topics import Topics

PROJECT = compile_project(
    Project(
        "p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")], ladder=[prior(0.26)])]
    )
)
INFER = "/v2/models/delay/infer"
BODY: dict[str, Any] = {
    "inputs": [
        {"name": "miles", "shape": [1], "datatype": "FP64", "data": [500]},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
    ],
    "parameters": {"at": "2013-04-01T12:00:00Z", "unit": "F1"},
}


@dataclass(frozen=True)
class Stack:
    """Where things are. `pid`: the gateway's."""

    bootstrap: str
    topics: Topics
    url: str
    pid: int


@pytest_asyncio.fixture
async def stack(settings: Settings, kafka_log: KafkaLog) -> AsyncIterator[Stack]:
    """On the broker of all tests."""
    async with _running(settings, kafka_log) as found:
        yield found


@pytest.fixture
def running() -> Any:
    """Starts both on any broker."""
    return _running


@asynccontextmanager
async def _running(settings: Settings, log: KafkaLog) -> AsyncIterator[Stack]:
    """Both services, ready, on any broker."""
    topics = Topics.load(settings.namespace)
    await ensure_topics(log, topics.specs(PROJECT))
    await _apply(log, topics)
    port = _free_port()
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "HEADRACE_NAMESPACE": settings.namespace,
        "HEADRACE_GATEWAY_PORT": str(port),
    }
    with _process("headrace_inference", environ), _process("headrace_gateway", environ) as gateway:
        url = f"http://127.0.0.1:{port}"
        await _until_ready(url)
        yield Stack(settings.bootstrap_servers, topics, url, gateway.pid)


async def _apply(log: KafkaLog, topics: Topics) -> None:
    producer = await log.producer()
    applied = ProjectApplied("p", digest(PROJECT), "", PROJECT, time.time())
    await producer.send([out(topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0))])
    await producer.close()


@contextmanager
def _process(module: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", module], env=os.environ | environ)
    try:
        yield process
        process.terminate()
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=url) as client:
        while True:
            try:
                if (await client.post(INFER, json=BODY)).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
