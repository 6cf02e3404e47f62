"""Origins: a shard's record stays readable, whatever raw partitions a sender names and however many."""

import msgspec
import pytest

from headrace.errors import Poison
from headrace.events.features import FeatureShardAdvanced
from headrace.features.origins import MOST_PLACES, MOST_SPARSE, ORIGINS_BYTES, Origins
from headrace.log.codec import MAX_VALUE_BYTES, Codec, written
from headrace.log.envelope import Origin
from headrace.log.port import Record
from headrace.log.topics import Topics

FAR = 2**47 - 2


def record_of(origins: Origins) -> bytes:
    """The record that a shard writes of them, beside many views."""
    return written(
        FeatureShardAdvanced(
            source="s" * 100,
            partition=1,
            applied={"events." + "s" * 100 + ".v1/1": FAR},
            origins=origins.marked,
            sparse={place: sorted(codes) for place, codes in origins.sparse.items() if codes},
            views=tuple(f"{'v' * 100}@{n:016}" for n in range(500)),
            topic_ids=origins.topic_ids,
        )
    )


@pytest.mark.parametrize("length", [10, 135, 249])
def test_with_the_longest_names_of_kafka_a_shards_record_is_readable(length: int) -> None:
    origins = Origins()
    names = [f"{n:04}".ljust(length, "x") for n in range(2 * MOST_PLACES)]
    for name in names:
        origins.advance(f"{name}/2147483647", FAR, "i" * 36)
    for n in range(MOST_SPARSE + 10):
        origins.is_repeat(Origin(names[n % 500], 2147483647, FAR + 1, n))
    known = len(origins.marked)
    assert known == (MOST_PLACES if length < 249 else 594)
    assert sum(map(len, origins.sparse.values())) > MOST_SPARSE // 2
    encoded = {place: sorted(codes) for place, codes in origins.sparse.items()}
    assert len(msgspec.msgpack.encode((origins.marked, origins.topic_ids, encoded))) <= ORIGINS_BYTES
    assert len(record_of(origins)) < MAX_VALUE_BYTES
    assert origins.is_repeat(Origin(names[known - 1], 2147483647, FAR))


@pytest.mark.parametrize(
    ("place", "topic_id"),
    [
        ("\U0001f600" * 200 + "/0", ""),
        ("a" * 250 + "/0", ""),
        ("raw m/0", ""),
        ("raw/x", ""),
        ("raw/0", "é"),
        ("raw/0", "i" * 37),
    ],
)
def test_names_that_kafka_cannot_have_are_ignored(place: str, topic_id: str) -> None:
    origins = Origins()
    assert not origins.advance(place, 5, topic_id)
    assert origins == Origins()
    topic, _, _ = place.rpartition("/")
    if topic != "raw":
        assert not any(origins.is_repeat(Origin(topic, 0, 7)) for _ in range(2))
        assert origins.held_bytes == 0


def test_older_records_beyond_the_budget_are_cut_to_it() -> None:
    bad, good = "\U0001f600" * 200 + "/0", "raw.m.v1/0"
    places = [f"{n:04}".ljust(249, "x") + "/0" for n in range(700)]
    origins = Origins(
        {good: 4, bad: 5, **dict.fromkeys(places, 6)},
        {good: {9 * 65_536}, bad: {9 * 65_536}},
        {good: "é", bad: "i", places[0]: "known"},
    )
    assert origins.is_repeat(Origin("raw.m.v1", 0, 4))
    assert origins.is_repeat(Origin("raw.m.v1", 0, 9))
    assert origins.topic_ids == {places[0]: "known"}
    assert bad not in origins.marked | origins.sparse
    assert len(origins.marked) < len(places)
    assert len(record_of(origins)) < MAX_VALUE_BYTES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("topic", "\U0001f600" * 10),
        ("topic", "a/b"),
        ("topic", "a" * 250),
        ("topic_id", "é"),
        ("topic_id", "i" * 37),
        ("partition", -1),
    ],
)
def test_a_marker_of_an_impossible_topic_is_refused_with_the_field(field: str, value: object) -> None:
    marker = {"pipeline": "p", "topic": "raw.m.v1", "partition": 0, "offset": -1, "topic_id": "i" * 36}

    def read(marker: dict[str, object]) -> object:
        value, headers = msgspec.msgpack.encode(marker), (("ce_type", b"pipeline.advanced"),)
        return Codec(Topics.load()).decode(Record("events.landings.v1", 0, 0, None, value, headers)).event

    assert msgspec.to_builtins(read(marker)) == marker
    with pytest.raises(Poison, match=field) as refused:
        read(marker | {field: value})
    assert refused.value.field == field
