"""Sequential detection of a change of a chart's figure, with a stated run length: an e-detector in Shiryaev-Roberts form.

A window's figure is standardised against the reference windows,

    t = (x - m) / sqrt((v + e2) (1 + 1/r)),   v = max(0, var(x_i) - mean(e_i^2)),   e2 = mean(e_i^2 n_i) / n

with r reference windows of mean m: `v` is what windows differ by beyond their sampling errors, and `e2` the squared error
of a window of n rows, so a window of few rows needs a greater change. `t` becomes a p-value by its rank among the
reference windows themselves, each against the others: (1 + how many are as far) / (1 + r). Beyond the largest of them
the p-value falls as the tail of Student's t with `TAIL` degrees of freedom, since storms have heavier tails than means.

The p-value becomes an e-value by a power calibrator, `POWER` p^(`POWER` - 1) (Vovk and Wang 2021, section 2), whose mean
is 1 while nothing has changed. The detector is M = (1 + M) E (Shin, Ramdas and Rinaldo 2022, eq. 12): M less the number
of windows is then a supermartingale, so the mean number of windows to an alarm at M >= limit is at least `limit`,
however the figures depend on each other as long as each p-value holds given the past. Figures of neighbouring windows
share their weather, and then it does not hold exactly: `page_bootstrap` measures what is left.

`POWER` and `TAIL`, and that sides add up, were chosen on the flights of January to March (400 and 150 planted flips, 60
years of weeks, seeds 777, 778 and 555) and on generated streams (seed 3): 30 % flips are found after 2.8 days and full ones
after 1.4 (medians; 90 % after 3.8 and 1.8), with .21 false pages a month; with the power .2 and the largest side alone it were
3.4 and 1.6 (4.9 and 2.3), with .16. Six sides of four charts of normal figures that are correlated by .5 from window to
window alarm .85 times per patience, with Student's t of 4 degrees of freedom .97 times; with the power .3 it were 1.1.

The detectors of K sides alarm together once their sum reaches K times the patience in windows: their mean is an e-detector
like each of them, so all of them raise one false alarm per patience at the most, in the mean. A change that several sides
show is found sooner than by the largest side alone (e-d-Bonferroni, Dandapanthula and Ramdas 2025, arXiv 2501.04130).

When the change was is estimated by the likelihood of a shift within the windows that speak for it, `change_in`. On generated
streams (60 reference windows, 600 changes each, normal figures and Student's t of 4 degrees of freedom) it is the very window in
93 to 95 of 100 changes by 8 standard deviations, 88 to 90 by 4, 79 to 83 by 3, and 57 to 68 by 2, which are found after four or
five windows. By the cumulative sum alone it is in 76 to 80 by 3 and more, since a window before was up by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

TAIL = 4
POWER = 0.25
# With fewer reference windows nothing is compared.
LEAST_REFERENCE = 8
# M is not followed beyond: an alarm is certain by then, and it must not take for ever to fall.
MOST = 1e12
_LEAST_P = 1e-12
# Of a run of windows so many are remembered, for when the change was.
LONGEST_RUN = 64
# The mean logarithm of an e-value while nothing has changed.
_NULL_LOG = math.log(POWER) + 1 - POWER
# Where no reference window differs from another, any difference is far.
_NEAR, _FAR = 1e-12, 1e6


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference windows of one figure. `values`, `errors` (standard errors), `rows`: shape (r,)."""

    values: Floats
    errors: Floats
    rows: Floats

    @property
    def mean(self) -> float:
        """The mean of the windows."""
        return float(self.values.mean())

    @property
    def between(self) -> float:
        """The variance between windows beyond that of their sampling."""
        return max(0.0, float(self.values.var(ddof=1)) - float((self.errors**2).mean()))

    def variance(self, rows: float) -> float:
        """The variance of the figure of a window of so many rows around the true mean."""
        return self.between + float((self.errors**2 * self.rows).mean()) / max(rows, 1.0)

    def spread(self, rows: float) -> float:
        """The standard deviation by which such a window is judged: with that of the reference's own mean."""
        return math.sqrt(self.variance(rows) * (1 + 1 / len(self.values)))

    def standardised(self, value: float, rows: float) -> float:
        """By how many standard deviations a figure lies above the reference; 0 for an equal one where none varies."""
        spread, apart = self.spread(rows), value - self.mean
        if spread <= _NEAR:
            return math.copysign(_FAR, apart) if abs(apart) > _NEAR else 0.0
        return apart / spread

    def standardised_all(self, values: Floats, rows: Floats) -> Floats:
        """As `standardised`, of many windows: `values`, `rows`, shape (n,)."""
        apart = values - self.mean
        variance = self.between + float((self.errors**2 * self.rows).mean()) / np.maximum(rows, 1.0)
        spreads = np.sqrt(variance * (1 + 1 / len(self.values)))
        far = np.copysign(_FAR, apart) * (np.abs(apart) > _NEAR)
        return np.where(spreads > _NEAR, apart / np.maximum(spreads, _NEAR), far)

    def own(self) -> Floats:
        """Each reference window against all others, shape (r,)."""
        left, values = len(self.values) - 1, self.values
        means = (values.sum() - values) / left
        squares = ((values**2).sum() - values**2) / left - means**2
        errors, by_row = self.errors**2, self.errors**2 * self.rows
        sampling = ((by_row.sum() - by_row) / left) / np.maximum(self.rows, 1.0)
        between = squares * left / (left - 1) - (errors.sum() - errors) / left
        spreads = np.sqrt((np.maximum(between, 0.0) + sampling) * (1 + 1 / left))
        apart = values - means
        far = np.copysign(_FAR, apart) * (np.abs(apart) > _NEAR)
        return np.where(spreads > _NEAR, apart / np.maximum(spreads, _NEAR), far)


def reference_of(values: ArrayLike, errors: ArrayLike, rows: ArrayLike) -> Reference | None:
    """The reference of these windows, shape (r,); None where they are fewer than `LEAST_REFERENCE`."""
    parts = [np.asarray(part, dtype=np.float64) for part in (values, errors, rows)]
    return Reference(*parts) if len(parts[0]) >= LEAST_REFERENCE else None


def p_values(z: ArrayLike, own: Floats) -> Floats:
    """How likely figures so far up are while nothing has changed, of any shape. `own`: of the reference windows, (r,).

    >>> p_values([0.5, 20.0], np.array([-1.0, 0.0, 1.0])).round(6).tolist()
    [0.5, 2.5e-05]
    """
    far, least = np.asarray(z, dtype=np.float64), 1 / (len(own) + 1)
    as_far = len(own) - np.searchsorted(np.sort(own), far, side="left")
    start = max(float(own.max()), -float(stdtrit(TAIL, least)))
    beyond = least * np.minimum(1.0, stdtr(TAIL, -far) / stdtr(TAIL, -start))
    return np.maximum(np.where(as_far > 0, (1 + as_far) * least, beyond), _LEAST_P)


def e_values(p: ArrayLike) -> Floats:
    """The e-values of p-values in (0, 1]: their mean is 1 for uniform ones.

    >>> e_values([0.01, 1.0]).round(2).tolist()
    [7.91, 0.25]
    """
    return POWER * np.asarray(p, dtype=np.float64) ** (POWER - 1)


def after_window(statistic: float, e: float) -> float:
    """M after one more window of this e-value."""
    return min((1 + statistic) * e, MOST)


def run_after(run: Sequence[tuple[float, float]], at_s: float, e: float) -> tuple[tuple[float, float], ...]:
    """The windows in a row that speak for a change, after one more at `at_s`: those since the product of their e-values was
    at most 1 (a cumulative sum, Page 1954), at most `LONGEST_RUN`. Each is its instant and the logarithm of its e-value.
    """
    kept = run if sum(found for _, found in run) > 0 else ()
    return (*kept, (at_s, math.log(e)))[-LONGEST_RUN:]


def change_in(logs: Sequence[float]) -> int:
    """The place in a run at which the change most probably was, by the logarithms of its e-values.

    The likelihood of a shift of their mean (Hinkley 1970): the place from which on they exceed the middle between their
    mean without a change and that since the change by most in sum. A window that was up by chance before it is left out.

    >>> change_in([0.3, 4.0, 5.0]), change_in([1.0, 1.2, 0.9])
    (1, 0)
    """
    found, place = np.asarray(logs, dtype=np.float64), 0
    for _ in range(3):
        middle = (_NULL_LOG + float(found[place:].mean())) / 2
        place = int(np.argmax(np.cumsum((found - middle)[::-1])[::-1]))
    return place


def limit_of(patience_windows: float, detectors: int) -> float:
    """The sum of the M of so many detectors at which they alarm, when they may alarm falsely once in `patience_windows`.

    >>> limit_of(30.0, 6)
    180.0
    """
    return max(patience_windows * detectors, 1.0)


def detectable(reference: Reference, rows: float, limit: float, windows: int) -> float:
    """The least lasting change of the figure that is found within so many windows in half of all cases.

    By normal figures around the changed mean, always the same draws. `rows`: of a window.
    """
    return _least_z(tuple(np.sort(reference.own()).tolist()), limit, windows) * reference.spread(rows)


@lru_cache(4096)
def _least_z(own: tuple[float, ...], limit: float, windows: int) -> float:
    among, draws = np.array(own), np.random.default_rng(0).normal(size=(windows, 200))

    def share_found(z: float) -> float:
        statistic = reached = np.zeros(draws.shape[1])
        for e in e_values(p_values(draws + z, among)):
            statistic = (1 + statistic) * e
            reached = np.maximum(reached, statistic)
        return float((reached >= limit).mean())

    low, high = 0.0, 1.0
    while share_found(high) < 0.5 and high < 1e9:
        low, high = high, 2 * high
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (low, middle) if share_found(middle) >= 0.5 else (middle, high)
    return high
