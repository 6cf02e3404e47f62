"""One record of the log by its place `topic/partition/offset`, as plain values: what every step of a timeline points to."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.errors import Fatal, Misconfigured, NoTopic, Poison, Retryable
from headrace.evidence.append_order import in_append_order
from headrace.evidence.causes import plain_words
from headrace.evidence.steps import sentence
from headrace.log.codec import Codec, Message, header
from headrace.log.envelope import MAX_INT
from headrace.log.port import Log, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.untyped import shown, untyped
from headrace.log.views import read_all

# How long a record is waited for that the log has and does not give: a transaction over it is still open.
_WITHIN_S = 10.0


class RecordSeen(msgspec.Struct, frozen=True):
    """A record. `place`: with the full name of its topic. `kind`, `id`, `source`, `cause`, `correlation`, `origin`: of
    its headers, "" where there is none. `event_s`: its `ce_time`, else its append time `wall_s`. `value`: its content as
    it is written, without our types, cut as `headrace.log.untyped` says. `sentence`: the same in one line where there is
    one. `unread`: why our services could not read it, "" if they can.
    """

    place: str
    key: str
    kind: str
    id: str
    source: str
    event_s: float
    wall_s: float
    cause: str
    correlation: str
    origin: str
    size_bytes: int
    value: Any
    sentence: str = ""
    unread: str = ""


def parse_place(topics: Topics, text: str) -> tuple[TopicPartition, int]:
    """The partition and the offset of `topic/partition/offset`; the topic with or without its version and namespace.

    >>> parse_place(Topics.load(""), "registry.facts/0/12")
    (TopicPartition(topic='registry.facts.v1', partition=0), 12)
    """
    parts = text.split("/")
    numbers = parts[1:]
    is_number = [number.isascii() and number.isdigit() and int(number) <= MAX_INT for number in numbers]
    if len(parts) != 3 or not all(is_number):
        raise Misconfigured(
            f"a place is written TOPIC/PARTITION/OFFSET, such as registry.facts/0/12, got {text!r:.200}"
        )
    return TopicPartition(full_name(topics, parts[0]), int(numbers[0])), int(numbers[1])


def full_name(topics: Topics, name: str) -> str:
    """The full name of a topic that a person named. Raises `Misconfigured` for one that is not ours."""
    last = name.rsplit(".", 1)[-1]
    base = name if last.startswith("v") and last[1:].isdigit() else f"{name}.v1"
    full = topics.prefixed(topics.base(base))
    topics.rule(full)
    return full


async def read_record(log: Log, codec: Codec, topics: Topics, place: str) -> RecordSeen:
    """The record at a place. Raises `Misconfigured` where there is none, with the reason."""
    tp, offset = parse_place(topics, place)
    record = await _read(log, tp, offset)
    return seen(codec, record)


async def _read(log: Log, tp: TopicPartition, offset: int) -> Record:
    try:
        partitions = await log.partitions(tp.topic)
    except NoTopic:
        raise Misconfigured(f"there is no topic {tp.topic}: `headrace topic list` shows those that there are") from None
    if tp not in partitions:
        raise Misconfigured(f"{tp.topic} has the partitions 0..{len(partitions) - 1}, got {tp.partition}")
    begin, end = (await log.begin_offsets([tp]))[tp], (await log.end_offsets([tp]))[tp]
    if not begin <= offset < end:
        held = f"the log holds the offsets {begin}..{end - 1}" if begin < end else "the log holds none of it now"
        raise Misconfigured(f"{tp.topic}/{tp.partition} has no record at offset {offset}: {held}")
    reader = await log.reader([tp], {tp: offset})
    try:
        async with asyncio.timeout(_WITHIN_S):
            while await reader.position(tp) <= offset:
                found = [record for record in await reader.fetch(0.5, 1) if record.offset >= offset]
                if found:
                    return _exact(found[0], offset)
    except TimeoutError:
        raise Retryable(f"{tp.topic}/{tp.partition}/{offset} lies in a transaction that has not ended") from None
    finally:
        await reader.close()
    raise _gone(tp, offset)


def _exact(record: Record, offset: int) -> Record:
    if record.offset != offset:
        raise _gone(TopicPartition(record.topic, record.partition), offset)
    return record


def _gone(tp: TopicPartition, offset: int) -> Misconfigured:
    why = "a newer one of its key has replaced it, or it belongs to a transaction"
    return Misconfigured(f"{tp.topic}/{tp.partition} has no record at offset {offset} any more: {why}")


def seen(codec: Codec, record: Record) -> RecordSeen:
    """A record as plain values. Never raises for its content."""
    event, time_s, unread = None, 0.0, record.unread or ""
    try:
        message = codec.decode(record)
        event, time_s = message.event, message.envelope.time_s
    except (Poison, Fatal) as error:
        unread = str(error)
    return RecordSeen(
        place=record.place,
        key=shown(record.key or b""),
        kind=_header(record, "ce_type"),
        id=_header(record, "ce_id"),
        source=_header(record, "ce_source"),
        event_s=time_s or record.timestamp_ms / 1000,
        wall_s=record.timestamp_ms / 1000,
        cause=_header(record, "ce_causationid"),
        correlation=_header(record, "ce_correlationid"),
        origin=_header(record, "ce_origin"),
        size_bytes=record.size_bytes or len(record.value or b""),
        value=untyped(record.value, _header(record, "content-type")),
        sentence="" if event is None else sentence(event) or plain_words(event),
        unread=unread,
    )


def _header(record: Record, name: str) -> str:
    return header(record.headers, name) or ""


async def read_history(log: Log, codec: Codec, topics: Topics, bases: Sequence[str]) -> list[Message]:
    """Everything that these topics hold now, in the order in which it was appended."""
    return in_append_order(await read_all(log, codec, [topics.name(base) for base in bases]))
