"""Whether a figure of traffic repeats itself daily or weekly, by the autocorrelation of its means over hours.

A pattern shows as an autocorrelation at its lag that stands out from that at the lags around it, from half of it to one
and a half. Slow changes (weather, a trend) raise all of these alike, so they do not count. The daily pattern is looked
for in hourly means, the weekly one in means of six hours, less the mean of their time of the day. Hours without requests
are left out.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

HOUR_S, DAY_S, WEEK_S = 3600.0, 86_400.0, 604_800.0
# Per season: the width of a mean in hours, and the lag in such widths.
LAGS: Mapping[float, tuple[int, int]] = {DAY_S: (1, 24), WEEK_S: (6, 28)}
# By how much, and by how many standard errors of independent means, the lag must stand out.
LEAST_RISE, ERRORS = 0.1, 4.0
# How many lags the record must hold.
LEAST_SEASONS = 4


def seasons_of(at_s: ArrayLike, values: ArrayLike) -> dict[float, float]:
    """The seasons (in seconds) with which the mean of `values` repeats itself, each with how far its autocorrelation
    stands out from its neighbours'.

    `at_s`, `values`: shape (n,), in any order.

    >>> hours = np.arange(40 * 24) * 3600.0
    >>> sorted(seasons_of(hours, np.sin(2 * np.pi * hours / 86_400)))
    [86400.0]
    """
    times, figures = np.asarray(at_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    found = {}
    for season_s, (hours, lag) in LAGS.items():
        means = _means(times, figures, hours * HOUR_S)
        if len(means) < LEAST_SEASONS * lag:
            continue
        if season_s > DAY_S:
            means = _without_daily(means, round(DAY_S / HOUR_S / hours))
        around = [near for near in range(lag // 2, lag + lag // 2 + 1) if abs(near - lag) > 1]
        (own, pairs), *others = (_autocorrelation(means, places) for places in (lag, *around))
        rise = own - sum(other * count for other, count in others) / max(sum(count for _, count in others), 1)
        if rise > max(LEAST_RISE, ERRORS / np.sqrt(max(pairs, 1))):
            found[season_s] = float(rise)
    return found


def missed_season(found: Mapping[float, float], declared_s: float | None) -> float | None:
    """The longest season of the data that a declared one does not contain; None when there is none.

    >>> missed_season({86_400.0: 0.5}, None), missed_season({86_400.0: 0.5}, 604_800.0)
    (86400.0, None)
    """
    missed = [season_s for season_s in found if declared_s is None or declared_s % season_s]
    return max(missed, default=None)


def _means(at_s: Floats, values: Floats, width_s: float) -> Floats:
    """Means per width of time from the first to the last, less their mean; NaN where there are no values."""
    if not len(at_s):
        return np.empty(0)
    places = (at_s // width_s).astype(np.int64)
    places -= places.min()
    counts, sums = np.bincount(places), np.bincount(places, weights=values)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means - np.nanmean(means)


def _without_daily(means: Floats, a_day: int) -> Floats:
    """The means less what is usual at their time of the day."""
    found = means.copy()
    for place in range(a_day):
        own = means[place::a_day]
        if not np.isnan(own).all():
            found[place::a_day] = own - np.nanmean(own)
    return found


def _autocorrelation(means: Floats, lag: int) -> tuple[float, int]:
    """The correlation of means `lag` apart, and of how many pairs; 0 where nothing varies."""
    products = means[lag:] * means[:-lag]
    known = ~np.isnan(products)
    variance = np.nanmean(means**2)
    pairs = int(known.sum())
    return (float(products[known].mean() / variance) if pairs and variance > 0 else 0.0), pairs
