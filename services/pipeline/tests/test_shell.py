"""One pipeline on the log in memory: order of writing, memory, dead letters, and a stop that loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.clock import SystemClock
from headrace.errors import Retryable
from headrace.events.features import PipelineAdvanced
from headrace.events.ops import PartitionResumed
from headrace.hosting.health import Health
from headrace.hosting.stops import Stops, stop_record
from headrace.hosting.triage import Learn
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Deduplicate, Project, RawStream, Reference, Source, pipeline
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace.project.deployments import Deployment
from headrace.project.fields import Key
from headrace_pipeline.adapters.feed import Feed
from headrace_pipeline.adapters.in_flight import InFlight
from headrace_pipeline.adapters.raw_history import RawHistory
from headrace_pipeline.adapters.references import References
from headrace_pipeline.adapters.runner import TransformRunner
from headrace_pipeline.adapters.threads import Transform
from headrace_pipeline.adapters.transform import HostedTransform
from headrace_pipeline.core.contract import Contract, targets_of
from headrace_pipeline.core.lookback import MOST_PASSES, Lookback
from headrace_pipeline.core.progress import Progress
from headrace_pipeline.shell import PipelineShell


class Landing(msgspec.Struct):
    at: float
    flight: str


LANDINGS = Source("landings", event=Landing, event_time="at", key="flight")
FEED = RawStream("feed", partitions=2)


@pipeline(FEED, to=[LANDINGS], remembers="1h")
async def first_landings(messages: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Landing]:
    seen = Deduplicate("1d")
    async for message in messages:
        if not seen.is_repeat(message["flight"], message["at"]):
            yield Landing(message["at"], message["flight"])


PROJECT = compile_project(
    Project(
        "p",
        [Deployment("d", "u", [Key("k")])],
        raw=[FEED],
        pipelines=[first_landings],
        sources=[LANDINGS],
        references=[Reference("carriers")],
    )
)


class Bench:
    def __init__(self, log: MemoryLog, folder: Path) -> None:
        self.folder = folder
        self.log, self.topics = log, Topics.load()
        self.codec = Codec(self.topics, {self.topics.of_source("landings"): event_struct(PROJECT.sources[0])})
        self.raw = TopicPartition(self.topics.of_raw("feed"), 0)
        self.health = Health("pipeline", "t")
        self.runners: list[TransformRunner] = []
        self.followed: list[Stops] = []

    async def send(self, *messages: dict[str, Any] | bytes, partition: int = 0) -> None:
        values = [m if isinstance(m, bytes) else msgspec.json.encode(m) for m in messages]
        await (await self.log.producer()).send(
            [Out(self.raw.topic, b"k", value, partition=partition) for value in values]
        )

    async def shell(
        self,
        producer: Any = None,
        topic_id: str = "",
        transform: Transform = first_landings.transform,
        learn: Learn | None = None,
    ) -> PipelineShell:
        """A worker that has just started."""
        compiled = PROJECT.pipelines[0]
        self.runners.append(TransformRunner("first_landings", transform))
        clock, history = SystemClock(), RawHistory(self.log, int(compiled.remembers_s * 1000))
        feed = Feed("first_landings", self.runners[-1], InFlight(self.folder), self.raw.topic)
        return PipelineShell(
            self.topics,
            producer or await self.log.producer(),
            self.health,
            HostedTransform(feed, clock, self.health, history),
            Contract(self.topics, PROJECT, compiled, targets_of(first_landings)),
            Progress("first_landings", ((self.topics.of_source("landings"), 2),), topic_id),
            await self.stops(),
            clock,
            learn,
        )

    async def stops(self) -> Stops:
        """What is stopped now."""
        self.followed.append(Stops(self.log, self.codec, self.topics, "pipeline"))
        await self.followed[-1].start()
        return self.followed[-1]

    async def raw_records(self, start: int, end: int | None = None, partition: int = 0) -> list[Record]:
        raw = TopicPartition(self.raw.topic, partition)
        reader = await self.log.reader([raw], {raw: start})
        found = await reader.fetch(0.1, 1000)
        return [record for record in found if end is None or record.offset < end]

    async def written(self, topic: str) -> list[Record]:
        reader = await self.log.reader(await self.log.partitions(topic), "beginning")
        return list(await reader.fetch(0.1, 1000))

    async def flights(self) -> list[str]:
        messages = [self.codec.decode(record) for record in await self.written(self.topics.of_source("landings"))]
        return sorted(m.event.flight for m in messages if not isinstance(m.event, PipelineAdvanced))


@pytest.fixture
async def bench(memory_log: MemoryLog, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(memory_log, tmp_path)
    await ensure_topics(memory_log, bench.topics.specs(PROJECT))
    yield bench
    for runner in bench.runners:
        await runner.close()
    for stops in bench.followed:
        await stops.close()


def landed(flight: str, at: float = 0.0) -> dict[str, Any]:
    return {"flight": flight, "at": at}


async def test_a_worker_that_takes_over_remembers_what_the_one_before_had_seen(bench: Bench) -> None:
    await bench.send(landed("a"), landed("b"), landed("a", 60.0), landed("b", 60.0), landed("c"))
    await (await bench.shell()).handle(await bench.raw_records(0, 2))
    await (await bench.shell()).handle(await bench.raw_records(2))
    assert await bench.flights() == ["a", "b", "c"]


async def test_a_partition_that_was_elsewhere_for_a_while_is_remembered_whole(bench: Bench) -> None:
    await bench.send(landed("a"), landed("b"), landed("b", 60.0), landed("c"))
    shell = await bench.shell()
    await shell.handle(await bench.raw_records(0, 1))
    await (await bench.shell()).handle(await bench.raw_records(1, 2))
    await shell.handle(await bench.raw_records(2))
    assert await bench.flights() == ["a", "b", "c"]


async def test_what_a_project_that_was_applied_a_moment_ago_may_handle_is_no_dead_letter(bench: Bench) -> None:
    asked = asyncio.Event()

    async def changed() -> None:
        asked.set()
        await asyncio.Event().wait()

    await bench.send(landed("a"), {"at": 1.0})
    handling = asyncio.create_task((await bench.shell(learn=changed)).handle(await bench.raw_records(0)))
    async with asyncio.timeout(20):
        await asked.wait()
    handling.cancel()
    await asyncio.gather(handling, return_exceptions=True)
    assert await bench.written(bench.topics.dlq("pipeline")) == []
    assert await bench.flights() == []


async def test_a_message_on_which_the_transform_fails_costs_no_memory(bench: Bench) -> None:
    await bench.send(landed("a"), {"at": 1.0}, landed("a", 60.0), {"at": 2.0}, landed("a", 90.0), b"\xc1", landed("d"))
    await (await bench.shell()).handle(await bench.raw_records(0))
    assert await bench.flights() == ["a", "d"]
    assert len(await bench.written(bench.topics.dlq("pipeline"))) == 3
    # A worker that starts behind them is shown them again, and fails on them again, without a second dead letter.
    await bench.send(landed("a", 95.0), landed("e"))
    await (await bench.shell()).handle(await bench.raw_records(7))
    assert await bench.flights() == ["a", "d", "e"]
    assert len(await bench.written(bench.topics.dlq("pipeline"))) == 3


@pytest.mark.parametrize("bad", [3, 100])
async def test_a_memory_with_many_bad_messages_is_read_again_a_few_times_and_then_whole(bench: Bench, bad: int) -> None:
    count, step = 1000, 1000 // bad
    is_bad = [n % step == step - 1 and n // step < bad for n in range(count)]
    await bench.send(*[{"at": 1.0} if is_bad[n] else landed(f"f{n}") for n in range(count)])
    taken: list[int] = []

    async def counted(messages: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Landing]:
        async def each() -> AsyncIterator[dict[str, Any]]:
            async for message in messages:
                taken.append(0)
                yield message

        async for landing in first_landings.transform(each()):
            yield landing

    await bench.send(landed("new"), *[landed(f"f{n}", 60.0) for n in range(count) if not is_bad[n]])
    shell = await bench.shell(transform=counted)
    await shell.handle(await bench.raw_records(count, count + 1))
    assert len(taken) <= MOST_PASSES * count
    await shell.handle(await bench.raw_records(count + 1))
    assert await bench.flights() == ["new"]
    assert await bench.written(bench.topics.dlq("pipeline")) == []


async def test_a_bad_message_in_one_partition_costs_no_memory_of_another(bench: Bench) -> None:
    await bench.send(landed("a"))
    await bench.send({"at": 1.0}, landed("b"), partition=1)
    await bench.send(landed("a", 60.0), landed("c"))
    await bench.send(landed("b", 60.0), landed("d"), partition=1)
    both = await bench.raw_records(1) + await bench.raw_records(2, partition=1)
    await (await bench.shell()).handle(both)
    assert await bench.flights() == ["c", "d"]


async def test_markers_are_written_after_all_outputs_to_every_partition(bench: Bench) -> None:
    await bench.send(landed("a"), landed("b"))
    order: list[str] = []
    producer = await bench.log.producer()

    class Watched:
        async def send(self, outs: list[Out]) -> Any:
            order.extend(dict(found.headers)["ce_type"].decode() for found in outs)
            return await producer.send(outs)

    await (await bench.shell(Watched())).handle(await bench.raw_records(0))
    assert order == ["landing", "landing", "pipeline.advanced", "pipeline.advanced"]


async def test_before_the_first_record_of_a_partition_every_output_partition_is_told_of_which_topic_it_is(
    bench: Bench,
) -> None:
    await bench.send(landed("a"), landed("b"), landed("c"))
    shell = await bench.shell(topic_id="t1")
    await shell.handle(await bench.raw_records(1, 2))
    await shell.handle(await bench.raw_records(2))
    messages = [bench.codec.decode(record) for record in await bench.written(bench.topics.of_source("landings"))]
    for partition in (0, 1):
        events = [m.event for m in messages if m.record.partition == partition]
        assert events[0] == PipelineAdvanced("first_landings", bench.raw.topic, 0, 0, "t1")
        markers = [event for event in events if isinstance(event, PipelineAdvanced)]
        assert [(marker.offset, marker.topic_id) for marker in markers] == [(0, "t1"), (1, "t1"), (2, "t1")]


async def test_outputs_whose_fate_is_unknown_are_sent_again_before_the_batch_is_done(bench: Bench) -> None:
    await bench.send(landed("a"))
    producer, tries = await bench.log.producer(), []

    class Shaky:
        async def send(self, outs: list[Out]) -> Any:
            tries.append(len(outs))
            if len(tries) == 1:
                raise Retryable("the broker is away")
            return await producer.send(outs)

    await (await bench.shell(Shaky())).handle(await bench.raw_records(0))
    assert tries == [1, 1, 2]
    assert await bench.flights() == ["a"]


async def test_too_much_poison_stops_the_partition_at_the_record_that_was_one_too_many(bench: Bench) -> None:
    await bench.send(landed("a"), *[b"\xc1"] * 150, landed("b"))
    shell = await bench.shell()
    place = (bench.raw.topic, 0)
    async with asyncio.timeout(10):
        assert await shell.handle(await bench.raw_records(0)) == {place: 101}
    assert len(await bench.written(bench.topics.dlq("pipeline"))) == 100
    assert await bench.flights() == ["a"]
    # A worker that takes over holds what lies past the stop, and buries nothing more.
    assert await (await bench.shell()).handle(await bench.raw_records(101)) == {place: 101}
    assert len(await bench.written(bench.topics.dlq("pipeline"))) == 100


async def test_a_partition_that_was_let_go_on_further_on_skips_what_lies_between(bench: Bench) -> None:
    await bench.send(landed("a"), *[b"\xc1"] * 150, landed("b"))
    await (await bench.shell()).handle(await bench.raw_records(0))
    resumed = PartitionResumed("pipeline", bench.raw.topic, 0, 151, "skip", "ann")
    await (await bench.log.producer()).send([stop_record(bench.topics, resumed)])
    assert await (await bench.shell()).handle(await bench.raw_records(101)) == {}
    assert await bench.flights() == ["a", "b"]
    assert len(await bench.written(bench.topics.dlq("pipeline"))) == 100


async def test_a_reference_is_read_to_its_end_and_followed(bench: Bench) -> None:
    topic = bench.topics.of_reference("carriers")
    producer = await bench.log.producer()
    await producer.send([Out(topic, b"AA", b'{"name": "American"}'), Out(topic, b"UA", b"\xc1")])
    references = References(bench.log, bench.topics)
    carriers = await references.mapping("carriers")
    assert dict(carriers) == {"AA": {"name": "American"}}
    stop = asyncio.Event()
    task = asyncio.create_task(references.run(stop))
    await producer.send([Out(topic, b"UA", b'{"name": "United"}'), Out(topic, b"AA", None)])
    async with asyncio.timeout(10):
        while dict(carriers) != {"UA": {"name": "United"}}:
            await asyncio.sleep(0.01)
    stop.set()
    await task
    await references.stop()


async def test_a_transform_may_go_through_a_reference_while_it_changes(bench: Bench) -> None:
    topic = bench.topics.of_reference("carriers")
    producer = await bench.log.producer()
    await producer.send([Out(topic, key, b"{}") for key in (b"AA", b"UA", b"WN")])
    references = References(bench.log, bench.topics)
    carriers = await references.mapping("carriers")
    for view in (carriers, carriers.keys(), carriers.values(), carriers.items()):
        seen = 0
        for found in view:
            references._put("carriers", Message(Record(topic, 0, 9, b"new", b"{}"), Envelope("", "", "", 0.0), {}))
            references._put("carriers", Message(Record(topic, 0, 9, b"new", None), Envelope("", "", "", 0.0), None))
            references._put("carriers", Message(Record(topic, 0, 9, b"AA", b"{}"), Envelope("", "", "", 0.0), {}))
            seen += found is not None
        assert seen == 3
    await references.stop()


def record(offset: int, partition: int = 0) -> Record:
    return Record("raw.feed.v1", partition, offset, None, b"{}")


def test_only_partitions_with_a_gap_before_them_are_shown_again() -> None:
    seen = Lookback()
    batch = [record(3), record(4), record(7, 1)]
    assert seen.gaps(batch) == [batch[0], batch[2]]
    seen.on_handled(batch)
    assert seen.gaps([record(5), record(9, 1)]) == [record(9, 1)]
    seen.on_failed(record(5))
    assert seen.gaps([record(6)]) == [record(6)]
    assert seen.has_failed(record(5))
