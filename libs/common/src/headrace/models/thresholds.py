"""Thresholds that lie on what people write: of histogram-boosted trees and of bins, which compare in float64.

Of many values a threshold is one of them (35.9), of few it lies halfway between two (35.85). A row holds 35.90000153 for 35.9, which goes
the other way. Other trees of scikit-learn, and XGBoost's, make float32 of what they are asked; thresholds of a model that was fitted on
float32 lie elsewhere. So these, and no others, are known as rows hold them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.features.precision import as_sent
from headrace.models.trees import walk

# Of the threshold: the mean of two numbers of float64 may be off in its last digits.
_LAST_DIGITS = 1e-12

Floats = NDArray[np.float64]


def written_thresholds(estimator: Any) -> list[float]:
    """Those of trees and bins, in ascending order, as people write them."""
    found = [np.asarray(limits, np.float64) for part, _ in walk(estimator) for limits in _limits_of(part)]
    limits = np.concatenate(found) if found else np.empty(0)
    sent = _as_written(limits)
    return np.unique(sent[np.isfinite(sent)]).tolist()


def meet_as_rows_hold(estimator: Any) -> None:
    """Let trees send each float32 the way that they send the number that was written for it. A second time changes nothing."""
    for part, _ in walk(estimator):
        if _is_tree(part):
            nodes = part.nodes.copy()
            nodes["num_threshold"] = _held(nodes["num_threshold"])
            part.nodes = nodes


def _held(limits: Floats) -> Floats:
    """A number goes left that is at most the threshold: its float32 is the last that does, or the first that does not.

    >>> _held(np.array([35.85, 0.5, 1 / 3])).astype(np.float32) >= np.array([35.85, 0.5, 1 / 3], np.float32)
    array([ True,  True,  True])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        held, sent = limits.astype(np.float32), _as_written(limits)
        last = np.where(sent <= limits, held, np.nextafter(held, np.float32(-np.inf)))
    return np.where(np.isfinite(sent), last.astype(np.float64), limits)


def _as_written(limits: Floats) -> Floats:
    """The numbers that were written for them, NaN where nobody wrote one."""
    with np.errstate(over="ignore", invalid="ignore"):
        sent = as_sent(limits.astype(np.float32))
        return np.where(np.abs(sent - limits) <= _LAST_DIGITS * np.abs(limits), sent, np.nan)


def _limits_of(part: Any) -> list[Any]:
    if _is_tree(part):
        return [part.nodes["num_threshold"][part.nodes["is_leaf"] == 0]]
    return list(getattr(part, "bin_edges_", ())) if type(part).__name__ == "KBinsDiscretizer" else []


def _is_tree(part: Any) -> bool:
    return type(part).__name__ == "TreePredictor"
