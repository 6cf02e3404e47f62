"""Model files on the log: chunks first, the manifest last, one transaction, one partition, keyed by content."""

import hashlib
import secrets

from headrace.bus.port import Log, Out, TopicPartition
from headrace.codec import out
from headrace.envelope import Envelope
from headrace.errors import Poison
from headrace.events.registry import ArtifactManifest, ArtifactPlace
from headrace.topics import Topics

CHUNK_BYTES = 512 * 1024


async def publish(log: Log, topics: Topics, data: bytes, format: str, now_s: float, source: str) -> ArtifactPlace:
    """Write an artifact and return where it lies. The same bytes twice cost space, never harm: keys are digests."""
    topic = topics.name("registry.artifacts")
    digest = hashlib.sha256(data).hexdigest()
    chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    place = ArtifactPlace(digest, 0, len(data), len(chunks), format)
    outs = [
        Out(topic, f"{digest}/{number}".encode(), chunk, (("ce_type", b"artifact.chunk"),), 0)
        for number, chunk in enumerate(chunks)
    ]
    manifest = ArtifactManifest(place, tuple(hashlib.sha256(chunk).hexdigest() for chunk in chunks))
    envelope = Envelope(f"artifact-{digest}", "artifact.manifest", source, now_s)
    outs.append(out(topic, f"{digest}/manifest", manifest, envelope, 0))
    transactor = await log.transactor(
        topics.prefixed(f"headrace.artifacts-{secrets.token_hex(4)}"), topics.group("artifacts")
    )
    try:
        await transactor.commit(outs, {})
    finally:
        await transactor.close()
    return place


async def fetch(log: Log, topics: Topics, place: ArtifactPlace) -> bytes:
    """The artifact's bytes, complete and with the right digest. Raises `Poison` when they are not to be had."""
    tp = TopicPartition(topics.name("registry.artifacts"), place.partition)
    end = (await log.end_offsets([tp]))[tp]
    reader = await log.reader([tp], "beginning")
    found: dict[int, bytes] = {}
    try:
        while await reader.position(tp) < end and len(found) < place.chunk_count:
            for record in await reader.fetch(0.5, 100):
                digest, _, part = (record.key or b"").decode().partition("/")
                if digest == place.digest and part.isdigit() and record.value is not None:
                    found[int(part)] = record.value
    finally:
        await reader.close()
    data = b"".join(found[number] for number in sorted(found))
    if len(data) != place.size_bytes or hashlib.sha256(data).hexdigest() != place.digest:
        raise Poison(
            f"artifact {place.digest[:12]} is incomplete or altered: {len(data)} of {place.size_bytes} bytes, {len(found)} of {place.chunk_count} chunks"
        )
    return data


async def manifests(log: Log, topics: Topics) -> set[str]:
    """Digests of all artifacts that are complete on the log."""
    tp = TopicPartition(topics.name("registry.artifacts"), 0)
    end = (await log.end_offsets([tp]))[tp]
    reader = await log.reader([tp], "beginning")
    digests: set[str] = set()
    try:
        while await reader.position(tp) < end:
            for record in await reader.fetch(0.5, 100):
                digest, _, part = (record.key or b"").decode().partition("/")
                if part == "manifest" and record.value is None:
                    digests.discard(digest)
                elif part == "manifest":
                    digests.add(digest)
    finally:
        await reader.close()
    return digests
