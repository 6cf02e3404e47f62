"""Artifacts are read at their place; the topic is searched only when they are no longer there."""

from collections.abc import Iterable, Sequence

import pytest
from msgspec.structs import replace

from headrace.errors import Poison
from headrace.log.codec import tombstone
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog, MemoryReader
from headrace.log.port import Out, Record, Start, TopicPartition, TopicSpec
from headrace.log.topics import Topics
from headrace.models import artifacts

TOPICS = Topics.load()
TOPIC = TOPICS.name("registry.artifacts")


class CountingLog(MemoryLog):
    """Counts the records that are read."""

    count = 0

    async def reader(
        self, partitions: Iterable[TopicPartition], start: Start, *, committed: bool = True
    ) -> MemoryReader:
        reader, log = await super().reader(partitions, start, committed=committed), self
        fetch = reader.fetch

        async def counted(timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
            found = await fetch(timeout_s, max_records)
            log.count += len(found)
            return found

        reader.fetch = counted
        return reader


@pytest.fixture
async def log() -> CountingLog:
    found = CountingLog()
    await found.create_topics([TopicSpec(TOPIC, 1, {"cleanup.policy": "compact"})])
    return found


async def put(log: MemoryLog, data: bytes) -> artifacts.ArtifactPlace:
    return await artifacts.publish(log, TOPICS, data, "skops", 0.0, "test")


async def test_an_artifact_among_many_is_read_by_its_offsets_alone(log: CountingLog) -> None:
    for number in range(60):
        await put(log, bytes([number]) * 10)
    data = bytes(range(256)) * 5000
    place = await put(log, data)
    assert (place.first_offset, place.chunk_count) == (60 * 3, 3)
    assert await artifacts.fetch(log, TOPICS, place) == data
    assert log.count == 4


async def test_artifacts_without_offsets_or_published_again_are_searched(log: CountingLog) -> None:
    first = await put(log, b"a model")
    await put(log, b"another")
    await put(log, b"a model")
    log.compact(TOPIC)
    assert await artifacts.fetch(log, TOPICS, first) == b"a model"
    assert await artifacts.fetch(log, TOPICS, replace(first, first_offset=None, last_offset=None)) == b"a model"


@pytest.mark.parametrize(
    "wrong", [{"first_offset": 10**9}, {"first_offset": -5, "last_offset": 10**12}, {"last_offset": 0}]
)
async def test_a_false_place_costs_a_search_of_the_topic_and_nothing_else(
    log: CountingLog, wrong: dict[str, int]
) -> None:
    await put(log, b"one")
    place = await put(log, b"two")
    assert await artifacts.fetch(log, TOPICS, replace(place, **wrong)) == b"two"


@pytest.mark.parametrize("wrong", [{"size_bytes": 2}, {"size_bytes": 2**60}, {"chunk_count": 0}, {"digest": "0" * 64}])
async def test_bytes_that_differ_from_their_place_are_poison(log: CountingLog, wrong: dict[str, int]) -> None:
    place = await put(log, b"one")
    with pytest.raises(Poison, match="is incomplete or altered"):
        await artifacts.fetch(log, TOPICS, replace(place, **wrong))


async def test_keys_of_no_chunk_are_skipped(log: CountingLog) -> None:
    place = await put(log, b"one")
    producer = await log.producer()
    keys = [f"{place.digest}/{part}".encode() for part in ("7" * 5000, "²", "-1", "", "x")] + [b"\xff\xfe", None]
    await producer.send([Out(TOPIC, key, b"no", partition=0) for key in keys])
    assert await artifacts.fetch(log, TOPICS, replace(place, first_offset=None)) == b"one"
    assert await artifacts.manifests(log, TOPICS) == {place.digest}


async def test_a_deleted_artifact_is_not_there_though_its_bytes_may_still_be(log: CountingLog) -> None:
    place = await put(log, b"one")
    assert await artifacts.is_there(log, TOPICS, place)
    producer = await log.producer()
    await producer.send([tombstone(TOPIC, f"{place.digest}/manifest", Envelope("t", "", "test", 0.0), 0)])
    assert not await artifacts.is_there(log, TOPICS, place)


@pytest.mark.parametrize("wrong", [{"partition": 99}, {"partition": -1}, {"partition": 2**62}])
async def test_a_missing_partition_holds_no_artifact(log: CountingLog, wrong: dict[str, int]) -> None:
    assert not await artifacts.is_there(log, TOPICS, replace(await put(log, b"one"), **wrong))


@pytest.mark.parametrize("last_offset", [None, -1, 0, 2**62])
async def test_an_artifact_outside_of_its_place_is_still_found(log: CountingLog, last_offset: int | None) -> None:
    assert await artifacts.is_there(log, TOPICS, replace(await put(log, b"one"), last_offset=last_offset))
