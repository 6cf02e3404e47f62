"""Which figures of a closed window a detector may follow, by the kind of label, and which findings may request a
retrain.

Only figures that the monitor computes are listed, since a detector on anything else would stay silent for ever. The
first one of a kind is its loss. Figures of charts are those of `headrace.stats.charts`.
"""

import math
from collections.abc import Mapping

from headrace.stats.charts import BASE_RATE, CALIBRATION, CHARTS, LEVEL, RANKING, SLOPE
from headrace.stats.losses import BINARY, CLASSES, NUMBER

FIGURES: Mapping[str, tuple[str, ...]] = {
    BINARY: ("log_loss", "brier", "auc", "accuracy", "calibration_error", *CHARTS),
    CLASSES: ("log_loss", "brier", "auc", "accuracy", "calibration_error", RANKING, CALIBRATION, SLOPE, LEVEL),
    NUMBER: ("squared_error", "rmse", "mae", *CHARTS),
}
# Figures that fall when a version becomes worse, and those that are not right on either side.
FALLING, TWO_SIDED = frozenset({"auc", "accuracy", RANKING}), frozenset({BASE_RATE, CALIBRATION, SLOPE})
FINDINGS = ("drift", "skew", "contract", "traffic", "inputs")

# A window that closed because its labels' horizon has passed is judged, if this share of its labels came.
LEAST_LABELLED = 0.5

_USUAL_WINDOWS = 30
_FADING = 0.9999


def least_labelled(coverage: float) -> float:
    """The share of labels below which a closed window is UNMEASURED. `coverage`: the share at which one closes early.

    >>> least_labelled(0.98), least_labelled(0.2)
    (0.5, 0.2)
    """
    return min(coverage, LEAST_LABELLED)


def loss_of(kind: str) -> str:
    """The figure that a detector follows by default.

    >>> loss_of("binary"), loss_of("number")
    ('log_loss', 'squared_error')
    """
    return FIGURES[kind][0]


def sides_of(figure: str) -> tuple[int, ...]:
    """The directions in which a figure becomes worse: -1 down, 1 up.

    >>> sides_of("auc"), sides_of("log_loss"), sides_of("base_rate")
    ((-1,), (1,), (-1, 1))
    """
    if figure in TWO_SIDED:
        return (-1, 1)
    return (-1,) if figure in FALLING else (1,)


def windows_to_first(first_after_s: float, window_s: float) -> int:
    """How many windows must have closed before a first version is requested: those that `first_after` takes, at least
    one.

    >>> windows_to_first(0.0, 86_400.0), windows_to_first(1.5 * 86_400.0, 86_400.0), windows_to_first(86_400.0, 60 * 86_400.0)
    (1, 2, 1)
    """
    return max(math.ceil(first_after_s / window_s - 1e-9), 1)


def windows_to_alarm(rise: float, delta: float, threshold: float, least: int, most: int = 1000) -> int | None:
    """After how many windows Page-Hinkley (as in river) detects that a figure has risen by `rise` for good.

    A month of steady windows precedes the rise. None when it is not detected within `most` windows.

    >>> windows_to_alarm(0.3, 0.02, 0.8, 7), windows_to_alarm(0.1, 0.02, 0.8, 7), windows_to_alarm(0.02, 0.02, 0.8, 7)
    (4, 13, None)
    """
    mean = total = lowest = 0.0
    for window in range(1, _USUAL_WINDOWS + most + 1):
        figure = rise if window > _USUAL_WINDOWS else 0.0
        mean += (figure - mean) / window
        total = _FADING * total + figure - mean - delta
        lowest = min(lowest, total)
        if window >= max(least, _USUAL_WINDOWS + 1) and total - lowest > threshold:
            return window - _USUAL_WINDOWS
    return None
