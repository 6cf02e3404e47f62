"""Rows that wait for their labels: the newest in memory, the older ones wherever `Keep` puts them.

Rows are appended and read as a whole when their window closes. Parts of `PART_BYTES` are given away as they fill up, so that
memory does not grow with the time that labels take. Where nothing is given away (`in_memory`, or no room), it is as if all
were one array of bytes.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# A part has a multiple of this many rows' bytes: 48 and 16 divide it.
PART_BYTES = 5_461 * 48

Keys = NDArray[np.uint64]
_BITS = 20


class Kept(Protocol):
    """Bytes that were given away. `held_bytes`: how many of them are in memory."""

    @property
    def held_bytes(self) -> int:
        """How many of them are in memory."""
        ...

    def __len__(self) -> int: ...

    def __bytes__(self) -> bytes: ...


Keep = Callable[[bytes], Kept]


class InMemory:
    """Bytes that are given away to nobody."""

    __slots__ = ("_bytes",)

    def __init__(self, found: bytes) -> None:
        self._bytes = found

    @property
    def held_bytes(self) -> int:
        """All of them."""
        return len(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __bytes__(self) -> bytes:
        return self._bytes


class HeldRows:
    """Rows of one kind, in order. `len()` and `bytes()` are of all of them."""

    __slots__ = ("_keep", "_newest", "_parts")

    def __init__(self, keep: Keep = InMemory) -> None:
        self._keep, self._newest = keep, bytearray()
        self._parts: list[Kept] = []

    @property
    def held_bytes(self) -> int:
        """How many bytes are in memory."""
        return len(self._newest) + sum(part.held_bytes for part in self._parts)

    def add(self, rows: bytes) -> int:
        """Append rows; returns by how many bytes that changes what is in memory."""
        self._newest += rows
        if len(self._newest) < PART_BYTES:
            return len(rows)
        given = 0
        while len(self._newest) >= PART_BYTES:
            part = self._keep(bytes(self._newest[:PART_BYTES]))
            self._parts.append(part)
            given += len(part) - part.held_bytes
            del self._newest[:PART_BYTES]
        return len(rows) - given

    def __len__(self) -> int:
        return len(self._newest) + sum(map(len, self._parts))

    def __bytes__(self) -> bytes:
        return b"".join((*map(bytes, self._parts), self._newest))


class Among:
    """Whether keys are among some: first by a table of bits, then exactly. Most of many keys cost no search.

    >>> Among(np.array([3, 5], dtype=np.uint64)).places(np.array([1, 5, 3, 4], dtype=np.uint64)).tolist()
    [1, 2]
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = np.unique(keys)
        self._bits = np.zeros(1 << _BITS, dtype=bool)
        self._bits[_bit(self._keys)] = True

    def places(self, keys: Keys) -> NDArray[np.int64]:
        """The places of those that are, ascending."""
        found = np.flatnonzero(self._bits[_bit(keys)])
        return found[np.isin(keys[found], self._keys)]


def _bit(keys: Keys) -> NDArray[np.int64]:
    # NB: the highest bits: Python's hashes of small numbers differ in the lowest only, those of texts in all.
    mixed = keys * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - _BITS)).astype(np.int64)
