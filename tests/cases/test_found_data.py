"""What an independent tester found on the running product: records that stopped, blinded or misled a service."""

import gzip
import struct
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import cramjam
import msgspec
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.util import calc_crc32c

from headrace.errors import Poison
from headrace.events.failures import Raised
from headrace.events.inference import BreakerChanged, DecisionMade, Invalid
from headrace.events.ops import PartitionStopped
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.log.unpacking import MAX_UNPACKED_BYTES, MAX_WORK_BYTES, Batches, TotalRecords
from headrace_pipeline.core.contract import read_raw

NOW_MS = 1_700_000_000_000


def varint(number: int) -> bytes:
    number, out = number << 1, b""
    while number >= 0x80:
        number, out = number >> 7, out + bytes([number & 0x7F | 0x80])
    return out + bytes([number])


def batch_of(values: Sequence[bytes], codec: int, base: int = 0) -> bytes:
    """A batch as a producer sends it."""
    plain = bytearray()
    for delta, value in enumerate(values):
        record = b"\0\0" + varint(delta) + b"\x01" + varint(len(value)) + value + b"\0"
        plain += varint(len(record)) + record
    body = gzip.compress(bytes(plain)) if codec == 1 else bytes(cramjam.zstd.compress(bytes(plain)))
    count = len(values)
    head = (base, 61 - 12 + len(body), -1, 2, 0, codec, count - 1, NOW_MS, NOW_MS, -1, -1, -1, count)
    raw = bytearray(struct.pack(">qiibIhiqqqhii", *head) + body)
    raw[17:21] = struct.pack(">I", calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


def answer(data: bytes, from_offset: int = 0) -> Any:
    return TotalRecords(fetcher.TopicPartition("t", 0), Batches(data), [], from_offset, None, None, True, 0)


# -- a fetch full of batches that decompress to huge sizes


@pytest.mark.parametrize("size", [MAX_UNPACKED_BYTES + 1, MAX_WORK_BYTES + 1])
def test_a_fetch_full_of_bombs_is_unpacked_one_bomb_at_a_time_and_none_is_passed_over(size: int) -> None:
    bombs = [batch_of([bytes(size)], 4, base) for base in range(3)]
    found: list[Any] = []
    for offset in range(3):
        records = answer(b"".join(bombs[offset:]), offset)
        found += (taken := list(records))
        assert [record.offset for record in taken] == [offset]
        assert records.next_fetch_offset == offset + 1
    assert [record.checksum is not None for record in found] == [True] * 3


def test_a_batch_of_very_many_records_is_taken_as_many_at_a_time_as_are_asked_for() -> None:
    records = answer(batch_of([b""] * 200_000, 1))
    first = list(islice(records, 1000))
    assert [record.offset for record in first] == list(range(1000))
    assert records.next_fetch_offset == 1000
    found = 1000
    while taken := list(islice(records, 1000)):
        found += len(taken)
    assert found == 200_000


# -- headers


@pytest.mark.parametrize("headers", [(("content-type", None),), (("content-type", None), ("content-type", b"x"))])
def test_a_raw_record_with_a_header_without_a_value_is_read_like_one_without_the_header(headers: Any) -> None:
    assert read_raw(Record("raw.a.v1", 0, 0, None, b'{"a": 1}', headers)) == {"a": 1}


def test_a_raw_record_whose_content_type_is_no_text_is_refused_in_a_sentence() -> None:
    with pytest.raises(Poison, match="not MessagePack"):
        read_raw(Record("raw.a.v1", 0, 0, None, b'{"a": 1}', (("content-type", b"\xff"),)))


# -- a part that fails


DEAF = """
import asyncio, sys
import headrace.hosting.stopping as stopping
stopping.STOP_WITHIN_S = 1.5
from headrace.errors import Fatal
from headrace.hosting.runtime import _context, _run
from headrace.hosting.settings import Settings
from headrace.log.memory import MemoryLog
from headrace.project.applied import Projects

class Deaf:
    async def run(self, stop):
        heeds = sys.argv[1] == "stop"
        while not (heeds and stop.is_set()):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                pass

class Failing:
    async def run(self, stop):
        raise Fatal("the door fell off")

async def build(context):
    return [Deaf(), Failing()]

async def main():
    context = _context("gateway", Projects, Settings(), log := MemoryLog())
    await log.create_topics(context.topics.specs())
    await context.projects.start()
    return await _run(context, build)

sys.exit(asyncio.run(main()))
"""


@pytest.mark.parametrize("heeds", ["stop", "nothing"])
def test_a_service_of_which_a_part_failed_ends_with_1_and_logs_why_though_another_part_does_not_heed_its_cancellation(
    heeds: str,
) -> None:
    ended = subprocess.run([sys.executable, "-c", DEAF, heeds], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "the door fell off" in ended.stderr + ended.stdout
    assert ("not ended" in ended.stderr) == (heeds == "nothing")


# -- what foreign code logs and raises


@pytest.mark.parametrize(
    "event",
    [
        BreakerChanged("d", 1, "open", "closed", "predict raised ValueError: \udc00", "i-1"),
        PartitionStopped("pipeline", "raw.a.v1", 0, 7, "it raised \ud800"),
        DecisionMade("r", "d", "u", 1.0, Invalid("it is \udc00"), 3, row=b"\x00\xff", failures={"1": Raised("\udc00")}),
    ],
)
def test_what_foreign_code_raised_is_written_whatever_it_holds(event: msgspec.Struct) -> None:
    topics = Topics.load()
    decoder = msgspec.msgpack.Decoder(type(event))
    made = out(topics.name("ops.health"), "k", event, Envelope("i", "", "s", 0.0))
    read = decoder.decode(made.value)
    assert type(read) is type(event)
    assert "\\ud" in repr(read)
    if isinstance(read, DecisionMade):
        assert read.row == b"\x00\xff"
