"""Tests of a running mean that stay valid at every look, as bets against it.

A bettor starts with 1 and stakes a fixed fraction b of the wealth on each gain x >= -1, so that the wealth is
multiplied by 1 + b x. Write m for the conditional mean of a gain, given all that was known before its outcome. Then the
product of (1 + b x) / (1 + b m) is a martingale, and the product of 1 + b m is at most exp(b sum m). So while the
running sum of conditional means has never been above 0, the expected wealth is at most 1 at any time at which one may
choose to look. By Ville's inequality it reaches 1/alpha with probability at most alpha. The running mean is tested, not
each single one, which requires that b is fixed beforehand. So the wealth is an average over several b instead of one
that adapts (Cover 1991, universal portfolios; the null is the weak one of Choe & Ramdas 2024, "Comparing sequential
forecasters", who use exponentials where the product is used here, which is never smaller).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# The staked fractions, each with the same weight.
BETS: Floats = np.array([0.05, 0.2, 0.5, 0.8, 0.95])


def log_mean_exp(logs: ArrayLike, axis: int | tuple[int, ...] = -1) -> Floats:
    """Logarithm of the mean of exponentials, without overflow; -inf where all values are.

    >>> round(float(log_mean_exp([0.0, np.log(3.0)])), 4)
    0.6931
    """
    values = np.asarray(logs, dtype=np.float64)
    highest = values.max(axis=axis, keepdims=True)
    safe = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        found = np.log(np.exp(values - safe).mean(axis=axis, keepdims=True)) + safe
    return np.squeeze(found, axis=axis)


def staked(gains: ArrayLike) -> Floats:
    """What each gain adds to the logarithm of each bettor's wealth.

    `gains`: any shape, none below -1. The result has an additional axis for `BETS`.
    """
    return np.log1p(BETS * np.asarray(gains, dtype=np.float64)[..., None])


def log_e_of_counts(new: int, control: int, share: float, weight: float = 100.0) -> float:
    """Evidence against units being split by `share`: a beta mixture of likelihood ratios (Lindon & Malek 2022).

    `new`, `control`: units seen in each arm. `weight`: how closely the mixture is concentrated around `share`.

    >>> log_e_of_counts(500, 9500, 0.05) < 0 < log_e_of_counts(700, 9300, 0.05)
    True
    """
    if share <= 0 or share >= 1:
        return math.inf if (new if share <= 0 else control) else 0.0
    a, b = weight * share, weight * (1 - share)
    mixed = _log_beta(a + new, b + control) - _log_beta(a, b)
    return mixed - new * math.log(share) - control * math.log1p(-share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
