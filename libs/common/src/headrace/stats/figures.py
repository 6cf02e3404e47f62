"""Which figures of a closed window a detector may follow, by the kind of label, and which findings may request a
retrain.

Only figures that the monitor computes are listed, since a detector on anything else would stay silent for ever. A
figure is an attribute of `VersionQuality`, and rises when a version becomes worse.
"""

import math
from collections.abc import Mapping

from headrace.stats.losses import BINARY, CLASSES, NUMBER

FIGURES: Mapping[str, tuple[str, ...]] = {BINARY: ("log_loss",), CLASSES: ("log_loss",), NUMBER: ("squared_error",)}
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
