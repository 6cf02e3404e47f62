"""Kafka through aiokafka 0.14: the connection, topics, offsets and groups. Readers and writers have modules of their
own.

Partitions are assigned by range, so that partition p of all inputs is one shard. Sessions last 10 s.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaConsumer
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
from headrace.log.access import BrokerAccess
from headrace.log.backoff import delays_s
from headrace.log.kafka_errors import translated
from headrace.log.kafka_readers import (
    ASK_TIMEOUT_S,
    KafkaMember,
    KafkaReader,
    Listener,
    closed,
    consumer_options,
    ours,
    theirs,
)
from headrace.log.kafka_topic_ids import TopicIdsRequest, ids_of
from headrace.log.kafka_writers import KafkaProducer, KafkaTransactor
from headrace.log.port import MOST_FETCHED_BYTES, NO_IDS, Assigned, Start, TopicPartition, TopicSpec
from headrace.log.tls import tls_context


def client_options(settings: BrokerAccess) -> dict[str, Any]:
    """The connection options of every aiokafka client."""
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
    """A Kafka cluster, see `headrace.log.port.Log`."""

    def __init__(self, settings: BrokerAccess) -> None:
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
            await closed(admin.close())
            await closed(asker.stop())
            raise
        self._admin, self._asker = admin, asker

    async def stop(self) -> None:
        if self._admin is not None:
            await closed(self._admin.close())
        if self._asker is not None:
            await closed(self._asker.stop())

    @property
    def admin(self) -> AIOKafkaAdminClient:
        """The admin client; `Misconfigured` before `start`."""
        if self._admin is None:
            raise Misconfigured("the log is not started")
        return self._admin

    @property
    def asker(self) -> AIOKafkaConsumer:
        """A consumer that is used for offsets only."""
        if self._asker is None:
            raise Misconfigured("the log is not started")
        return self._asker

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        new = [
            NewTopic(spec.name, spec.partitions, self._settings.replication_factor, topic_configs=spec.config)
            for spec in specs
        ]
        # NB: errors of a topic do not raise; they are in the answer.
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
        # NB: private to aiokafka 0.14 (pinned), as is the request; `test_kafka_rules` fails when a new version moves it.
        wanted = list(names)
        return (
            ids_of((await self._ask(self.admin._send_request(TopicIdsRequest(wanted)))).to_object()) if wanted else {}
        )

    async def longest_transaction_ms(self) -> int | None:
        # NB: this is informative only, so a missing right must not stop the caller.
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
        found = await self._ask(self.asker.beginning_offsets(await self._known(partitions)))
        return {ours(tp): offset for tp, offset in found.items()}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        found = await self._ask(self.asker.end_offsets(await self._known(partitions)))
        return {ours(tp): offset for tp, offset in found.items()}

    async def _known(self, partitions: Iterable[TopicPartition]) -> list[ATopicPartition]:
        """Partitions as aiokafka's, their topics known to it. NB: it learns of topics one by one, 100 ms each."""
        wanted = [theirs(tp) for tp in partitions]
        await self._ask(asyncio.gather(*map(self.asker._client.add_topic, {tp.topic for tp in wanted})))
        return wanted

    async def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        wanted = list(partitions)
        found = await self._ask(self.asker.offsets_for_times({theirs(tp): timestamp_ms for tp in wanted}))
        ends = await self.end_offsets(wanted)
        return {tp: found[theirs(tp)].offset if found.get(theirs(tp)) else ends[tp] for tp in wanted}

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = [theirs(tp) for tp in partitions]
        found = await self._ask_coordinator(
            group, lambda: self.admin.list_consumer_group_offsets(group, partitions=wanted)
        )
        stands = {ours(tp): meta for tp, meta in found.items() if meta.offset >= 0}
        ids = await self.topic_ids({tp.topic for tp, meta in stands.items() if meta.metadata})
        return {tp: meta.offset for tp, meta in stands.items() if ids.get(tp.topic) in (None, "", meta.metadata)}

    async def producer(self) -> KafkaProducer:
        return await KafkaProducer.open(self._options)

    async def transactor(
        self, transactional_id: str, group: str, topic_ids: Mapping[str, str] = NO_IDS
    ) -> KafkaTransactor:
        return await KafkaTransactor.open(self._options, transactional_id, group, topic_ids)

    async def reader(
        self,
        partitions: Iterable[TopicPartition],
        start: Start,
        *,
        committed: bool = True,
        fetch_bytes: int = MOST_FETCHED_BYTES,
    ) -> "KafkaReader":
        consumer = AIOKafkaConsumer(**self._options, **consumer_options(committed, fetch_bytes))
        reader = KafkaReader(consumer)
        try:
            await self._ask(consumer.start())
            chosen = list(partitions)
            consumer.assign([theirs(tp) for tp in chosen])
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
            **consumer_options(True),
            group_id=group,
            group_instance_id=instance_id,
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            rebalance_timeout_ms=30_000,
            max_poll_interval_ms=300_000,
        )
        consumer.subscribe(list(topics), listener=Listener(on_assigned, on_revoked))
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
        """Wait until every broker knows the topics, since creation returns earlier."""
        while set(names) - set(await self.list_topics()):
            await asyncio.sleep(0.05)

    async def _ask_coordinator(self, group: str, question: Callable[[], Awaitable[Any]]) -> Any:
        for delay_s in islice(delays_s(0.1, 1.0), 20):
            try:
                return await self._ask(question())
            except Retryable as error:
                # NB: a fresh broker creates its offsets topic on the first query, and answers a later one.
                if not isinstance(error.__cause__, GroupCoordinatorNotAvailableError):
                    raise
                await asyncio.sleep(delay_s)
        raise Retryable(f"the broker at {self._settings.bootstrap_servers} has no coordinator for {group}")

    async def _ask(self, question: Awaitable[Any]) -> Any:
        with translated(f"the broker at {self._settings.bootstrap_servers} did not answer"):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await question
