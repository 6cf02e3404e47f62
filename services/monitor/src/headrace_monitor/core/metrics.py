"""Metrics by name on the labelled rows of a version: see `headrace.stats.metric_names` for what each name means.

A metric that is not defined on these rows (one class only, no positive answer) has no value. Zero would be read as the worst.

- `calibration_error`: Naeini et al. 2015 with bins of equal mass (Nixon et al. 2019): the mean, by rows, of the distance
  between mean score and share of positives. Rows of one score share a bin. Of several classes it is that of the
  likeliest class: its probability against whether it is right (Guo et al. 2017).
- `auc` of several classes: the mean of each class against the rest (Fawcett 2006, by classes), over the classes of which these rows
  hold some and not all.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn import metrics as sklearn_metrics
from sklearn.exceptions import UndefinedMetricWarning

from headrace.stats.losses import BINARY, CLASSES, losses
from headrace.stats.metric_names import FOREIGN, LABELS, OWN, kinds_of, quantile_of

Floats = NDArray[np.float64]
Function = Callable[[Floats, Floats], float]

BINS = 10
# Where all labels are the same these divide by nothing, and scikit-learn returns a number all the same.
_NEED_DIFFERENCE = ("average_precision", "cohen", "d2_", "explained_variance", "matthews", "r2", "roc_auc")


def values_of(names: Iterable[str], kind: str, labels: Floats, scores: Floats) -> dict[str, float]:
    """The metrics of these rows by name; those that are not defined on them are left out.

    `kind`: of the label. `labels`: shape (n,), places of classes or numbers. `scores`: (n,), or (n, classes).

    >>> values_of(["accuracy", "f1"], "binary", np.array([1.0, 0.0]), np.array([0.9, 0.5]))
    {'accuracy': 0.5, 'f1': 0.6666666666666666}
    """
    found: dict[str, float] = {}
    for name in names:
        if kind in (kinds_of(name) or ()) and (value := _value(name, kind, labels, scores)) is not None:
            found[name] = value
    return found


def answers_of(kind: str, scores: Floats) -> Floats:
    """The labels that scores stand for: the likeliest class, of two classes from .5 on; numbers themselves."""
    if kind == CLASSES:
        return scores.argmax(axis=1).astype(np.float64)
    return (scores >= 0.5).astype(np.float64) if kind == BINARY else scores


def auc_of(labels: Floats, scores: Floats) -> float | None:
    """The share of pairs of opposite labels that scores rank right, ties half; None when one class is missing.

    >>> auc_of(np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9]))
    0.75
    """
    positives = float(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    ranks = float(rankdata(scores)[labels > 0].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def calibration_error(kind: str, labels: Floats, scores: Floats) -> float:
    """The expected calibration error over bins of equal mass, see above."""
    if kind == CLASSES:
        labels, scores = (answers_of(kind, scores) == labels).astype(np.float64), scores.max(axis=1)
    edges = np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1])
    bins = np.searchsorted(edges, scores)
    return float(np.abs(np.bincount(bins, labels - scores)).sum()) / len(labels)


def _value(name: str, kind: str, labels: Floats, scores: Floats) -> float | None:
    if not len(labels):
        return None
    quantile = quantile_of(name)
    if quantile is not None:
        found: float | None = _pinball(quantile, labels, scores)
    else:
        found = _own(name, kind, labels, scores) if name in OWN else _by_sklearn(name, kind, labels, scores)
    return None if found is None or not math.isfinite(found) else float(found)


def _pinball(quantile: float, labels: Floats, scores: Floats) -> float:
    short = labels - scores
    return float(np.maximum(quantile * short, (quantile - 1) * short).mean())


def _own(name: str, kind: str, labels: Floats, scores: Floats) -> float | None:
    match name:
        case "auc":
            return _auc(kind, labels, scores)
        case "log_loss":
            return float(losses(kind, scores, labels).mean())
        case "brier":
            return _brier(kind, labels, scores)
        case "accuracy":
            return float((answers_of(kind, scores) == labels).mean())
        case "calibration_error":
            return calibration_error(kind, labels, scores)
        case "mae":
            return float(np.abs(scores - labels).mean())
        case _:
            return float(((scores - labels) ** 2).mean()) ** 0.5


def _auc(kind: str, labels: Floats, scores: Floats) -> float | None:
    if kind == BINARY:
        return auc_of(labels, scores)
    each = [auc_of((labels == place).astype(np.float64), scores[:, place]) for place in range(scores.shape[1])]
    found = [one for one in each if one is not None]
    return sum(found) / len(found) if found else None


def _brier(kind: str, labels: Floats, scores: Floats) -> float:
    if kind == BINARY:
        return float(((scores - labels) ** 2).mean())
    true = scores[np.arange(len(labels)), labels.astype(np.int64)]
    return float(((scores**2).sum(axis=1) - 2 * true + 1).mean())


def _by_sklearn(name: str, kind: str, labels: Floats, scores: Floats) -> float | None:
    if name.startswith(_NEED_DIFFERENCE) and (labels == labels[0]).all():
        return None
    function, takes_classes = _function(name, kind)
    given = answers_of(kind, scores) if FOREIGN[name].takes == LABELS else scores
    more: dict[str, Any] = {"labels": list(range(scores.shape[1]))} if takes_classes else {}
    # NB: recorded, not raised: what other threads warn of meanwhile must not become an error.
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = float(function(labels, given, **more))
        except (ValueError, ZeroDivisionError, FloatingPointError):
            return None
    # scikit-learn warns of what is undefined, and returns a number all the same.
    is_undefined = any(issubclass(one.category, UndefinedMetricWarning) for one in warned)
    return None if is_undefined else found


@cache
def _function(name: str, kind: str) -> tuple[Callable[..., float], bool]:
    """The function of a name, and whether it must be given the classes: rows may lack some of them."""
    if name in sklearn_metrics.get_scorer_names():
        scorer: Any = sklearn_metrics.get_scorer(name)
        function, sign, given = scorer._score_func, scorer._sign, dict(scorer._kwargs)
    else:
        function, sign, given = getattr(sklearn_metrics, name), 1, {}
    takes = inspect.signature(function).parameters
    if "zero_division" in takes and not name.startswith("jaccard"):
        given["zero_division"] = np.nan
    takes_classes = kind == CLASSES and FOREIGN[name].takes != LABELS and "labels" in takes
    return partial(_signed, function, sign, given), takes_classes


def _signed(
    function: Callable[..., float], sign: int, given: dict[str, Any], true: Floats, scored: Floats, **more: Any
) -> float:
    return sign * float(function(true, scored, **given, **more))
