"""The monitor's shard alone, hour by hour and as a backlog of whole fetches of one partition after another: the same records."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.cases.backlog_scene import DAY, DAYS, PROJECT, Stream, assert_same, by_kind

from headrace.clock import ManualClock
from headrace.events.inference import DecisionMade
from headrace.hosting.health import Health
from headrace.log.codec import Codec, Message
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

COUNT = 24_000
TOPICS = Topics.load()
CODEC = Codec(TOPICS)
WRITTEN_S = 1_780_000_000.0


class Reader:
    """A shard that reads from lists in memory. `written`: what it wrote, decoded."""

    def __init__(self, later_s: float) -> None:
        self.clock, self.log, self.read_to = (
            ManualClock(WRITTEN_S + later_s),
            dict[TopicPartition, list[Record]](),
            dict[TopicPartition, int](),
        )
        outside = Outside(self._behind, reread=self._reread)
        self.shard = MonitorShard(TOPICS, [PROJECT], self.clock, Liveness(), outside, Health("monitor", "m"))
        self.written: list[Any] = []

    def append(self, outs: Sequence[Out]) -> None:
        """Records come onto the log."""
        for one in outs:
            lies = self.log.setdefault(TopicPartition(one.topic, one.partition or 0), [])
            lies.append(
                Record(one.topic, one.partition or 0, len(lies), one.key, one.value, one.headers, int(WRITTEN_S * 1000))
            )

    async def read(self, most: int) -> bool:
        """Read a fetch of each partition in turn. Returns whether there was anything."""
        found = False
        for tp, records in self.log.items():
            begin = self.read_to.get(tp, 0)
            batch = [CODEC.decode(record) for record in records[begin : begin + most]]
            self.read_to[tp] = begin + len(batch)
            if batch:
                self._take((await self.shard.on_batch(batch)).outs)
                found = True
        return found

    async def settle(self) -> None:
        """Nothing comes for a while."""
        for _ in range(4):
            self.clock.advance(1.0)
            self._take((await self.shard.on_tick()).outs)

    def _take(self, outs: Sequence[Out]) -> None:
        self.written += [CODEC.decode(Record(o.topic, 0, 0, o.key, o.value, o.headers)).event for o in outs]

    async def _behind(self) -> Mapping[TopicPartition, int]:
        return {tp: len(records) - self.read_to.get(tp, 0) for tp, records in self.log.items()}

    async def _reread(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> list[DecisionMade]:
        return [CODEC.decode(self.log[tp][offset]).event for tp, offsets in wanted.items() for offset in offsets]


async def started(reader: Reader, stream: Stream) -> Reader:
    """With the version that is registered and champion."""
    model, champion = stream.registry(TOPICS)
    for tp in (
        TopicPartition(TOPICS.name(n), p) for n in ("inference.decisions", "inference.outcomes") for p in (0, 1)
    ):
        reader.log[tp] = []
    await reader.shard.on_history(message(model))
    await reader.shard.on_start({})
    await reader.shard.on_batch([message(champion)])
    return reader


def message(one: Out) -> Message:
    """The message of a record."""
    return CODEC.decode(Record(one.topic, 0, 0, one.key, one.value, one.headers, int(WRITTEN_S * 1000)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fetch", [700])
async def test_a_backlog_gives_the_records_of_live_reading(fetch: int) -> None:
    stream = Stream(COUNT)
    live, backlog = await started(Reader(0.0), stream), await started(Reader(3600.0), stream)
    for outs in stream.hours(TOPICS):
        live.append(outs)
        backlog.append(outs)
        while await live.read(2000):
            pass
        await live.settle()
    while await backlog.read(fetch):
        pass
    await backlog.settle()
    first, second = by_kind(live.written), by_kind(backlog.written)
    assert_same(first, second)
    assert sum(window.requests for window in first["WindowClosed"] if window.to_s <= DAYS * DAY) == COUNT
    assert sum(window.late_corrections for window in first["WindowClosed"]) > 0
    assert {(one.kind, one.about) for one in first["FindingOpened"]} >= {
        ("contract", "inputs.x3"), ("contract", "inputs.x1"), ("inputs", "x2"),
    }  # fmt: skip
    assert [one.kind for one in first["FindingOpened"] if one.severity == "page"] == ["drift"]
