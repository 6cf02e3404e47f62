"""How sure a mean over rows is, when rows of one time resemble each other: one-sided 95 % bounds by blocks of time.

Blocks are days where there are at least five of them, else six hours, else hours, else single rows, at least thirty: the widest
that leave enough of them. The error is that of a ratio estimator over blocks (Cochran 1977, eq. 6.13, blocks as clusters), so that
every row has the same weight. Its quantile is Student's with one degree of freedom less than there are blocks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
WIDTHS_S = (86_400.0, 21_600.0, 3_600.0)
LEAST_BLOCKS = 5
LEAST_ROWS = 30
_NAMES = {86_400.0: "blocks of a day", 21_600.0: "blocks of 6 h", 3_600.0: "blocks of an hour", 0.0: "rows"}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `rows` and its standard error by `blocks` of `width_s` (0: single rows); infinite where too few are there."""

    mean: float
    error: float
    rows: int
    blocks: int
    width_s: float

    @property
    def is_measured(self) -> bool:
        """Whether there were enough rows to say how sure the mean is."""
        return math.isfinite(self.error)

    @property
    def reach(self) -> float:
        """How far the one-sided bounds lie from the mean."""
        return math.inf if not self.is_measured else float(stdtrit(self.blocks - 1, CONFIDENCE)) * self.error

    @property
    def low(self) -> float:
        """Below this the true mean lies with a probability of 5 % only."""
        return self.mean - self.reach

    @property
    def high(self) -> float:
        """Above this the true mean lies with a probability of 5 % only."""
        return self.mean + self.reach

    @property
    def described(self) -> str:
        """How the mean was measured, in words."""
        return f"{self.rows:,} rows, error {self.error:.4f} by {self.blocks} {_NAMES[self.width_s]}"

    def rows_to_decide(self, limit: float) -> int | None:
        """About how many rows would show on which side of `limit` the mean lies, if it stays as it is; None where a hundred times as many
        would not."""
        apart = abs(self.mean - limit)
        if not self.is_measured or apart <= self.reach / 10:
            return None
        return math.ceil(self.rows * (self.reach / apart) ** 2)


def estimate(values: Floats, at_s: Floats) -> Estimate:
    """The mean of `values` (n,), at the instants `at_s` (n,), n at least 1.

    >>> estimate(np.tile([0.0, 1.0], 50), np.arange(100) * 86_400.0 / 10).described
    '100 rows, error 0.0000 by 10 blocks of a day'
    """
    mean = float(values.mean())
    for width_s in WIDTHS_S:
        blocks, place = np.unique(np.floor(at_s / width_s), return_inverse=True)
        if len(blocks) >= LEAST_BLOCKS:
            return Estimate(mean, _error(values - mean, place, len(blocks)), len(values), len(blocks), width_s)
    rows = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(rows) if rows >= LEAST_ROWS else math.inf
    return Estimate(mean, error, rows, rows, 0.0)


def _error(apart: Floats, place: NDArray[np.int64], blocks: int) -> float:
    sums = np.bincount(place, weights=apart, minlength=blocks)
    return math.sqrt(blocks / (blocks - 1) * float((sums**2).sum())) / len(apart)
