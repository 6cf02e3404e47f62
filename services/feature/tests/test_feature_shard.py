"""The feature shard: exact under repeats and restarts, tiles equal to a batch fold."""

import asyncio
from dataclasses import dataclass

import msgspec
import pytest

from headrace.bus.admin import ensure_topics
from headrace.bus.port import Out
from headrace.bus.shards import ShardHost
from headrace.bus.views import View
from headrace.codec import Codec, out
from headrace.envelope import Envelope, Origin
from headrace.events.features import PipelineAdvanced
from headrace.features.origins import Origins
from headrace.features.store import OnlineStore
from headrace.obs.health import Health
from headrace.project import Count, Deployment, FeatureView, Key, Mean, Project, Source
from headrace.project.compile import compile_project, event_struct
from headrace.testing.memory import MemoryLog
from headrace.topics import Topics
from headrace_feature.shell import FeatureShard

START = 1_364_774_400.0


class Landing(msgspec.Struct):
    landed_at: float
    carrier: str
    delay_min: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="landed_at", key="carrier")
CARRIER = FeatureView(
    "carrier", source=LANDINGS, entity="carrier", features={"mean": Mean("delay_min", "3h"), "n": Count("3h")}
)
PROJECT = compile_project(
    Project(
        "p",
        [Deployment("d", "u", [Key("carrier")], [CARRIER.by("carrier")], settle=0)],
        sources=[LANDINGS],
        views=[CARRIER],
    )
)


def test_an_origin_counts_once_whatever_the_order() -> None:
    origins = Origins()
    seen = [origins.is_repeat(Origin("raw", 0, offset)) for offset in (3, 1, 3, 2, 1)]
    assert seen == [False, False, True, False, True]


def test_a_marker_forgets_what_lies_below_it_and_refuses_it_for_ever() -> None:
    origins = Origins()
    origins.is_repeat(Origin("raw", 0, 5))
    origins.advance("raw/0", 5)
    assert origins.is_repeat(Origin("raw", 0, 4))
    assert not origins.sparse["raw/0"]


def test_two_outputs_of_one_raw_record_are_two_events() -> None:
    origins = Origins()
    assert not origins.is_repeat(Origin("raw", 0, 5, 0))
    assert not origins.is_repeat(Origin("raw", 0, 5, 1))


@dataclass
class Bench:
    log: MemoryLog
    topics: Topics
    codec: Codec

    async def send(self, *outs: Out) -> None:
        await (await self.log.producer()).send(outs)

    def landing(self, offset: int, delay: float | None) -> Out:
        envelope = Envelope(f"l{offset}", "landing", "t", START + offset, origin=Origin("raw.m.v1", 0, offset))
        return out(self.topics.of_source("landings"), "AA", Landing(START + offset, "AA", delay), envelope, 0)

    async def fold(self, records: int) -> None:
        health = Health("feature", "t")
        host = ShardHost(
            self.log,
            self.codec,
            self.topics,
            service="feature",
            inputs=[self.topics.of_source("landings")],
            make=lambda shard: FeatureShard(self.topics, [PROJECT], shard),
            health=health,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(host.run(stop))
        async with asyncio.timeout(20):
            while health.handled < records:
                await asyncio.sleep(0.01)
        stop.set()
        await task

    async def store(self) -> OnlineStore:
        store = OnlineStore()
        store.define([PROJECT])
        view = View(self.log, self.codec, [self.topics.name("features.online")], store.apply)
        await view.start()
        return store


@pytest.fixture
async def bench(memory_log: MemoryLog) -> Bench:
    topics = Topics.load()
    codec = Codec(topics, {topics.of_source("landings"): event_struct(PROJECT.sources[0])})
    await ensure_topics(memory_log, topics.specs(PROJECT))
    return Bench(memory_log, topics, codec)


async def test_tiles_hold_the_fold_of_all_events(bench: Bench) -> None:
    await bench.send(*[bench.landing(n, float(n)) for n in range(10)], bench.landing(10, None))
    await bench.fold(11)
    values = (await bench.store()).lookup("carrier", "AA", START + 3600, 0.0)
    assert values.tolist() == [4.5, 11.0]


async def test_repeated_origins_change_nothing_even_after_a_restart(bench: Bench) -> None:
    events = [bench.landing(n, float(n)) for n in range(10)]
    await bench.send(*events, *events[5:])
    await bench.fold(15)
    marker = PipelineAdvanced("land", "raw.m.v1", 0, 9)
    await bench.send(
        *events, out(bench.topics.of_source("landings"), None, marker, Envelope("m", "", "t", START), 0), *events
    )
    await bench.fold(21)
    store = await bench.store()
    assert store.lookup("carrier", "AA", START + 3600, 0.0).tolist() == [4.5, 10.0]
    assert store.origins() == {"raw.m.v1/0": -1} or store.origins() == {"raw.m.v1/0": 9}


async def test_an_event_that_breaks_its_contract_is_dead_lettered_with_the_field(bench: Bench) -> None:
    topic = bench.topics.of_source("landings")
    await bench.send(Out(topic, b"AA", b'{"landed_at": "noon", "carrier": "AA"}', partition=0), bench.landing(1, 1.0))
    await bench.fold(2)
    reader = await bench.log.reader(await bench.log.partitions(bench.topics.dlq("feature")), "beginning")
    (dead,) = await reader.fetch(1.0)
    assert dict(dead.headers)["headrace.field"] == b"landed_at"
    assert (await bench.store()).lookup("carrier", "AA", START + 3600, 0.0)[1] == 1
