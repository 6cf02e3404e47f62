"""Gateway and inference as real processes on a real broker: HTTP in, decisions out, plain clients welcome."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgpack
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from headrace.bus.admin import ensure_topics
from headrace.bus.kafka import KafkaLog
from headrace.codec import out
from headrace.envelope import Envelope
from headrace.events.project import ProjectApplied
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project, digest
from headrace.settings import Settings
from headrace.topics import Topics

pytestmark = pytest.mark.kafka

PROJECT = compile_project(
    Project(
        "p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")], ladder=[prior(0.26)])]
    )
)
INFER = "/v2/models/delay/infer"
BODY = {
    "inputs": [
        {"name": "miles", "shape": [1], "datatype": "FP64", "data": [500]},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
    ],
    "parameters": {"at": "2013-04-01T12:00:00Z", "unit": "F1"},
}


@dataclass(frozen=True)
class Stack:
    """Where things are."""

    bootstrap: str
    topics: Topics
    url: str


@pytest_asyncio.fixture
async def stack(settings: Settings, kafka_log: KafkaLog) -> AsyncIterator[Stack]:
    topics = Topics.load(settings.namespace)
    await ensure_topics(kafka_log, topics.specs(PROJECT))
    await _apply(kafka_log, topics)
    port = _free_port()
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "HEADRACE_NAMESPACE": settings.namespace,
        "HEADRACE_GATEWAY_PORT": str(port),
    }
    with _process("headrace_inference", environ), _process("headrace_gateway", environ):
        url = f"http://127.0.0.1:{port}"
        await _until_ready(url)
        yield Stack(settings.bootstrap_servers, topics, url)


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


async def _decisions(stack: Stack, wanted: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Decisions by request id, read with plain aiokafka and msgpack, as soon as all wanted ones are there."""
    topic = stack.topics.name("inference.decisions")
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stack.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    found: dict[str, list[dict[str, Any]]] = {}
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while not wanted <= found.keys():
                record = await consumer.getone()
                decision = msgpack.unpackb(record.value)
                found.setdefault(decision["request_id"], []).append(decision)
    finally:
        await consumer.stop()
    return found


async def test_http_is_answered_by_the_prior_and_the_decision_is_on_the_log(stack: Stack) -> None:
    key = secrets.token_hex(8)
    async with httpx.AsyncClient(base_url=stack.url) as client:
        first, second = [await client.post(INFER, json=BODY, headers={"Idempotency-Key": key}) for _ in range(2)]
    found = await _decisions(stack, {key})
    assert first.json() == second.json()
    assert first.json()["outputs"][0]["data"] == [0.26]
    assert first.json()["parameters"]["reason"] == "no version yet"
    assert len(found[key]) == 1
    assert found[key][0]["at_s"] == 1_364_817_600.0


async def test_a_plain_producer_without_our_types_is_answered_like_http(stack: Stack) -> None:
    topic, name = stack.topics.name("inference.requests"), secrets.token_hex(8)
    headers = [("ce_id", name.encode()), ("ce_time", b"2013-04-01T12:00:00Z")]
    request = {"deployment": "delay", "inputs": {"miles": 500, "carrier": "AA"}}
    json_headers = [("ce_id", f"{name}-json".encode()), ("ce_time", b"2013-04-01T12:00:00Z")]
    json_value = b'{"deployment": "delay", "inputs": {"miles": 500, "carrier": "AA"}}'
    async with AIOKafkaProducer(bootstrap_servers=stack.bootstrap) as producer:
        await producer.send_and_wait(topic, b"\xc1 garbage", key=b"F2")
        await producer.send_and_wait(topic, msgpack.packb(request), key=b"F2", headers=headers)
        await producer.send_and_wait(topic, json_value, key=b"F2", headers=json_headers)
    found = await _decisions(stack, {name, f"{name}-json"})
    plain, json = found[name][0], found[f"{name}-json"][0]
    assert plain["unit"] == "F2"
    assert plain["answer"]["type"] == "fell_back"
    assert plain["answer"]["score"]["value"] == 0.26
    assert plain["answer"] == json["answer"]
    assert plain["row"] == json["row"]
