"""How far the rows of a window lie from reference rows, per column, and how seldom rows of one block lie so far.

All distances are of counts over the same bins (`headrace.stats.bins`). A fixed threshold on them is wrong: without any
change P(PSI > .1) is .85 for 100 rows and 10 bins, and 0 for 1,000. Nor are rows independent: the weather of a day is
one weather. So the statistic is Pearson's, per degree of freedom, and its p-value knows how far blocks of usual rows lie
from the rest (`Dependence`): the logarithm of that factor is close to normal from block to block. A p-value is never
below the one of independent rows. Over many columns Benjamini and Hochberg (1995) keep the share of false ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Bins that are expected to hold fewer rows are joined to one (Cochran 1954).
LEAST_EXPECTED = 5.0
# Fewer rows than these are not compared.
LEAST_ROWS = 20


@dataclass(frozen=True, slots=True)
class Dependence:
    """How far a block of usual rows lies from the rest. `spread`: the geometric mean of Pearson's statistic per degree of freedom,
    at least 1, which it is for independent rows. `tail`: the standard deviation of its logarithm; inf when it is not known.
    `block_rows`: how many rows a block had.
    """

    spread: float = 1.0
    tail: float = math.inf
    block_rows: float = 1.0

    def factor(self, rows: float) -> float:
        """The usual factor for so many rows: what is common to the rows of a block does not average out.

        >>> Dependence(3.0, 0.5, 100.0).factor(200.0)
        5.0
        """
        return 1.0 + (self.spread - 1.0) * rows / max(self.block_rows, 1.0)


def psi(expected: ArrayLike, observed: ArrayLike, floor: float = 1e-4) -> float:
    """Population stability index of two binned samples, in nats; 0 when one of them is empty.

    `expected`, `observed`: counts or shares per bin, shape (n_bins,), same edges; the share of an empty bin counts as
    `floor`. Its null distribution depends on the number of rows: never compare it with a fixed number alone.

    >>> round(psi([50, 50], [50, 50]), 3), round(psi([50, 50], [80, 20]), 3)
    (0.0, 0.416)
    """
    p, q = np.asarray(expected, np.float64), np.asarray(observed, np.float64)
    if not p.sum() or not q.sum():
        return 0.0
    p, q = np.maximum(p / p.sum(), floor), np.maximum(q / q.sum(), floor)
    return float(((q - p) * np.log(q / p)).sum())


def ks(expected: ArrayLike, observed: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance of two binned samples at the edges of the bins; a lower bound of that of the values.

    >>> round(ks([50, 50], [80, 20]), 3)
    0.3
    """
    p, q = np.asarray(expected, np.float64), np.asarray(observed, np.float64)
    if not p.sum() or not q.sum():
        return 0.0
    return float(np.abs(np.cumsum(p) / p.sum() - np.cumsum(q) / q.sum()).max(initial=0.0))


def chi_square(observed: ArrayLike, shares: ArrayLike, reference_rows: ArrayLike = math.inf) -> tuple[Floats, Floats]:
    """Pearson's statistic of counts against reference shares, and its degrees of freedom; 0 and 0 where nothing can be compared.

    `observed`: counts (..., n_bins). `shares`: of the reference, same shape or (n_bins,), summing to 1. `reference_rows`:
    how many rows they come from, (...): the statistic is made smaller by what they vary themselves (of two samples over
    the same bins it is scipy's `chi2_contingency`, when the shares are those of both together and the rows infinite).
    Bins that are expected to hold fewer than 5 rows are one bin.

    >>> [float(found) for found in chi_square([60, 40], [0.5, 0.5])]
    [4.0, 1.0]
    """
    counts, parts = np.asarray(observed, np.float64), np.asarray(shares, np.float64)
    rows = counts.sum(axis=-1)
    expected = rows[..., None] * parts
    is_small = expected < LEAST_EXPECTED
    pooled, pooled_expected = (counts * is_small).sum(axis=-1), (expected * is_small).sum(axis=-1)
    large = (~is_small).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(is_small, 0.0, (counts - expected) ** 2 / expected)
        alone = (pooled - pooled_expected) ** 2 / pooled_expected
    # What is too little to be a bin of its own joins the bin that is expected to hold least.
    least = np.where(is_small, np.inf, expected).argmin(axis=-1)[..., None]
    joined = np.take_along_axis(expected, least, -1)[..., 0] + pooled_expected
    apart = np.take_along_axis(counts - expected, least, -1)[..., 0] + pooled - pooled_expected
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = terms.sum(axis=-1) - np.take_along_axis(terms, least, -1)[..., 0] + apart**2 / joined
    is_bin = pooled_expected >= LEAST_EXPECTED
    statistic = np.where(is_bin, terms.sum(axis=-1) + np.nan_to_num(alone), rest)
    freedom = np.maximum(large - 1 + is_bin, 0).astype(np.float64)
    statistic = np.where((freedom > 0) & (large > 0), statistic, 0.0) / (1.0 + rows / np.asarray(reference_rows))
    return statistic, np.where(large > 0, freedom, 0.0)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square variable of so many degrees of freedom to be at least so large (finite sums, Abramowitz and
    Stegun 26.4.4-5).

    >>> round(chi_square_tail(3.841, 1), 3), round(chi_square_tail(18.307, 10), 3)
    (0.05, 0.05)
    """
    if freedom < 1 or statistic <= 0:
        return 1.0
    half = statistic / 2
    if freedom % 2:
        powers = [(k - 0.5) * math.log(half) - half - math.lgamma(k + 0.5) for k in range(1, (freedom + 1) // 2)]
        first = math.erfc(math.sqrt(half))
    else:
        powers = [k * math.log(half) - half - math.lgamma(k + 1) for k in range(freedom // 2)]
        first = 0.0
    return min(first + sum(map(math.exp, powers)), 1.0)


def p_value(statistic: float, freedom: int, rows: int, usual: Dependence) -> float:
    """How seldom so many usual rows of one block lie so far from the reference; 1.0 where that is not known.

    >>> round(p_value(60.0, 9, 900, Dependence(4.0, 0.5, 900.0)), 3)
    0.153
    """
    if rows < LEAST_ROWS or freedom < 1 or statistic <= 0 or not math.isfinite(usual.tail):
        return 1.0
    beyond = math.log(statistic / freedom) - math.log(usual.factor(rows))
    by_blocks = 0.5 * math.erfc(beyond / max(usual.tail, 1e-9) / math.sqrt(2))
    return max(by_blocks, chi_square_tail(statistic, freedom))


def benjamini_hochberg(p_values: ArrayLike, share: float) -> NDArray[np.bool_]:
    """Which of many hypotheses are rejected, so that the expected share of false ones among these is at most `share`.

    >>> benjamini_hochberg([0.001, 0.04, 0.03, 0.9], 0.05).tolist()
    [True, False, False, False]
    """
    found = np.asarray(p_values, np.float64)
    ordered = np.sort(found)
    below = np.flatnonzero(ordered <= share * np.arange(1, len(found) + 1) / max(len(found), 1))
    return found <= (ordered[below[-1]] if len(below) else -1.0)


def binomial_tail(count: int, rows: int, share: float) -> float:
    """The probability that at least `count` of `rows` have what each has with probability `share`, exactly.

    >>> round(binomial_tail(2, 3, 0.5), 6), binomial_tail(0, 3, 0.5), binomial_tail(3, 3, 0.0)
    (0.5, 1.0, 0.0)
    """
    if count <= 0:
        return 1.0
    if share <= 0 or share >= 1:
        return float(share >= 1)
    if count <= rows * share:
        return 1.0 - binomial_tail(rows - count + 1, rows, 1.0 - share)
    logs = math.log(share), math.log1p(-share)
    combinations = math.lgamma(rows + 1) - math.lgamma(count + 1) - math.lgamma(rows - count + 1)
    term = math.exp(combinations + count * logs[0] + (rows - count) * logs[1])
    total, odds = term, share / (1 - share)
    for k in range(count, rows):
        term *= (rows - k) / (k + 1) * odds
        total += term
        if term < 1e-14 * total:
            break
    return min(total, 1.0)
