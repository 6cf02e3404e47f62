"""The log as the rest of Headrace uses it: records in, records out, offsets, transactions.

`headrace.log.kafka.KafkaLog` and `headrace.log.memory.MemoryLog` implement these protocols and pass one conformance
suite. Nothing here decodes a value or knows an event type.

Every `async` method may wait for the broker, at most for the time limits of `headrace.log.kafka`, and raises
`Retryable` when the broker does not answer within them. Other methods answer from memory and never block. `NoTopic`
means that a topic is missing, or was deleted and created again. What a method raises besides is in its docstring.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from headrace.errors import TooLarge

# Readers take at most so much of a value, whatever a broker or a topic allows.
MAX_VALUE_BYTES = 1_048_576
MOST_FETCHED_BYTES = 16 * 1024 * 1024
Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic, by its full (namespaced) name."""

    topic: str
    partition: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read. `timestamp_ms` is the append time.

    `unread`: why it could not be read whole; `value` is then only its beginning, or the compressed bytes of its batch.
    `size_bytes` and `sha256`: of the whole value, when it was cut.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0
    unread: str | None = None
    size_bytes: int = 0
    sha256: str = ""

    @property
    def place(self) -> str:
        """Where it is, as text: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Out(msgspec.Struct, frozen=True, gc=False):
    """One record to write. With `partition=None` the hash of the key chooses."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


def refuse_too_large(outs: Sequence[Out]) -> None:
    """Raise `TooLarge`, before anything is written, for a value that no reader would take: facts would be lost for
    ever.
    """
    for out in outs:
        if out.value is not None and len(out.value) > MAX_VALUE_BYTES:
            raise TooLarge(
                f"a value of {len(out.value):,} bytes is not written to {out.topic}: its readers take at most"
                f" {MAX_VALUE_BYTES:,} bytes"
            )


class Ack(NamedTuple):
    """Where an `Out` was written."""

    topic: str
    partition: int
    offset: int


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it must be: full name, partitions, and topic settings (`cleanup.policy`, `retention.ms`, ...)."""

    name: str
    partitions: int
    config: dict[str, str] = {}
    keyed: bool = True


NO_IDS: Mapping[str, str] = {}
Start = Literal["beginning", "end"] | Mapping[TopicPartition, int]


class Producer(Protocol):
    """An idempotent writer without transactions."""

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        """Write all records, in their order per partition, and return when every one is acknowledged.

        Raises `Retryable` when the time limit passes. Whether they were written is then unknown, so send them again
        with the same event ids. Raises `Misconfigured` when a record is too large; then nothing is written.
        """
        ...

    async def close(self) -> None:
        """Close the connection. Takes at most two seconds and raises nothing."""
        ...


class Transactor(Protocol):
    """The writer of one shard: whole transactions, fenced by its transactional id."""

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        """Write all `outs` and commit the group's `offsets` (the next offset to read) in one transaction, or nothing.

        Raises `Fenced` when another owner has taken the id. Raises `Retryable` when the transaction failed and was
        dropped: close this transactor, make a new one (which aborts the open transaction) and rebuild the shard.
        """
        ...

    async def close(self) -> None:
        """Close the connection. Takes at most two seconds and raises nothing."""
        ...


class Reader(Protocol):
    """Reads partitions that are assigned by hand, outside of any group."""

    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        """Return records of any assigned partition that is not paused, in offset order per partition.

        Waits at most `timeout_s`, and returns an empty sequence when nothing came.
        """
        ...

    def has_gone_back(self) -> bool:
        """Whether, since the last call, records came from a lower offset than before: the topic may be another one."""
        ...

    async def position(self, partition: TopicPartition) -> int:
        """The next offset to be fetched. Control records and gaps left by compaction are skipped."""
        ...

    async def end_offsets(self) -> dict[TopicPartition, int]:
        """The end of every assigned partition (the last stable offset when only committed records are read)."""
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that are read."""
        ...

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on. A partition that is not assigned is ignored."""
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch nothing of these partitions until `resume`. Partitions that are not assigned are ignored."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch these partitions again."""
        ...

    async def close(self) -> None:
        """Close the connection. Takes at most five seconds and raises nothing."""
        ...


class Member(Reader, Protocol):
    """A member of a consumer group. Its partitions change through the callbacks given to `Log.member`."""

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the next offsets to read. Raises `Retryable` while the group is rebalancing."""
        ...

    async def is_known(self) -> bool:
        """Whether the group still has this member: a process that was frozen may have lost its place unnoticed."""
        ...


Assigned = Callable[[frozenset[TopicPartition]], Awaitable[None]]


class Log(Protocol):
    """A Kafka cluster, or something that behaves like one."""

    async def start(self) -> None:
        """Connect. Raises `Retryable`, which names host, port and cause."""
        ...

    async def stop(self) -> None:
        """Close the connections of the log itself. Readers and writers close their own."""
        ...

    async def producer(self) -> Producer:
        """A new producer with a connection of its own."""
        ...

    async def transactor(self, transactional_id: str, group: str, topic_ids: Mapping[str, str] = NO_IDS) -> Transactor:
        """A new writer of a shard. Its start fences the former owner of the id and aborts that one's open transaction.

        `topic_ids`: the ids of the topics whose offsets it commits, so that offsets of a topic that was created again
        are refused.
        """
        ...

    async def reader(
        self,
        partitions: Iterable[TopicPartition],
        start: Start,
        *,
        committed: bool = True,
        fetch_bytes: int = MOST_FETCHED_BYTES,
    ) -> Reader:
        """A new reader of these partitions. `committed`: only records of committed transactions, and plain ones.
        `fetch_bytes`: how much of a partition is fetched at once, at least one batch; little for single records.

        `start`: the beginning, the end, or an offset per partition; a partition without an offset starts at its
        beginning.
        """
        ...

    async def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        on_assigned: Assigned,
        on_revoked: Assigned,
        instance_id: str | None = None,
    ) -> Member:
        """Join `group`, with range assignment. A partition without a committed offset starts at its beginning.

        Only `Member.commit` and transactors commit. The callbacks must not raise.
        """
        ...

    async def members(self, group: str) -> list[str]:
        """The host of each member of `group`, as the broker sees it; empty for a group without members."""
        ...

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create the missing topics, and leave existing ones as they are. Raises `Misconfigured` when the broker
        refuses one.
        """
        ...

    async def alter_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Give existing topics these settings. Their partitions stay as they are."""
        ...

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicSpec]:
        """The existing ones of the named topics, as they are."""
        ...

    async def list_topics(self) -> list[str]:
        """The full names of all topics that we may see."""
        ...

    async def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """The id of each named topic that exists, "" where it is unknown. A topic that is created again has another
        id.
        """
        ...

    async def longest_transaction_ms(self) -> int | None:
        """How long the brokers let a producer keep a transaction open, in ms; None when it is unknown."""
        ...

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic. Raises `NoTopic` when it does not exist."""
        ...

    async def begin_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The first available offset of each partition."""
        ...

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of each partition: the offset after its last record. In Kafka records of an open transaction count
        too.
        """
        ...

    async def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        """Per partition the first offset appended at or after `timestamp_ms`; its end when there is none."""
        ...

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's committed offsets. Partitions without one, or with one of a topic that was created again, are
        left out.
        """
        ...
