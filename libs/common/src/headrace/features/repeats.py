"""Which events of a source are repeats: same key, same identity, less than `dedupe_within` apart.

The rule reads the log in offset order, per source partition: the first event of an identity counts. Identities are kept
as 64-bit hashes in buckets of five minutes of event time, so that a shard can drop whole old buckets. A bucket with
many identities (a day's file has one instant) is written in parts of a bounded size. The last part grows until it is
full, and only parts that a batch changed are written.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.events.definition import SourceDefinition
from headrace.events.features import IdentitiesSeen

BUCKET_S = 300
# At 16 bytes each, a part is a record of at most 32 KB, written again with each batch until it is full.
PART_IDENTITIES = 2000


@dataclass(slots=True)
class Repeats:
    """Identities seen in one partition of a source. `keep_s`: how far behind the newest event they are remembered."""

    source: SourceDefinition
    keep_s: float = math.inf
    newest_s: float = -math.inf
    _seen: dict[int, float] = field(default_factory=dict)
    _buckets: dict[int, list[list[int]]] = field(default_factory=dict)
    _touched: set[tuple[int, int]] = field(default_factory=set)

    def is_repeat(self, event: Any, at_s: float) -> bool:
        """Whether an event that is available at `at_s` was seen before. A new one is remembered."""
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
        self._put(code, math.floor(at_s / BUCKET_S))
        self._note(code, at_s)
        return False

    def _put(self, code: int, bucket: int) -> None:
        """Put an identity into the last part of its bucket, or into a new part when that is full."""
        parts = self._buckets.setdefault(bucket, [])
        if not parts or len(parts[-1]) >= PART_IDENTITIES:
            parts.append([])
        parts[-1].append(code)
        self._touched.add((bucket, len(parts) - 1))

    def _note(self, code: int, at_s: float) -> None:
        # NB: the newest instant counts, in whatever order events come. So parts may be read back in any order, and the
        # end of one bucket does not drop identities of a later one.
        self._seen[code] = max(at_s, self._seen.get(code, at_s))
        self.newest_s = max(self.newest_s, at_s)

    @property
    def held_bytes(self) -> int:
        """The estimated size of the identities."""
        return len(self._seen) * 180

    def take_touched(self, partition: int) -> list[IdentitiesSeen]:
        """The parts that changed since the last call, to be written."""
        touched, self._touched = self._touched, set()
        return self._written(touched, partition)

    def take_all(self, partition: int) -> list[IdentitiesSeen]:
        """Every part of every bucket."""
        self._touched = set()
        everything = [(bucket, part) for bucket, parts in self._buckets.items() for part in range(len(parts))]
        return self._written(everything, partition)

    def _written(self, places: Iterable[tuple[int, int]], partition: int) -> list[IdentitiesSeen]:
        return [
            IdentitiesSeen(self.source.name, partition, bucket, *self._encoded(self._buckets[bucket][part]), part)
            for bucket, part in sorted(places)
        ]

    def _encoded(self, codes: list[int]) -> tuple[bytes, bytes]:
        return np.array(codes, dtype="<u8").tobytes(), np.array([self._seen[code] for code in codes], "<f8").tobytes()

    def take_expired(self) -> list[tuple[int, int]]:
        """Drop the buckets that can decide nothing any more. Returns their parts, as (bucket, part)."""
        oldest = (self.newest_s - self.keep_s) // BUCKET_S if math.isfinite(self.newest_s) else -math.inf
        expired: list[tuple[int, int]] = []
        for bucket in sorted(bucket for bucket in self._buckets if bucket < oldest):
            expired += [(bucket, part) for part in range(self._forget(bucket))]
        self._touched.difference_update(expired)
        return expired

    def _forget(self, bucket: int) -> int:
        """Drop a bucket. Returns how many parts it had."""
        parts = self._buckets.pop(bucket)
        for codes in parts:
            for code in codes:
                if self._seen.get(code, math.inf) < (bucket + 1) * BUCKET_S:
                    self._seen.pop(code, None)
        return len(parts)

    def restore(self, seen: IdentitiesSeen) -> None:
        """Put back a stored part, in the place of an older state of it.

        In older logs, without parts, a whole bucket is its first part, however long it is.
        """
        codes, at_s = np.frombuffer(seen.codes, "<u8").tolist(), np.frombuffer(seen.at_s, "<f8").tolist()
        parts = self._buckets.setdefault(seen.bucket, [])
        parts.extend([] for _ in range(len(parts), seen.part + 1))
        parts[seen.part] = codes
        for code, at in zip(codes, at_s, strict=True):
            # NB: older logs may give an identity the instant of an earlier bucket.
            self._note(code, max(at, seen.bucket * BUCKET_S))


def _code(key: Any, identity: Any) -> int:
    return int.from_bytes(hashlib.blake2b(f"{key}\0{identity}".encode(), digest_size=8).digest(), "little")
