"""What many rows look like by column, folded as they come: counts per bin of a reference, nulls, values out of range, sizes.

Profiles of the same frame merge: that of two parts is that of the whole, to the last count (sums of logarithms to rounding,
sketches within their error). A value is out of range where it lies beyond the reference's least or greatest value by more
than the whole range between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.references import ColumnReference
from headrace.stats.distinct import Distinct
from headrace.stats.sketches import Sketches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Binned:
    """Rows as a frame sees them, each (n, columns). `places`: the cell of a profile's counts. `sizes`: the logarithm of values, 0
    where it is not asked for, or there is none; `has_size`: where there is one.
    """

    matrix: Matrix
    places: Ints
    is_null: NDArray[np.bool_]
    is_outside: NDArray[np.bool_]
    sizes: Floats
    has_size: NDArray[np.bool_]

    def of(self, rows: Ints) -> "Binned":
        """Some of the rows."""
        return Binned(
            self.matrix[rows], self.places[rows], self.is_null[rows], self.is_outside[rows], self.sizes[rows],
            self.has_size[rows],
        )  # fmt: skip


class Frame:
    """How the columns of a reference are binned, as arrays. `width`: bins of the widest column, and one more for nulls."""

    def __init__(self, columns: Sequence[ColumnReference]) -> None:
        self.columns = tuple(columns)
        self.width = max((len(column.shares) for column in columns), default=0) + 1
        numbers = [n for n, column in enumerate(columns) if column.kind == "number"]
        self._numbers = np.array(numbers, np.int64)
        most = max((len(columns[n].edges) for n in numbers), default=0)
        # NB: no value lies above NaN, infinity neither: it belongs to the last bin of its own column.
        self._edges = np.full((len(numbers), most), np.nan, np.float32)
        for place, n in enumerate(numbers):
            self._edges[place, : len(columns[n].edges)] = columns[n].edges
        self._codes = {n: _bins_of_codes(column) for n, column in enumerate(columns) if column.kind != "number"}
        self._low, self._high = (np.array(found, np.float32) for found in zip(*map(_range, columns), strict=True)) \
            if columns else (np.empty(0, np.float32),) * 2  # fmt: skip
        self._sized = np.array([n for n, column in enumerate(columns) if column.log_mean is not None], np.int64)
        self._offsets = np.arange(len(columns), dtype=np.int64) * self.width

    def binned(self, matrix: Matrix) -> Binned:
        """Rows, float32 (n, columns), by the bins of this frame."""
        is_null = np.isnan(matrix)
        places = np.empty(matrix.shape, np.int64)
        numbers = matrix[:, self._numbers]
        places[:, self._numbers] = (numbers[:, :, None] >= self._edges).sum(axis=2)
        for n, bins in self._codes.items():
            codes = np.nan_to_num(matrix[:, n], nan=-1.0, posinf=-1.0, neginf=-1.0).astype(np.int64)
            places[:, n] = bins[np.clip(codes, -1, len(bins) - 1)]
        places[is_null] = self.width - 1
        places += self._offsets
        sizes, has_size = np.zeros(matrix.shape), np.zeros(matrix.shape, np.bool_)
        if len(self._sized):
            values = matrix[:, self._sized]
            is_above = values > 0
            has_size[:, self._sized] = is_above
            sizes[:, self._sized] = np.log(np.where(is_above, values, 1.0), dtype=np.float64)
        return Binned(matrix, places, is_null, (matrix < self._low) | (matrix > self._high), sizes, has_size)


class Profile:
    """Of some rows: per column the counts per bin with nulls last (columns, width), how many values are out of range, and of
    the logarithms of its sizes their number, sum and sum of squares (3, columns). `sketches`, `distinct`: of the values, where
    asked for.
    """

    def __init__(self, frame: Frame, *, is_sketched: bool = False) -> None:
        self.frame, self.rows = frame, 0
        self.counts = np.zeros((len(frame.columns), frame.width), np.int64)
        self.outside = np.zeros(len(frame.columns), np.int64)
        self.sizes = np.zeros((3, len(frame.columns)))
        self.sketches = Sketches(len(frame.columns)) if is_sketched else None
        self.distinct = Distinct(len(frame.columns)) if is_sketched else None

    @property
    def nulls(self) -> Ints:
        """Rows without a value, per column."""
        return self.counts[:, -1]

    def bins_of(self, place: int) -> Ints:
        """Counts per bin of a column, in the reference's order; of a category the unknown ones (or none) are the last."""
        column = self.frame.columns[place]
        counts = self.counts[place, : len(column.shares)].copy()
        if column.kind != "number":
            counts[-1] += self.counts[place, -1]
        return counts

    def fold(self, rows: Binned) -> None:
        """Take rows."""
        self.rows += len(rows.matrix)
        self.counts += np.bincount(rows.places.ravel(), minlength=self.counts.size).reshape(self.counts.shape)
        self.outside += rows.is_outside.sum(axis=0)
        self.sizes += rows.has_size.sum(axis=0), rows.sizes.sum(axis=0), (rows.sizes**2).sum(axis=0)
        if self.sketches is not None:
            self.sketches.fold(rows.matrix, rows.is_null)
        if self.distinct is not None:
            self.distinct.fold(rows.matrix, rows.is_null)

    def merge(self, other: "Profile") -> None:
        """Take the rows of another profile of the same frame."""
        self.rows += other.rows
        self.counts += other.counts
        self.outside += other.outside
        self.sizes += other.sizes
        if self.sketches is not None and other.sketches is not None:
            self.sketches.merge(other.sketches)
        if self.distinct is not None and other.distinct is not None:
            self.distinct.merge(other.distinct)

    @property
    def held_bytes(self) -> int:
        """How many bytes it takes, by estimate."""
        sketched = 0 if self.sketches is None else self.sketches.held_bytes
        counted = 0 if self.distinct is None else self.distinct.registers.nbytes
        return self.counts.nbytes + 32 * len(self.outside) + sketched + counted


def _bins_of_codes(column: ColumnReference) -> Ints:
    """The bin per code, and last that of codes above all of `codes`, which is that of the other values too."""
    others = len(column.codes)
    bins = np.full(max(column.codes, default=-1) + 2, others, np.int64)
    bins[list(column.codes)] = np.arange(others)
    return bins


def _range(column: ColumnReference) -> tuple[float, float]:
    if column.low is None or column.high is None:
        return -np.inf, np.inf
    return 2 * column.low - column.high, 2 * column.high - column.low
