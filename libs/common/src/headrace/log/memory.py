"""A log in memory that behaves like Kafka in transactions, fencing, groups, gaps and compaction.

It passes the same conformance suite as the real log. Append times come from its clock.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence

from headrace.clock import Clock, ManualClock
from headrace.errors import Fenced, Misconfigured, NoTopic, Retryable, TooLarge
from headrace.log.memory_partition import ABORTED, COMMITTED, Partition, Transaction
from headrace.log.partition import partition_of
from headrace.log.port import (
    MOST_FETCHED_BYTES,
    NO_IDS,
    Ack,
    Assigned,
    Out,
    Record,
    Start,
    TopicPartition,
    TopicSpec,
    refuse_too_large,
)


class MemoryLog:
    """One cluster, see `headrace.log.port.Log`. `clock`: gives append times."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock()
        self._topics: dict[str, TopicSpec] = {}
        self._partitions: dict[TopicPartition, Partition] = {}
        self._owners: dict[str, object] = {}
        self._offsets: dict[tuple[str, TopicPartition], tuple[int, str]] = {}
        self._ids: dict[str, str] = {}
        self._made = itertools.count(1)
        self._groups: dict[str, list[MemoryMember]] = {}
        self._grown = asyncio.Event()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            if spec.name not in self._topics:
                self._topics[spec.name] = spec
                self._ids[spec.name] = f"{next(self._made):032x}"
                self._partitions |= {TopicPartition(spec.name, p): Partition() for p in range(spec.partitions)}

    async def alter_topics(self, specs: Sequence[TopicSpec]) -> None:
        self._topics |= {spec.name: spec for spec in specs}

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicSpec]:
        return {name: self._topics[name] for name in names if name in self._topics}

    async def list_topics(self) -> list[str]:
        return sorted(self._topics)

    async def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self._ids[name] for name in names if name in self._topics}

    def delete_topic(self, name: str) -> None:
        """Delete a topic as an operator would: its records are gone, and the groups' committed offsets stay."""
        del self._topics[name]
        self._partitions = {tp: found for tp, found in self._partitions.items() if tp.topic != name}

    async def longest_transaction_ms(self) -> int | None:
        return None

    async def partitions(self, topic: str) -> list[TopicPartition]:
        if topic not in self._topics:
            raise NoTopic(f"topic {topic} does not exist: run `headrace topic apply`")
        return [TopicPartition(topic, p) for p in range(self._topics[topic].partitions)]

    async def begin_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {
            tp: entries[0].offset if (entries := self._partition(tp).entries) else self._partition(tp).end
            for tp in partitions
        }

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._partition(tp).stable_end for tp in partitions}

    async def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        return {tp: self._offset_at(self._partition(tp), timestamp_ms) for tp in partitions}

    def _partition(self, tp: TopicPartition) -> Partition:
        found = self._partitions.get(tp)
        if found is None:
            raise Retryable(f"{tp.topic}/{tp.partition} is not there")
        return found

    def _offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        records = (entry.record for entry in partition.entries if entry.record is not None)
        return next((r.offset for r in records if r.timestamp_ms >= timestamp_ms), partition.stable_end)

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        found = {tp: self._offsets[group, tp] for tp in partitions if (group, tp) in self._offsets}
        return {tp: offset for tp, (offset, ident) in found.items() if ident in ("", self._ids[tp.topic])}

    async def producer(self) -> "MemoryProducer":
        return MemoryProducer(self)

    async def transactor(
        self, transactional_id: str, group: str, topic_ids: Mapping[str, str] = NO_IDS
    ) -> "MemoryTransactor":
        former = self._owners.get(transactional_id)
        if isinstance(former, MemoryTransactor):
            former.abort_open()
        transactor = MemoryTransactor(self, transactional_id, group, topic_ids)
        self._owners[transactional_id] = transactor
        return transactor

    async def reader(
        self,
        partitions: Iterable[TopicPartition],
        start: Start,
        *,
        committed: bool = True,
        fetch_bytes: int = MOST_FETCHED_BYTES,
    ) -> "MemoryReader":
        reader = MemoryReader(self, committed)
        await reader.assign(partitions, start)
        return reader

    async def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        on_assigned: Assigned,
        on_revoked: Assigned,
        instance_id: str | None = None,
    ) -> "MemoryMember":
        for topic in topics:
            await self.partitions(topic)
        member = MemoryMember(self, group, tuple(topics), on_assigned, on_revoked)
        self._groups.setdefault(group, []).append(member)
        await self._rebalance(group)
        return member

    async def members(self, group: str) -> list[str]:
        return ["here"] * len(self._groups.get(group, ()))

    def compact(self, topic: str) -> None:
        """Do what the log cleaner does some time: keep the newest visible record of each key, and leave gaps."""
        for tp in [tp for tp in self._partitions if tp.topic == topic]:
            partition = self._partitions[tp]
            newest = {
                entry.record.key: entry.offset for entry in partition.entries if entry.is_visible and entry.record
            }
            partition.entries = [
                entry
                for entry in partition.entries
                if entry.is_open or (entry.record and newest.get(entry.record.key) == entry.offset)
            ]

    def append(self, out: Out, transaction: Transaction | None = None) -> Ack:
        """Write one record now. It is open until its transaction ends."""
        spec = self._topics.get(out.topic)
        if spec is None:
            raise NoTopic(f"topic {out.topic} does not exist: run `headrace topic apply`")
        number = out.partition if out.partition is not None else partition_of(out.key or b"", spec.partitions)
        stamp = int(self.clock.now_s() * 1000)
        record = Record(out.topic, number, 0, out.key, out.value, out.headers, stamp)
        offset = self._partitions[TopicPartition(out.topic, number)].append(record, transaction)
        self.wake()
        return Ack(out.topic, number, offset)

    def wake(self) -> None:
        """Wake waiting readers after a change."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Wait until something changes, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._grown.wait()
        except TimeoutError:
            return

    def owns(self, transactional_id: str, transactor: object) -> bool:
        return self._owners.get(transactional_id) is transactor

    def finish(self, transaction: Transaction, state: str, touched: Iterable[TopicPartition]) -> None:
        """End a transaction: its records become visible or vanish, and each partition gets a control record."""
        transaction.state = state
        for tp in touched:
            self._partitions[tp].append(None)
        self.wake()

    def commit_offsets(
        self, group: str, offsets: Mapping[TopicPartition, int], ids: Mapping[str, str] = NO_IDS
    ) -> None:
        self._offsets.update({(group, tp): (offset, ids.get(tp.topic, "")) for tp, offset in offsets.items()})

    def slice(self, tp: TopicPartition, position: int, committed: bool, limit: int) -> tuple[list[Record], int]:
        """Up to `limit` records from `position`, and the next position."""
        partition = self._partitions.get(tp, Partition())
        end = partition.stable_end if committed else partition.end
        found: list[Record] = []
        for entry in partition.entries:
            if entry.offset < position or entry.offset >= end:
                continue
            if len(found) >= limit:
                return found, entry.offset
            if entry.record is not None and (entry.is_visible or not committed):
                found.append(entry.record)
        return found, max(end, position)

    def reaches(self, tp: TopicPartition, position: int) -> bool:
        """Whether a position lies within a partition, including its end; True for a partition that is gone."""
        return tp not in self._partitions or position <= self._partitions[tp].end

    def counts(self, group: str, member: "MemoryMember") -> bool:
        """Whether a group has a member."""
        return member in self._groups.get(group, ())

    async def leave(self, group: str, member: "MemoryMember") -> None:
        self._groups[group].remove(member)
        await self._rebalance(group)

    async def _rebalance(self, group: str) -> None:
        members = self._groups[group]
        plan: dict[int, set[TopicPartition]] = {id(member): set() for member in members}
        for topic in sorted({topic for member in members for topic in member.topics}):
            wanting = [member for member in members if topic in member.topics]
            for tp in await self.partitions(topic):
                share = len(await self.partitions(topic))
                plan[id(wanting[tp.partition * len(wanting) // share])].add(tp)
        changed = [member for member in members if member.assignment() != plan[id(member)]]
        for member in changed:
            await member.revoke()
        for member in changed:
            await member.grant(frozenset(plan[id(member)]))


class MemoryProducer:
    """Plain writer, see `headrace.log.port.Producer`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        try:
            refuse_too_large(outs)
        except TooLarge as error:
            raise Misconfigured(f"a record is too large: {error}") from error
        return [self._log.append(out) for out in outs]

    async def close(self) -> None: ...


class MemoryTransactor:
    """Transactional writer. Every commit yields to the loop once, as the real one does."""

    def __init__(self, log: MemoryLog, transactional_id: str, group: str, topic_ids: Mapping[str, str]) -> None:
        self._log, self._id, self._group, self._topic_ids = log, transactional_id, group, topic_ids
        self._open: tuple[Transaction, list[TopicPartition]] | None = None

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Ack]:
        self._refuse_zombie()
        refuse_too_large(outs)
        transaction = Transaction()
        acks = [self._log.append(out, transaction) for out in outs]
        touched = sorted({TopicPartition(ack.topic, ack.partition) for ack in acks})
        self._open = (transaction, touched)
        await asyncio.sleep(0)
        self._refuse_zombie()
        self._open = None
        self._log.commit_offsets(self._group, offsets, self._topic_ids)
        self._log.finish(transaction, COMMITTED, touched)
        return acks

    def abort_open(self) -> None:
        """Abort the open transaction, as the coordinator does when the id gets a new owner."""
        if self._open is not None:
            self._log.finish(self._open[0], ABORTED, self._open[1])
            self._open = None

    async def close(self) -> None: ...

    def _refuse_zombie(self) -> None:
        if not self._log.owns(self._id, self):
            raise Fenced(f"{self._id} has a new owner")


class MemoryReader:
    """Reads partitions assigned by hand."""

    def __init__(self, log: MemoryLog, committed: bool) -> None:
        self._log, self._committed = log, committed
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._has_gone_back = False

    async def assign(self, partitions: Iterable[TopicPartition], start: Start) -> None:
        chosen = list(partitions)
        begins = await self._log.begin_offsets(chosen)
        if isinstance(start, str):
            ends = await self._log.end_offsets(chosen)
            self._positions = {tp: (begins if start == "beginning" else ends)[tp] for tp in chosen}
        else:
            self._positions = {tp: start.get(tp, begins[tp]) for tp in chosen}
        self._paused &= set(chosen)

    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        found = self._take(max_records)
        if not found:
            await self._log.wait(timeout_s)
            found = self._take(max_records)
        await asyncio.sleep(0)
        return found

    def _take(self, max_records: int) -> list[Record]:
        found: list[Record] = []
        for tp in sorted(self._positions.keys() - self._paused):
            if not self._log.reaches(tp, self._positions[tp]):
                # NB: Kafka's client silently does the same.
                self._positions[tp], self._has_gone_back = 0, True
            records, position = self._log.slice(tp, self._positions[tp], self._committed, max_records - len(found))
            self._positions[tp] = position
            found += records
        return found

    def has_gone_back(self) -> bool:
        found, self._has_gone_back = self._has_gone_back, False
        return found

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]

    async def end_offsets(self) -> dict[TopicPartition, int]:
        return await self._log.end_offsets(self._positions)

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._positions.update(offsets)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused -= set(partitions)

    async def close(self) -> None: ...


class MemoryMember(MemoryReader):
    """A member of a group."""

    def __init__(
        self, log: MemoryLog, group: str, topics: tuple[str, ...], on_assigned: Assigned, on_revoked: Assigned
    ) -> None:
        super().__init__(log, committed=True)
        self.topics = topics
        self._group, self._on_assigned, self._on_revoked = group, on_assigned, on_revoked

    async def grant(self, partitions: frozenset[TopicPartition]) -> None:
        await self.assign(partitions, await self._log.committed(self._group, partitions))
        await self._on_assigned(partitions)

    async def revoke(self) -> None:
        if self._positions:
            await self._on_revoked(self.assignment())
        self._positions = {}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._log.commit_offsets(self._group, offsets)

    async def is_known(self) -> bool:
        return self._log.counts(self._group, self)

    async def close(self) -> None:
        await self.revoke()
        await self._log.leave(self._group, self)
