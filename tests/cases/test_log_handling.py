"""Faults 8, 14, 15: an exception concerns only the record that raised it, and a stopped partition stays stopped until an operator resumes it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
import pytest

from headrace.errors import Fatal, Poison
from headrace.events.inference import OutcomeObserved
from headrace.events.ops import PartitionResumed
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.hosting.stops import read_stops, stop_record
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, SourceEvent, caused_by, header, out
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, Record, TopicPartition, TopicSpec
from headrace.testing.shards import Bench, Counter, are_exact, total


@pytest.fixture(params=["memory", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.slow])])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield await Bench(MemoryLog()).set_up()
        return
    log = KafkaLog(request.getfixturevalue("settings"))
    await log.start()
    yield await Bench(log).set_up()
    await log.stop()


class Fragile(Counter):
    """Raises the exception that a unit is named after, wherever that unit lies in its batch."""

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outputs = await super().on_batch(batch)
        for message in batch:
            self.handle(message.event.unit)
        return outputs

    def handle(self, unit: str) -> None:
        if unit == "overflow":
            raise OverflowError("int too large to convert to float")
        if unit == "recursion":
            self.handle(unit)
        if unit == "poison":
            raise Poison("a label of another kind", "label")


class Huge(Counter):
    """Makes a record that no topic accepts of a unit called huge, when it is committed."""

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outs = [self._count(message) for message in batch]
        return Outputs(deferred=lambda: [self.swell(made) for made in outs])

    def swell(self, made: Out) -> Out:
        return made if made.key != b"huge" else msgspec.structs.replace(made, value=b"x" * 5_000_000)


async def put_units(bench: Bench, *units: str, partition: int = 0) -> None:
    await bench.put(*[b'{"deployment":"d","unit":"%s"}' % unit.encode() for unit in units], partition=partition)


async def test_what_one_record_raises_is_its_dead_letter_and_all_others_have_their_effect_once(bench: Bench) -> None:
    units = [*["a", "b"] * 60, "overflow", *["a", "b"] * 60, "recursion", "poison", *["a", "b"] * 60]
    await put_units(bench, *units)
    await put_units(bench, *["c"] * 50, partition=1)
    async with bench.running(bench.host(lambda shard: Fragile(bench.topics, shard))):
        counts = await bench.until(lambda counts: total(counts) >= 410)
        await put_units(bench, "later")
        counts = await bench.until(lambda counts: counts.get("later") == [1])
    assert are_exact(counts)
    assert {unit: len(found) for unit, found in counts.items()} == {"a": 180, "b": 180, "c": 50, "later": 1}
    letters = await bench.letters()
    reasons = [header(letter.headers, "__connect.errors.exception.message") or "" for letter in letters]
    assert [letter.value for letter in letters] == [
        b'{"deployment":"d","unit":"%s"}' % unit for unit in (b"overflow", b"recursion", b"poison")
    ]
    assert "OverflowError: int too large" in reasons[0]
    assert "RecursionError" in reasons[1]
    assert header(letters[2].headers, "headrace.field") == "label"


async def test_a_record_whose_effects_do_not_fit_on_the_log_is_a_dead_letter(bench: Bench) -> None:
    await put_units(bench, *["a"] * 20, "huge", *["a"] * 20)
    async with bench.running(bench.host(lambda shard: Huge(bench.topics, shard))):
        counts = await bench.until(lambda counts: total(counts) >= 40)
    assert counts == {"a": list(range(1, 41))}
    assert [letter.value for letter in await bench.letters()] == [b'{"deployment":"d","unit":"huge"}']


async def test_a_bug_on_a_tick_ends_the_service(bench: Bench) -> None:
    class Broken(Counter):
        async def on_tick(self) -> Outputs:
            raise ZeroDivisionError("division by zero")

    with pytest.raises(Fatal, match="ZeroDivisionError"):
        await asyncio.wait_for(bench.host(lambda shard: Broken(bench.topics, shard)).run(asyncio.Event()), 30)


class Landing(msgspec.Struct):
    unit: str


class Landings(Counter):
    """Counts landings. One called dead raises `Poison` when it is handled."""

    async def on_batch(self, batch: Sequence[SourceEvent]) -> Outputs:
        good = [read for read in batch if read.event.unit != "dead"]
        dead = [
            (Message(read.record, caused_by(None, id="x", source="t", time_s=0.0), read.event), Poison("no contract"))
            for read in batch
            if read.event.unit == "dead"
        ]
        return Outputs(outs=[self._note(read) for read in good], dead=dead)

    def _note(self, read: SourceEvent) -> Out:
        unit = read.event.unit
        self.counts[unit] = self.counts.get(unit, 0) + 1
        event = OutcomeObserved("d", unit, self.counts[unit])
        envelope = caused_by(None, id=f"{read.record.partition}/{read.record.offset}", source="t", time_s=0.0)
        return out(self.topics.name("inference.outcomes"), unit, event, envelope, self.shard)


class Field:
    """A source with two partitions, and hosts of the feature service on it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.topic = bench, bench.topics.of_source("landings")
        self.codec = Codec(bench.topics, {self.topic: Landing})
        self.health = Health("feature", "test", failures={})

    async def set_up(self) -> "Field":
        config = self.bench.topics.rule(self.topic).config
        await ensure_topics(self.bench.log, [TopicSpec(self.topic, 2, config)])
        return self

    async def put(self, *values: bytes, partition: int = 0) -> None:
        producer = await self.bench.log.producer()
        await producer.send([Out(self.topic, b"k", value, partition=partition) for value in values])
        await producer.close()

    def host(self, service: str = "feature") -> ShardGroup:
        return ShardGroup(
            self.bench.log,
            self.codec,
            self.bench.topics,
            service=service,
            inputs=[self.topic],
            make=lambda shard: Landings(self.bench.topics, shard),
            health=self.health,
            decode=self.codec.decode_source,
        )

    async def until_stopped(self) -> None:
        async with asyncio.timeout(30):
            while not self.health.failures:
                await asyncio.sleep(0.02)

    async def resume(self, offset: int, how: str) -> None:
        event = PartitionResumed("feature", self.topic, 0, offset, how, "ann@desk")
        producer = await self.bench.log.producer()
        await producer.send([stop_record(self.bench.topics, event)])
        await producer.close()

    async def committed(self) -> Mapping[TopicPartition, int]:
        places = [TopicPartition(self.topic, partition) for partition in (0, 1)]
        return await self.bench.log.committed(self.bench.topics.group("feature"), places)

    async def letters(self) -> list[Record]:
        return await self.bench.letters("feature")


GOOD, LATE, DEAD, BAD = b'{"unit":"good"}', b'{"unit":"late"}', b'{"unit":"dead"}', b"\xc1"


@pytest.mark.parametrize("bad", [BAD, DEAD], ids=["unreadable", "against-the-contract"])
async def test_too_much_poison_stops_one_partition_of_a_source_until_an_operator_resumes_it(
    bench: Bench, bad: bytes
) -> None:
    field = await Field(bench).set_up()
    await field.put(*[GOOD] * 10, *[bad] * 150, GOOD)
    async with bench.running(field.host()):
        await field.until_stopped()
        await field.put(LATE, partition=1)
        await bench.until(lambda counts: counts.get("late") == [1])
    (what,) = field.health.failures
    assert what == f"stopped:{field.topic}/0"
    assert "is stopped at offset 110: too many records cannot be read" in field.health.failures[what]
    assert (await field.committed())[TopicPartition(field.topic, 0)] == 110
    assert await bench.counts() == {"good": list(range(1, 11)), "late": [1]}
    assert len(await field.letters()) == 100
    field.health.failures.clear()
    async with bench.running(field.host()):  # it stays stopped over a restart
        await field.until_stopped()
        await field.put(LATE, partition=1)
        await bench.until(lambda counts: counts.get("late") == [1, 2])
        assert len(await field.letters()) == 100
        await field.resume(110, "resume")  # the count begins anew, so the other fifty are dead letters too
        await bench.until(lambda counts: len(counts["good"]) == 11)
        assert field.health.is_ready
    assert len(await field.letters()) == 150
    assert not await read_stops(bench.log, bench.codec, bench.topics)


async def test_a_skip_goes_on_behind_the_poison_also_when_the_service_was_down(bench: Bench) -> None:
    field = await Field(bench).set_up()
    await field.put(*[BAD] * 400, GOOD)
    async with bench.running(field.host()):
        await field.until_stopped()
    await field.resume(400, "skip")
    field.health.failures.clear()
    async with bench.running(field.host()):
        assert await bench.until(lambda counts: "good" in counts) == {"good": [1]}
    assert len(await field.letters()) == 100
    assert (await field.committed())[TopicPartition(field.topic, 0)] == 401


class FromFurtherBack(Counter):
    """Reads everything again at its start, as the monitor does."""

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(committed, 0)

    def rebuild(self) -> Sequence[Rebuild]:
        return []


async def test_who_reads_again_from_further_back_buries_nothing_twice_and_moves_no_offset_back(bench: Bench) -> None:
    await bench.put(*[b"\xc1"] * 60, b'{"deployment":"d","unit":"good"}')
    for count in (1, 2):
        async with bench.running(bench.host(lambda shard: FromFurtherBack(bench.topics, shard))):
            await bench.until(lambda counts, n=count: len(counts.get("good", [])) == n)
    assert len(await bench.dead()) == 60
    place = TopicPartition(bench.requests, 0)
    assert await bench.log.committed(bench.topics.group("inference"), [place]) == {place: 61}


async def test_only_the_reader_of_a_topic_writes_its_dead_letters(bench: Bench) -> None:
    field = await Field(bench).set_up()
    await field.put(BAD, GOOD)
    async with bench.running(field.host("monitor")):
        await bench.until(lambda counts: counts.get("good") == [1])
    assert await bench.letters("monitor") == []
