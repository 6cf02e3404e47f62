"""One record by its place, as plain values."""

import pytest

from headrace.errors import Misconfigured
from headrace.events.training import RetrainRefused
from headrace.evidence.append_order import in_append_order
from headrace.evidence.records import parse_place, read_record
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.testing.history import History

TOPICS = Topics.load("")
CODEC = Codec(TOPICS)


async def written(log: MemoryLog, *outs: Out) -> None:
    await ensure_topics(log, TOPICS.specs())
    producer = await log.producer()
    await producer.send(list(outs))
    await producer.close()


def fact(ident: str = "f", cause: str | None = "q") -> Out:
    envelope = Envelope(ident, "", "trainer", 1_364_774_400.0, cause, "story")
    return out(TOPICS.name("training.facts"), "d", RetrainRefused("d", "q", "cool-down"), envelope)


async def test_a_record_is_shown_with_its_headers_and_its_content(memory_log: MemoryLog) -> None:
    await written(memory_log, fact("before"), fact())
    found = await read_record(memory_log, CODEC, TOPICS, "training.facts/0/1")
    assert (found.place, found.kind, found.id) == ("training.facts.v1/0/1", "retrain.refused", "f")
    assert (found.cause, found.correlation, found.source, found.key) == ("q", "story", "trainer", "d")
    assert found.value == {"deployment": "d", "request_id": "q", "reason": "cool-down", "again_at_s": None}
    assert (found.event_s, found.sentence, found.unread) == (1_364_774_400.0, "retrain refused: cool-down", "")


async def test_a_record_that_no_service_can_read_is_shown_with_the_reason(memory_log: MemoryLog) -> None:
    await written(memory_log, Out(TOPICS.name("training.requests"), b"d", b"\xc1junk", (("ce_time", b"never"),)))
    found = await read_record(memory_log, CODEC, TOPICS, "training.requests.v1/0/0")
    assert found.value == "\\xc1junk"
    assert "ce_time must be an RFC 3339 instant" in found.unread


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("training.facts/0/7", "has no record at offset 7: the log holds the offsets 0..0"),
        ("training.facts/3/0", "has the partitions 0..0, got 3"),
        ("training.facts/0", "a place is written TOPIC/PARTITION/OFFSET"),
        ("training.facts/0/-1", "a place is written TOPIC/PARTITION/OFFSET"),
        ("raw.nothing/0/0", "there is no topic raw.nothing.v1"),
        ("registry.facts/0/0", "the log holds none of it now"),
    ],
)
async def test_a_place_without_a_record_is_refused_with_the_way_out(
    memory_log: MemoryLog, place: str, why: str
) -> None:
    await written(memory_log, fact())
    with pytest.raises(Misconfigured, match=why.replace(".", r"\.")):
        await read_record(memory_log, CODEC, TOPICS, place)


def test_a_place_is_read_with_and_without_its_version() -> None:
    assert parse_place(TOPICS, "registry.facts/0/1") == parse_place(TOPICS, "registry.facts.v1/0/1")
    with pytest.raises(Misconfigured):
        parse_place(TOPICS, "strange/0/1")


def test_topics_are_merged_by_append_time_and_partitions_keep_their_order() -> None:
    history = History()
    history.drift_to_switch()
    by_topic = sorted(history.messages, key=lambda m: (m.record.topic, m.record.offset))
    merged = in_append_order(by_topic)
    assert [m.record.timestamp_ms for m in merged] == [m.record.timestamp_ms for m in history.messages]
    assert {m.envelope.id for m in merged} == {m.envelope.id for m in history.messages}
