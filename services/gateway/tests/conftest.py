"""Gateway and inference as real processes on a real broker; and the gateway alone on the log in memory, with an inference
that answers as the test says.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.asking.asker import Asker
from headrace.asking.outcome_writer import Observer
from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.inference import Answer, Score, Served
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import Route
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.answering import answer_requests
from headrace_edge.rules.callers import Caller
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.http import make_app
from headrace_gateway.app import wire
from headrace_gateway.settings import Limits
from headrace_gateway.shell import Api

PROJECT = compile_project(
    Project(
        "p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")], fallback=[prior(0.26)])]
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
    applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, time.time())
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


TWO = compile_project(
    Project(
        "p",
        [
            Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")], fallback=[prior(0.26)]),
            Deployment("plain", unit="thing", inputs=[Number("x")]),
        ],
    )
)


class Bench:
    """A log with topics, a project, and somebody who answers requests. `path`, `body`: of a good one."""

    path = INFER
    body: Mapping[str, Any] = {"id": "mine", "inputs": BODY["inputs"]}

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.clock = log, SystemClock()
        self.topics = Topics.load()
        self.codec = Codec(self.topics)
        self.health = Health("gateway", "gateway-1", failures={})
        self.projects = Projects(log, self.codec, self.topics)
        self.answer: Callable[[Message], Answer | None] = lambda _: Served(Score(3, "d", 0.5))

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs(TWO))
        applied = ProjectApplied("p", digest_of(TWO), "", TWO, 0.0)
        topic = self.topics.name("project.definitions")
        self.log.append(out(topic, "p", applied, Envelope("a", "", "test", 0.0)))
        await self.projects.start()
        return self

    @asynccontextmanager
    async def client(
        self,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        callers: Sequence[Caller] = (),
        instance: str = "gateway-1",
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[httpx.AsyncClient]:
        asker = Asker(self.log, self.codec, self.topics, self.clock, instance)
        catalogue = Catalogue(self.log, self.codec, self.topics, self.projects, self.clock)
        await catalogue.start()
        observer = Observer(self.log, self.topics, instance)
        api = Api(asker, observer, catalogue, self.health, self.clock, limits, callers)
        app = make_app(api, catalogue, limits, has_keys=bool(callers))
        await asker.start()
        stop = asyncio.Event()
        tasks = [asyncio.create_task(part(stop)) for part in (asker.run, self.respond)]
        following = asyncio.create_task(catalogue.run(stop))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            yield client
        stop.set()
        following.cancel()
        await asyncio.gather(*tasks)
        await observer.close()

    @asynccontextmanager
    async def serving(self, limits: Limits = Limits()) -> AsyncIterator[int]:  # noqa: B008 - frozen
        """A gateway on a real socket; yields its port."""
        address = ("127.0.0.1", 0)
        gateway = await wire(self.log, self.codec, self.topics, self.projects, self.health, self.clock, address, limits)
        stop = asyncio.Event()
        tasks = [asyncio.create_task(part(stop)) for part in (gateway.run, self.respond)]
        yield gateway.port
        stop.set()
        await asyncio.gather(*tasks)

    async def until_ready(self, client: httpx.AsyncClient, name: str) -> None:
        """Until a deployment is ready."""
        async with asyncio.timeout(10):
            while (await client.get(f"/v2/models/{name}/ready")).status_code != 200:
                await asyncio.sleep(0.01)

    async def respond(self, stop: asyncio.Event) -> None:
        """What inference does, as far as a gateway can tell."""
        await answer_requests(self.log, self.codec, self.topics, lambda request: self.answer(request), stop)

    def route(self, *versions: int) -> None:
        """All traffic to the first version; the others are warm."""
        found = Route("delay", {versions[0]: 1.0}, "s", 1, champion=versions[0], warm=versions)
        self.log.append(out(self.topics.name("registry.routes"), "delay", found, Envelope("r", "", "test", 0.0)))

    def report(self, *loaded: str, **changes: Any) -> None:
        """An inference instance reports."""
        reported = HealthReported("inference", "inference-1", True, warmed=loaded, **changes)
        topic = self.topics.name("ops.health")
        self.log.append(out(topic, "inference/inference-1", reported, Envelope("h", "", "test", 0.0)))

    async def requests(self) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name("inference.requests")])


@pytest_asyncio.fixture
async def bench(memory_log: MemoryLog) -> Bench:
    return await Bench(memory_log).set_up()
