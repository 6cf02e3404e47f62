"""What every log must do: one suite, run on the log in memory and on a real Kafka.

A test module inherits `LogConformance` and defines a fixture `log`. Topics have unique names.
"""

import asyncio
import secrets

import pytest

from headrace.errors import Fenced, Misconfigured, TooLarge
from headrace.log.port import MAX_VALUE_BYTES, Log, Out, Record, TopicPartition, TopicSpec


def outs(topic: str, *values: bytes, partition: int = 0) -> list[Out]:
    """Plain records for one partition."""
    return [Out(topic, value, value, partition=partition) for value in values]


async def make_topic(log: Log, partitions: int = 1, cleanup: str = "delete") -> str:
    """A topic that no other test uses."""
    name = f"conformance.{secrets.token_hex(4)}.v1"
    await log.create_topics([TopicSpec(name, partitions, {"cleanup.policy": cleanup})])
    return name


async def read_values(log: Log, topic: str, *, committed: bool = True) -> list[bytes | None]:
    """All values of a topic up to its present end."""
    partitions = await log.partitions(topic)
    ends = await log.end_offsets(partitions)
    reader = await log.reader(partitions, "beginning", committed=committed)
    found: list[Record] = []
    try:
        while any([await reader.position(tp) < ends[tp] for tp in partitions]):
            found += await reader.fetch(0.5)
    finally:
        await reader.close()
    return [record.value for record in found]


class LogConformance:
    """The suite."""

    async def delete(self, log: Log, topic: str) -> None:
        """Delete a topic as an operator would. The log's port has no such method."""
        raise NotImplementedError

    async def test_a_recreated_topic_has_another_id_and_the_old_offsets_do_not_count(self, log: Log) -> None:
        topic, group = await make_topic(log), f"g{secrets.token_hex(4)}"
        tp = TopicPartition(topic, 0)
        before = await log.topic_ids([topic, "no.such.v1"])
        assert before == await log.topic_ids([topic])
        assert before.keys() == {topic}
        stale = await log.transactor(f"{group}-0", group, before)
        await stale.commit(outs(topic, b"a"), {tp: 1})
        # NB: a broker writes the marker of a group's offsets after it has answered; fencing makes a successor wait for
        # it.
        async with asyncio.timeout(20):
            while await log.committed(group, [tp]) != {tp: 1}:
                await asyncio.sleep(0.05)
        await self.delete(log, topic)
        async with asyncio.timeout(20):
            while await log.topic_ids([topic]):
                await asyncio.sleep(0.05)
        await log.create_topics([TopicSpec(topic, 1, {"cleanup.policy": "delete"})])
        after = await log.topic_ids([topic])
        assert after[topic] not in ("", before[topic])
        # NB: a process that has not noticed yet still commits.
        await stale.commit([], {tp: 7})
        await stale.close()
        assert await log.committed(group, [tp]) == {}
        fresh = await log.transactor(f"{group}-1", group, after)
        await fresh.commit([], {tp: 3})
        await fresh.close()
        async with asyncio.timeout(20):
            while await log.committed(group, [tp]) != {tp: 3}:
                await asyncio.sleep(0.05)

    async def test_a_record_is_at_the_offset_of_its_acknowledgement(self, log: Log) -> None:
        topic = await make_topic(log, partitions=2)
        producer = await log.producer()
        acks = await producer.send(outs(topic, b"a", b"b", partition=1) + outs(topic, b"c"))
        await producer.close()
        assert acks == [(topic, 1, 0), (topic, 1, 1), (topic, 0, 0)]
        assert sorted(v for v in await read_values(log, topic) if v) == [b"a", b"b", b"c"]

    async def test_a_key_goes_to_the_same_partition_on_every_log(self, log: Log) -> None:
        topic = await make_topic(log, partitions=4)
        producer = await log.producer()
        acks = await producer.send([Out(topic, key, b"") for key in (b"JFK", b"LGA", b"EWR", b"2013-04-01/AA/1/JFK")])
        await producer.close()
        assert [ack.partition for ack in acks] == [1, 0, 3, 3]

    async def test_a_transaction_shows_its_records_and_offsets_together(self, log: Log) -> None:
        topic, group = await make_topic(log), f"g{secrets.token_hex(4)}"
        tp = TopicPartition(topic, 0)
        transactor = await log.transactor(f"{group}-0", group)
        await transactor.commit(outs(topic, b"a", b"b"), {tp: 7})
        await transactor.close()
        assert await read_values(log, topic) == [b"a", b"b"]
        assert await log.committed(group, [tp]) == {tp: 7}

    async def test_a_value_that_no_reader_takes_is_not_written_though_the_topic_allows_it(self, log: Log) -> None:
        topic = f"conformance.{secrets.token_hex(4)}.v1"
        await log.create_topics([TopicSpec(topic, 1, {"max.message.bytes": "4194304"})])
        small, largest, larger = [
            Out(topic, None, b"x" * n, partition=0) for n in (1, MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)
        ]
        producer, transactor = await log.producer(), await log.transactor(f"{topic}-0", topic)
        with pytest.raises(
            Misconfigured, match=r"a value of 1,048,577 bytes is not written to .* at most 1,048,576 bytes"
        ):
            await producer.send([small, larger])
        with pytest.raises(TooLarge, match="a value of 1,048,577 bytes"):
            await transactor.commit([small, larger], {TopicPartition(topic, 0): 1})
        await producer.send([largest])
        await producer.close()
        await transactor.close()
        assert await log.committed(topic, [TopicPartition(topic, 0)]) == {}
        assert await read_values(log, topic) == [largest.value]

    async def test_a_new_owner_fences_the_old_one_and_nothing_of_it_shows(self, log: Log) -> None:
        topic, group = await make_topic(log), f"g{secrets.token_hex(4)}"
        old = await log.transactor(f"{group}-0", group)
        await old.commit(outs(topic, b"before"), {})
        new = await log.transactor(f"{group}-0", group)
        with pytest.raises(Fenced):
            await old.commit(outs(topic, b"zombie"), {TopicPartition(topic, 0): 99})
        await new.commit(outs(topic, b"after"), {})
        assert await read_values(log, topic) == [b"before", b"after"]
        assert await log.committed(group, [TopicPartition(topic, 0)]) == {}
        await old.close()
        await new.close()

    async def test_a_reader_starts_at_the_given_offset(self, log: Log) -> None:
        topic = await make_topic(log)
        producer = await log.producer()
        await producer.send(outs(topic, b"a", b"b", b"c"))
        reader = await log.reader([TopicPartition(topic, 0)], {TopicPartition(topic, 0): 2})
        assert [record.value for record in await reader.fetch(5.0)] == [b"c"]
        await reader.seek({TopicPartition(topic, 0): 1})
        assert [record.offset for record in await reader.fetch(5.0)] == [1, 2]
        await reader.close()
        await producer.close()

    async def test_a_reader_that_fetches_little_at_once_reads_a_large_value_and_all_others(self, log: Log) -> None:
        topic = await make_topic(log)
        tp = TopicPartition(topic, 0)
        producer = await log.producer()
        await producer.send(outs(topic, b"a"))
        await producer.send(outs(topic, b"b" * 10_000))
        await producer.send(outs(topic, b"c"))
        reader = await log.reader([tp], {tp: 0}, fetch_bytes=100)
        sizes: list[int] = []
        while len(sizes) < 3:
            sizes += [len(record.value or b"") for record in await reader.fetch(5.0, 1)]
        assert sizes == [1, 10_000, 1]
        await reader.close()
        await producer.close()

    async def test_an_instant_gives_the_first_record_appended_then(self, log: Log) -> None:
        topic = await make_topic(log)
        tp = TopicPartition(topic, 0)
        producer = await log.producer()
        await producer.send(outs(topic, b"a", b"b"))
        reader = await log.reader([tp], "beginning")
        records = list(await reader.fetch(5.0))
        day_ms = 86_400_000
        assert await log.offsets_at([tp], records[0].timestamp_ms) == {tp: 0}
        assert await log.offsets_at([tp], records[0].timestamp_ms - day_ms) == {tp: 0}
        assert await log.offsets_at([tp], records[-1].timestamp_ms + day_ms) == await log.end_offsets([tp])
        await reader.close()
        await producer.close()

    async def test_a_paused_partition_is_not_fetched_until_resumed(self, log: Log) -> None:
        topic = await make_topic(log)
        producer = await log.producer()
        tp = TopicPartition(topic, 0)
        reader = await log.reader([tp], "beginning")
        reader.pause([tp])
        await producer.send(outs(topic, b"a"))
        assert await reader.fetch(0.3) == []
        reader.resume([tp])
        assert [record.value for record in await reader.fetch(5.0)] == [b"a"]
        await reader.close()
        await producer.close()

    async def test_the_position_passes_over_control_records(self, log: Log) -> None:
        topic, group = await make_topic(log), f"g{secrets.token_hex(4)}"
        transactor = await log.transactor(f"{group}-0", group)
        await transactor.commit(outs(topic, b"a"), {})
        await transactor.close()
        tp = TopicPartition(topic, 0)
        reader = await log.reader([tp], "beginning")
        end = (await log.end_offsets([tp]))[tp]
        async with asyncio.timeout(20):
            while await reader.position(tp) < end:
                await reader.fetch(0.2)
        assert end == 2
        await reader.close()

    async def test_two_members_share_partitions_by_range_and_the_survivor_takes_all(self, log: Log) -> None:
        topics = [await make_topic(log, partitions=2), await make_topic(log, partitions=2)]
        group = f"g{secrets.token_hex(4)}"
        owned: dict[str, frozenset[TopicPartition]] = {}

        def note(name: str):
            async def assigned(partitions: frozenset[TopicPartition]) -> None:
                owned[name] = partitions

            async def revoked(partitions: frozenset[TopicPartition]) -> None:
                owned[name] = frozenset()

            return {"on_assigned": assigned, "on_revoked": revoked}

        first = await log.member(group, topics, **note("first"))
        second = await log.member(group, topics, **note("second"))
        async with asyncio.timeout(40):
            while {len(owned.get("first", ())), len(owned.get("second", ()))} != {2}:
                await asyncio.gather(first.fetch(0.1), second.fetch(0.1))
        assert {len({tp.partition for tp in partitions}) for partitions in owned.values()} == {1}
        await second.close()
        async with asyncio.timeout(40):
            while len(owned["first"]) != 4:
                await first.fetch(0.1)
        await first.close()

    async def test_a_group_lists_its_members_and_none_after_all_have_left(self, log: Log) -> None:
        topics, group = [await make_topic(log, partitions=1)], f"g{secrets.token_hex(4)}"
        assert await log.members(group) == []
        has_come = asyncio.Event()

        async def assigned(partitions: frozenset[TopicPartition]) -> None:
            has_come.set()

        async def revoked(partitions: frozenset[TopicPartition]) -> None: ...

        member = await log.member(group, topics, on_assigned=assigned, on_revoked=revoked)
        async with asyncio.timeout(20):
            await has_come.wait()
        (host,) = await log.members(group)
        assert host
        await member.close()
        assert await log.members(group) == []

    async def test_a_missing_topic_is_named(self, log: Log) -> None:
        with pytest.raises(Misconfigured, match=r"no\.such\.v1"):
            await log.partitions("no.such.v1")

    async def test_topics_are_described_as_they_are(self, log: Log) -> None:
        topic = await make_topic(log, partitions=3, cleanup="compact")
        described = (await log.describe_topics([topic, "no.such.v1"]))[topic]
        assert (described.partitions, described.config["cleanup.policy"]) == (3, "compact")
