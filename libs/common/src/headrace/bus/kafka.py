"""Kafka through aiokafka 0.14: the connection, admin and readers. Writers are in `kafka_writers`.

Rules that follow from failures seen: bytes in, bytes out (a deserialiser that raises would raise for ever at the same
offset); never auto-commit (it commits what was fetched, not what was done); range assignment, so that partition p of
all inputs is one shard; sessions of 10 s.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as ATopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    TopicAlreadyExistsError,
    for_code,
)

from headrace.errors import Misconfigured, NoTopic, Retryable
from headrace.hosting.settings import Settings
from headrace.log.backoff import delays_s
from headrace.log.kafka_errors import quietly, translated
from headrace.log.kafka_topic_ids import TopicIdsRequest, ids_of
from headrace.log.kafka_writers import KafkaProducer, KafkaTransactor
from headrace.log.port import NO_IDS, Assigned, Record, Start, TopicPartition, TopicSpec
from headrace.log.tls import tls_context
from headrace.log.unpacking import cut_of, install

install()

ASK_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0
_FETCH_MAX_BYTES = 16 * 1024 * 1024


def client_options(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client is told about the way to the broker."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password
    context = tls_context(settings)
    return options if context is None else options | {"ssl_context": context}


class KafkaLog:
    """A Kafka cluster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = self._settings = settings
        self._options = client_options(settings)
        self._admin: AIOKafkaAdminClient | None = None
        self._asker: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        admin = AIOKafkaAdminClient(**self._options)
        asker = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
        try:
            with translated(f"no Kafka broker at {self._settings.bootstrap_servers}"):
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    await admin.start()
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    await asker.start()
        except BaseException:
            await _closed(admin.close())
            await _closed(asker.stop())
            raise
        self._admin, self._asker = admin, asker

    async def stop(self) -> None:
        if self._admin is not None:
            await _closed(self._admin.close())
        if self._asker is not None:
            await _closed(self._asker.stop())

    @property
    def admin(self) -> AIOKafkaAdminClient:
        """The admin client; `Misconfigured` before `start`."""
        if self._admin is None:
            raise Misconfigured("the log is not started")
        return self._admin

    @property
    def asker(self) -> AIOKafkaConsumer:
        """A consumer that only asks for offsets."""
        if self._asker is None:
            raise Misconfigured("the log is not started")
        return self._asker

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        new = [
            NewTopic(spec.name, spec.partitions, self._settings.replication_factor, topic_configs=spec.config)
            for spec in specs
        ]
        # NB: per-topic errors do not raise, they lie in the answer.
        answer = await self._ask(self.admin.create_topics(new))
        for name, code, *_ in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Misconfigured(f"topic {name} could not be created: {for_code(code).__name__}")
        await self._until_known([spec.name for spec in specs])

    async def alter_topics(self, specs: Sequence[TopicSpec]) -> None:
        # NB: this call replaces all settings of a topic, and a spec holds all that we declare.
        answers: list[Any] = await self._ask(
            self.admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, spec.name, configs=spec.config) for spec in specs]
            )
        )
        for answer in answers:
            for code, reason, _, name, *_ in answer.resources:
                if code:
                    raise Misconfigured(f"topic {name} could not be altered: {for_code(code).__name__} {reason or ''}")

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicSpec]:
        existing = set(await self.list_topics())
        wanted = [name for name in names if name in existing]
        if not wanted:
            return {}
        described = await self._ask(self.admin.describe_topics(wanted))
        configs: list[Any] = await self._ask(
            self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted])
        )
        settings = {
            found[3]: {entry[0]: entry[1] for entry in found[4]} for answer in configs for found in answer.resources
        }
        return {
            found["topic"]: TopicSpec(found["topic"], len(found["partitions"]), settings.get(found["topic"], {}))
            for found in described
        }

    async def list_topics(self) -> list[str]:
        return sorted(await self._ask(self.admin.list_topics()))

    async def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        # NB: private to aiokafka 0.14 (pinned), as the request is; `test_kafka_rules` fails when a new version moves it.
        wanted = list(names)
        return (
            ids_of((await self._ask(self.admin._send_request(TopicIdsRequest(wanted)))).to_object()) if wanted else {}
        )

    async def longest_transaction_ms(self) -> int | None:
        # NB: a question to the side: whoever may not ask it is not stopped by it.
        with contextlib.suppress(Exception):
            nodes = [str(node.nodeId) for node in self.admin._client.cluster.brokers()]
            answers: list[Any] = await self._ask(
                self.admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, node) for node in nodes])
            )
            entries = {entry[0]: entry[1] for answer in answers for found in answer.resources for entry in found[4]}
            return int(entries["transaction.max.timeout.ms"])
        return None

    async def partitions(self, topic: str) -> list[TopicPartition]:
        described = await self._ask(self.admin.describe_topics([topic]))
        if not described or described[0]["error_code"]:
            raise NoTopic(f"topic {topic} does not exist: run `headrace topic apply`")
        return [TopicPartition(topic, number) for number in range(len(described[0]["partitions"]))]

    async def begin_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        found = await self._ask(self.asker.beginning_offsets([_theirs(tp) for tp in partitions]))
        return {_ours(tp): offset for tp, offset in found.items()}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        found = await self._ask(self.asker.end_offsets([_theirs(tp) for tp in partitions]))
        return {_ours(tp): offset for tp, offset in found.items()}

    async def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        wanted = list(partitions)
        found = await self._ask(self.asker.offsets_for_times({_theirs(tp): timestamp_ms for tp in wanted}))
        ends = await self.end_offsets(wanted)
        return {tp: found[_theirs(tp)].offset if found.get(_theirs(tp)) else ends[tp] for tp in wanted}

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = [_theirs(tp) for tp in partitions]
        found = await self._ask_coordinator(
            group, lambda: self.admin.list_consumer_group_offsets(group, partitions=wanted)
        )
        stands = {_ours(tp): meta for tp, meta in found.items() if meta.offset >= 0}
        ids = await self.topic_ids({tp.topic for tp, meta in stands.items() if meta.metadata})
        return {tp: meta.offset for tp, meta in stands.items() if ids.get(tp.topic) in (None, "", meta.metadata)}

    async def producer(self) -> KafkaProducer:
        return await KafkaProducer.open(self._options)

    async def transactor(
        self, transactional_id: str, group: str, topic_ids: Mapping[str, str] = NO_IDS
    ) -> KafkaTransactor:
        return await KafkaTransactor.open(self._options, transactional_id, group, topic_ids)

    async def reader(
        self, partitions: Iterable[TopicPartition], start: Start, *, committed: bool = True
    ) -> "KafkaReader":
        consumer = AIOKafkaConsumer(**self._options, **_consumer_options(committed))
        reader = KafkaReader(consumer)
        try:
            await self._ask(consumer.start())
            chosen = list(partitions)
            consumer.assign([_theirs(tp) for tp in chosen])
            await reader.seek(await self._start_offsets(chosen, start))
        except BaseException:
            await reader.close()
            raise
        return reader

    async def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        on_assigned: Assigned,
        on_revoked: Assigned,
        instance_id: str | None = None,
    ) -> "KafkaMember":
        for topic in topics:
            await self.partitions(topic)
        consumer = AIOKafkaConsumer(
            **self._options,
            **_consumer_options(True),
            group_id=group,
            group_instance_id=instance_id,
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            rebalance_timeout_ms=30_000,
            max_poll_interval_ms=300_000,
        )
        consumer.subscribe(list(topics), listener=_Listener(on_assigned, on_revoked))
        member = KafkaMember(consumer, self.admin, group)
        try:
            await self._ask(consumer.start())
        except BaseException:
            await member.close()
            raise
        return member

    async def members(self, group: str) -> list[str]:
        answers = await self._ask_coordinator(group, lambda: self.admin.describe_consumer_groups([group]))
        groups = [found for answer in answers for found in answer.to_object()["groups"]]
        return [member["client_host"].lstrip("/") for found in groups for member in found["members"]]

    async def _start_offsets(self, partitions: list[TopicPartition], start: Start) -> dict[TopicPartition, int]:
        if start == "end":
            return await self.end_offsets(partitions)
        begins = await self.begin_offsets(partitions)
        return begins if isinstance(start, str) else {tp: start.get(tp, begins[tp]) for tp in partitions}

    async def _until_known(self, names: list[str]) -> None:
        """Creation returns before every broker knows the topics."""
        while set(names) - set(await self.list_topics()):
            await asyncio.sleep(0.05)

    async def _ask_coordinator(self, group: str, question: Callable[[], Awaitable[Any]]) -> Any:
        for delay_s in islice(delays_s(0.1, 1.0), 20):
            try:
                return await self._ask(question())
            except Retryable as error:
                # NB: a fresh broker makes its offsets topic on the first question, and answers the next one.
                if not isinstance(error.__cause__, GroupCoordinatorNotAvailableError):
                    raise
                await asyncio.sleep(delay_s)
        raise Retryable(f"the broker at {self._settings.bootstrap_servers} has no coordinator for {group}")

    async def _ask(self, question: Awaitable[Any]) -> Any:
        with translated(f"the broker at {self._settings.bootstrap_servers} did not answer"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await question


class KafkaReader:
    """Reads partitions assigned by hand. Raises nothing but our own errors, and loses nothing when it raises."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        # Where to go on, as far as it is known here.
        self._next: dict[tuple[str, int], int] = {}
        self._has_gone_back = False

    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        try:
            with translated("reading"):
                found = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except Retryable:
            # NB: records that aiokafka had taken before it raised would never be given again.
            self._go_back()
            raise
        # NB: with records at hand `getmany` never suspends: who reads many would send no heartbeat and lose its shards.
        await asyncio.sleep(0)
        for part in found.values():
            place = part[-1].topic, part[-1].partition
            # NB: an offset that is out of range is set to the beginning by the client, in silence.
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
                return await self._consumer.position(_theirs(partition))

    async def end_offsets(self) -> dict[TopicPartition, int]:
        with translated("asking for end offsets"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                found = await self._consumer.end_offsets(list(self._consumer.assignment()))
        return {_ours(tp): offset for tp, offset in found.items()}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(_ours(tp) for tp in self._consumer.assignment())

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        with translated("seeking"):
            for tp, offset in offsets.items():
                self._consumer.seek(_theirs(tp), offset)
                self._next[tp.topic, tp.partition] = offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        with translated("pausing"):
            self._consumer.pause(*self._assigned(partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        with translated("resuming"):
            self._consumer.resume(*self._assigned(partitions))

    async def close(self) -> None:
        await _closed(self._consumer.stop())

    def _assigned(self, partitions: Iterable[TopicPartition]) -> list[ATopicPartition]:
        mine = self._consumer.assignment()
        return [theirs for tp in partitions if (theirs := _theirs(tp)) in mine]


class KafkaMember(KafkaReader):
    """A member of a consumer group."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, group: str) -> None:
        super().__init__(consumer)
        self._admin, self._group = admin, group

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        with translated("committing offsets"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await self._consumer.commit({_theirs(tp): offset for tp, offset in offsets.items()})

    async def is_known(self) -> bool:
        with translated(f"asking who is in group {self._group}"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answers: Any = await self._admin.describe_consumer_groups([self._group])
            members = {member[0] for answer in answers for group in answer.groups for member in group[5]}
        # NB: private to aiokafka 0.14 (pinned); `test_kafka_rules` fails when a new version moves it.
        coordinator: Any = self._consumer._coordinator
        return coordinator.member_id in members


def _cut_record(r: Any) -> Record:
    """A record that was not taken whole (see `unpacking`)."""
    headers = tuple(r.headers)
    return Record(r.topic, r.partition, r.offset, r.key, r.value, headers, r.timestamp, *cut_of(r.checksum))


async def _closed(closing: Awaitable[object]) -> None:
    """Close, whatever the client says of it, and within five seconds: the broker may be away."""
    with quietly():
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await closing


class _Listener(ConsumerRebalanceListener):
    """Hands rebalances to us; what it raises aiokafka would only log, so the callbacks must not."""

    def __init__(self, on_assigned: Assigned, on_revoked: Assigned) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    async def on_partitions_assigned(self, assigned: Iterable[ATopicPartition]) -> None:
        await self._on_assigned(frozenset(_ours(tp) for tp in assigned))

    async def on_partitions_revoked(self, revoked: Iterable[ATopicPartition]) -> None:
        await self._on_revoked(frozenset(_ours(tp) for tp in revoked))


def _consumer_options(committed: bool) -> dict[str, Any]:
    return {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed" if committed else "read_uncommitted",
        "max_partition_fetch_bytes": _FETCH_MAX_BYTES,
        "fetch_max_wait_ms": 500,
    }


def _ours(tp: ATopicPartition) -> TopicPartition:
    return TopicPartition(tp.topic, tp.partition)


def _theirs(tp: TopicPartition) -> ATopicPartition:
    return ATopicPartition(tp.topic, tp.partition)
