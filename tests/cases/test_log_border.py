"""Faults 1-4: whatever bytes, codec, headers and instants a producer sends, it becomes a message or ONE dead letter that fits."""

import gzip
import hashlib
import os
import secrets
import struct
import time
from collections.abc import Sequence
from typing import Any

import cramjam
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import Fatal, Poison
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, header
from headrace.log.dead_letters import dead_letter
from headrace.log.kafka import KafkaLog, client_options
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.unpacking import MAX_UNPACKED_BYTES, Batches, TotalRecords
from headrace.testing.conformance import make_topic
from headrace.testing.shards import Bench, are_exact, total

TOPICS = Topics.load("border")
REQUESTS = TOPICS.name("inference.requests")
NOW_MS = 1_700_000_000_000
CODECS = ["gzip", "snappy", "lz4", "zstd"]


class Landing(msgspec.Struct):
    at: float
    carrier: str


LANDINGS = TOPICS.of_source("landings")
CODEC = Codec(TOPICS, {LANDINGS: Landing})
USERS = [LANDINGS, *(TOPICS.prefixed(base) for base, rule in TOPICS.rules.items() if rule.audience == "users" and "<" not in base)]  # fmt: skip


def record(value: bytes | None, topic: str = REQUESTS, *, key: bytes | None = b"u", **headers: bytes | None) -> Record:
    named: Any = tuple((name.replace("content_type", "content-type"), given) for name, given in headers.items())
    return Record(topic, 0, 7, key, value, named, NOW_MS)


# -- one record


GOOD = b'{"deployment":"d","unit":"u"}'


@pytest.mark.parametrize(
    "origin",
    [b"a/b/c/d", b"t/-1/0/0", b"t/0/99999999999999999999/0", b"t/0/1/2/3", b"/0/0/0", "t/٣/0/0".encode(), b"t/ 1/0/0",
     b"t/1_0/0/0", b"t/" + b"9" * 490 + b"/0/0", b"t/2147483648/0/0"],
)  # fmt: skip
def test_an_origin_that_names_no_place_is_poison(origin: bytes) -> None:
    with pytest.raises(Poison) as refused:
        CODEC.decode(record(GOOD, ce_origin=origin))
    assert refused.value.field == "ce_origin"


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_source", "ce_correlationid", "ce_causationid", "traceparent"])
def test_what_names_a_record_has_at_most_512_bytes(name: str) -> None:
    with pytest.raises(Poison, match="at most 512 are allowed") as refused:
        CODEC.decode(record(GOOD, **{name: b"x" * 513}))
    assert refused.value.field == name


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (b'{"deployment":"d","deadline_ms":%s}' % (b"9" * 400), "deadline_ms"),
        (b'{"deployment":"d","deadline_ms":-%s}' % (b"9" * 30), "deadline_ms"),
        (msgspec.msgpack.encode({"deployment": "d", "deadline_ms": 2**64 - 1}), "deadline_ms"),
        (b'{"deployment":"%s"}' % (b"d" * 600), "deployment"),
        (b'{"deployment":"d","unit":"%s"}' % (b"u" * 600), "unit"),
        (b'{"deployment":"d","unit":"%s"}' % ("ü" * 300).encode(), "unit"),
    ],
)
def test_numbers_and_names_are_bounded_where_they_enter(value: bytes, field: str) -> None:
    with pytest.raises(Poison) as refused:
        CODEC.decode(record(value))
    assert refused.value.field == field


def test_a_huge_integer_among_the_inputs_is_no_reason_not_to_answer() -> None:
    event = CODEC.decode(
        record(b'{"deployment":"d","inputs":{"a":%s,"b":12345678901234567890,"c":1}}' % (b"9" * 400))
    ).event
    assert event.inputs == {"a": float("inf"), "b": 12345678901234567890.0, "c": 1}


def test_integers_of_commands_have_64_bits() -> None:
    value = b'{"deployment":"d","cause":"manual","reason":"","by":"a","clock_s":1,"waivers":[]}'
    topic = TOPICS.name("training.requests")
    assert CODEC.decode(record(value, topic)).event.by == "a"
    with pytest.raises(Poison):
        CODEC.decode(record(value.replace(b'"a"', b'"%s"' % (b"a" * 600)), topic))


def test_a_key_has_at_most_a_kibibyte() -> None:
    with pytest.raises(Poison, match="key has 2000 bytes"):
        CODEC.decode(record(GOOD, key=b"k" * 2000))


def test_headers_without_a_value_or_given_twice_are_read() -> None:
    assert (
        CODEC.decode(record(GOOD, ce_id=None, ce_time=None, ce_origin=None, other=None)).envelope.id
        == f"{REQUESTS}/0/7"
    )
    twice = Record(REQUESTS, 0, 7, b"u", GOOD, (("ce_id", b"a"), ("ce_id", b"b")), NOW_MS)
    assert CODEC.decode(twice).envelope.id == "b"
    assert header(record(GOOD, empty=None).headers, "empty") == ""


@pytest.mark.parametrize("value", [b' \r\n\t{"deployment":"d"}', b'{"deployment":"d"} '])
def test_json_may_have_blanks_around_it(value: bytes) -> None:
    assert CODEC.decode(record(value)).event.deployment == "d"


@pytest.mark.parametrize(
    ("value", "content_type", "told"),
    [
        (GOOD, b"text/plain", "give content-type application/json"),
        (b"[1]", b"application/octet-stream", "give content-type application/json"),
        (b"[1]", b"", "the value is a list: write one record per object"),
        (b"  nothing", b"application/json", "not JSON"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_a_sentence(value: bytes, content_type: bytes, told: str) -> None:
    with pytest.raises(Poison, match=told):
        CODEC.decode(record(value, content_type=content_type))


def test_an_instant_far_ahead_of_the_append_time_is_poison_but_a_request_gets_its_answer() -> None:
    landing = msgspec.msgpack.encode(Landing(0.0, "AA"))
    for ahead in (b"2500-01-01T00:00:00Z", b"2023-11-14T22:20:00Z"):
        headers: dict[str, bytes | None] = {"content_type": b"application/msgpack", "ce_time": ahead}
        for read in (CODEC.decode, CODEC.decode_event):
            with pytest.raises(Poison, match="past the append time") as refused:
                read(record(landing, LANDINGS, **headers))
            assert refused.value.field == "ce_time"
        assert CODEC.decode(record(GOOD, ce_time=ahead)).event.deployment == "d"
    assert CODEC.decode_event(record(landing, LANDINGS, ce_time=b"2023-11-14T22:17:00Z"))[0] == Landing(0.0, "AA")


_VALUES = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    ).map(lambda found: msgspec.json.encode(found, enc_hook=repr) if _is_plain(found) else repr(found).encode()),
    st.fixed_dictionaries(
        {"deployment": st.text(max_size=8) | st.integers()},
        optional={name: st.integers() | st.text(max_size=8) | st.floats() for name in ("unit", "deadline_ms", "label", "at", "carrier", "by")},
    ).map(lambda found: msgspec.json.encode(found) if _is_plain(found) else b"{}"),
)  # fmt: skip
_NAMES = st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_origin", "ce_source", "content-type", "traceparent", "ce_causationid"]) | st.text(max_size=9)  # fmt: skip
_TEXTS = st.sampled_from([b"", b"application/json", b"application/msgpack", b"2013-04-01T00:00:00", b"9999-12-31T23:59:59.999999-23:59", b"0001-01-01", b"t/0/1/2", b"outcome.observed", b"pipeline.advanced", b"start.rollout", b"2013-W01"])  # fmt: skip
_RECORDS = st.builds(
    Record,
    topic=st.sampled_from(USERS),
    partition=st.just(0),
    offset=st.integers(0, 2**63 - 1),
    key=st.none() | st.binary(max_size=40),
    value=st.none() | _VALUES,
    headers=st.lists(st.tuples(_NAMES, st.none() | _TEXTS | st.binary(max_size=40)), max_size=6).map(tuple),
    timestamp_ms=st.sampled_from([NOW_MS, 0, -1, 2**62]),
)


def _is_plain(found: object) -> bool:
    try:
        msgspec.json.encode(found)
    except (OverflowError, ValueError, UnicodeEncodeError):
        return False
    return True


def decodes_or_is_poison(found: Record) -> None:
    """Nothing but a message or poison comes of it, by either way of reading, and its dead letter fits."""
    outcomes = []
    for read in (CODEC.decode, CODEC.decode_event):
        try:
            read(found)
            outcomes.append("read")
        except Poison as poison:
            letter = dead_letter("dlq", found, poison, "fuzz")
            assert len(letter.value or b"") + sum(len(k) + len(v or b"") for k, v in letter.headers) < 1_300_000
            outcomes.append("poison")
    assert len(set(outcomes)) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_RECORDS)
def test_any_record_of_a_users_topic_is_a_message_or_poison(found: Record) -> None:
    decodes_or_is_poison(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_any_record_of_a_users_topic_is_a_message_or_poison_for_long() -> None:
    until_s = time.monotonic() + float(os.environ.get("HEADRACE_FUZZ_SECONDS", "300"))
    while time.monotonic() < until_s:
        settings(max_examples=600, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
            given(_RECORDS)(decodes_or_is_poison)
        )()


def test_an_unknown_fact_stays_fatal_and_an_unreadable_one_poison() -> None:
    facts = TOPICS.name("registry.facts")
    with pytest.raises(Fatal):
        CODEC.decode(record(b"\x80", facts, ce_type=b"from.the.future"))
    with pytest.raises(Poison):
        CODEC.decode(record(b"\x80", facts, ce_type=b"rolled.back", ce_origin=b"a/b/c/d"))


def test_a_letter_that_is_too_long_is_cut_and_says_so() -> None:
    headers = tuple((f"h{n}", b"x" * 1000) for n in range(200))
    found = Record(REQUESTS, 0, 7, b"k" * 100_000, b"v" * 3_000_000, headers, NOW_MS)
    letter = dead_letter("dlq", found, Poison("why \ud800 not", "f"), "inference")
    assert len(letter.value or b"") == 1_048_576
    assert header(letter.headers, "headrace.cut") == (
        "value: 1048576 of 3000000 bytes; key: 65536 of 100000 bytes; headers: 65 of 200 whole"
    )
    assert header(letter.headers, "headrace.size_bytes") == "3000000"
    assert header(letter.headers, "headrace.sha256") == hashlib.sha256(b"v" * 3_000_000).hexdigest()
    whole = dead_letter("dlq", record(b"\xc1" * 1_048_576), Poison("why"), "inference")
    assert (len(whole.value or b""), header(whole.headers, "headrace.cut")) == (1_048_576, None)


# -- one batch


def test_the_two_private_names_of_aiokafka_are_ours() -> None:
    assert (fetcher.PartitionRecords, fetcher.MemoryRecords) == (TotalRecords, Batches)


def batch_of(values: Sequence[bytes], codec: int = 0, headers: Sequence[tuple[Any, bytes]] = ()) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for offset, value in enumerate(values):
        assert builder.append(offset, NOW_MS, b"k", value, list(headers)) is not None
    return bytearray(builder.build())


def taken(data: bytes, from_offset: int = 0) -> list[Record]:
    """What a reader makes of an answer; several calls, as long as there is something."""
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
    """The batch with a checksum that is right."""
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
        return  # control batches and offsets are the broker's
    taken(resealed(raw))


# -- a real broker


@pytest.fixture
async def bench(kafka_log: KafkaLog) -> Bench:
    return await Bench(kafka_log).set_up()


async def send(settings: Settings, topic: str, codec: str | None, *values: bytes, headers: Any = ()) -> None:
    producer = AIOKafkaProducer(
        **client_options(settings), compression_type=codec, max_request_size=200_000_000, max_batch_size=200_000_000
    )
    await producer.start()
    for value in values:
        await producer.send_and_wait(topic, value, key=b"k", partition=0, headers=list(headers))
    await producer.stop()


@pytest.mark.kafka
@pytest.mark.parametrize(
    "codec", ["snappy", "zstd", *(pytest.param(c, marks=pytest.mark.slow) for c in ("gzip", "lz4"))]
)
async def test_requests_of_any_codec_are_handled_and_a_bomb_among_them_is_one_letter(
    bench: Bench, settings: Settings, codec: str
) -> None:
    await send(settings, bench.requests, codec, b'{"deployment":"d","unit":"a"}')
    # snappy packs by a factor of twenty only: what passes the broker's limit is smaller.
    size = 15_000_000 if codec == "snappy" else 60_000_000
    await send(settings, bench.requests, codec, bytes(size), b'{"deployment":"d","unit":"a"}')
    async with bench.running(bench.host()):
        assert await bench.until(lambda counts: total(counts) == 2) == {"a": [1, 2]}
    (letter,) = await bench.letters()
    assert header(letter.headers, "headrace.size_bytes") == str(size)


@pytest.mark.kafka
async def test_the_append_time_is_the_brokers_whatever_the_sender_says(kafka_log: KafkaLog, settings: Settings) -> None:
    bench = await Bench(kafka_log).set_up()
    producer = AIOKafkaProducer(**client_options(settings), compression_type="zstd")
    await producer.start()
    await producer.send_and_wait(bench.requests, GOOD, partition=0, timestamp_ms=4_000_000_000_000)
    await producer.stop()
    reader = await kafka_log.reader([TopicPartition(bench.requests, 0)], "beginning")
    (found,) = await reader.fetch(10.0)
    await reader.close()
    assert abs(found.timestamp_ms / 1000 - time.time()) < 60


@pytest.mark.kafka
async def test_random_bytes_in_every_codec_neither_stop_a_service_nor_the_requests_between_them(
    bench: Bench, settings: Settings
) -> None:
    seed = secrets.randbits(32)
    rng = __import__("random").Random(seed)
    async with bench.running(bench.host()):
        for codec in (None, *CODECS):
            junk = [rng.randbytes(rng.choice([0, 1, 10, 5000])) for _ in range(12)]
            headers = [(rng.choice(["ce_id", "ce_time", "ce_origin", "x"]), rng.randbytes(8))]
            await send(settings, bench.requests, codec, *junk, headers=headers)
            await bench.put(b'{"deployment":"d","unit":"good"}')
        counts = await bench.until(lambda counts: len(counts.get("good", [])) == 5)
    assert are_exact(counts), f"seed {seed}"


@pytest.mark.kafka
async def test_an_older_topic_gets_the_brokers_times_when_topics_are_applied(kafka_log: KafkaLog) -> None:
    from headrace.log.admin import ensure_topics
    from headrace.log.port import TopicSpec

    topic = await make_topic(kafka_log)
    await ensure_topics(kafka_log, [TopicSpec(topic, 1, {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"})])  # fmt: skip
    assert (await kafka_log.describe_topics([topic]))[topic].config["message.timestamp.type"] == "LogAppendTime"
