"""In which precision a row is seen: float32. What is judged of a value is judged of the number that the model gets.

So a limit holds when it holds in float32: with `high=0.1` both the float64 0.1 and the float32 0.1 (0.10000000149) are
within it, for a model sees one number for both. What has no finite float32 is no value: an input is refused by name, a
feature is missing (its default stands for it, else NaN), a derived column is NaN. No row holds an infinity.
"""

from ctypes import c_float
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The largest finite float32, and the least number that is rounded to an infinity (halfway to the next, which there is not).
LARGEST = float(np.finfo(np.float32).max)
_TOO_LARGE = 2.0**128 - 2.0**103


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
