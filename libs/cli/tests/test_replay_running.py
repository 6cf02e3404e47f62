"""A replay of a deployment waits while a version of it is being made, and does not begin if no service answers."""

import asyncio
from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.errors import HeadraceError
from headrace.events.ops import HealthReported
from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.replay.ids import Ids, Sent
from headrace_cli.replay.running import Replay
from headrace_cli.replay.spool import Asked, Known
from headrace_cli.session import Session
from headrace_cli.terminal import waiting
from headrace_cli.terminal.waiting import NothingMoves

TOPICS = Topics.load(requests=2)
IDS = Ids("replay-a-", "headrace-replay/m")
DEPLOYMENT = compile_project(
    Project("p", [Deployment("d", unit="u", inputs=[Number("x")], label=Binary("late", "1h"), fallback=[prior(0.5)])])
).deployment("d")
EVENTS = [Asked(10.0, 0, 1, "u1", {"x": 1.0}), Asked(20.0, 0, 2, "u2", {}), Known(70.0, 0, 1, "u1", 1.0, (0, 1))]
ASKED = RetrainRequested("d", "drift", "why", "monitor")


class Bench:
    """A log on which services report, and one replay; `said` holds its messages."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        self.log, self.codec, self.said = log, Codec(TOPICS), list[str]()
        session = Session(log, TOPICS, self.codec, Projects(log, self.codec, TOPICS), clock)  # type: ignore[arg-type]  # a log in memory
        self.replay = Replay(session, DEPLOYMENT, IDS, self.said.append)
        requests = [TopicPartition(TOPICS.name("inference.requests"), p) for p in range(2)]
        log.commit_offsets(TOPICS.group("inference"), dict.fromkeys(requests, 10**6))

    async def tell(self, noun: str, ident: str, event: Any) -> None:
        producer = await self.log.producer()
        await producer.send([out(TOPICS.name(noun), ident, event, Envelope(ident, "", "test", 0.0))])

    async def alive(self, *services: str) -> None:
        for service in services:
            await self.tell("ops.health", service, HealthReported(service, service, True))

    async def run(self, sent: Sent | None = None) -> int:
        return await self.replay.run(EVENTS, sent or Sent(), None, lambda at_s, count: None)

    async def ids(self) -> list[str]:
        names = [TOPICS.name(noun) for noun in ("inference.requests", "inference.outcomes")]
        return sorted(message.envelope.id for message in await read_all(self.log, self.codec, names))


@pytest.fixture
async def bench(memory_log: MemoryLog, clock: ManualClock) -> Bench:
    await ensure_topics(memory_log, TOPICS.specs())
    return Bench(memory_log, clock)


async def test_requests_and_outcomes_go_out_under_their_ids_and_what_is_there_does_not(bench: Bench) -> None:
    await bench.alive("inference")
    sent = Sent()
    sent.requests.add(0, 2)
    assert await bench.run(sent) == 2
    assert await bench.ids() == ["replay-a-1", "replay-a-1/label"]
    assert bench.said == []


async def test_it_waits_while_a_version_is_asked_for_and_trained(bench: Bench) -> None:
    await bench.alive("inference", "trainer", "registry")
    await bench.tell("training.requests", "q1", ASKED)
    task = asyncio.create_task(bench.run())
    async with asyncio.timeout(10):
        while not bench.said:
            await asyncio.sleep(0.01)
        await bench.tell("training.facts", "a1", RetrainAccepted("d", "r1", "q1", "drift", "why", 0.0))
        assert await bench.ids() == []
        await bench.tell("training.facts", "f1", TrainingFinished("d", "r1", "rejected", "a gate"))
        assert await task == 3
    assert bench.said[0] == "the replay waits for the trainer to answer a retrain request"
    assert (bench.replay.holds, bench.replay.held_s > 0) == (1, True)


async def test_if_no_service_works_on_it_the_wait_ends_with_the_way_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUIET_S", 0.05)
    await bench.alive("inference")
    await bench.tell("training.requests", "q1", ASKED)
    with pytest.raises(
        NothingMoves, match="the trainer to answer a retrain request; the same command continues from here"
    ):
        await bench.run()
    assert await bench.ids() == []


async def test_without_inference_it_does_not_begin(bench: Bench, clock: ManualClock) -> None:
    with pytest.raises(HeadraceError, match="no inference service reports: `headrace up` starts one"):
        await bench.run()
    await bench.alive("inference")
    clock.advance(3600)
    with pytest.raises(HeadraceError, match="no inference service reports"):
        await bench.run()
