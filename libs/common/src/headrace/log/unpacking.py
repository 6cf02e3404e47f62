"""Turns batches from the wire into records, whatever a producer sent: with bounded memory, and without exceptions.

aiokafka unpacks a compressed batch without a limit, and raises where one cannot be unpacked; earlier records of the
same answer are then lost, since the next call continues behind them. So batches are unpacked here:

1. A batch is unpacked up to `MAX_UNPACKED_BYTES`, in memory that is freed.
2. A header name that is not UTF-8 is replaced.
3. A value over `MAX_WHOLE_BYTES` is cut; its size and digest are kept.
4. A batch that cannot be unpacked becomes ONE record with the reason, at the batch's last offset, with its bytes as value.
5. One answer gives at most `MAX_TAKEN_BYTES` at a time, and no further batch after `MAX_WORK_BYTES` were unpacked. The rest
   is fetched again. So a fetch of many decompression bombs unpacks one at a time, and heartbeats are sent in between.

NB: `install` replaces two private names of aiokafka 0.14 (pinned); `test_log_border` fails when a new version moves
them.
"""

import contextlib
import hashlib
import mmap
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import cramjam
from aiokafka.consumer import fetcher as _fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_WHOLE_BYTES = 4 * 1024 * 1024
MAX_TAKEN_BYTES = 16 * 1024 * 1024
MAX_WORK_BYTES = 32 * 1024 * 1024
MAX_AT_ONCE = 10_000
_KEPT_BYTES = 1024 * 1024
_PIECE_BYTES = 1024 * 1024
# Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and highest timestamp, producer
# id, its epoch, base sequence, count (KIP-98).
_HEAD = struct.Struct(">qiibIhiqqqhii")
_ATTRIBUTES_AT, _COUNT_AT = 21, 57
_COUNT = struct.Struct(">i")
_CODEC_MASK, _APPEND_TIME = 0x07, 0x08
_XERIAL = b"\x82SNAPPY\x00"
_TheirRecords = _fetcher.PartitionRecords


class Cut(NamedTuple):
    """Why a record was not read whole. `size_bytes`, `sha256`: of the whole."""

    reason: str
    size_bytes: int
    sha256: str


def cut_of(checksum: object) -> tuple[str | None, int, str]:
    """The `unread`, `size_bytes` and `sha256` of a record from aiokafka, whose `checksum` holds the `Cut`."""
    return tuple(checksum) if isinstance(checksum, Cut) else (None, 0, "")


class _Head(NamedTuple):
    base_offset: int
    attributes: int
    last_delta: int
    first_ms: int
    highest_ms: int
    count: int

    @staticmethod
    def of(raw: bytes) -> "_Head":
        found = _HEAD.unpack_from(raw)
        return _Head(found[0], found[5], found[6], found[7], found[8], found[12])

    def time_ms(self, delta_ms: int) -> int:
        return self.highest_ms if self.attributes & _APPEND_TIME else self.first_ms + delta_ms


class Batches:
    """The bytes of an answer, batch by batch, as aiokafka uses its `MemoryRecords`. An unfinished last batch is left
    out.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def size_in_bytes(self) -> int:
        """The size of the answer in bytes."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether another whole batch follows."""
        return self._end() is not None

    def next_raw(self) -> bytes | None:
        """The bytes of the next batch; None at the end."""
        end = self._end()
        if end is None:
            return None
        raw, self._at = self._data[self._at : end], end
        return raw

    def _end(self) -> int | None:
        if len(self._data) - self._at < 12:
            return None
        (length,) = struct.unpack_from(">i", self._data, self._at + 8)
        end = self._at + 12 + length
        return end if length > 0 and end <= len(self._data) else None


class TotalRecords(_TheirRecords):
    """The records of one partition in an answer. It never raises for what a producer sent."""

    _worked = 0

    def __iter__(self) -> Iterator[ConsumerRecord]:
        # NB: the position is after the last record given, so the rest is fetched again.
        taken = 0
        for record in self._records_iterator or ():
            yield record
            taken += len(record.value or b"") + len(record.key or b"") + 100
            if taken > MAX_TAKEN_BYTES:
                return

    def _unpack_records(self) -> Iterator[ConsumerRecord]:
        # NB: it stops only between batches; otherwise one batch would be unpacked again for each part of it.
        while self._worked <= MAX_WORK_BYTES and (raw := self._records.next_raw()) is not None:
            batch: Any = MemoryRecords(raw).next_batch()
            if self._is_skipped(batch):
                self._pass(batch)
                continue
            for record in self._records_in(raw, batch):
                if record.offset >= self.next_fetch_offset:
                    self.next_fetch_offset = record.offset + 1
                    yield record
            self._pass(batch)

    def _pass(self, batch: Any) -> None:
        self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)

    def _is_skipped(self, batch: Any) -> bool:
        """Whether a batch is a control batch, or of an aborted transaction (as aiokafka decides it)."""
        if self._isolation_level == _fetcher.READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _records_in(self, raw: bytes, batch: Any) -> Iterable[ConsumerRecord]:
        """The records of a batch. Nearly all batches are small, valid and not compressed: these need no generator."""
        # NB: brokers check what producers send, so wrong bytes were damaged on the wire or on a disk. aiokafka requires
        # the check before any record is taken.
        is_damaged = self._check_crcs and not batch.validate_crc()
        is_plain = not is_damaged and batch.magic >= 2 and not batch.compression_type and len(raw) >= _HEAD.size
        if is_plain and _COUNT.unpack_from(raw, _COUNT_AT)[0] <= MAX_AT_ONCE:
            try:
                return [self._consumer_record(self._tp, record) for record in batch]
            except (KafkaError, ValueError):
                pass
        return self._total(raw, batch, is_damaged)

    def _total(self, raw: bytes, batch: Any, is_damaged: bool) -> Iterator[ConsumerRecord]:
        """The records of a batch. Where it cannot be unpacked, those before the failure, and one record with the
        reason.
        """
        try:
            if is_damaged:
                raise CorruptRecordException("its checksum is wrong")
            yield from self._read_batch(raw, batch)
        except Exception as error:
            # How far it came is not known, so the most that gzip can expand is assumed.
            self._worked += MAX_UNPACKED_BYTES if isinstance(error, _TooLarge) else 1000 * len(raw)
            yield self._unread(raw, batch, error)

    def _read_batch(self, raw: bytes, batch: Any) -> Iterator[ConsumerRecord]:
        if batch.magic < 2:
            yield from [self._consumer_record(self._tp, record) for record in batch]
            return
        head = _Head.of(raw)
        codec = head.attributes & _CODEC_MASK
        if not codec:
            yield from self._parsed(head, memoryview(raw)[_HEAD.size :])
            return
        with _Unpacked(codec, raw[_HEAD.size :]) as plain:
            self._worked += len(plain)
            if len(plain) > MAX_WHOLE_BYTES:
                yield from self._parsed(head, plain)
            else:
                yield from self._records_of(_uncompressed(raw, head, plain), head, plain)

    def _records_of(self, raw: bytes, head: _Head, plain: memoryview) -> Iterator[ConsumerRecord]:
        """NB: a very large batch is read record by record: a megabyte on the wire may hold a million records."""
        if head.count > MAX_AT_ONCE:
            return self._parsed(head, plain)
        try:
            again: Any = MemoryRecords(raw).next_batch()
            return iter([self._consumer_record(self._tp, record) for record in again])
        except (KafkaError, ValueError):
            return self._parsed(head, plain)

    def _parsed(self, head: _Head, plain: memoryview) -> Iterator[ConsumerRecord]:
        """The same, slower, for header names that are no UTF-8 and for values that must not be copied whole."""
        at = 0
        for _ in range(head.count):
            offset, time_ms, key, value, headers, at = _parse(head, plain, at)
            cut = _cut(value) if value is not None and len(value) > MAX_WHOLE_BYTES else None
            kept = None if value is None else bytes(value[:_KEPT_BYTES] if cut else value)
            yield self._made(offset, time_ms, None if key is None else bytes(key), kept, headers, cut)

    def _unread(self, raw: bytes, batch: Any, error: Exception) -> ConsumerRecord:
        first, last = batch.base_offset, batch.next_offset - 1
        where = f"offset {first}" if first == last else f"offsets {first} to {last}"
        text = f"{error}" if isinstance(error, _TooLarge) else f"{type(error).__name__}: {error}"
        reason = f"the batch at {where} cannot be unpacked: {text[:500]}"
        time_ms = _Head.of(raw).highest_ms if len(raw) >= _HEAD.size else -1
        cut = Cut(reason, len(raw), hashlib.sha256(raw).hexdigest())
        return self._made(last, time_ms, None, raw[:_KEPT_BYTES], (), cut)

    def _made(
        self, offset: int, time_ms: int, key: bytes | None, value: bytes | None, headers: tuple, cut: Cut | None
    ) -> ConsumerRecord:
        tp, size = self._tp, -1 if value is None else len(value)
        # NB: `checksum` is unused since message format 2, and holds the `Cut`.
        checksum: Any = cut
        return ConsumerRecord(tp.topic, tp.partition, offset, time_ms, 1, key, value, checksum, -1, size, headers)


def install() -> None:
    """Make aiokafka's consumers unpack batches as above."""
    place: Any = _fetcher
    place.PartitionRecords, place.MemoryRecords = TotalRecords, Batches


class _TooLarge(Exception):
    pass


class _Unpacked:
    """The plain bytes of a compressed batch, in memory that is freed at the end."""

    def __init__(self, codec: int, packed: bytes) -> None:
        self._memory = mmap.mmap(-1, MAX_UNPACKED_BYTES)
        self._view: memoryview | None = None
        try:
            size = _UNPACK[codec](packed, self._memory) if codec in _UNPACK else _unknown(codec)
        except BaseException:
            self._memory.close()
            raise
        self._whole = memoryview(self._memory)
        self._view = self._whole[:size]

    def __enter__(self) -> memoryview:
        assert self._view is not None
        return self._view

    def __exit__(self, *_: object) -> None:
        # NB: no slice is kept, since what is yielded is copied.
        assert self._view is not None
        # After a failure its traceback still holds slices; the memory is freed with it.
        with contextlib.suppress(BufferError):
            self._view.release()
            self._whole.release()
            self._memory.close()


def _gunzip(packed: bytes, out: mmap.mmap) -> int:
    size, rest = 0, packed
    while rest:
        member = zlib.decompressobj(31)
        while not member.eof:
            piece = member.decompress(rest, min(_PIECE_BYTES, MAX_UNPACKED_BYTES - size + 1))
            if not piece and not member.eof and not member.unconsumed_tail:
                raise EOFError("the gzip stream ends too early")
            _room(size + len(piece))
            out[size : size + len(piece)] = piece
            size, rest = size + len(piece), member.unconsumed_tail
        rest = member.unused_data
    return size


def _unsnap(packed: bytes, out: mmap.mmap) -> int:
    if packed[:8] != _XERIAL or len(packed) <= 16:
        return _unsnap_block(packed, out, 0)
    size, at = 0, 16
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        if length <= 0:
            raise ValueError(f"a snappy block of {length} bytes")
        size, at = _unsnap_block(packed[at + 4 : at + 4 + length], out, size), at + 4 + length
    return size


def _unsnap_block(block: bytes, out: mmap.mmap, size: int) -> int:
    _room(size + cramjam.snappy.decompress_raw_len(block))
    plain = bytes(cramjam.snappy.decompress_raw(block))
    out[size : size + len(plain)] = plain
    return size + len(plain)


def _unlz4(packed: bytes, out: mmap.mmap) -> int:
    return _into(cramjam.lz4.decompress_into, packed, out)


def _unzstd(packed: bytes, out: mmap.mmap) -> int:
    return _into(cramjam.zstd.decompress_into, packed, out)


def _into(unpack: Callable[[bytes, Any], int], packed: bytes, out: mmap.mmap) -> int:
    try:
        return unpack(packed, out)
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):
            _room(MAX_UNPACKED_BYTES + 1)
        raise


def _room(size: int) -> None:
    if size > MAX_UNPACKED_BYTES:
        raise _TooLarge(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes")


def _unknown(codec: int) -> int:
    raise ValueError(f"no compression has the number {codec}")


_UNPACK: dict[int, Callable[[bytes, mmap.mmap], int]] = {1: _gunzip, 2: _unsnap, 3: _unlz4, 4: _unzstd}


def _uncompressed(raw: bytes, head: _Head, plain: memoryview) -> bytes:
    """The same batch without compression. Its checksum was checked before."""
    made = bytearray(raw[: _HEAD.size])
    made[8:12] = struct.pack(">i", _HEAD.size - 12 + len(plain))
    made[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 2] = struct.pack(">h", head.attributes & ~_CODEC_MASK)
    made += plain
    return bytes(made)


def _parse(head: _Head, plain: memoryview, at: int) -> tuple[int, int, Any, Any, tuple[tuple[str, Any], ...], int]:
    """One record from `at`: its offset, time, key, value and headers, and the place of the next record."""
    length, at = _varint(plain, at)
    end = at + length
    if length < 0 or end > len(plain):
        raise ValueError(f"a record of {length} bytes at {at} of {len(plain)}")
    delta_ms, at = _varint(plain, at + 1)
    delta, at = _varint(plain, at)
    key, at = _bytes(plain, at)
    value, at = _bytes(plain, at)
    count, at = _varint(plain, at)
    headers = []
    for _ in range(count):
        name, at = _bytes(plain, at)
        found, at = _bytes(plain, at)
        headers.append((bytes(name or b"").decode("utf-8", "replace"), None if found is None else bytes(found)))
    if at != end:
        raise ValueError(f"a record that should end at {end} ends at {at}")
    return head.base_offset + delta, head.time_ms(delta_ms), key, value, tuple(headers), at


def _varint(plain: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = plain[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _bytes(plain: memoryview, at: int) -> tuple[memoryview | None, int]:
    length, at = _varint(plain, at)
    if length < 0:
        return None, at
    if at + length > len(plain):
        raise ValueError(f"{length} bytes at {at} of {len(plain)}")
    return plain[at : at + length], at + length


def _cut(value: memoryview) -> Cut:
    reason = f"value has {len(value)} bytes, at most {MAX_WHOLE_BYTES} are read"
    return Cut(reason, len(value), hashlib.sha256(value).hexdigest())
