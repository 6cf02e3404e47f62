"""Positions of instants among entries of the same key: sorted once, then found for whole arrays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Line:
    """Entries by key and instant in one sorted array of numbers. Entries of one key and instant keep their order."""

    order: Ints
    ranks: Ints
    instants: Floats

    @classmethod
    def of(cls, keys: Ints, at_s: Floats) -> "Line":
        """The sorted entries with these keys and instants, shape (n,) each."""
        order = np.lexsort((at_s, keys))
        instants, rank = np.unique(at_s[order], return_inverse=True)
        return cls(order, keys[order] * (len(instants) + 1) + rank, instants)

    def position(self, keys: Ints, at_s: Floats, side: Literal["left", "right"]) -> Ints:
        """The number of entries before each key and instant (`right`: including it)."""
        rank = np.searchsorted(self.instants, at_s, side=side)
        return np.searchsorted(self.ranks, keys * (len(self.instants) + 1) + rank, side="left")


def numbered(one: tuple[Ints, Keys], other: tuple[Ints, Keys]) -> tuple[Ints, Ints]:
    """Pairs as numbers: equal pairs get equal numbers."""
    first, second = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.lexsort((second, first))
    is_new = (first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1])
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(is_new)])[: len(order)]
    return numbers[: len(one[0])], numbers[len(one[0]) :]
