"""The border of the log on a real broker."""

import secrets
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.cases.log_border_scene import GOOD

from headrace.hosting.settings import Settings
from headrace.log.codec import header
from headrace.log.kafka import KafkaLog, client_options
from headrace.log.port import TopicPartition
from headrace.testing.conformance import make_topic
from headrace.testing.shards import Bench, are_exact, total

CODECS = ["gzip", "snappy", "lz4", "zstd"]


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
    # snappy compresses by a factor of twenty at most, so what passes the broker's limit is smaller.
    size = 15_000_000 if codec == "snappy" else 60_000_000
    await send(settings, bench.requests, codec, bytes(size), b'{"deployment":"d","unit":"a"}')
    async with bench.running(bench.host()):
        assert await bench.until(lambda counts: total(counts) == 2) == {"a": [1, 2]}
    (letter,) = await bench.letters()
    assert header(letter.headers, "headrace.size_bytes") == str(size)


@pytest.mark.kafka
async def test_the_append_time_is_the_brokers_whatever_the_sender_writes(
    kafka_log: KafkaLog, settings: Settings
) -> None:
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
