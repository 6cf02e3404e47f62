"""Shares of runs with their 95 % bounds by Clopper and Pearson (1934): exact for any number of runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_TAIL = 0.025
_STEPS = 40


@dataclass(frozen=True, slots=True)
class Share:
    """A share of runs. `low`, `high`: its 95 % bounds. `without_a_week`: the least and the greatest share when any one
    week of the record is left out; None when there is only one week.
    """

    share: float
    low: float
    high: float
    without_a_week: tuple[float, float] | None = None


def share_of(hits: ArrayLike, without: Sequence[float] = ()) -> Share:
    """The share of True among `hits`, shape (runs,). `without`: the shares without each week.

    >>> share_of([False] * 100).share, round(share_of([False] * 100).high, 4)
    (0.0, 0.0362)
    """
    found = np.asarray(hits, dtype=bool)
    runs, count = len(found), int(found.sum())
    low, high = bounds(count, runs)
    return Share(count / runs, low, high, (min(without), max(without)) if without else None)


def bounds(count: int, runs: int) -> tuple[float, float]:
    """The bounds of a share of `count` among `runs`.

    >>> [round(bound, 3) for bound in bounds(5, 100)]
    [0.016, 0.113]
    """
    low = 0.0 if count == 0 else _solve(lambda p: 1 - _at_most(count - 1, runs, p))
    high = 1.0 if count == runs else 1 - _solve(lambda q: 1 - _at_most(runs - count - 1, runs, q))
    return low, high


def _solve(tail: Callable[[float], float]) -> float:
    """Where a tail that grows with p reaches 2.5 %."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < _TAIL else (low, middle)
    return (low + high) / 2


def _at_most(count: int, runs: int, p: float) -> float:
    """The probability of at most `count` hits."""
    if count < 0 or not 0 < p < 1:
        return 0.0 if count < 0 else float(p <= 0 or count >= runs)
    hits = np.arange(count + 1)
    chosen = np.concatenate([[0.0], np.cumsum(np.log((runs - hits[:-1]) / (hits[:-1] + 1)))])
    return float(np.exp(chosen + hits * math.log(p) + (runs - hits) * math.log1p(-p)).sum())
