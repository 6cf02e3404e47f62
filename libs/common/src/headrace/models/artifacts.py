"""Model files on the log: first the chunks, then the manifest, in one transaction and partition, keyed by content.

A reader knows the place of an artifact and reads only that. The whole topic is searched only when the place is unknown,
or when it was compacted away because the same bytes were published again later.
"""

import hashlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec.structs import replace

from headrace.errors import Poison
from headrace.events.registry import ArtifactManifest, ArtifactPlace
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Log, Out, Record, TopicPartition
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics

CHUNK_BYTES = 512 * 1024
# The number of records that are held at once while an artifact is searched.
_FEW = 16


async def publish(log: Log, topics: Topics, data: bytes, format: str, now_s: float, source: str) -> ArtifactPlace:
    """Write an artifact and return its place. The same bytes twice only cost space, since keys are digests.

    Waits for the broker; raises what `Transactor.commit` raises.
    """
    topic = topics.name("registry.artifacts")
    digest = hashlib.sha256(data).hexdigest()
    chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    place = ArtifactPlace(digest, 0, len(data), len(chunks), format)
    outs = [
        Out(topic, f"{digest}/{number}".encode(), chunk, (("ce_type", b"artifact.chunk"),), 0)
        for number, chunk in enumerate(chunks)
    ]
    manifest = ArtifactManifest(place)
    envelope = Envelope(f"artifact-{digest}", "artifact.manifest", source, now_s)
    outs.append(out(topic, f"{digest}/manifest", manifest, envelope, 0))
    transactor = await log.transactor(
        topics.prefixed(f"headrace.artifacts-{secrets.token_hex(4)}"), topics.group("artifacts")
    )
    try:
        acks = await transactor.commit(outs, {})
    finally:
        await transactor.close()
    return replace(place, first_offset=acks[0].offset, last_offset=acks[-1].offset)


async def fetch(log: Log, topics: Topics, place: ArtifactPlace) -> bytes:
    """The artifact's bytes, complete and with the right digest. Raises `Poison` when they cannot be found."""
    tp = TopicPartition(topics.name("registry.artifacts"), place.partition)
    same = await _pinned(log, tp)
    begin, end = (await log.begin_offsets([tp]))[tp], (await log.end_offsets([tp]))[tp]
    found = _Chunks(place)
    if place.first_offset is not None and place.last_offset is not None:
        first, last = max(place.first_offset, begin), min(place.last_offset + 1, end)
        # NB: the longest possible range is checked, since a command could state any place.
        if 0 < last - first <= 2 * place.chunk_count + 2:
            await _read(_records(log, tp, first, last, same), found)
    if not found.is_complete:
        found = _Chunks(place)
        await _read(_records(log, tp, begin, end, same), found)
    return found.data()


class _Chunks:
    """The chunks of one artifact, as they arrive."""

    def __init__(self, place: ArtifactPlace) -> None:
        self._place = place
        self._chunks: dict[int, bytes] = {}
        self._bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether all chunks are there."""
        return len(self._chunks) >= self._place.chunk_count

    def take(self, record: Record) -> None:
        """Take a record of the topic, up to the size that the place states."""
        digest, _, part = (record.key or b"").decode("utf-8", "replace").partition("/")
        if digest != self._place.digest or not part.isdecimal() or record.value is None:
            return
        number = int(part[:9])
        if number < self._place.chunk_count and self._bytes + len(record.value) <= self._place.size_bytes:
            self._bytes += len(record.value) - len(self._chunks.get(number, b""))
            self._chunks[number] = record.value

    def data(self) -> bytes:
        """The bytes. Raises `Poison` when they do not have the digest."""
        place = self._place
        data = b"".join(self._chunks[number] for number in sorted(self._chunks))
        if len(data) != place.size_bytes or hashlib.sha256(data).hexdigest() != place.digest:
            raise Poison(
                f"artifact {place.digest[:12]} is incomplete or altered: {len(data)} of {place.size_bytes} bytes,"
                f" {len(self._chunks)} of {place.chunk_count} chunks"
            )
        return data


async def _pinned(log: Log, tp: TopicPartition) -> SameTopics:
    """The topic's id, read before its ends are."""
    same = SameTopics(log)
    await same.look([tp.topic])
    return same


async def _records(
    log: Log, tp: TopicPartition, begin: int, end: int, same: SameTopics
) -> AsyncGenerator[Record, None]:
    """The records in [begin, end). Raises `Restart` when the topic was created again, since that end may never come."""
    if begin >= end:
        return
    reader = await log.reader([tp], {tp: begin})
    try:
        while await reader.position(tp) < end:
            for record in await reader.fetch(0.5, _FEW):
                if record.offset < end:
                    yield record
            await same.look_now_and_then([tp.topic])
    finally:
        await reader.close()


async def _read(records: AsyncGenerator[Record, None], found: _Chunks) -> None:
    """Take records until the artifact is complete."""
    async with aclosing(records):
        async for record in records:
            found.take(record)
            if found.is_complete:
                return


async def is_there(log: Log, topics: Topics, place: ArtifactPlace) -> bool:
    """Whether the artifact is complete on the log and was not deleted, read from its manifest on."""
    tp = TopicPartition(topics.name("registry.artifacts"), place.partition)
    # NB: a command could state any place, so the log is not asked about a partition that does not exist.
    if tp not in await log.partitions(tp.topic):
        return False
    if place.last_offset is not None and place.digest in await manifests(
        log, topics, place.partition, place.last_offset
    ):
        return True
    return place.digest in await manifests(log, topics, place.partition)


async def manifests(log: Log, topics: Topics, partition: int = 0, begin: int = 0) -> set[str]:
    """The digests of all artifacts whose manifests lie from `begin` on and were not deleted."""
    tp = TopicPartition(topics.name("registry.artifacts"), partition)
    same = await _pinned(log, tp)
    begin, end = max(begin, (await log.begin_offsets([tp]))[tp]), (await log.end_offsets([tp]))[tp]
    digests: set[str] = set()
    async with aclosing(_records(log, tp, begin, end, same)) as records:
        async for record in records:
            digest, _, part = (record.key or b"").decode("utf-8", "replace").partition("/")
            if part == "manifest" and record.value is None:
                digests.discard(digest)
            elif part == "manifest":
                digests.add(digest)
    return digests
