"""Writers through aiokafka 0.14: idempotent batches, and one transactional producer per shard.

Group commit is governed by two sleeps, not by round trips: (a) EndTxn answers before its markers are written, the next
AddPartitions is refused, and aiokafka sleeps 20 ms; (b) Produce sent beside TxnOffsetCommit is refused and retried
after 100 ms. So the back-off is 1 ms, and acknowledgements are awaited before the offsets are sent.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import aiokafka.producer.sender as _sender
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as ATopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    UnknownTopicOrPartitionError,
)

from headrace.bus.partition import partition_of
from headrace.bus.port import Ack, Out, TopicPartition
from headrace.errors import Fenced, Misconfigured, Retryable

# NB: private to aiokafka 0.14 (pinned); `test_kafka_rules` fails when a new version moves it.
_sender.BACKOFF_OVERRIDE = 0.001

SEND_TIMEOUT_S = 30.0
TRANSACTION_TIMEOUT_S = 15.0
# A batch stays below the broker's limit (1 MiB); a single record may be larger, where its topic allows it: a dead
# letter carries a record of up to that limit, and why it could not be read.
_BATCH_BYTES = 900_000
_RECORD_BYTES = 3_000_000


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **options,
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 0,
        "max_batch_size": _RECORD_BYTES,
        "max_request_size": 8_388_608,
    }


class _Writer:
    """Sends many records as few batches, order kept per partition, without awaiting per record."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._counts: dict[str, int] = {}

    async def write(self, outs: Sequence[Out]) -> list[Ack]:
        placed = [(TopicPartition(out.topic, await self._place(out)), out) for out in outs]
        queues: dict[TopicPartition, list[int]] = {}
        for index, (tp, _) in enumerate(placed):
            queues.setdefault(tp, []).append(index)
        acks: list[Ack | None] = [None] * len(outs)
        await asyncio.gather(*(self._write_partition(tp, indexes, placed, acks) for tp, indexes in queues.items()))
        return [ack for ack in acks if ack is not None]

    async def _write_partition(
        self, tp: TopicPartition, indexes: list[int], placed: list[tuple[TopicPartition, Out]], acks: list[Ack | None]
    ) -> None:
        sent: list[tuple[asyncio.Future[Any], list[int]]] = []
        builder, members, size = self._producer.create_batch(), [], 0
        for index in indexes:
            out = placed[index][1]
            size += _size(out)
            if members and size > _BATCH_BYTES:
                sent.append((await self._producer.send_batch(builder, tp.topic, partition=tp.partition), members))
                builder, members, size = self._producer.create_batch(), [], _size(out)
            if builder.append(key=out.key, value=out.value, timestamp=None, headers=list(out.headers)) is None:
                raise Misconfigured(f"a record of {_size(out)} bytes does not fit into a batch for {tp.topic}")
            members.append(index)
        sent.append((await self._producer.send_batch(builder, tp.topic, partition=tp.partition), members))
        for future, group in sent:
            base = (await future).offset
            for position, index in enumerate(group):
                acks[index] = Ack(tp.topic, tp.partition, base + position)

    async def _place(self, out: Out) -> int:
        if out.partition is not None:
            return out.partition
        if out.topic not in self._counts:
            self._counts[out.topic] = len(await self._producer.partitions_for(out.topic))
        return partition_of(out.key or b"", self._counts[out.topic])


def _size(out: Out) -> int:
    """About how many bytes a record takes in a batch."""
    headers = sum(len(name) + len(value) + 4 for name, value in out.headers)
    return len(out.key or b"") + len(out.value or b"") + headers + 32


class KafkaProducer:
    """Idempotent writer. An idempotent producer never expires a batch by itself, so every send has a time-out."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._writer = _Writer(producer)

    @staticmethod
    async def open(options: Mapping[str, Any]) -> "KafkaProducer":
        producer = AIOKafkaProducer(**_options(options))
        await _started(producer)
        return KafkaProducer(producer)

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        try:
            return await asyncio.wait_for(self._writer.write(outs), SEND_TIMEOUT_S)
        except (UnknownTopicOrPartitionError, MessageSizeTooLargeError) as error:
            raise Misconfigured(f"{type(error).__name__}: {error}") from error
        except (KafkaError, TimeoutError) as error:
            raise Retryable(f"not known whether {len(outs)} records were written: {type(error).__name__}") from error

    async def close(self) -> None:
        await _stopped(self._producer)


class KafkaTransactor:
    """One shard's transactional writer.

    After a KafkaError inside a transaction aiokafka's abort sends no EndTxn, and the NEXT commit would publish the
    "aborted" records: so after any failure this object is dead, and its successor's InitProducerId aborts for it.
    """

    def __init__(self, producer: AIOKafkaProducer, group: str) -> None:
        self._producer = producer
        self._group = group
        self._writer = _Writer(producer)

    @staticmethod
    async def open(options: Mapping[str, Any], transactional_id: str, group: str) -> "KafkaTransactor":
        producer = AIOKafkaProducer(
            **_options(options),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
        )
        await _started(producer)
        return KafkaTransactor(producer, group)

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        try:
            return await asyncio.wait_for(self._commit(outs, offsets), TRANSACTION_TIMEOUT_S)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced(f"another process owns this shard now ({type(error).__name__})") from error
        except (KafkaError, TimeoutError) as error:
            raise Retryable(
                f"a transaction of {len(outs)} records was dropped: {type(error).__name__}: {error}"
            ) from error

    async def _commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        await self._producer.begin_transaction()
        acks = await self._writer.write(outs)
        if offsets:
            theirs = {ATopicPartition(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
            await self._producer.send_offsets_to_transaction(theirs, self._group)
        await self._producer.commit_transaction()
        return acks

    async def close(self) -> None:
        await _stopped(self._producer)


async def _started(producer: AIOKafkaProducer) -> None:
    try:
        await asyncio.wait_for(producer.start(), SEND_TIMEOUT_S)
    except (KafkaError, OSError, TimeoutError) as error:
        await _stopped(producer)
        raise Retryable(f"the producer could not start: {type(error).__name__}: {error}") from error


async def _stopped(producer: AIOKafkaProducer) -> None:
    """Stop within two seconds: with the broker away, or a transaction open, it would wait for ever."""
    with contextlib.suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(producer.stop(), 2.0)
    waiter = getattr(producer._txn_manager, "_transaction_waiter", None)
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()  # aiokafka repeats a failure here that was already raised: without a reader asyncio would log it
