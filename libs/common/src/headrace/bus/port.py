"""The log as the rest of Headrace sees it: records in, records out, offsets, transactions.

Two things implement it, and pass one conformance suite: `headrace.log.kafka.KafkaLog` and
`headrace.log.memory.MemoryLog`. Nothing here decodes a value or knows an event type.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from headrace.errors import TooLarge

# What is taken of a value by whoever reads it, whatever a broker or a topic allows.
MAX_VALUE_BYTES = 1_048_576
Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic, by its full (namespaced) name."""

    topic: str
    partition: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read. `timestamp_ms` is the append time; `offset` and `partition` say where it lies.

    `unread`: why it could not be taken whole off the log; `value` is then only its beginning (or the compressed bytes of the
    batch that it is part of). `size_bytes` and `sha256` are those of all that `value` stands for, when it was cut.
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


class Out(msgspec.Struct, frozen=True, gc=False):
    """One record to write. `partition=None` leaves the choice to the hash of the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


def refuse_too_large(outs: Sequence[Out]) -> None:
    """Raise `TooLarge`, before anything is written, for a value that nobody would read: facts would be lost for ever."""
    for out in outs:
        if out.value is not None and len(out.value) > MAX_VALUE_BYTES:
            raise TooLarge(
                f"a value of {len(out.value):,} bytes is not written to {out.topic}: whoever reads it takes"
                f" {MAX_VALUE_BYTES:,} at most"
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
    """Idempotent writer without transactions."""

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        """Write all, keep their order per partition, return when every one is acknowledged.

        Raises `Retryable` when the time-out passes: the outcome is then unknown, send again with the same event ids.
        """
        ...

    async def close(self) -> None: ...


class Transactor(Protocol):
    """Writer of one shard: whole transactions, fenced by its transactional id."""

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        """One transaction: all `outs` and the group's `offsets` (next offset to read), or nothing.

        Raises `Fenced` when another owner has taken the id, `Retryable` when the transaction failed and was dropped:
        the transactor is then unusable; close it, make a new one (which aborts what was open), rebuild the shard.
        """
        ...

    async def close(self) -> None: ...


class Reader(Protocol):
    """Reads partitions assigned by hand, outside any group."""

    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        """Records of any assigned, unpaused partition, in offset order per partition; empty after `timeout_s`."""
        ...

    def has_gone_back(self) -> bool:
        """Whether records came, since this was last asked, from before what had come already: the topic may be another one."""
        ...

    async def position(self, partition: TopicPartition) -> int:
        """The next offset to be fetched (control records and gaps of compaction are passed over)."""
        ...

    async def end_offsets(self) -> dict[TopicPartition, int]:
        """The end of every assigned partition (last stable offset when reading committed)."""
        ...

    def assignment(self) -> frozenset[TopicPartition]: ...
    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None: ...
    def pause(self, partitions: Iterable[TopicPartition]) -> None: ...
    def resume(self, partitions: Iterable[TopicPartition]) -> None: ...
    async def close(self) -> None: ...


class Member(Reader, Protocol):
    """A member of a consumer group; partitions come and go through the callbacks given at its making."""

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the next offsets to read. Raises `Retryable` when the group is rebalancing."""
        ...

    async def is_known(self) -> bool:
        """Whether the group counts this member now (a process that was frozen may have lost its place unawares)."""
        ...


Assigned = Callable[[frozenset[TopicPartition]], Awaitable[None]]


class Log(Protocol):
    """A Kafka cluster, or something that behaves like one."""

    async def start(self) -> None:
        """Connect; raises `Retryable` naming host, port and cause."""
        ...

    async def stop(self) -> None: ...
    async def producer(self) -> Producer: ...

    async def transactor(self, transactional_id: str, group: str, topic_ids: Mapping[str, str] = NO_IDS) -> Transactor:
        """Make the shard's writer; its start fences the former owner and aborts what that one left open.

        `topic_ids`: which topics the offsets that it commits are of.
        """
        ...

    async def reader(self, partitions: Iterable[TopicPartition], start: Start, *, committed: bool = True) -> Reader: ...

    async def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        on_assigned: Assigned,
        on_revoked: Assigned,
        instance_id: str | None = None,
    ) -> Member:
        """Join `group` with range assignment; never auto-commits; a partition without a commit starts at the beginning."""
        ...

    async def members(self, group: str) -> list[str]:
        """From which host each member of `group` comes, as the broker sees it; empty for a group that nobody is in."""
        ...

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create those that are missing; existing ones are left as they are."""
        ...

    async def alter_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Give existing topics these settings; partitions stay."""
        ...

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicSpec]:
        """The topics that exist, as they are."""
        ...

    async def list_topics(self) -> list[str]: ...
    async def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """The id of each of these topics that exists: another one once it was deleted and made again, empty for unknown."""
        ...

    async def longest_transaction_ms(self) -> int | None:
        """How long the brokers let a producer keep a transaction open; None when they do not say."""
        ...

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic; raises `Misconfigured` when it does not exist."""
        ...

    async def begin_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        """Per partition the first offset appended at or after `timestamp_ms`; its end when there is none."""
        ...

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's committed offsets; partitions without one, or with one of a topic that was made again, are left out."""
        ...
