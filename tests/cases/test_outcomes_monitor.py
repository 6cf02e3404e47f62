"""The monitor's shard: labels follow the rule over a restart that reads records again, and an invalid label is a dead letter."""

import math

import pytest
from tests.cases.monitor_alone import DECISIONS, OUTCOMES, Monitor, compiled, one
from tests.cases.outcomes_oracle import HOUR, Outcome, Request, history, label_by_loops

from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import MonitorState, WindowClosed
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.project import Binary

H = 6 * HOUR


def stream(seed: int) -> tuple[list[Request], list[Outcome], list[Message]]:
    """A history as messages of two partitions, in the order of arrival."""
    requests, outcomes = history(seed)
    merged = [(r.at_s, r) for r in requests] + [(o.arrives_s, o) for o in outcomes]
    ends = {DECISIONS: 0, OUTCOMES: 0}
    messages = []
    for _, found in sorted(merged, key=lambda one: one[0]):
        topic = DECISIONS if isinstance(found, Request) else OUTCOMES
        record = Record(topic, 0, ends[topic], found.unit.encode(), None, (), int(1.78e12))
        ends[topic] += 1
        at_s = found.at_s if isinstance(found, Request) else found.known_s
        messages.append(Message(record, Envelope(found.id, "", "t", at_s), _event(found)))
    return requests, outcomes, messages


def _event(found: Request | Outcome) -> DecisionMade | OutcomeObserved:
    if isinstance(found, Request):
        return DecisionMade(found.id, "d", found.unit, found.at_s, Served(Score(1, "m", 0.5)), 0)
    return OutcomeObserved("d", found.unit, found.value, found.request, found.corrects)


def declared():
    return compiled(one("d", label=Binary("y", "6h")))


async def drained(monitor: Monitor) -> dict[float, WindowClosed]:
    for _ in range(3):
        await monitor.tick()
    return {window.from_s: window for window in monitor.windows("d")}


@pytest.mark.parametrize("seed", [0, 1])
async def test_windows_have_the_labels_of_plain_loops_also_over_a_restart(seed: int) -> None:
    requests, outcomes, messages = stream(seed)
    straight = Monitor(declared())
    await straight.start()
    for message in messages:
        await straight.read(message)
        await straight.tick(1.0)
    windows = await drained(straight)
    half = len(messages) // 2
    first, second = Monitor(declared()), Monitor(declared())
    await first.start()
    for message in messages[:half]:
        await first.read(message)
        await first.tick(1.0)
    for state in [event for event in first.events if isinstance(event, MonitorState)]:
        await second.shard.on_history(Message(Record("", 0, 0, None, None), Envelope("", "", "", 0.0), state))
    read = {topic: sum(m.record.topic == topic for m in messages[:half]) for topic in (DECISIONS, OUTCOMES)}
    starts = await second.start({TopicPartition(topic, 0): count for topic, count in read.items()})
    for message in messages:
        if message.record.offset >= starts[TopicPartition(message.record.topic, 0)]:
            await second.read(message)
            await second.tick(1.0)
    again = {window.from_s: window for window in first.windows("d")} | await drained(second)
    assert {n: (w.requests, w.labelled, w.positive_share) for n, w in again.items()} == {
        n: (w.requests, w.labelled, w.positive_share) for n, w in windows.items()
    }
    assert sum(window.requests for window in windows.values()) > 80
    last = max(windows)
    settled = [r for r in requests if r.at_s < last]
    labels = [label_by_loops(request, outcomes, H) for request in settled]
    known = sum(window.labelled for start_s, window in windows.items() if start_s < last)
    # NB: an outcome that arrives long after it was known may miss its window. It can add labels, but never remove any.
    assert 0.8 * known <= sum(not math.isnan(value) for value in labels) <= 1.3 * known


@pytest.mark.parametrize(
    ("deployment", "label", "why"),
    [
        ("d", 2.0, "the label of 'y' must be 0 or 1, got 2.0"),
        ("nobody", 1.0, "no project declares the deployment 'nobody'"),
        ("plain", 1.0, "the deployment 'plain' declares no label, so it takes no outcomes"),
    ],
)
async def test_an_outcome_that_nobody_can_use_is_a_dead_letter_with_the_reason(
    deployment: str, label: float, why: str
) -> None:
    monitor = Monitor(compiled(one("d"), one("plain", label=None)))
    await monitor.start()
    await monitor.read(monitor.message(OUTCOMES, OutcomeObserved(deployment, "u", label), 1.0))
    assert [reason for _, reason in monitor.dead] == [why]


async def test_outcomes_that_came_beyond_the_horizon_are_reported_with_the_window() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    await monitor.live("d", days=1)
    await monitor.read(monitor.message(OUTCOMES, OutcomeObserved("d", "u3", 1.0), 0.3 * 86_400.0 + 2 * HOUR))
    await monitor.live("d", since=1)
    assert [window.outcomes_beyond for window in monitor.windows("d")][:2] == [1, 0]
