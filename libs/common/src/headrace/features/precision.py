"""The precision of a row: float32. Rules for a value apply to the number that the model gets.

So a limit is checked in float32: with `high=0.1` both the float64 0.1 and the float32 0.1 (0.10000000149) are allowed,
since a model gets the same number for both. A model that was fitted on float64 elsewhere gets the number that was
meant, see `as_sent`. A value without a finite float32 is no value: an input is refused by name, a feature is missing
(its default is used, else NaN), a derived column is NaN. No row holds an infinity.
"""

from ctypes import c_float
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The largest finite float32, and the smallest number that is rounded to an infinity.
LARGEST = float(np.finfo(np.float32).max)
_TOO_LARGE = 2.0**128 - 2.0**103
# The numbers of decimals that are tried, and the bound below which float32 distinguishes all integers.
_SCALES, _DISTINCT_BELOW = tuple(10.0**places for places in range(1, 8)), 2.0**24


def seen(value: float) -> float:
    """The float32 that a model gets for a number; infinite where the number is too large.

    >>> seen(0.1) == seen(np.float32(0.1).item()), seen(1e39), seen(-10**400)
    (True, inf, -inf)
    """
    try:
        return c_float(value).value
    except OverflowError:  # an integer beyond float64
        return float("inf") if value > 0 else float("-inf")


def gaps(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a feature has no value: missing, or too large for float32. The shape is kept.

    >>> gaps(np.array([1.0, np.nan, -1e39])).tolist()
    [False, True, True]
    """
    return ~(np.abs(features) < _TOO_LARGE)


def filled(features: NDArray[np.float64], defaults: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features of shape (n, n_features) with their defaults, shape (n_features,), where there is no value; NaN for no
    default.
    """
    return np.where(gaps(features), defaults, features)


def as_seen(values: NDArray[Any]) -> NDArray[np.float32]:
    """Rows as a model gets them; NaN for what is not finite in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = values.astype(np.float32)
    if np.isinf(found).any():
        found[np.isinf(found)] = np.nan
    return found


def as_sent(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The number with the fewest decimals that each value may have been sent as, in its shape: 35.8 for 35.79999924.

    Numbers sent with up to six digits come back exactly, with up to seven decimals. For more digits than float32
    distinguishes, the float32 value itself is returned.

    >>> as_sent(np.array([35.8, 0.1, 7, 1 / 3, np.nan], np.float32)).tolist()
    [35.8, 0.1, 7.0, 0.3333333432674408, nan]
    """
    found = rows.astype(np.float64, order="C")
    flat = found.reshape(-1)
    places = np.flatnonzero(np.isfinite(flat) & (flat != np.rint(flat)))
    for scale in _SCALES:
        held = flat[places]
        is_open = np.abs(held) < _DISTINCT_BELOW / scale
        places, held = places[is_open], held[is_open]
        if not len(places):
            break
        sent = np.rint(held * scale) / scale
        is_it = sent.astype(np.float32) == held
        flat[places[is_it]] = sent[is_it]
        places = places[~is_it]
    return found
