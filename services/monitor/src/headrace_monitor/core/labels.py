"""The outcomes of one deployment that its windows may need. Which outcome is the label of which request,
`headrace.features.outcomes` decides.

An outcome takes 48 bytes, in chunks in the order read; a chunk that is full lies wherever `Keep` puts it. One that is a day older than every open window can label nothing any
more and is dropped (a repeat is recognised for that long). A correction stays as long as what was read before it. Over the
bound in bytes the chunk of the oldest outcomes is dropped, and counted.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome, Table, packed, table_of
from headrace_monitor.core.held_rows import Among, InMemory, Keep, Kept

Floats = NDArray[np.float64]

KEPT_S = 86_400.0
CHUNK_ROWS = 65_536


@dataclass(slots=True)
class _Chunk:
    """Outcomes in the order read.

    `low_s`, `high_s`: when the first and the last of them became known; a correction counts as `level_s`, the latest instant
    at which any outcome read before became known. `has_corrections`: whether there is any.
    """

    rows: bytearray | Kept = field(default_factory=bytearray)
    low_s: float = math.inf
    high_s: float = -math.inf
    level_s: float = -math.inf
    has_corrections: bool = False

    def __len__(self) -> int:
        return len(self.rows) // OUTCOME_BYTES

    @property
    def held_bytes(self) -> int:
        return len(self.rows) if isinstance(self.rows, bytearray) else self.rows.held_bytes

    def add(self, outcome: KnownOutcome) -> None:
        assert isinstance(self.rows, bytearray), "a chunk that was given away grows no more"
        self.rows += packed(*outcome)
        stays_s = max(outcome.known_s, self.level_s) if outcome.corrects else outcome.known_s
        self.has_corrections |= bool(outcome.corrects)
        self.level_s = max(self.level_s, stays_s)
        self.low_s, self.high_s = min(self.low_s, stays_s), max(self.high_s, stays_s)

    def between(self, from_s: float, to_s: float, units: Among) -> Table:
        """The outcomes of these units known in [from_s, to_s], and all of their corrections."""
        if not self.has_corrections and (self.low_s > to_s or self.high_s < from_s):
            return table_of(b"")
        table = table_of(bytes(self.rows))
        table = table[units.places(table["unit"])]
        known_s = table["known_s"]
        return table[((known_s >= from_s) & (known_s <= to_s)) | (table["corrects"] != 0)]

    def forget_before(self, at_s: float) -> None:
        # NB: only where much is old: each chunk is scanned once per day of event time.
        if self.high_s < at_s:
            self.rows, self.low_s, self.has_corrections = bytearray(), math.inf, False
        elif self.low_s < at_s - KEPT_S and self.held_bytes:
            table = table_of(bytes(self.rows))
            self.rows = bytearray(table[(table["known_s"] >= at_s) | (table["corrects"] != 0)].tobytes())
            self.low_s = at_s


@dataclass
class Labels:
    """The outcomes of one deployment that an open window, or a later one, may need.

    `limit_bytes`: how many bytes they may take in memory; `keep`: where full chunks lie. `dropped`: how many were dropped over that bound. `observed`: how many came in
    all.
    """

    label: LabelDefinition
    limit_bytes: int
    keep: Keep = InMemory
    dropped: int = 0
    observed: int = 0
    _chunks: list[_Chunk] = field(default_factory=lambda: [_Chunk()])
    _bytes: int = 0

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    @property
    def held_bytes(self) -> int:
        """How many bytes they take in memory."""
        return self._bytes

    def add(self, outcome: KnownOutcome) -> None:
        """Take an outcome."""
        last = self._chunks[-1]
        if len(last) >= min(CHUNK_ROWS, max(self.limit_bytes // OUTCOME_BYTES // 8, 1)):
            last.rows = self.keep(bytes(last.rows))
            self._bytes -= len(last.rows) - last.rows.held_bytes
            last = _Chunk(level_s=last.level_s)
            self._chunks.append(last)
        last.add(outcome)
        self._bytes += OUTCOME_BYTES
        self.observed += 1
        if self._bytes > self.limit_bytes:
            self._drop_oldest()

    def forget_before(self, at_s: float) -> None:
        """Drop what became known a day before this instant; corrections stay."""
        for chunk in self._chunks:
            chunk.forget_before(at_s - KEPT_S)
        *done, last = self._chunks
        self._chunks = [*(chunk for chunk in done if len(chunk)), last]
        self._bytes = sum(chunk.held_bytes for chunk in self._chunks)

    def between(self, from_s: float, to_s: float, units: Among) -> Table:
        """The outcomes of these units known in [from_s, to_s], and all of their corrections, in the order read."""
        return np.concatenate([chunk.between(from_s, to_s, units) for chunk in self._chunks])

    def adopt(self, other: "Labels") -> None:
        """Take over the outcomes that the labels of another definition hold, if they are of the same kind."""
        if (self.label.kind, self.label.classes) == (other.label.kind, other.label.classes):
            self._chunks, self._bytes, self.dropped = other._chunks, other._bytes, other.dropped

    def _drop_oldest(self) -> None:
        *done, last = self._chunks
        full = [chunk for chunk in done if chunk.held_bytes] or [last]
        oldest = min(full, key=lambda chunk: chunk.high_s)
        self.dropped += len(oldest)
        self._bytes -= oldest.held_bytes
        self._chunks = [chunk for chunk in self._chunks if chunk is not oldest]
        if oldest is last:
            self._chunks.append(_Chunk(level_s=oldest.level_s))
