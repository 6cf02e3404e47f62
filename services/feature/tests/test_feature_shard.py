"""The feature shard: exact under repeats and restarts, tiles equal to a batch fold."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from headrace.clock import ManualClock
from headrace.events.definition import ProjectDefinition
from headrace.events.features import PipelineAdvanced
from headrace.features.events import EventTable
from headrace.features.origins import PLACES_BYTES, Origins
from headrace.features.repeats import PART_IDENTITIES
from headrace.features.store import OnlineStore
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.hosting.metrics import page
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope, Origin
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project import Count, Deployment, FeatureView, Key, Max, Mean, Project, Source
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace_feature.adapters.admission import Admission
from headrace_feature.adapters.history import History
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
        [Deployment("d", "u", [Key("carrier")], [CARRIER.by("carrier")], feature_delay=0)],
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
    project: ProjectDefinition = PROJECT
    health: Health = field(default_factory=lambda: Health("feature", "t"))

    def history(self, partition: TopicPartition) -> History:
        return History(self.log, self.admission, partition)

    @property
    def admission(self) -> Admission:
        return Admission(self.codec, self.topics, self.project.sources)

    async def send(self, *outs: Out) -> None:
        await (await self.log.producer()).send(outs)

    def landing(self, offset: int, delay: float | None) -> Out:
        envelope = Envelope(f"l{offset}", "landing", "t", START + offset, origin=Origin("raw.m.v1", 0, offset))
        return out(self.topics.of_source("landings"), "AA", Landing(START + offset, "AA", delay), envelope, 0)

    async def fold(self, records: int, until: Callable[[FeatureShard], bool] = lambda shard: True) -> None:
        """Run the host until it has handled `records` and every shard satisfies `until`."""
        self.health, shards = Health("feature", "t"), {}

        def make(number: int) -> FeatureShard:
            shards[number] = FeatureShard(self.topics, [self.project], number, self.history, self.health)
            return shards[number]

        host = ShardGroup(
            self.log,
            self.codec,
            self.topics,
            service="feature",
            inputs=[self.topics.of_source("landings")],
            make=make,
            health=self.health,
            tick_s=0.05,
            decode=self.admission.decode,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(host.run(stop))
        async with asyncio.timeout(20):
            while self.health.handled < records or len(shards) < 2 or not all(map(until, shards.values())):
                await asyncio.sleep(0.01)
            reported = 0
            while reported < 2:
                reported = len((await self.store([self.project])).shards)
                await asyncio.sleep(0.01)
        stop.set()
        await task

    async def store(self, projects: Sequence[ProjectDefinition] = (PROJECT,)) -> OnlineStore:
        store = OnlineStore()
        store.define(projects)
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
    values = (await bench.store()).lookup(PROJECT.views[0].key, "AA", START + 3600, 0.0)
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
    assert store.lookup(PROJECT.views[0].key, "AA", START + 3600, 0.0).tolist() == [4.5, 10.0]
    assert store.shards["landings", 0].origins == {"raw.m.v1/0": 9}


async def test_events_of_a_raw_topic_that_was_made_again_are_no_repeats_whoever_folds_them(bench: Bench) -> None:
    topic = bench.topics.of_source("landings")

    def marker(offset: int, topic_id: str) -> Out:
        event = PipelineAdvanced("land", "raw.m.v1", 0, offset, topic_id)
        return out(topic, None, event, Envelope(f"m{offset}", "", "t", START), 0)

    old, new = [bench.landing(n, 1.0) for n in range(10)], [bench.landing(n, 4.0) for n in range(5)]
    await bench.send(marker(-1, "old"), *old, marker(9, "old"), *old)
    await bench.fold(22)
    await bench.send(marker(-1, "new"), *new, marker(4, "new"), *new)
    await bench.fold(12)
    store = await bench.store()
    assert store.lookup(PROJECT.views[0].key, "AA", START + 3600, 0.0).tolist() == [2.0, 15.0]
    assert store.shards["landings", 0].origins == {"raw.m.v1/0": 4}
    assert store.shards["landings", 0].topic_ids == {"raw.m.v1/0": "new"}
    table = EventTable(PROJECT.sources[0])
    reader = await bench.log.reader([TopicPartition(topic, 0)], "beginning")
    for record in await reader.fetch(1.0, 1000):
        table.take(bench.codec.decode(record))
    assert len(table) == 15


async def test_markers_that_somebody_invents_never_make_the_shards_own_record_one_that_nobody_reads(
    bench: Bench,
) -> None:
    def marker(n: int, topic: str) -> Out:
        event = {"pipeline": "x", "topic": topic, "partition": 0, "offset": 2**46, "topic_id": f"{n:036}"}
        headers = (("ce_type", b"pipeline.advanced"),)
        return Out(bench.topics.of_source("landings"), b"AA", msgspec.msgpack.encode(event), headers, partition=0)

    impossible = [marker(n, f"{n:04}" + "\U0001f600" * 290) for n in range(10)]
    longest = [marker(n, f"{n:04}".ljust(249, "x")) for n in range(1000)]
    await bench.send(*longest, *impossible, bench.landing(1, 1.0))
    await bench.fold(1011)
    assert bench.health.dead_lettered == len(impossible)
    await bench.send(bench.landing(1, 1.0), bench.landing(2, 1.0))
    await bench.fold(2)
    store = await bench.store()
    assert store.lookup(PROJECT.views[0].key, "AA", START + 3600, 0.0).tolist() == [1.0, 2.0]
    assert len(msgspec.msgpack.encode(store.shards["landings", 0])) < PLACES_BYTES + 1000


async def test_an_event_that_breaks_its_contract_is_dead_lettered_with_the_field(bench: Bench) -> None:
    topic = bench.topics.of_source("landings")
    await bench.send(Out(topic, b"AA", b'{"landed_at": "noon", "carrier": "AA"}', partition=0), bench.landing(1, 1.0))
    await bench.fold(2)
    reader = await bench.log.reader(await bench.log.partitions(bench.topics.dlq("feature")), "beginning")
    (dead,) = await reader.fetch(1.0)
    assert dict(dead.headers)["headrace.field"] == b"landed_at"
    assert (await bench.store()).lookup(PROJECT.views[0].key, "AA", START + 3600, 0.0)[1] == 1


OTHER = FeatureView("carrier", source=LANDINGS, entity="carrier", features={"most": Max("delay_min", "24h")})
CHANGED = compile_project(
    Project(
        "p",
        [Deployment("d", "u", [Key("carrier")], [OTHER.by("carrier")], feature_delay=0)],
        sources=[LANDINGS],
        views=[OTHER],
    )
)


async def test_a_changed_view_is_built_from_the_beginning_beside_the_running_one_and_the_old_one_goes_later(
    bench: Bench,
) -> None:
    await bench.send(*[bench.landing(n, float(n)) for n in range(10)])
    await bench.fold(10)
    old, new = PROJECT.views[0].key, CHANGED.views[0].key
    bench.project = CHANGED
    await bench.send(*[bench.landing(n, float(n)) for n in range(10, 20)])
    await bench.fold(10, until=lambda shard: new in shard.fold_of("landings").views)
    store = await bench.store([PROJECT, CHANGED])
    assert store.lookup(new, "AA", START + 3600, 0.0).tolist() == [19.0]
    assert store.lookup(old, "AA", START + 3600, 0.0).tolist() == [9.5, 20.0]
    await bench.send(bench.landing(20, 50.0))
    await bench.fold(1)
    store = await bench.store([PROJECT, CHANGED])
    assert store.lookup(new, "AA", START + 3600, 0.0).tolist() == [50.0]
    assert not store.is_built(old)
    assert (store.entity_count(old), store.entity_count(new)) == (0, 1)


async def test_a_view_is_not_answered_from_before_it_is_complete(bench: Bench) -> None:
    store = await bench.store([PROJECT])
    assert np.isnan(store.lookup(PROJECT.views[0].key, "AA", START, 0.0)).all()
    await bench.fold(0, until=lambda shard: True)
    store = await bench.store([PROJECT])
    assert store.lookup(PROJECT.views[0].key, "AA", START, 0.0)[1] == 0.0


async def test_the_shard_tells_how_new_its_events_are_and_how_many_came_too_late(
    bench: Bench, clock: ManualClock
) -> None:
    clock.advance(31 * 86_400)
    await bench.send(bench.landing(30 * 86_400, 1.0), bench.landing(0, 1.0))
    await bench.fold(2)
    assert bench.health.report().newest_event_s["landings/0"] == START + 30 * 86_400
    assert bench.health.late["landings/0"] == 1
    assert b'headrace_feature_late_events_total{source="landings"} 1.0' in page(bench.health)


async def test_after_a_restart_the_shard_knows_how_new_its_events_are_before_another_comes(bench: Bench) -> None:
    await bench.send(bench.landing(0, 1.0))
    await bench.fold(1)
    bench.health.newest_event_s.clear()
    await bench.fold(0, until=lambda shard: True)
    assert bench.health.report().newest_event_s == {"landings/0": START}


UNIQUE = Source(
    "landings", event=Landing, event_time="landed_at", key="carrier", dedupe="delay_min", dedupe_within="1h"
)
COUNTED = FeatureView("carrier", source=UNIQUE, entity="carrier", features={"n": Count("3h")})
DEDUPED = compile_project(
    Project(
        "p",
        [Deployment("d", "u", [Key("carrier")], [COUNTED.by("carrier")], feature_delay=0)],
        sources=[UNIQUE],
        views=[COUNTED],
    )
)


async def test_a_days_file_of_one_instant_is_written_in_parts_that_survive_a_restart_and_end_together(
    memory_log: MemoryLog, clock: ManualClock
) -> None:
    topics = Topics.load()
    codec = Codec(topics, {topics.of_source("landings"): event_struct(DEDUPED.sources[0])})
    await ensure_topics(memory_log, topics.specs(DEDUPED))
    bench = Bench(memory_log, topics, codec, DEDUPED)
    count = 2 * PART_IDENTITIES + 1

    def landing(number: float, at_s: float = START) -> Out:
        return out(
            topics.of_source("landings"), "AA", Landing(at_s, "AA", number), Envelope(f"l{number}", "", "t", at_s), 0
        )

    async def seen() -> dict[bytes, list[int]]:
        """Per key of identities the sizes of its records, 0 for its deletion."""
        found: dict[bytes, list[int]] = {}
        reader = await memory_log.reader([TopicPartition(topics.name("features.online"), 0)], "beginning")
        for record in await reader.fetch(1.0, 10_000):
            if record.key is not None and record.key.startswith(b"~seen/"):
                found.setdefault(record.key, []).append(len(record.value or b""))
        return found

    await bench.send(*[landing(float(n)) for n in range(count)])
    await bench.fold(count)
    written = await seen()
    assert len(written) == 3
    assert max(map(max, written.values())) < 16 * PART_IDENTITIES + 500
    await bench.send(*[landing(float(n)) for n in range(count + 1)])
    await bench.fold(count + 1)
    store = await bench.store([DEDUPED])
    assert store.lookup(DEDUPED.views[0].key, "AA", START + 3600, 0.0).tolist() == [count + 1]
    clock.advance(3 * 86_400)
    await bench.send(landing(0.0, START + 3 * 86_400))
    await bench.fold(1)
    sizes = await seen()
    assert [found[-1] for key, found in sizes.items() if key in written] == [0, 0, 0]
    assert len(sizes) == 4
