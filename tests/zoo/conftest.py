"""A gateway and an inference instance in this process, on the broker of all tests, for all exhibits of a test."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.zoo.keeping import Kept
from tests.zoo.whole import Whole

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.inference import VersionWarmed
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, Route
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.models import artifacts
from headrace.project import Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_cli.client import AsyncClient
from headrace_cli.client.kafka_transport import OwnKafkaTransport
from headrace_gateway.app import wire as wire_gateway
from headrace_gateway.settings import Limits
from headrace_inference.app import wire as wire_inference


@dataclass(frozen=True)
class House:
    """The ways in."""

    web: httpx.AsyncClient
    client: AsyncClient
    kafka: AsyncClient


# 200 rows of 64 numbers are more than a body may have by default.
LIMITS = Limits(body_bytes=1024**2)
Opened = Callable[[Sequence[Kept]], AbstractAsyncContextManager[House]]


@pytest.fixture
def opened(settings: Settings, kafka_log: KafkaLog) -> Opened:
    """Serves exhibits by services in this process."""

    @asynccontextmanager
    async def serve(kept: Sequence[Kept]) -> AsyncIterator[House]:
        topics = Topics.load(settings.namespace)
        codec, clock = Codec(topics), SystemClock()
        project = compile_project(Project("zoo", [found.exhibit.deployment for found in kept]))
        await ensure_topics(kafka_log, topics.specs(project))
        await _put(
            kafka_log, topics, "project.definitions", "zoo", ProjectApplied("zoo", digest_of(project), "", project, 0)
        )
        for found in kept:
            await _register(kafka_log, topics, found)
        stop = asyncio.Event()
        projects = Projects(kafka_log, codec, topics)
        await projects.start()
        health = Health("inference", "inference-1", failures={})
        parts = await wire_inference(kafka_log, codec, topics, projects, health, clock)
        own = Health("gateway", "gateway-1", failures={})
        gateway = await wire_gateway(kafka_log, codec, topics, projects, own, clock, ("127.0.0.1", 0), LIMITS)
        tasks = [asyncio.create_task(part.run(stop)) for part in (*parts, gateway, projects)]
        try:
            await _until(lambda: len(health.warmed) == len(kept) and len(health.shards) > 0)
            url = f"http://127.0.0.1:{gateway.port}"
            async with (
                httpx.AsyncClient(base_url=url, timeout=90) as web,
                AsyncClient(url) as client,
                AsyncClient(transport=OwnKafkaTransport(settings)) as kafka,
            ):
                yield House(web, client, kafka)
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    return serve


@pytest.fixture
def opened_whole(settings: Settings, kafka_log: KafkaLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Serves exhibits by services as separate processes, which learn of them by commands only."""
    whole = Whole(settings, tmp_path)
    for name, value in whole.environ.items():
        monkeypatch.setenv(name, value)

    @asynccontextmanager
    async def serve(kept: Sequence[Kept]) -> AsyncIterator[House]:
        topics = Topics.load(settings.namespace)
        project = compile_project(Project("zoo", [found.exhibit.deployment for found in kept]))
        await ensure_topics(kafka_log, topics.specs(project))
        applied = ProjectApplied("zoo", digest_of(project), "", project, 0)
        await _put(kafka_log, topics, "project.definitions", "zoo", applied)
        url = f"http://127.0.0.1:{whole.gateway_port}"
        with whole.running():
            done = await whole.register(kept)
            assert {found.outcome for found in done.values()} == {"is registered and takes traffic"}
            await _refuse_untried(kafka_log, topics, [found.exhibit.name for found in kept])
            async with (
                httpx.AsyncClient(base_url=url, timeout=90) as web,
                AsyncClient(url) as client,
                AsyncClient(transport=OwnKafkaTransport(settings)) as kafka,
            ):
                yield House(web, client, kafka)

    return serve


async def _refuse_untried(log: KafkaLog, topics: Topics, names: Sequence[str]) -> None:
    """Check that an instance has reported each version as warm, and that the registry has given it traffic.

    NB: the log does not show which came first. The registry reads heartbeats too, which report it before the fact is written.
    """
    read = [topics.name("inference.facts"), topics.name("registry.routes")]
    events = [message.event for message in await read_all(log, Codec(topics), read)]
    assert {event.deployment for event in events if isinstance(event, VersionWarmed)} == set(names)
    assert {event.deployment for event in events if isinstance(event, Route) and event.shares} == set(names)


async def _register(log: KafkaLog, topics: Topics, kept: Kept) -> None:
    """Publish the version as the registry would."""
    name, agreed = kept.exhibit.name, kept.agreed
    place = await artifacts.publish(log, topics, kept.exhibit.data, kept.exhibit.format, time.time(), "test")
    registered = version_of(
        1,
        deployment=name,
        model=name,
        place=place,
        signature=agreed.signature,
        output=agreed.answers.output,
        classes=agreed.answers.classes,
        class_places=agreed.answers.places,
        golden=kept.golden,
    )
    await _put(log, topics, "registry.models", f"{name}/1", ModelVersion(registered, "champion", ("champion",)))
    await _put(log, topics, "registry.routes", name, Route(name, {1: 1.0}, "salt", 1, champion=1))


async def _put(log: KafkaLog, topics: Topics, topic: str, key: str, event: object) -> None:
    producer = await log.producer()
    await producer.send([out(topics.name(topic), key, event, Envelope(f"{topic}-{key}", "", "test", time.time()))])
    await producer.close()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not holds():
            await asyncio.sleep(0.02)
