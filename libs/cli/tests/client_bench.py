"""A log with a project, a real gateway, and a simulated inference: what the tests of the client ask, by both ways."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.inference import Answer, Score, Served
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Category, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.answering import answer_requests
from headrace_cli.client import AsyncClient
from headrace_cli.client.kafka_transport import KafkaTransport
from headrace_edge.rules.callers import Caller
from headrace_edge.rules.callers import digest_of as digest_of_key
from headrace_gateway.app import Gateway, wire

PROJECT = compile_project(
    Project("p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")])])
)
INPUTS = {"miles": 500, "carrier": "AA"}


class Bench:
    """A log with a project, a gateway with one key, and a simulated inference."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.clock, self.topics = log, SystemClock(), Topics.load()
        self.codec = Codec(self.topics)
        self.projects = Projects(log, self.codec, self.topics)
        self.answer: Callable[[Message], Answer | None] = lambda _: Served(Score(3, "d", 0.5))

    async def set_up(self) -> None:
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0)
        self.log.append(out(self.topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0)))
        await self.projects.start()

    async def gateway(self) -> Gateway:
        health = Health("gateway", "gateway-1", failures={})
        address, keys = ("127.0.0.1", 0), (Caller("shop", digest_of_key("s3cret"), "shop"),)
        return await wire(self.log, self.codec, self.topics, self.projects, health, self.clock, address, callers=keys)

    async def respond(self, stop: asyncio.Event) -> None:
        every = (self.log, self.codec, self.topics)
        await answer_requests(*every, lambda request: self.answer(request), stop, "beginning")

    async def requests(self) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name("inference.requests")])


@asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[str]:
    gateway, stop = await bench.gateway(), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    yield f"http://127.0.0.1:{gateway.port}"
    stop.set()
    await running


@asynccontextmanager
async def over_http(bench: Bench) -> AsyncIterator[AsyncClient]:
    async with serving(bench) as url, AsyncClient(url, key="s3cret") as client:
        yield client


@asynccontextmanager
async def over_kafka(bench: Bench) -> AsyncIterator[AsyncClient]:
    transport = KafkaTransport(bench.log, bench.codec, bench.topics, bench.projects, bench.clock)
    async with AsyncClient(transport=transport) as client:
        yield client


both = pytest.mark.parametrize("over", [over_http, over_kafka])
