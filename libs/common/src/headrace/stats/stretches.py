"""Stretches of hours over which the shares of rows are judged, the same for training rows and for live ones.

Of each hour that has rows three stretches end there: as many of the newest hours as hold 20 rows, the last 4 hours, and the
last 24. The last counts only where it begins at least 20 hours before: a night is no day. Few rows of a night join the
morning's in both cases, so what mornings show is known before they are judged.

What is usual is the highest share of any stretch of the training rows, per hour of the day (an hour more or less, since clocks
are changed) and for 24 hours, and as much more as the highest of a day lies above the highest of all days that are not next to
it: the estimate of an upper end by Robson and Whitlock (1964, Biometrika 51), with days for values, since hours depend on each
other, and a storm lasts over midnight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.distances import LEAST_ROWS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_S, DAY_S = 3600.0, 86_400.0
HOURS, SHORT = 24, 4
# A stretch of 24 hours that is judged begins so many hours before its last one.
MOST_OF_DAY = 20
# Of fewer days at an hour of the day all hours are its limit.
_LEAST_DAYS = 5


@dataclass(frozen=True, slots=True)
class Usual:
    """The highest share that is to be expected. `day`: of 24 hours. `hours`: of shorter stretches, by the hour of the day (UTC) at
    which they end; one value where it is the same for all.
    """

    day: float
    hours: tuple[float, ...]


def recent(rows: Sequence[int]) -> int:
    """How many of the newest hours hold 20 rows together; 0 where all of them do not. `rows`: per hour, oldest first.

    >>> recent([50, 12, 9]), recent([5, 5])
    (2, 0)
    """
    found = 0
    for n, count in enumerate(reversed(rows), start=1):
        found += count
        if found >= LEAST_ROWS:
            return n
    return 0


def usual_of(has: ArrayLike, at_s: Floats) -> Usual:
    """What is usual of rows, by whether each has it, at ascending instants; both (n,). 1.0 where nothing can be told.

    >>> usual_of([False] * 240, np.arange(240) * 720.0)
    Usual(day=0.0, hours=(0.0,))
    """
    hour, place, numbers = np.unique(np.floor(at_s / HOUR_S), return_inverse=True, return_counts=True)
    rows = numbers.astype(np.float64)
    counts = np.asarray(np.bincount(place, weights=np.asarray(has, np.float64), minlength=len(hour)), np.float64)
    day, phase = np.floor(hour / HOURS).astype(np.int64), (hour % HOURS).astype(np.int64)
    first = [_first_of_recent(hour, rows), np.searchsorted(hour, hour - SHORT, side="right")]
    short = np.max([_shares(counts, rows, begin) for begin in first], axis=0, initial=-1.0)
    whole = np.searchsorted(hour, hour - HOURS, side="right")
    long = np.where(hour[whole] <= hour - MOST_OF_DAY, _shares(counts, rows, whole), -1.0)
    whenever = _end(short, day)
    by_hour = tuple(_end_at(short, day, phase, n, whenever) for n in range(HOURS))
    return Usual(_end(long, day), by_hour if len(set(by_hour)) > 1 else by_hour[:1])


def _first_of_recent(hour: Floats, rows: Floats) -> Ints:
    """Where the stretch of the newest 20 rows of each hour begins, within 24 hours; behind the hour where there is none."""
    before = np.concatenate([[0.0], np.cumsum(rows)])
    first = np.searchsorted(before, before[1:] - LEAST_ROWS, side="right") - 1
    is_there = (first >= 0) & (hour[np.maximum(first, 0)] > hour - HOURS)
    return np.where(is_there, first, np.arange(len(hour)) + 1)


def _shares(counts: Floats, rows: Floats, first: Ints) -> Floats:
    """The share of the stretch that ends with each hour; -1 where it has fewer than 20 rows."""
    sums, whole = (np.concatenate([[0.0], np.cumsum(values)]) for values in (counts, rows))
    held, has = whole[1:] - whole[first], sums[1:] - sums[first]
    return np.where(held >= LEAST_ROWS, has / np.maximum(held, 1), -1.0)


def _end_at(shares: Floats, day: Ints, phase: Ints, hour: int, whenever: float) -> float:
    """The upper end of the stretches that end about this hour of the day; `whenever` where these are of too few days."""
    near = np.isin(phase, (np.arange(-1, 2) + hour) % HOURS) & (shares >= 0)
    return _end(shares[near], day[near]) if len(np.unique(day[near])) >= _LEAST_DAYS else whenever


def _end(shares: Floats, day: Ints) -> float:
    """The upper end of the shares, by the highest of each day; 1.0 where there is none."""
    days, place = np.unique(day[shares >= 0], return_inverse=True)
    if not len(days):
        return 1.0
    most = np.zeros(len(days))
    np.maximum.at(most, place, shares[shares >= 0])
    apart = np.abs(days - days[most.argmax()]) > 1
    first, second = float(most.max()), float(most[apart].max()) if apart.any() else float(most.max())
    return min(2 * first - second, 1.0)
