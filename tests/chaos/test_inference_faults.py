"""Inference is killed, and frozen until another took over, under load. Each request has one committed decision, and is answered."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out
from headrace.log.views import read_all
from headrace.project import Deployment, Number, Project, prior
from headrace.project.compile import compile_project

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(200)]

PROJECT = compile_project(
    Project(
        "faults",
        [
            Deployment("fast", unit="thing", inputs=[Number("x")], fallback=[prior(0.5)], answer="fast"),
            Deployment("committed", unit="thing", inputs=[Number("x")], fallback=[prior(0.5)]),
        ],
    )
)
EVERY_S, AT_ONCE = 0.02, 10

Instance = Any  # the fixture of conftest.py


class Load:
    """Sends requests without end, with fast and committed answers in turn, and keeps which ones the broker has acknowledged."""

    def __init__(self, log: KafkaLog, settings: Settings) -> None:
        self.log, self.settings, self.topics = log, settings, topics_of(settings)
        self.codec = Codec(self.topics)
        self.asked: set[str] = set()
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None]

    async def set_up(self) -> None:
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied(PROJECT.name, digest_of(PROJECT), "", PROJECT, 0.0)
        producer = await self.log.producer()
        definition = out(
            self.topics.name("project.definitions"), PROJECT.name, applied, Envelope("applied", "", "test", 0.0)
        )
        await producer.send([definition])
        await producer.close()

    async def run(self) -> None:
        producer = await self.log.producer()
        while not self.stop.is_set():
            names = [f"r{len(self.asked) + n}" for n in range(AT_ONCE)]
            await producer.send([self._request(n, name) for n, name in enumerate(names)])
            self.asked |= set(names)
            await asyncio.sleep(EVERY_S)
        await producer.close()

    def _request(self, number: int, name: str) -> Out:
        request = PredictionRequested(("fast", "committed")[number % 2], {"x": 1.0}, name)
        made = out(self.topics.name("inference.requests"), name, request, Envelope(name, "", "test", 1.0))
        place = (("headrace_reply_partition", b"0"), ("headrace_reply_id", name.encode()))
        return Out(made.topic, made.key, made.value, (*made.headers, *place))

    async def read(self, topic: str) -> list[Any]:
        found = await read_all(self.log, self.codec, [self.topics.name(topic)])
        return [message.event for message in found]

    async def until_owned(self, holds: Callable[[dict[str, tuple[int, ...]]], bool]) -> None:
        """Wait until the instances report these shards. The newest report of each counts."""
        async with asyncio.timeout(60):
            while not holds({beat.instance: beat.shards for beat in await self.read("ops.health") if beat}):
                await asyncio.sleep(0.1)

    async def decisions(self) -> list[DecisionMade]:
        """All decisions, without the late scores of shadows."""
        return [event for event in await self.read("inference.decisions") if isinstance(event, DecisionMade)]

    async def until_more_is_decided(self, more: int = 100) -> None:
        """Wait until so many more requests are decided than now, so that the instances are in the middle of some work."""
        async with asyncio.timeout(60):
            wanted = len(await self.decisions()) + more
            while len(await self.decisions()) < wanted:
                await asyncio.sleep(0.05)

    async def until_decided(self) -> None:
        """Wait until all requests so far are decided."""
        asked = frozenset(self.asked)
        async with asyncio.timeout(60):
            while asked - {decision.request_id for decision in await self.decisions()}:
                await asyncio.sleep(0.2)

    async def check(self) -> None:
        """Stop the requests. Check that each has one decision and an answer."""
        self.stop.set()
        await self.task
        await self.until_decided()
        decided = Counter(decision.request_id for decision in await self.decisions())
        assert decided.keys() == self.asked
        assert set(decided.values()) == {1}
        async with asyncio.timeout(30):
            while self.asked - {reply.request_id for reply in await self.read("inference.replies")}:
                await asyncio.sleep(0.2)


@pytest_asyncio.fixture
async def load(kafka_log: KafkaLog, settings: Settings) -> AsyncIterator[Load]:
    """Requests without end until the test checks them."""
    made = Load(kafka_log, settings)
    await made.set_up()
    made.task = asyncio.create_task(made.run())
    yield made
    made.stop.set()
    await made.task


async def test_a_killed_instance_leaves_one_decision_per_request(load: Load, instance: Instance) -> None:
    for name in ("first", "second", "third"):
        async with instance(name) as process:
            await load.until_owned(lambda owned, name=name: owned.get(name) == (0, 1))
            await load.until_more_is_decided()
            process.send_signal(signal.SIGKILL)
            await process.wait()
    async with instance("last"):
        await load.until_owned(lambda owned: owned.get("last") == (0, 1))
        await load.check()


async def test_a_frozen_instance_that_wakes_after_the_takeover_writes_nothing(load: Load, instance: Instance) -> None:
    async with instance("one") as one, instance("other"):
        await load.until_owned(lambda owned: {owned.get("one"), owned.get("other")} == {(0,), (1,)})
        await load.until_more_is_decided()
        one.send_signal(signal.SIGSTOP)
        await load.until_owned(lambda owned: owned.get("other") == (0, 1))
        await load.until_decided()
        one.send_signal(signal.SIGCONT)
        # Once it has joined again, it has tried to commit the work at which it was frozen.
        await load.until_owned(lambda owned: {owned.get("one"), owned.get("other")} == {(0,), (1,)})
        await load.check()
