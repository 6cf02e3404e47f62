"""The memory for decisions that wait for labels is bounded: bytes per decision, and no growth at a steady rate."""

import gc
import tracemalloc
from collections.abc import Mapping

import pytest

from headrace.clock import ManualClock
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.hosting.health import Health
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

DAY = 86_400.0
NOW = 1_780_000_000.0
TOPICS = Topics.load()
DECISIONS, OUTCOMES = TOPICS.name("inference.decisions"), TOPICS.name("inference.outcomes")


class Stream:
    """Requests at an even rate of event time, each with its outcome one event day later."""

    def __init__(self, per_day: int) -> None:
        self.per_day, self.count = per_day, 0
        self.health, self.clock = Health("monitor", "m"), ManualClock(NOW)
        project = compile_project(Project("p", [Deployment("d", "u", [Number("x")], label=Binary("y", horizon="36h"))]))
        self.shard = MonitorShard(TOPICS, [project], self.clock, Liveness(), Outside(self.behind), self.health)

    async def behind(self) -> Mapping[TopicPartition, int]:
        return {TopicPartition(t, p): 0 for t in (DECISIONS, OUTCOMES) for p in (0, 1)}

    async def pump(self, decisions: int, *, labels: bool = True) -> None:
        """Feed `decisions` more in batches, as they are decoded, so that only the monitor keeps them."""
        for begin in range(self.count, self.count + decisions, 1000):
            batch = []
            for n in range(begin, begin + 1000):
                at_s = n * DAY / self.per_day
                batch.append(self.message(DECISIONS, n, at_s, decision(n, at_s)))
                if labels and n >= self.per_day:
                    unit = n - self.per_day
                    batch.append(
                        self.message(OUTCOMES, unit, at_s, OutcomeObserved("d", f"unit-{unit}", unit % 3 == 0))
                    )
            await self.shard.on_batch(batch)
            self.clock.advance(3.0)
            await self.shard.on_tick()
        self.count += decisions

    def message(self, topic: str, n: int, at_s: float, event: object) -> Message:
        record = Record(topic, n % 2, n // 2, b"k", None, (), int(NOW * 1000))
        return Message(record, Envelope(f"{topic}{n}", "", "t", at_s), event)


def decision(n: int, at_s: float) -> DecisionMade:
    answer = Served(Score(1, "digest", 0.1 + n % 80 / 100))
    shadow = (Score(2, "digest", 0.5),) if n % 4 == 0 else ()
    return DecisionMade(
        f"request-{n}", "d", f"unit-{n}", at_s, answer, n, row=bytes(120), shadows=shadow, took_ms={"1": 1.0}, assigned=1,
        entities={"carrier": "AA"}, applied={"events.landings.v1/0": n},
    )  # fmt: skip


@pytest.mark.parametrize("count", [20_000])
async def test_a_decision_that_waits_for_its_label_costs_at_most_64_bytes(count: int) -> None:
    """The bytes that Python allocates per decision between two points. Every fourth decision has a shadow's score."""
    stream = Stream(per_day=10 * count)
    await stream.shard.on_start({})
    await stream.pump(5000, labels=False)
    gc.collect()
    tracemalloc.start()
    grown: list[int] = []
    # NB: threads that other tests left in this process sometimes allocate too, so the smaller of two intervals is ours.
    for _ in range(2):
        before = tracemalloc.get_traced_memory()[0]
        await stream.pump(count, labels=False)
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert min(grown) / count <= 64.0
    assert stream.health.state_bytes["windows"] == pytest.approx(52 * stream.count, rel=0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_half_an_hour_at_200_a_second_with_labels_a_day_late_does_not_grow_after_its_second_third() -> None:
    """360,000 decisions over fifteen event days: memory at the end is at most a tenth above the memory after two thirds."""
    stream = Stream(per_day=24_000)
    await stream.shard.on_start({})
    tracemalloc.start()
    await stream.pump(240_000)
    gc.collect()
    then = tracemalloc.get_traced_memory()[0]
    await stream.pump(120_000)
    gc.collect()
    now = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert now <= 1.1 * then
    states, limits = stream.health.state_bytes, stream.health.state_limits
    assert all(states[name] <= limits[name] for name in states)
    assert stream.shard.core.deployments.watched["d"].findings.windows_closed >= 12
