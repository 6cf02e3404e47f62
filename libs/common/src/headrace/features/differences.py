"""The likely cause of a difference between two arrays of a feature that should be equal."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats32 = NDArray[np.float32]

_SHIFTS_S = (3600.0, 1800.0, 900.0, -900.0, -1800.0, -3600.0, 21_600.0, -21_600.0, 86_400.0, -86_400.0)
_ENOUGH = 0.9


def cause_of(found: Floats32, expected: Floats32, at_other_time: Callable[[float], Floats32] | None = None) -> str:
    """The likeliest cause of the differences, as text. `found`, `expected`: shape (n,), different everywhere.

    `at_other_time(shift_s)`: the expected values had each instant been `shift_s` later.

    >>> cause_of(np.float32([60, 120]), np.float32([1, 2]))
    'a factor of 60: another unit'
    """
    empty, filled = np.isnan(found), ~np.isnan(expected)
    if (empty & filled).mean() >= _ENOUGH:
        return "there was no value where the log has one"
    if (~empty & ~filled).mean() >= _ENOUGH:
        return "there was a value where the log has none"
    both = ~empty & filled
    if both.mean() >= _ENOUGH:
        left, right = found[both].astype(np.float64), expected[both].astype(np.float64)
        if (np.abs(left - right) <= 4 * np.spacing(np.maximum(np.abs(expected[both]), np.abs(found[both])))).all():
            return "the last bits differ: another order or precision of summation"
        factor = _factor(left, right)
        if factor is not None:
            return f"a factor of {factor:.4g}: another unit"
    shift_s = None if at_other_time is None else _shift(found, at_other_time)
    if shift_s is not None:
        when = "later: a look into the future" if shift_s > 0 else "earlier"
        return f"the values are those of {abs(shift_s) / 60:.0f} minutes {when}"
    return "online and offline code or definitions differ"


def _factor(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    used = np.abs(right) > 1e-6
    if used.sum() < 2:
        return None
    ratios = left[used] / right[used]
    middle = float(np.median(ratios))
    same = np.abs(ratios - middle) <= 1e-4 * abs(middle)
    return middle if middle != 0 and same.mean() >= _ENOUGH and len(np.unique(right[used])) > 1 else None


def _shift(found: Floats32, at_other_time: Callable[[float], Floats32]) -> float | None:
    for shift_s in _SHIFTS_S:
        other = at_other_time(shift_s)
        if ((found == other) | (np.isnan(found) & np.isnan(other))).mean() >= _ENOUGH:
            return shift_s
    return None
