"""In which precision a row is seen: float32. What is judged of a value is judged of the number that the model gets.

So a limit holds when it holds in float32: with `high=0.1` both the float64 0.1 and the float32 0.1 (0.10000000149) are
within it, for a model sees one number for both. A model that somebody fitted on float64 elsewhere is asked with the number that was meant: `as_sent`. What has no finite float32 is no value: an input is refused by name, a
feature is missing (its default stands for it, else NaN), a derived column is NaN. No row holds an infinity.
"""

from ctypes import c_float
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The largest finite float32, and the least number that is rounded to an infinity (halfway to the next, which there is not).
LARGEST = float(np.finfo(np.float32).max)
_TOO_LARGE = 2.0**128 - 2.0**103
# Decimals that are looked for, and the digits of which float32 tells all numbers apart: those below 2^24.
_SCALES, _TOLD_APART = tuple(10.0**places for places in range(1, 8)), 2.0**24


def seen(value: float) -> float:
    """The number that a model sees for a number; infinite where float32 has none so large.

    >>> seen(0.1) == seen(np.float32(0.1).item()), seen(1e39), seen(-10**400)
    (True, inf, -inf)
    """
    try:
        return c_float(value).value
    except OverflowError:  # an integer that no float64 can hold
        return float("inf") if value > 0 else float("-inf")


def gaps(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a feature has no value: missing, or too large to be seen. The shape is kept.

    >>> gaps(np.array([1.0, np.nan, -1e39])).tolist()
    [False, True, True]
    """
    return ~(np.abs(features) < _TOO_LARGE)


def filled(features: NDArray[np.float64], defaults: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features of shape (n, n_features) with their defaults, shape (n_features,), where there is no value; NaN for none."""
    return np.where(gaps(features), defaults, features)


def as_seen(values: NDArray[Any]) -> NDArray[np.float32]:
    """Rows as a model sees them; NaN for what is not finite there."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = values.astype(np.float32)
    if np.isinf(found).any():
        found[np.isinf(found)] = np.nan
    return found


def as_sent(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The number of the fewest decimals that each value may have been sent as, in its shape: of 35.79999924 it is 35.8.

    What was sent with up to six digits comes back to the bit, and up to seven decimals; of more digits than float32 tells apart, what
    it holds.

    >>> as_sent(np.array([35.8, 0.1, 7, 1 / 3, np.nan], np.float32)).tolist()
    [35.8, 0.1, 7.0, 0.3333333432674408, nan]
    """
    found = rows.astype(np.float64, order="C")
    flat = found.reshape(-1)
    places = np.flatnonzero(np.isfinite(flat) & (flat != np.rint(flat)))
    for scale in _SCALES:
        held = flat[places]
        is_open = np.abs(held) < _TOLD_APART / scale
        places, held = places[is_open], held[is_open]
        if not len(places):
            break
        said = np.rint(held * scale) / scale
        is_it = said.astype(np.float32) == held
        flat[places[is_it]] = said[is_it]
        places = places[~is_it]
    return found
