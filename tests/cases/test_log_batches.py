"""A batch of any codec of Kafka becomes records, within limits, and a bad batch costs no other record."""

import gzip
import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import cramjam
import msgspec
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases.log_border_scene import CODEC, NOW_MS, REQUESTS

from headrace.errors import Poison
from headrace.log.codec import header
from headrace.log.dead_letters import dead_letter
from headrace.log.port import Record
from headrace.log.unpacking import MAX_UNPACKED_BYTES, Batches, TotalRecords


def test_the_two_private_names_of_aiokafka_are_ours() -> None:
    assert (fetcher.PartitionRecords, fetcher.MemoryRecords) == (TotalRecords, Batches)


def batch_of(values: Sequence[bytes], codec: int = 0, headers: Sequence[tuple[Any, bytes]] = ()) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for offset, value in enumerate(values):
        assert builder.append(offset, NOW_MS, b"k", value, list(headers)) is not None
    return bytearray(builder.build())


def taken(data: bytes, from_offset: int = 0) -> list[Record]:
    """The records that a reader makes of a fetch response, by as many calls as needed."""
    found: list[Any] = []
    while True:
        records = TotalRecords(
            fetcher.TopicPartition("t", 0), Batches(bytes(data)), [], from_offset, None, None, True, 0
        )
        got = list(records)
        found += got
        if not got or records.next_fetch_offset <= from_offset:
            return [KafkaRecord(r) for r in found]
        from_offset = records.next_fetch_offset


def KafkaRecord(found: Any) -> Record:  # noqa: N802 - reads as a type
    from headrace.log.kafka_readers import _cut_record

    return _cut_record(found)


def resealed(batch: bytearray) -> bytes:
    """The batch with a correct checksum."""
    from aiokafka.record.util import calc_crc32c

    batch[8:12] = struct.pack(">i", len(batch) - 12)
    batch[17:21] = struct.pack(">I", calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_every_codec_of_kafka_is_read(codec: int) -> None:
    found = taken(bytes(batch_of([b"one", b"two" * 1000, b""], codec, [("h", b"v")])))
    assert [r.value for r in found] == [b"one", b"two" * 1000, b""]
    assert {r.headers for r in found} == {(("h", b"v"),)}
    assert {r.unread for r in found} == {None}


@pytest.mark.parametrize("codec", [0, 1, 4])
def test_a_header_name_that_is_no_text_costs_neither_its_record_nor_its_batch(codec: int) -> None:
    plain = bytes(batch_of([b"one", b"two"], 0, [("name", b"v")]))
    raw = bytearray(plain.replace(b"name", b"n\xff\xfee"))
    if codec:
        body = gzip.compress(bytes(raw[61:])) if codec == 1 else bytes(cramjam.zstd.compress(bytes(raw[61:])))
        raw = raw[:61] + body
        raw[22] |= codec
    found = taken(resealed(raw))
    assert [(r.value, r.headers) for r in found] == [(b"one", (("n��e", b"v"),)), (b"two", (("n��e", b"v"),))]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_batch_that_cannot_be_unpacked_is_one_record_that_names_its_offsets_and_the_next_is_read(codec: int) -> None:
    broken = batch_of([b"a" * 1000, b"b", b"c"], codec)
    broken[70:] = bytes(len(broken) - 70)
    after = batch_of([b"after"], codec)
    after[0:8] = struct.pack(">q", 3)
    unread, good = taken(resealed(broken) + bytes(after))
    assert (unread.offset, good.offset, good.value) == (2, 3, b"after")
    assert "the batch at offsets 0 to 2 cannot be unpacked" in (unread.unread or "")
    with pytest.raises(Poison, match="offsets 0 to 2"):
        CODEC.decode(msgspec.structs.replace(unread, topic=REQUESTS))


def test_a_batch_whose_checksum_is_wrong_loses_nothing_before_it() -> None:
    good, bad = batch_of([b"one"]), batch_of([b"two"])
    bad[0:8], bad[-2] = struct.pack(">q", 1), bad[-2] ^ 0xFF
    first, second = taken(bytes(good) + bytes(bad))
    assert (first.value, first.unread) == (b"one", None)
    assert "checksum" in (second.unread or "")


@pytest.mark.parametrize("codec", [*(pytest.param(codec, marks=pytest.mark.slow) for codec in (1, 2, 3)), 4])
def test_a_value_that_unpacks_to_60_mb_is_cut_with_its_size_and_digest_and_its_neighbours_are_whole(codec: int) -> None:
    huge = bytes(60_000_000)
    before, cut, after = taken(bytes(batch_of([b"before", huge, b"after"], codec)))
    assert (before.value, after.value) == (b"before", b"after")
    assert (cut.size_bytes, cut.sha256) == (60_000_000, hashlib.sha256(huge).hexdigest())
    letter = dead_letter("dlq", cut, Poison(cut.unread or ""), "inference")
    assert header(letter.headers, "headrace.cut") == "value: 1048576 of 60000000 bytes"


@pytest.mark.slow
@pytest.mark.parametrize("codec", [1, 3, 4])
def test_what_unpacks_to_more_than_the_limit_is_not_unpacked(codec: int) -> None:
    (unread,) = taken(bytes(batch_of([bytes(MAX_UNPACKED_BYTES + 1)], codec)))
    assert "unpacks to more than" in (unread.unread or "")


def test_many_large_values_are_taken_a_few_at_a_time() -> None:
    data = bytes(batch_of([bytes(1_000_000)] * 24, 4))
    records = TotalRecords(fetcher.TopicPartition("t", 0), Batches(data), [], 0, None, None, True, 0)
    assert len(list(records)) < 20
    assert [r.offset for r in taken(data)] == list(range(24))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 4), st.data())
def test_no_bytes_behind_a_batch_head_raise(codec: int, data: st.DataObject) -> None:
    raw = batch_of([b"one", b"two" * 50, b"three"], codec, [("h", b"v")])
    for at in data.draw(st.lists(st.integers(21, len(raw) - 1), max_size=6)):
        raw[at] = data.draw(st.integers(0, 255))
    if raw[22] & 0x30 or raw[23:27] != b"\0\0\0\x02":
        return  # only the broker writes control batches and offsets
    taken(resealed(raw))
