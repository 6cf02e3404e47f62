"""Asks over Kafka as fast as the window lets it: a fixed number of requests is open, and each answer makes room for the next.

Prints requests per second and the quartiles of the time from sending to hearing. One process, no Headrace code but the
encoding of requests, so that every peer is asked in the same way; a burst stays on one partition (`facts`: an asker
that spreads single records saturates the broker). Arguments: see `main`.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.model import COLUMN_COUNT, DISTINCT, asked_rows
from headrace.events.inference import PredictionRequested

COLUMNS = [f"x{n}" for n in range(COLUMN_COUNT)]
WARM_S = 1.0
DEPLOYMENTS = {"fast": "bench-fast", "committed": "bench-committed"}
Encode = Callable[[int], tuple[bytes, bytes, list[tuple[str, bytes]]]]


def rows() -> list[list[float]]:
    """The requests: the same rows for every peer."""
    return asked_rows().astype(float).tolist()


def as_ours(run: str, model: str) -> Encode:
    """Requests as Headrace reads them: named inputs in MessagePack, the asker's partition and id in headers."""
    named = [PredictionRequested(model, dict(zip(COLUMNS, row, strict=True))) for row in rows()]
    values = [msgspec.msgpack.encode(request) for request in named]
    fixed = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"prediction.requested"),
        ("ce_source", b"bench"),
        ("ce_time", b"2013-04-01T00:00:00Z"),
        ("content-type", b"application/msgpack"),
        ("headrace_reply_partition", b"0"),
    ]

    def encode(n: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        ident = str(n).encode()
        named = f"{run}-{n}".encode()
        return named, values[n % DISTINCT], [("ce_id", named), *fixed, ("headrace_reply_id", ident)]

    return encode


def as_v2(run: str, model: str) -> Encode:
    """Requests as MLServer's Kafka transport reads them: the Open Inference Protocol in JSON."""
    bodies = [
        msgspec.json.encode([{"name": "x", "shape": [1, len(row)], "datatype": "FP32", "data": row}]).decode()
        for row in rows()
    ]

    def encode(n: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        value = f'{{"id":"{n}","inputs":{bodies[n % DISTINCT]}}}'.encode()
        return f"{run}-{n}".encode(), value, [("mlserver-model", model.encode())]

    return encode


def as_json(run: str, _: str) -> Encode:
    """Requests as a hand-written handler reads them: an id and a list of numbers in JSON."""
    bodies = [msgspec.json.encode(row).decode() for row in rows()]

    def encode(n: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        return f"{run}-{n}".encode(), f'{{"id":"{n}","row":{bodies[n % DISTINCT]}}}'.encode(), []

    return encode


def by_header(record: Any) -> int:
    """The asker's id, carried back in the last header."""
    name, value = record.headers[-1]
    return int(value) if name == "headrace_reply_id" else -1


_IDENT = msgspec.json.Decoder(msgspec.defstruct("Answer", [("id", str)]))


def by_body(record: Any) -> int:
    """The request's id, carried back in the JSON; MLServer answers under the record's key, which ends with it."""
    return int(_IDENT.decode(record.value).id.rpartition("-")[2])  # type: ignore[attr-defined]


FORMS = {"ours": (as_ours, by_header), "v2": (as_v2, by_body), "json": (as_json, by_body)}


# How often an open loop sends.
TICK_S = 0.005


class Load:
    """One closed loop; with a rate an open one, which asks as often whatever the answers do."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        make, self._ident = FORMS[given.form]
        self._encode = make(str(time.time_ns()), given.model)
        self._numbers = itertools.count()
        self._sent_s: dict[int, float] = {}
        self._bursts = itertools.count()
        self._took: list[float] = []

    async def run(self) -> dict[str, float]:
        """The figures of one run."""
        given = self._given
        options = {"bootstrap_servers": given.bootstrap_servers}
        producer = AIOKafkaProducer(**options, acks=1, linger_ms=0)
        consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, fetch_max_wait_ms=500)
        await producer.start()
        await consumer.start()
        place = TopicPartition(given.replies, 0)
        consumer.assign([place])
        await consumer.seek_to_end(place)
        await consumer.position(place)
        try:
            return await self._measure(producer, consumer)
        finally:
            await producer.stop()
            await consumer.stop()

    async def _measure(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> dict[str, float]:
        if not self._given.rate:
            await self._ask(producer, self._given.window)
            return await self._warm_and_hear(producer, consumer)
        asking = asyncio.create_task(self._ask_at_rate(producer))
        try:
            return await self._warm_and_hear(producer, consumer)
        finally:
            asking.cancel()

    async def _ask_at_rate(self, producer: AIOKafkaProducer) -> None:
        """NB: an instant that was missed is made up for, and counts from when it was due."""
        due_s = time.perf_counter()
        owed = 0.0
        while True:
            owed += self._given.rate * TICK_S
            count = int(owed)
            owed -= count
            if count:
                await self._ask(producer, count, due_s)
            due_s += TICK_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))

    async def _warm_and_hear(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> dict[str, float]:
        await self._hear(producer, consumer, time.perf_counter() + WARM_S)
        self._took.clear()
        began_s = time.perf_counter()
        await self._hear(producer, consumer, began_s + self._given.seconds)
        took_s = time.perf_counter() - began_s
        middle, late = np.percentile(np.array(self._took) * 1000, [50, 99]).tolist()
        rate = len(self._took) / took_s
        return {"requests_per_s": rate, "p50_ms": middle, "p99_ms": late, "unanswered_s": self._oldest_s()}

    def _oldest_s(self) -> float:
        return time.perf_counter() - min(self._sent_s.values(), default=time.perf_counter())

    async def _hear(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, until_s: float) -> None:
        while (now_s := time.perf_counter()) < until_s:
            received = await consumer.getmany(timeout_ms=int((until_s - now_s) * 1000) + 1, max_records=5000)
            now_s, answered = time.perf_counter(), 0
            for record in itertools.chain.from_iterable(received.values()):
                sent_s = self._sent_s.pop(self._ident(record), None)
                if sent_s is not None:
                    self._took.append(now_s - sent_s)
                    answered += 1
            if answered and not self._given.rate:
                await self._ask(producer, answered)

    async def _ask(self, producer: AIOKafkaProducer, count: int, due_s: float | None = None) -> None:
        given = self._given
        batch = producer.create_batch()
        sent_s = time.perf_counter() if due_s is None else due_s
        for _ in range(count):
            number = next(self._numbers)
            key, value, headers = self._encode(number)
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                await producer.send_batch(batch, given.requests, partition=next(self._bursts) % given.partitions)
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=headers)
            self._sent_s[number] = sent_s
        await producer.send_batch(batch, given.requests, partition=next(self._bursts) % given.partitions)


def main() -> None:
    """Run once and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap_servers")
    parser.add_argument("form", choices=sorted(FORMS))
    parser.add_argument("requests", help="the topic asked on")
    parser.add_argument("replies", help="the topic listened to")
    parser.add_argument("--model", default="", help="whom to ask, where there are several")
    parser.add_argument("--partitions", type=int, default=1, help="of the topic asked on")
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="requests per second, whatever the answers do; 0: as --window"
    )
    print(json.dumps(asyncio.run(Load(parser.parse_args()).run())))


if __name__ == "__main__":
    main()
