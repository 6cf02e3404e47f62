"""Thresholds that lie on numbers as people write them: of histogram-boosted trees and of bins, which compare in
float64.

Among many values a threshold is one of them (35.9); among few it lies halfway between two (35.85). A row holds
35.90000153 for 35.9, which takes the other branch. Other trees of scikit-learn, and XGBoost's, convert their input to
float32; thresholds of a model that was fitted on float32 lie elsewhere. So only these thresholds are replaced by what
rows hold.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.features.precision import as_sent
from headrace.models.trees import walk

# Relative to the threshold: the mean of two float64 numbers may differ in its last digits.
_LAST_DIGITS = 1e-12

Floats = NDArray[np.float64]


def written_thresholds(estimator: Any) -> list[float]:
    """The thresholds of trees and bins, ascending, as people write them."""
    found = [np.asarray(limits, np.float64) for part, _ in walk(estimator) for limits in _limits_of(part)]
    limits = np.concatenate(found) if found else np.empty(0)
    sent = _as_written(limits)
    return np.unique(sent[np.isfinite(sent)]).tolist()


def meet_as_rows_hold(estimator: Any) -> None:
    """Change trees so that each float32 takes the branch of the number that was written for it. It is idempotent."""
    for part, _ in walk(estimator):
        if _is_tree(part):
            nodes = part.nodes.copy()
            nodes["num_threshold"] = _held(nodes["num_threshold"])
            part.nodes = nodes


def _held(limits: Floats) -> Floats:
    """Float32 thresholds. A number at most as large as the threshold goes left.

    So the float32 of the written threshold is the last number that goes left, or the first that does not.

    >>> _held(np.array([35.85, 0.5, 1 / 3])).astype(np.float32) >= np.array([35.85, 0.5, 1 / 3], np.float32)
    array([ True,  True,  True])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        held, sent = limits.astype(np.float32), _as_written(limits)
        last = np.where(sent <= limits, held, np.nextafter(held, np.float32(-np.inf)))
    return np.where(np.isfinite(sent), last.astype(np.float64), limits)


def _as_written(limits: Floats) -> Floats:
    """The written numbers of thresholds; NaN for a threshold that nobody could have written."""
    with np.errstate(over="ignore", invalid="ignore"):
        sent = as_sent(limits.astype(np.float32))
        return np.where(np.abs(sent - limits) <= _LAST_DIGITS * np.abs(limits), sent, np.nan)


def _limits_of(part: Any) -> list[Any]:
    if _is_tree(part):
        return [part.nodes["num_threshold"][part.nodes["is_leaf"] == 0]]
    return list(getattr(part, "bin_edges_", ())) if type(part).__name__ == "KBinsDiscretizer" else []


def _is_tree(part: Any) -> bool:
    return type(part).__name__ == "TreePredictor"
