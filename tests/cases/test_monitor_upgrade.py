"""The monitor of today on the log of one from before charts, estimates and the watch of inputs.

`before_charts.msgpack.xz` was written by the monitor of commit 496bae14: eighteen days of four deployments (two classes, no labels
from the sixth day on, a number, no label), with labels that are wrong from the twelfth day on. When it ended, three findings were
open, and four alerts fired: two of drift, missing labels, and a gateway that was away.
"""

import lzma
import random
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cases.monitor_alone import CODEC, DAY, DECISIONS, NOW, OUTCOMES, Monitor

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.alerts import AlertChanged
from headrace.events.definition import ProjectDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.hosting.alerts import is_watchdog
from headrace.hosting.needs import needed
from headrace.log.admin import ensure_topics, require_topics
from headrace.log.memory import MemoryLog
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics

OPEN = {"a": ["drift"], "b": ["labels"], "c": ["drift"], "d": []}


@cache
def old() -> dict[str, Any]:
    """What the old monitor read (`inputs`) and wrote (`outs`), when it ended (`now`), and the applied `project`."""
    return msgspec.msgpack.decode(lzma.decompress((Path(__file__).parent / "before_charts.msgpack.xz").read_bytes()))


def inputs() -> list[Record]:
    return [
        Record(topic, 0, offset, key, value, tuple(map(tuple, headers)), timestamp_ms)
        for topic, offset, key, value, headers, timestamp_ms in old()["inputs"]
    ]


async def upgraded() -> Monitor:
    """The monitor of today, started a minute after the old one ended, and looked at for a minute."""
    monitor = Monitor(msgspec.msgpack.decode(old()["project"], type=ProjectDefinition))
    monitor.clock.advance(old()["now"] + 60 - NOW)
    whole, places = {found.topic for found in monitor.shard.rebuild()}, dict[str, int]()
    for topic, key, value, headers in old()["outs"]:
        offset = places[topic] = places.get(topic, -1) + 1
        record = Record(topic, 0, offset, key, value, tuple(map(tuple, headers)), int(old()["now"] * 1000))
        if topic in whole:
            await monitor.shard.on_history(CODEC.decode(record))
    for record in inputs():
        monitor.ends[TopicPartition(record.topic, 0)] = record.offset + 1
    committed = dict(monitor.ends)
    begin = await monitor.start(committed)
    for record in inputs():
        place = TopicPartition(record.topic, 0)
        if record.offset >= begin.get(place, committed[place]):
            await monitor.read(CODEC.decode(record))
    monitor.beat("inference")
    monitor.beat("gateway")
    for _ in range(20):
        await monitor.tick()
    return monitor


async def live(monitor: Monitor, days: range) -> None:
    """Usual days of the same four deployments."""
    for day in days:
        rng = random.Random(day)
        for n in range(20):
            at_s = (day + (n + 0.5) / 20) * DAY
            for name in "abcd":
                unit, p = f"{name}{day}-{n}", rng.random()
                score = 10 * p if name == "c" else min(max(p, 0.02), 0.98)
                made = DecisionMade(f"r{unit}", name, unit, at_s, Served(Score(1, "m", score)), n)
                await monitor.read(monitor.message(DECISIONS, made, at_s))
                if name in "ac":
                    label = 10 * p + rng.gauss(0, 0.5) if name == "c" else float(rng.random() < p)
                    outcome = OutcomeObserved(name, unit, min(max(label, 0.0), 20.0))
                    await monitor.read(monitor.message(OUTCOMES, outcome, at_s + 60))
        monitor.beat("inference")
        monitor.beat("gateway")
        await monitor.tick()


def told(monitor: Monitor) -> list[tuple[str, str]]:
    """The alerts that were written: name and status."""
    alerts = [found for found in monitor.events if isinstance(found, AlertChanged) and not is_watchdog(found)]
    return [(found.labels["alertname"], found.status) for found in alerts]


def findings(monitor: Monitor) -> list[FindingOpened | FindingResolved]:
    return [found for found in monitor.events if isinstance(found, FindingOpened | FindingResolved)]


async def test_what_was_open_stays_open_and_nothing_is_told_again() -> None:
    monitor = await upgraded()
    watched = monitor.shard.core.deployments.watched
    assert {name: list(found.findings.open) for name, found in watched.items()} == OPEN
    assert told(monitor) == [("ServiceDown", "resolved")]
    assert findings(monitor) == []
    assert monitor.dead == []


async def test_windows_go_on_where_they_were_and_old_findings_and_their_alerts_end() -> None:
    monitor = await upgraded()
    await live(monitor, range(18, 30))
    assert sorted((found.deployment, type(found)) for found in findings(monitor)) == [
        ("a", FindingResolved),
        ("c", FindingResolved),
    ]
    before = [CODEC.decode(Record(out[0], 0, 0, *out[1:3], tuple(map(tuple, out[3])))).event for out in old()["outs"]]
    opened = {found.finding for found in before if isinstance(found, FindingOpened)}
    assert {found.finding for found in findings(monitor)} <= opened
    assert told(monitor) == [("ServiceDown", "resolved"), ("ModelDrift", "resolved"), ("ModelDrift", "resolved")]
    ends = [window.to_s / DAY for window in monitor.windows("a")]
    closed_to_s = max(found.to_s for found in before if isinstance(found, WindowClosed) and found.deployment == "a")
    assert ends[0] == closed_to_s / DAY + 1
    assert ends == sorted(set(ends))


async def test_a_service_that_needs_a_new_topic_says_so_in_one_sentence() -> None:
    log, topics = MemoryLog(ManualClock(NOW)), Topics.load()
    new = topics.name("monitor.backtests")
    await ensure_topics(log, [spec for spec in topics.specs() if spec.name != new])
    mine = {
        name: [spec for spec in topics.specs() if spec.name in needed(topics, name)] for name in ("monitor", "console")
    }
    await require_topics(log, mine["monitor"])
    with pytest.raises(Misconfigured) as refused:
        await require_topics(log, mine["console"])
    assert str(refused.value) == "topics are missing: monitor.backtests.v1; run `headrace topic apply`"
