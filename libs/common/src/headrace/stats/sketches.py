"""Quantiles of many values in few bytes: KLL sketches (Karnin, Lang, Liberty 2016; Apache DataSketches, floats).

A sketch of two parts merged is a sketch of the whole, with the same bound on the error of a rank: 2.6 % for k = 100. What
it keeps is partly random: two sketches of the same values may differ in their bytes, within that bound.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from datasketches import kll_floats_sketch  # ty: ignore[unresolved-import]  # its names come from a compiled module
from numpy.typing import NDArray

SKETCH_K = 100
_STEPS = np.linspace(0.0, 1.0, 201)


def sketch_of(values: NDArray[np.float32], k: int = SKETCH_K) -> bytes:
    """A sketch of values; NaN is no value, and b"" where there is none."""
    sketch = kll_floats_sketch(k)
    sketch.update(np.ascontiguousarray(values[~np.isnan(values)], np.float32))
    return b"" if sketch.is_empty() else sketch.serialize()


def merged(sketches: Iterable[bytes], k: int = SKETCH_K) -> bytes:
    """The sketch of all values of these sketches.

    >>> parts = sketch_of(np.arange(30, dtype=np.float32)), sketch_of(np.arange(30, 61, dtype=np.float32)), b""
    >>> quantiles_of(merged(parts), [0.25, 0.5])
    [15.0, 30.0]
    """
    whole = kll_floats_sketch(k)
    for part in filter(None, sketches):
        whole.merge(kll_floats_sketch.deserialize(part))
    return b"" if whole.is_empty() else whole.serialize()


def quantiles_of(sketch: bytes, shares: Sequence[float]) -> list[float]:
    """The values below which these shares lie; [] of no values."""
    return (
        [float(value) for value in kll_floats_sketch.deserialize(sketch).get_quantiles(list(shares))] if sketch else []
    )


def ks_of(one: bytes, other: bytes) -> float | None:
    """Kolmogorov-Smirnov distance of two sketches, within the sum of their errors of a rank; None where one is empty."""
    if not one or not other:
        return None
    first, second = kll_floats_sketch.deserialize(one), kll_floats_sketch.deserialize(other)
    points = np.unique(np.concatenate([sketch.get_quantiles(_STEPS) for sketch in (first, second)]).astype(np.float32))
    return float(np.abs(np.subtract(first.get_cdf(points), second.get_cdf(points))).max())


class Sketches:
    """A sketch per column of rows that come in parts."""

    def __init__(self, columns: int, k: int = SKETCH_K) -> None:
        self._sketches = [kll_floats_sketch(k) for _ in range(columns)]

    def fold(self, matrix: NDArray[np.float32], is_null: NDArray[np.bool_]) -> None:
        """Take rows, float32 (n, columns). `is_null`: where there is no value, same shape."""
        has_null = np.asarray(is_null.any(axis=0))
        by_column = np.ascontiguousarray(matrix.T)
        for place, sketch in enumerate(self._sketches):
            values = by_column[place]
            sketch.update(values[~is_null[:, place]] if has_null[place] else values)

    def merge(self, other: "Sketches") -> None:
        """Take the rows of others."""
        for own, theirs in zip(self._sketches, other._sketches, strict=True):
            own.merge(theirs)

    def of(self, place: int) -> bytes:
        """The sketch of a column; b"" where it has no value."""
        sketch = self._sketches[place]
        return b"" if sketch.is_empty() else sketch.serialize()

    @property
    def held_bytes(self) -> int:
        """How many bytes they take, by estimate."""
        return sum(128 + 4 * sketch.num_retained for sketch in self._sketches)
