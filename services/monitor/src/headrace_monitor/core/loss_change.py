"""Whether the loss of a champion has changed for good: Page's cumulative sum (Page 1954) of standardised rises.

Each closed window gives the champion's mean loss, its excess over the loss that the champion's own scores lead one to expect
(the mean entropy of its scores), and the standard errors of both. Inputs that move, and hard days, raise the loss alone. A
world that has changed raises both, so the smaller of the two standardised rises counts. With r windows before the rise, of
mean m and variance s2,

    t = (x - m - rise |m|) / sqrt(max(s2, e2) (1 + 1/r)),    y = Phi^-1(F_{r-1}(t)) = z + g (z^2 - 1) / 6,    S = max(0, S + min(z, 3.5) - 1)

where e2 is the squared error that a window of so many rows had before, and g the skewness of its mean (Cornish and Fisher
1938, first order: losses of rare labels are skewed). So the test knows how many rows a window has, and knows seasons that it
has seen. It alarms at S >= `limit`. For independent normal figures the mean number of windows until a false alarm is
exp(2 (limit + 1.166)) / 2 (Siegmund 1985, eq. 2.57, with k = 1): 2,080 for a limit of 3. Student's F keeps that for few
windows. One window adds at most 2.5, so one bad day is no alarm, and two windows that lie wholly after a large change are.

Windows since the last S = 0 do not count as usual: a slow rise does not become the measure of itself. The rise began with the
first of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

Floats = NDArray[np.float64]

MOST_Z, ALLOWED_Z = 3.5, 1.0
MOST_WINDOWS = 400
MOST_SKEW = 3.0
LEAST_WINDOWS = 3
# A figure is back when at most this share of its rise is left, or when it lies within so many standard deviations.
BACK_SHARE, BACK_Z = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Figure:
    """The champion's mean loss in one window with its standard error, and its excess over the expected loss with its own.

    `from_s`: the start of the window. `rows`: how many it has. `skew`: the skewness of the mean loss (that of the rows over
    the root of their number).
    """

    from_s: float
    loss: float
    loss_error: float = 0.0
    excess: float = 0.0
    excess_error: float = 0.0
    rows: float = 1.0
    skew: float = 0.0


@dataclass(frozen=True, slots=True)
class Rise:
    """An alarm. `began_s`: the start of the window with which the rise began. `before`: the mean loss until then. `back_at`:
    the loss at which the rise is over. `side`: -1 for a figure that fell."""

    began_s: float
    before: float
    back_at: float
    side: int = 1


@dataclass(frozen=True, slots=True)
class Sums:
    """`usual`: the windows that the next one is compared with. `since`: those since S was 0. `sum`: S."""

    usual: tuple[Figure, ...] = ()
    since: tuple[Figure, ...] = ()
    sum: float = 0.0


def after_window(sums: Sums, figure: Figure, rise: float, windows: int) -> Sums:
    """The sums after one more window.

    `rise`: the smallest rise that counts, as a share of the loss. `windows`: how many windows come before the first comparison.
    """
    if len(sums.usual) < max(windows, LEAST_WINDOWS):
        return Sums((*sums.usual, figure))
    found = max(0.0, sums.sum + min(_standardised(sums.usual, figure, rise), MOST_Z) - ALLOWED_Z)
    since = (*sums.since, figure)[-MOST_WINDOWS:]
    return Sums(sums.usual, since, found) if found > 0 else Sums((*sums.usual, *since)[-MOST_WINDOWS:])


def rise_of(sums: Sums) -> Rise:
    """The rise behind sums with S > 0. Raises `IndexError` when S is 0: there is no window since then."""
    losses = np.array([found.loss for found in sums.usual])
    before, after = float(losses.mean()), float(np.mean([found.loss for found in sums.since]))
    spread = math.sqrt(max(float(losses.var(ddof=1)), _mean_square([found.loss_error for found in sums.usual])))
    return Rise(sums.since[0].from_s, before, before + max(BACK_Z * spread, BACK_SHARE * (after - before)))


def _standardised(usual: Sequence[Figure], figure: Figure, rise: float) -> float:
    rows = np.array([found.rows for found in usual])
    by_loss = _z(
        np.array([found.loss for found in usual]),
        np.array([found.loss_error for found in usual]) * np.sqrt(rows / figure.rows),
        figure.loss,
        rise,
    )
    by_excess = _z(
        np.array([found.excess for found in usual]),
        np.array([found.excess_error for found in usual]) * np.sqrt(rows / figure.rows),
        figure.excess,
        0.0,
    )
    skew = float(np.mean([found.skew for found in usual])) * math.sqrt(float(rows.mean()) / figure.rows)
    return _unskewed(min(by_loss, by_excess), min(max(skew, 0.0), MOST_SKEW))


def _unskewed(z: float, skew: float) -> float:
    """The w of which y = w + g (w^2 - 1) / 6: a quantile of a skewed mean as one of the normal distribution.

    Only above 1, where the tail is the heavier one.
    """
    part = skew / 6.0
    return (math.sqrt(1.0 + 4.0 * part * (z + part)) - 1.0) / (2.0 * part) if z > 1.0 and part > 1e-6 else z


def _z(usual: Floats, errors: Floats, value: float, rise: float) -> float:
    """A rise above the usual values as a quantile of the normal distribution.

    `errors`: the standard errors that the usual windows would have with as many rows as the new one; shape of `usual`.
    """
    count, mean = len(usual), float(usual.mean())
    square = max(float(usual.var(ddof=1)), float((errors**2).mean()))
    apart = value - mean - rise * abs(mean)
    if square <= 0:
        return MOST_Z if apart > 0 else -MOST_Z
    return float(ndtri(min(stdtr(count - 1, apart / math.sqrt(square * (1 + 1 / count))), 1 - 1e-12)))


def _mean_square(errors: Sequence[float]) -> float:
    return float(np.mean(np.square(errors)))
