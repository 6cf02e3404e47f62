"""Blue-green under load: a switch and a switch back lose and duplicate nothing, and the old version soon stops answering."""

import asyncio
import json
import secrets
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sklearn.datasets import load_breast_cancer

from headrace.events.inference import DecisionMade, PredictionRequested, Served
from headrace.log.codec import Message, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace_tumour.project import COLUMNS

if TYPE_CHECKING:
    from conftest import Installation

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]

TOPICS = Topics.load()
EVERY_S = 0.005
PATIENTS = [dict(zip(COLUMNS, map(float, row), strict=True)) for row in load_breast_cancer().data]


class Load:
    """Send a request every five milliseconds until stopped."""

    def __init__(self, log: KafkaLog) -> None:
        self.log, self.sent, self._stop = log, 0, asyncio.Event()

    async def run(self) -> None:
        producer = await self.log.producer()
        while not self._stop.is_set():
            ident = f"load-{self.sent}"
            request = PredictionRequested("tumour", PATIENTS[self.sent % len(PATIENTS)])
            envelope = Envelope(ident, "", "test", time.time())
            await producer.send([out(TOPICS.name("inference.requests"), secrets.token_hex(4), request, envelope)])
            self.sent += 1
            await asyncio.sleep(EVERY_S)
        await producer.close()

    def stop(self) -> None:
        self._stop.set()


async def test_a_switch_and_a_switch_back_under_load_lose_and_repeat_nothing(
    installation: "Installation", tmp_path: Any, record_property: Any
) -> None:
    from headrace_tumour.train import fit

    model = tmp_path / "model.skops"
    write(fit(), model)
    installation.run("apply", "tumour")
    register = ("model", "register", str(model), "--deployment", "tumour", "--json")
    installation.run(*register)
    second = installation.beside("headrace_inference", HEADRACE_INSTANCE="inference-second", HEADRACE_HTTP_PORT="0")
    async with installation.log() as log:
        # Otherwise the instance would own a shard before it has loaded the version, on a machine so slow that it stops waiting.
        await is_warm(installation, "inference-second")
        load = Load(log)
        loading = asyncio.create_task(load.run())
        await decided_by(installation, 1)
        await asyncio.to_thread(installation.run, *register)
        await decided_by(installation, 2)
        back = await asyncio.to_thread(installation.run, "rollout", "rollback", "tumour", "--reason", "drill", "--json")
        await decided_by(installation, 1)
        load.stop()
        await loading
    assert json.loads(back)["facts"]
    decisions, routes = await all_decided(installation, load.sent)
    second.send_signal(signal.SIGTERM)
    second.wait(20)
    decided = Counter(message.event.request_id for message in decisions)
    assert decided == dict.fromkeys((f"load-{n}" for n in range(load.sent)), 1)
    others = [message.event.answer for message in decisions if not isinstance(message.event.answer, Served)]
    assert Counter(others) == {}
    switches = [m for n, m in enumerate(routes) if n and m.event.shares != routes[n - 1].event.shares]
    assert [next(iter(route.event.shares)) for route in switches[-2:]] == [2, 1]
    lags = [lag_s(decisions, route, old) for route, old in zip(switches[-2:], (1, 2), strict=True)]
    record_property("seconds_from_the_record_to_the_last_decision_by_the_old_version", lags)
    print(f"{load.sent} requests; from the record to the last decision by the old version: {lags} s")
    assert max(lags) < 2.0


def write(model: Any, file: Any) -> None:
    import skops.io

    skops.io.dump(model, file)


async def is_warm(installation: "Installation", instance: str) -> None:
    """Wait until this instance has loaded version 1 and owns a shard."""
    async with asyncio.timeout(120):
        while True:
            (reports,) = await installation.read("ops.health")
            newest = {message.event.instance: message.event for message in reports if message.event is not None}
            if instance in newest and newest[instance].shards and "tumour/1" in newest[instance].warmed:
                return
            await asyncio.sleep(0.2)


async def decided_by(installation: "Installation", version: int, more: int = 300) -> None:
    """Wait until this version has decided so many more requests."""

    async def count() -> int:
        (decisions,) = await installation.read("inference.decisions")
        answers = [message.event.answer for message in decisions if isinstance(message.event, DecisionMade)]
        return sum(isinstance(answer, Served) and answer.score.version == version for answer in answers)

    async with asyncio.timeout(60):
        wanted = await count() + more
        while await count() < wanted:
            await asyncio.sleep(0.2)


async def all_decided(installation: "Installation", sent: int) -> tuple[list[Message], list[Message]]:
    deadline = time.monotonic() + 60
    while True:
        decided, routes = await installation.read("inference.decisions", "registry.routes")
        decisions = [message for message in decided if isinstance(message.event, DecisionMade)]
        if len(decisions) >= sent or time.monotonic() > deadline:
            return decisions, routes
        await asyncio.sleep(0.5)


def lag_s(decisions: list[Message], route: Message, old: int) -> float:
    """The time from the route's record to the last decision by the old version before the next switch, by append time."""
    switched_ms = route.record.timestamp_ms
    since = [m.record.timestamp_ms for m in decisions if m.record.timestamp_ms >= switched_ms - 1000]
    by_old = [m.record.timestamp_ms for m in decisions if m.event.answer.score.version == old]
    within = [at_ms for at_ms in by_old if switched_ms <= at_ms < switched_ms + 2500]
    assert since, "there was no traffic about the switch"
    return (max(within) - switched_ms) / 1000 if within else 0.0
