"""Which events of a source are repeats of one another: same key, same identity, less than `dedupe_within` apart.

The rule reads the log in offset order, per source partition: the first event of an identity counts. Identities are kept
as 64-bit hashes in buckets of five minutes of event time, so that a shard can write down the few buckets that a batch
touched, and forget old ones whole.
"""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.events.features import IdentitiesSeen
from headrace.project.definition import SourceDefinition

BUCKET_S = 300


@dataclass(slots=True)
class Repeats:
    """Identities seen in one partition of a source. `keep_s`: how far behind the newest event they are remembered."""

    source: SourceDefinition
    keep_s: float = math.inf
    newest_s: float = -math.inf
    _seen: dict[int, float] = field(default_factory=dict)
    _buckets: dict[int, list[int]] = field(default_factory=dict)
    _touched: set[int] = field(default_factory=set)

    def is_repeat(self, event: Any, at_s: float) -> bool:
        """Whether this event, available at `at_s`, was seen before; remembers it when not."""
        dedupe = self.source.dedupe
        if dedupe is None:
            return False
        identity = getattr(event, dedupe)
        if identity is None:
            return False
        code = _code(getattr(event, self.source.key), identity)
        first_s = self._seen.get(code)
        if first_s is not None and abs(at_s - first_s) < self.source.dedupe_within_s:
            return True
        bucket = math.floor(at_s / BUCKET_S)
        self._remember(code, at_s, bucket)
        self._touched.add(bucket)
        return False

    def _remember(self, code: int, at_s: float, bucket: int) -> None:
        self._seen[code] = at_s
        self._buckets.setdefault(bucket, []).append(code)
        self.newest_s = max(self.newest_s, at_s)

    @property
    def held_bytes(self) -> int:
        """What the identities take, by estimate."""
        return len(self._seen) * 180

    def take_touched(self, partition: int) -> list[IdentitiesSeen]:
        """What to write down since the last call: each touched bucket whole."""
        touched, self._touched = self._touched, set()
        return [
            IdentitiesSeen(self.source.name, partition, bucket, *self._encoded(self._buckets[bucket]))
            for bucket in sorted(touched)
            if bucket in self._buckets
        ]

    def take_all(self, partition: int) -> list[IdentitiesSeen]:
        """Every bucket, to be written down whole."""
        self._touched = set(self._buckets)
        return self.take_touched(partition)

    def _encoded(self, codes: list[int]) -> tuple[bytes, bytes]:
        return np.array(codes, dtype="<u8").tobytes(), np.array([self._seen[code] for code in codes], "<f8").tobytes()

    def take_expired(self) -> list[int]:
        """Buckets that can decide nothing any more; they are forgotten."""
        oldest = (self.newest_s - self.keep_s) // BUCKET_S if math.isfinite(self.newest_s) else -math.inf
        expired = sorted(bucket for bucket in self._buckets if bucket < oldest)
        for bucket in expired:
            for code in self._buckets.pop(bucket):
                if self._seen.get(code, math.inf) < (bucket + 1) * BUCKET_S:
                    self._seen.pop(code, None)
        return expired

    def restore(self, seen: IdentitiesSeen) -> None:
        """Put back a bucket that was written before."""
        codes, at_s = np.frombuffer(seen.codes, "<u8").tolist(), np.frombuffer(seen.at_s, "<f8").tolist()
        for code, at in zip(codes, at_s, strict=True):
            if at >= self._seen.get(code, -math.inf):
                self._remember(code, at, seen.bucket)


def _code(key: Any, identity: Any) -> int:
    return int.from_bytes(hashlib.blake2b(f"{key}\0{identity}".encode(), digest_size=8).digest(), "little")
