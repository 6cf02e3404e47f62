"""Scores of shadows that came after their decision, until its window closes.

Of a number the score itself is kept. Of several classes only its place on the log is kept: it is read again with the decisions
of the sample. Late scores are joined to the rows of the window by request, and the first score of a version counts.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import Score

SHADOW_DTYPE = np.dtype([("row", "<u4"), ("version", "<i4"), ("score", "<f8")])
PLACED_DTYPE = np.dtype([("row", "<u4"), ("partition", "<u2"), ("offset", "<i8")])
_NUMBER, _PLACE = struct.Struct("<QHd"), struct.Struct("<QHq")
_NUMBER_DTYPE = np.dtype([("key", "<u8"), ("version", "<u2"), ("score", "<f8")])
_PLACE_DTYPE = np.dtype([("key", "<u8"), ("partition", "<u2"), ("offset", "<i8")])
_MASK = 2**64 - 1


class LateScores:
    """The late scores of one window. Keys are those of `key_of`."""

    __slots__ = ("_numbers", "_places")

    def __init__(self) -> None:
        self._numbers, self._places = bytearray(), bytearray()

    @property
    def held_bytes(self) -> int:
        """How many bytes they take."""
        return len(self._numbers) + len(self._places)

    def add(self, key: int, score: Score, partition: int, offset: int) -> int:
        """Keep a score that lies at that place; returns how many bytes it takes."""
        before = self.held_bytes
        if score.value is not None:
            self._numbers += _NUMBER.pack(key, score.version & 0xFFFF, score.value)
        elif score.probabilities is not None:
            self._places += _PLACE.pack(key, partition, offset)
        return self.held_bytes - before

    def adopt(self, other: "LateScores", table: NDArray[np.void]) -> int:
        """Take over the places that another window holds for the rows of `table`; returns how many bytes they take.

        Numbers are not taken over: they were joined to their rows before.
        """
        found = _read(other._places, _PLACE_DTYPE)
        moved = found[np.isin(found["key"], np.array(_keys(table), dtype=np.uint64))].tobytes() if len(found) else b""
        self._places += moved
        return len(moved)

    def joined(self, table: NDArray[np.void], found: NDArray[np.void]) -> NDArray[np.void]:
        """The numbers by row of `table`, after those that came in time (`found`); both of SHADOW_DTYPE."""
        late = _read(self._numbers, _NUMBER_DTYPE)
        if not len(late):
            return found
        by_key = {key: row for row, key in enumerate(_keys(table))}
        known = set(zip(found["row"].tolist(), found["version"].tolist(), strict=True))
        joined = []
        for key, version, score in late.tolist():
            row = by_key.get(key)
            if row is not None and (row, version) not in known:
                known.add((row, version))
                joined.append((row, version, score))
        return np.concatenate([found, np.array(joined, dtype=SHADOW_DTYPE)])

    def places(self, table: NDArray[np.void]) -> NDArray[np.void]:
        """Where the scores of several classes lie, by row of `table`, of PLACED_DTYPE."""
        found = _read(self._places, _PLACE_DTYPE)
        if not len(found):
            return nowhere()
        by_key = {key: row for row, key in enumerate(_keys(table))}
        placed = [(by_key[key], partition, offset) for key, partition, offset in found.tolist() if key in by_key]
        return np.concatenate([nowhere(), np.array(placed, dtype=PLACED_DTYPE)])


def nowhere() -> NDArray[np.void]:
    """No places, of PLACED_DTYPE."""
    return _read(bytearray(), PLACED_DTYPE)


def key_of(unit: int, at_s: float, request: int) -> int:
    """Which request a late score belongs to. NB: the request's own id is part of it: a unit may be asked often at one instant."""
    return hash((unit, at_s, request)) & _MASK


def _keys(table: NDArray[np.void]) -> list[int]:
    columns = (table[name].tolist() for name in ("unit", "at_s", "request"))
    return [key_of(*found) for found in zip(*columns, strict=True)]


def _read(held: bytearray, dtype: np.dtype) -> NDArray[np.void]:
    # NB: a copy, because a bytearray that an array looks into cannot grow.
    return np.frombuffer(bytes(held), dtype=dtype)
