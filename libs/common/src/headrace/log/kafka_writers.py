"""Writers through aiokafka 0.14: idempotent batches, and one transactional producer per shard.

The speed of group commit depends on two delays, not on round trips: (a) EndTxn answers before its markers are written,
so that the next AddPartitions is refused and aiokafka sleeps 20 ms; (b) a Produce request beside TxnOffsetCommit is
refused and retried after 100 ms. So the back-off is 1 ms, and acknowledgements are awaited before the offsets are sent.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import aiokafka.producer.sender as _sender
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as ATopicPartition

from headrace.errors import Misconfigured, TooLarge
from headrace.log.kafka_errors import quietly, translated
from headrace.log.partition import partition_of
from headrace.log.port import Ack, Out, TopicPartition, refuse_too_large

# NB: private to aiokafka 0.14 (pinned); `test_kafka_rules` fails when a new version moves it.
_sender.BACKOFF_OVERRIDE = 0.001

SEND_TIMEOUT_S = 30.0
TRANSACTION_TIMEOUT_S = 15.0
# A batch stays below the broker's limit (1 MiB). A single record may be larger where its topic allows it: a dead letter
# holds a record of up to that limit, and the reason why it could not be read.
_BATCH_BYTES = 900_000
_RECORD_BYTES = 3_000_000


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **options,
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 0,
        "max_batch_size": _BATCH_BYTES,
        "max_request_size": 8_388_608,
    }


class _Writer:
    """Sends many records as few batches, in order per partition, without awaiting each record."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._counts: dict[str, int] = {}

    async def write(self, outs: Sequence[Out]) -> list[Ack]:
        refuse_too_large(outs)
        queues: dict[tuple[str, int], list[int]] = {}
        for index, out in enumerate(outs):
            partition = out.partition if out.partition is not None else await self._hashed(out)
            queues.setdefault((out.topic, partition), []).append(index)
        if len(queues) == 1:
            return await self._write_partition(next(iter(queues)), outs)
        written = await asyncio.gather(
            *(self._write_partition(place, [outs[index] for index in indexes]) for place, indexes in queues.items())
        )
        placed = zip(
            itertools.chain.from_iterable(queues.values()), itertools.chain.from_iterable(written), strict=True
        )
        return [ack for _, ack in sorted(placed, key=itemgetter(0))]

    async def _write_partition(self, place: tuple[str, int], outs: Sequence[Out]) -> list[Ack]:
        topic, partition = place
        producer = self._producer
        sent: list[tuple[asyncio.Future[Any], int]] = []
        builder = producer.create_batch()
        for out in outs:
            # NB: a batch takes its first record whatever its size, so only a full batch refuses.
            added = builder.append(key=out.key, value=out.value, timestamp=None, headers=list(out.headers))
            if added is None:
                count = builder.record_count()
                sent.append((await producer.send_batch(builder, topic, partition=partition), count))
                builder = producer.create_batch()
                added = builder.append(key=out.key, value=out.value, timestamp=None, headers=list(out.headers))
            if added.size > _RECORD_BYTES:
                raise TooLarge(f"a record of {added.size} bytes does not fit into {topic}")
        count = builder.record_count()
        sent.append((await producer.send_batch(builder, topic, partition=partition), count))
        acks: list[Ack] = []
        for future, count in sent:
            base = (await future).offset
            acks += [Ack(topic, partition, base + n) for n in range(count)]
        return acks

    async def _hashed(self, out: Out) -> int:
        if out.topic not in self._counts:
            self._counts[out.topic] = len(await self._producer.partitions_for(out.topic))
        return partition_of(out.key or b"", self._counts[out.topic])


class KafkaProducer:
    """Idempotent writer. Such a producer never expires a batch itself, so every send has a time limit."""

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
            with translated(f"not known whether {len(outs)} records were written"):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    return await self._writer.write(outs)
        except TooLarge as error:
            raise Misconfigured(f"a record is too large: {error}") from error

    async def close(self) -> None:
        await _stopped(self._producer)


class KafkaTransactor:
    """One shard's transactional writer.

    After a KafkaError inside a transaction aiokafka's abort sends no EndTxn, and the NEXT commit would publish the
    "aborted" records. So this object is unusable after any failure, and its successor's InitProducerId aborts the
    transaction.
    """

    def __init__(self, producer: AIOKafkaProducer, group: str, topic_ids: Mapping[str, str]) -> None:
        self._producer = producer
        self._group = group
        # NB: the topic's id is stored with every offset, so that offsets of a topic that was created again are
        # recognised.
        self._topic_ids = topic_ids
        self._writer = _Writer(producer)

    @staticmethod
    async def open(
        options: Mapping[str, Any], transactional_id: str, group: str, topic_ids: Mapping[str, str]
    ) -> "KafkaTransactor":
        producer = AIOKafkaProducer(
            **_options(options),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
        )
        await _started(producer)
        return KafkaTransactor(producer, group, topic_ids)

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        with translated(f"a transaction of {len(outs)} records was dropped"):
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                return await self._commit(outs, offsets)

    async def _commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        await self._producer.begin_transaction()
        acks = await self._writer.write(outs)
        if offsets:
            ids = self._topic_ids
            theirs = {ATopicPartition(*tp): (offset, ids.get(tp.topic, "")) for tp, offset in offsets.items()}
            await self._producer.send_offsets_to_transaction(theirs, self._group)
        await self._producer.commit_transaction()
        return acks

    async def close(self) -> None:
        await _stopped(self._producer)


async def _started(producer: AIOKafkaProducer) -> None:
    try:
        with translated("the producer could not start"):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await producer.start()
    except BaseException:
        await _stopped(producer)
        raise


async def _stopped(producer: AIOKafkaProducer) -> None:
    """Stop within two seconds, ignoring errors. With the broker away or a transaction open it would wait for ever."""
    with quietly():
        async with asyncio.timeout(2.0):
            await producer.stop()
    waiter = getattr(producer._txn_manager, "_transaction_waiter", None)
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()  # it repeats a failure that was raised already; unread, asyncio would log it
