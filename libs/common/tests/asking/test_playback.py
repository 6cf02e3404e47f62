"""A replay is as fast as its readers and no faster, and waits while it is held."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from headrace.asking import playback as playing
from headrace.asking.playback import MONITOR_BEHIND, Pace, Playing, Step
from headrace.errors import Retryable
from headrace.log.admin import ensure_topics
from headrace.log.memory import MemoryLog, MemoryProducer
from headrace.log.port import Ack, Out, TopicPartition
from headrace.log.topics import Topics

TOPICS = Topics.load(requests=1)
REQUESTS = TopicPartition(TOPICS.name("inference.requests"), 0)
DECISIONS = TopicPartition(TOPICS.name("inference.decisions"), 0)
ROUNDS = 30


class Bench:
    """A replay of steps of one request each; `go` holds it, `services` are what paces it."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.go, self.tasks = log, asyncio.Event(), list[asyncio.Task]()
        self.go.set()

    def play(self, count: int, services: Sequence[str] = ("inference",), **how: float) -> Playing:
        found = Playing(self.log, Pace(self.log, TOPICS, services), self.go.wait)
        self.tasks.append(asyncio.create_task(found.play([step(n) for n in range(count)], **how)))
        return found

    def reached(self, service: str, tp: TopicPartition, offset: int) -> None:
        self.log.commit_offsets(TOPICS.group(service), {tp: offset})

    async def settled(self, found: Playing) -> int:
        """The number of records sent when it sends no more."""
        before, quiet = -1, 0
        while quiet < ROUNDS:
            await asyncio.sleep(0.001)
            quiet = quiet + 1 if found.sent == before else 0
            before = found.sent
        return before


def step(n: int) -> Step:
    async def make() -> Sequence[Out]:
        return [Out(REQUESTS.topic, b"u", b"{}", (), 0)]

    return Step(float(n), n + 1.0, make)


@pytest.fixture
async def bench(memory_log: MemoryLog) -> AsyncIterator[Bench]:
    await ensure_topics(memory_log, TOPICS.specs())
    found = Bench(memory_log)
    yield found
    for task in found.tasks:
        task.cancel()
    await asyncio.gather(*found.tasks, return_exceptions=True)


async def test_nothing_is_sent_before_what_preceded_the_last_look_is_decided(bench: Bench) -> None:
    found = bench.play(10)
    assert await bench.settled(found) == 2
    bench.reached("inference", REQUESTS, 1)
    assert await bench.settled(found) == 3
    bench.reached("inference", REQUESTS, 10)
    await bench.tasks[0]
    assert (found.sent, found.at_s) == (10, 10.0)


async def test_the_monitor_paces_it_by_the_present_ends_and_other_traffic_does_not(bench: Bench) -> None:
    bench.reached("inference", REQUESTS, 10)
    for _ in range(MONITOR_BEHIND + 1):
        bench.log.append(Out(DECISIONS.topic, b"u", b"{}", (), 0))
    found = bench.play(3, ("inference", "monitor"))
    assert await bench.settled(found) == 0
    for _ in range(5 * MONITOR_BEHIND):
        bench.log.append(Out(DECISIONS.topic, b"u", b"{}", (), 0))
    bench.reached("monitor", DECISIONS, 1)
    assert await bench.settled(found) == 1


async def test_in_a_sparse_history_the_monitor_is_at_most_one_step_behind(bench: Bench) -> None:
    bench.reached("inference", REQUESTS, 10)
    partitions = 0
    for noun in ("inference.decisions", "inference.outcomes"):
        partitions += len(await bench.log.partitions(TOPICS.name(noun)))
    for _ in range(partitions + 1):
        bench.log.append(Out(DECISIONS.topic, b"u", b"{}", (), 0))
    found = bench.play(3, ("inference", "monitor"))
    assert await bench.settled(found) == 1
    bench.reached("monitor", DECISIONS, 1)
    await bench.tasks[0]
    assert found.sent == 3


async def test_it_waits_while_it_is_held_and_does_not_catch_up_afterwards(bench: Bench) -> None:
    bench.reached("inference", REQUESTS, 10)
    bench.go.clear()
    found = bench.play(10, speed=100.0)
    assert await bench.settled(found) == 0
    clock = asyncio.get_running_loop().time
    let_go_s = clock()
    bench.go.set()
    await bench.tasks[0]
    assert found.sent == 10
    # NB: the last of ten steps is due 0.09 s after it was let go, however long it was held.
    assert clock() - let_go_s >= 0.09


async def test_a_service_without_progress_is_named_with_the_way_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playing, "STUCK_S", 0.05)
    bench.play(10)
    with pytest.raises(
        Retryable, match=r"inference has read none of .* \(1 are left\): see `headrace status`; the same command"
    ):
        await bench.tasks[0]


async def test_what_may_not_have_been_written_is_sent_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "RESEND_S", 0.0)
    send, tries = MemoryProducer.send, iter([True, False])

    async def failing(self: MemoryProducer, outs: Sequence[Out]) -> list[Ack]:
        if next(tries, False):
            raise Retryable("the broker is away")
        return await send(self, outs)

    monkeypatch.setattr(MemoryProducer, "send", failing)
    found = bench.play(1)
    await bench.tasks[0]
    assert found.sent == 1
    assert (await bench.log.end_offsets([REQUESTS]))[REQUESTS] == 1
