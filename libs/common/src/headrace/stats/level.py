"""The level test: the mean difference of two versions' scores over whole cycles, with bounds that hold at every look.

A cycle is the stretch after which traffic repeats itself (a day, a week), so that no hour of the day weighs more than
another one. The mean is request-weighted: the sum of the differences over the sum of the requests. Its variance is that
of the cycles' residuals, with the covariances of cycles up to `LAGS` apart (neighbouring days share their weather).
`WORST_CYCLES` times the square of the largest residual is added, as if so many more cycles like the worst one had
been seen: the mean of a skewed figure (storms) is underestimated as long as its worst days have not come, and so is
its variance. The bounds are an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024), of
a normal mixture that is narrowest at `TUNED_TO` cycles. Asymptotic means that the stated level is reached as cycles
grow; what is reached with few of them is measured by `make bench ONLY=rollouts`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LAGS = 2
WORST_CYCLES = 8.0
TUNED_TO = 10.0


@dataclass(frozen=True, slots=True)
class Level:
    """The mean difference per request over so many cycles, and its standard error; arrays for many runs side by side.

    `cycles`: those that have requests. With fewer than two of them the error is infinite.
    """

    mean: Floats
    error: Floats
    cycles: NDArray[np.int64]

    def low(self, alpha: float) -> Floats:
        """The bound that the long-run mean is above, at every look, with probability 1 - alpha."""
        return self.mean - bound(self.cycles, alpha) * self.error

    def high(self, alpha: float) -> Floats:
        """The bound that it is below."""
        return self.mean + bound(self.cycles, alpha) * self.error


def level(requests: ArrayLike, sums: ArrayLike) -> Level:
    """The level of cycles, shape (..., cycles): their weights (requests) and the sums of their differences.

    A cycle without requests counts for nothing.

    >>> found = level([100, 100, 0, 100, 100], [1.0, 3.0, 0.0, 2.0, 2.0])
    >>> float(found.mean), int(found.cycles)
    (0.02, 4)
    """
    n, d = np.asarray(requests, dtype=np.float64), np.asarray(sums, dtype=np.float64)
    cycles, total = (n > 0).sum(axis=-1), n.sum(axis=-1)
    divisor = np.where(total > 0, total, 1.0)
    mean = d.sum(axis=-1) / divisor
    residuals = d - mean[..., None] * n
    own = (residuals**2).sum(axis=-1) * cycles / np.maximum(cycles - 1, 1)
    variance = own.copy()
    for lag in range(1, min(LAGS, n.shape[-1] - 1) + 1):
        weight = 1 - lag / (LAGS + 1)
        variance = variance + 2 * weight * (residuals[..., lag:] * residuals[..., :-lag]).sum(axis=-1)
    worst = (residuals**2).max(axis=-1, initial=0.0)
    variance = np.maximum(variance, own) + WORST_CYCLES * worst
    return Level(mean, np.where(cycles < 2, np.inf, np.sqrt(variance) / divisor), cycles)


def bound(cycles: ArrayLike, alpha: float) -> Floats:
    """How many standard errors the mean may lie from the truth at any of all looks, on one side; shape of `cycles`.

    >>> bound([14, 42], 0.05).round(2).tolist()
    [3.1, 2.8]
    """
    scale = np.maximum(np.asarray(cycles, dtype=np.float64), 1.0) / TUNED_TO
    return np.sqrt(2 * (scale + 1) / scale * np.log1p(np.sqrt(scale + 1) / (2 * alpha)))
