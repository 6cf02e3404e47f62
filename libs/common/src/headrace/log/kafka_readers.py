"""Readers and group members of Kafka through aiokafka 0.14.

Two rules follow from failures: keys and values stay bytes (a deserialiser that raises would raise for ever at the same
offset), and nothing is committed automatically (that would commit what was fetched, not what was done).
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as ATopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from headrace.errors import Retryable
from headrace.log.kafka_errors import quietly, translated
from headrace.log.port import MOST_FETCHED_BYTES, Assigned, Record, TopicPartition
from headrace.log.unpacking import cut_of, install

install()

ASK_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0


class KafkaReader:
    """Reads partitions assigned by hand. It raises only our own errors, and loses no record when it raises."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        # The next offset of each partition, as far as it is known here.
        self._next: dict[tuple[str, int], int] = {}
        self._has_gone_back = False

    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        try:
            with translated("reading"):
                found = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except Retryable:
            # NB: records that aiokafka took before it raised would otherwise be lost.
            self._go_back()
            raise
        # NB: `getmany` does not suspend when it has records. A busy reader would send no heartbeats and lose its
        # shards.
        await asyncio.sleep(0)
        for part in found.values():
            place = part[-1].topic, part[-1].partition
            # NB: the client silently resets an offset that is out of range to the beginning.
            self._has_gone_back = self._has_gone_back or part[0].offset < self._next.get(place, 0)
            self._next[place] = part[-1].offset + 1
        return [
            Record(r.topic, r.partition, r.offset, r.key, r.value, tuple(r.headers), r.timestamp)
            if r.checksum is None
            else _cut_record(r)
            for part in found.values()
            for r in part
        ]

    def _go_back(self) -> None:
        for theirs in self._consumer.assignment():
            if (offset := self._next.get((theirs.topic, theirs.partition))) is not None:
                self._consumer.seek(theirs, offset)

    def has_gone_back(self) -> bool:
        found, self._has_gone_back = self._has_gone_back, False
        return found

    async def position(self, partition: TopicPartition) -> int:
        with translated(f"asking for the position in {partition.topic}/{partition.partition}"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await self._consumer.position(theirs(partition))

    async def end_offsets(self) -> dict[TopicPartition, int]:
        with translated("asking for end offsets"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                found = await self._consumer.end_offsets(list(self._consumer.assignment()))
        return {ours(tp): offset for tp, offset in found.items()}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(ours(tp) for tp in self._consumer.assignment())

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        with translated("seeking"):
            for tp, offset in offsets.items():
                self._consumer.seek(theirs(tp), offset)
                self._next[tp.topic, tp.partition] = offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        with translated("pausing"):
            self._consumer.pause(*self._assigned(partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        with translated("resuming"):
            self._consumer.resume(*self._assigned(partitions))

    async def close(self) -> None:
        await closed(self._consumer.stop())

    def _assigned(self, partitions: Iterable[TopicPartition]) -> list[ATopicPartition]:
        mine = self._consumer.assignment()
        return [found for tp in partitions if (found := theirs(tp)) in mine]


class KafkaMember(KafkaReader):
    """A member of a consumer group."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, group: str) -> None:
        super().__init__(consumer)
        self._admin, self._group = admin, group

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        with translated("committing offsets"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await self._consumer.commit({theirs(tp): offset for tp, offset in offsets.items()})

    async def is_known(self) -> bool:
        with translated(f"asking who is in group {self._group}"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answers: Any = await self._admin.describe_consumer_groups([self._group])
            members = {member[0] for answer in answers for group in answer.groups for member in group[5]}
        # NB: private to aiokafka 0.14 (pinned); `test_kafka_rules` fails when a new version moves it.
        coordinator: Any = self._consumer._coordinator
        return coordinator.member_id in members


def _cut_record(r: Any) -> Record:
    """A record of which only a part was read (see `unpacking`)."""
    headers = tuple(r.headers)
    return Record(r.topic, r.partition, r.offset, r.key, r.value, headers, r.timestamp, *cut_of(r.checksum))


async def closed(closing: Awaitable[object]) -> None:
    """Close within five seconds, ignoring the client's errors: the broker may be away."""
    with quietly():
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await closing


class Listener(ConsumerRebalanceListener):
    """Passes rebalances to our callbacks. They must not raise, since aiokafka would only log it."""

    def __init__(self, on_assigned: Assigned, on_revoked: Assigned) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    async def on_partitions_assigned(self, assigned: Iterable[ATopicPartition]) -> None:
        await self._on_assigned(frozenset(ours(tp) for tp in assigned))

    async def on_partitions_revoked(self, revoked: Iterable[ATopicPartition]) -> None:
        await self._on_revoked(frozenset(ours(tp) for tp in revoked))


def consumer_options(committed: bool, fetch_bytes: int = MOST_FETCHED_BYTES) -> dict[str, Any]:
    """The options of every consumer of ours: nothing is committed automatically."""
    return {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed" if committed else "read_uncommitted",
        "max_partition_fetch_bytes": fetch_bytes,
        "fetch_max_wait_ms": 500,
    }


def ours(tp: ATopicPartition) -> TopicPartition:
    """A partition of aiokafka as ours."""
    return TopicPartition(tp.topic, tp.partition)


def theirs(tp: TopicPartition) -> ATopicPartition:
    """A partition of ours as aiokafka's."""
    return ATopicPartition(tp.topic, tp.partition)
