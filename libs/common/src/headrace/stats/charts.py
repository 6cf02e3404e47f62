"""The figures that the charts of a deployment follow: of one window of labelled rows, each with a standard error.

One loss mixes a hard week with a model that has become wrong. These figures move apart, so the first chart that crosses
its limit names what moved:

| chart         | binary                                | classes                             | number                           |
|---------------|---------------------------------------|-------------------------------------|----------------------------------|
| `base_rate`   | share of positives                    | `base_rate.K`: share of class K     | mean label, in shares of range   |
| `ranking`     | AUC                                   | AUC one-vs-rest, by frequency       | Spearman's correlation           |
| `calibration` | intercept refitted on the logits      | mean largest probability - accuracy | mean residual, in shares of range|
| `slope`       | slope refitted with the intercept     | inverse temperature                 | slope of labels on scores        |
| `level`       | excess loss behind the intercept      | excess loss behind the intercepts   | log of the mean absolute residual|

The intercept is the shift of all logits (nats) that makes the mean score the share of positives; the slope is that of
Cox's recalibration (Cox 1958). The excess loss is the mean log-loss less the mean entropy of the scores behind refitted
intercepts (one per class), so that a hard week, which raises both, does not move it. Standard errors are for
independent rows: DeLong's for AUC (DeLong et al. 1988), Bonett and Wright's (2000) for Spearman's, the information of
the refits. Rows of one window share their weather, so a chart adds what its reference windows differ by.

A figure that the rows do not tell is left out: ranking and refits need rows of both classes and scores that differ. So is one
that is beyond what a float holds (a label of 1e200): it would never leave a detector again.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, logsumexp, softmax
from scipy.stats import rankdata

from headrace.events.references import ChartFigure
from headrace.stats.losses import BINARY, NUMBER

Floats = NDArray[np.float64]
Figures = dict[str, ChartFigure]

BASE_RATE, RANKING, CALIBRATION, SLOPE, LEVEL = "base_rate", "ranking", "calibration", "slope", "level"
CHARTS = (BASE_RATE, RANKING, CALIBRATION, SLOPE, LEVEL)
# The directions that are harmful: -1 down, 1 up.
SIDES: Mapping[str, tuple[int, ...]] = {
    BASE_RATE: (-1, 1), RANKING: (-1,), CALIBRATION: (-1, 1), SLOPE: (-1, 1), LEVEL: (1,),
}  # fmt: skip
# So many rows of each class, or of numbers, are needed for all but the base rate.
LEAST_PER_CLASS, LEAST_NUMBERS = 5, 10
# Of so many classes the base rate has a chart; others are rare.
MOST_CLASSES = 20
# Probabilities are kept so far from 0 and 1: a few rows that are wrong for certain would decide a refit alone.
LEAST = 1e-6
_STEPS, _CLOSE, _MOST_STEP = 50, 1e-8, 4.0


def chart_of(key: str) -> str:
    """The chart that a key of `figures_of` belongs to.

    >>> chart_of("base_rate.2"), chart_of("ranking@carrier=AA")
    ('base_rate', 'ranking')
    """
    return key.partition("@")[0].partition(".")[0]


def class_of(key: str, classes: Sequence[str]) -> str:
    """The class whose share a base rate is, by its name, or its place where it has none; "" for other charts.

    >>> class_of("base_rate.1", ("cat", "dog", "elk")), class_of("base_rate.1", ()), class_of("ranking@weight=1.5", ("cat",))
    ('dog', '1', '')
    """
    _, _, place = key.partition("@")[0].partition(".")
    return classes[int(place)] if place.isdigit() and int(place) < len(classes) else place


def figures_of(kind: str, scores: ArrayLike, labels: ArrayLike, span: float = 1.0) -> Figures:
    """The figures of a window, by chart. Those that its rows do not tell are left out.

    `scores`: shape (n,), for `classes` (n, classes). `labels`: (n,), for `classes` their indices. `span`: the width of
    the declared range of numbers, 1 without one. Rows with a NaN are left out.

    >>> found = figures_of("binary", [0.2, 0.4] * 50, [0.0, 1.0] * 50)
    >>> {name: round(figure.value, 2) for name, figure in found.items() if name in ("base_rate", "ranking")}
    {'base_rate': 0.5, 'ranking': 1.0}
    """
    given, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    known = ~np.isnan(truth) & np.isfinite(given if given.ndim == 1 else given.sum(axis=1))
    given, truth = given[known], truth[known]
    if not len(truth):
        return {}
    if kind != NUMBER:
        return _of_binary(given, truth) if kind == BINARY else _of_classes(given, truth.astype(np.int64))
    with np.errstate(over="ignore", invalid="ignore"):
        found = _of_numbers(given / span, truth / span)
    return {name: one for name, one in found.items() if math.isfinite(one.value) and math.isfinite(one.error)}


# Two classes


def _of_binary(scores: Floats, labels: Floats) -> Figures:
    found: Figures = {BASE_RATE: _share(float(labels.sum()), len(labels))}
    if min(labels.sum(), len(labels) - labels.sum()) < LEAST_PER_CLASS:
        return found
    logits = logit(np.clip(scores, LEAST, 1 - LEAST))
    intercept = _intercept(logits, labels)
    if intercept is not None:
        spread = expit(logits + intercept)
        weights = spread * (1 - spread)
        found[CALIBRATION] = ChartFigure(intercept, 1 / math.sqrt(weights.sum()))
    if np.ptp(logits) <= 1e-9:
        return found
    found[RANKING] = auc_of(scores, labels == 1)
    slope = _slope(logits, labels)
    if slope is not None:
        found[SLOPE] = slope
    if intercept is not None:
        # NB: behind the intercept the residuals add up to 0, so the mean of the logits cancels out of the excess.
        apart = logits - float(weights @ logits) / weights.sum()
        excess = -float((labels - spread) @ apart) / len(labels)
        found[LEVEL] = ChartFigure(excess, math.sqrt(float(weights @ apart**2)) / len(labels))
    return found


def _share(count: float, rows: int) -> ChartFigure:
    """A share, and its error: that of half a row more on either side, so that it is never 0."""
    near = (count + 0.5) / (rows + 1)
    return ChartFigure(count / rows, math.sqrt(near * (1 - near) / rows))


def auc_of(scores: Floats, is_positive: NDArray[np.bool_]) -> ChartFigure:
    """The area under the ROC curve with DeLong's standard error (DeLong, DeLong and Clarke-Pearson 1988).

    `scores`, `is_positive`: shape (n,), at least two rows of each. The error is at least that of one pair.

    >>> auc_of(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).value
    0.75
    """
    right, wrong = _parts(scores, is_positive)
    value = float(right.mean())
    error = math.sqrt(right.var(ddof=1) / len(right) + wrong.var(ddof=1) / len(wrong))
    return ChartFigure(value, max(error, 1 / (len(right) * len(wrong))))


def _parts(scores: Floats, is_positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """DeLong's parts: per positive the share of negatives below it, per negative the share of positives above it."""
    ranks = rankdata(scores)
    ours, theirs = scores[is_positive], scores[~is_positive]
    above = (ranks[is_positive] - rankdata(ours)) / len(theirs)
    below = 1 - (ranks[~is_positive] - rankdata(theirs)) / len(ours)
    return above, below


def _intercept(logits: Floats, labels: Floats) -> float | None:
    """The shift of the logits that makes the mean score the share of positives; None where Newton's method fails."""
    shift = 0.0
    for _ in range(_STEPS):
        spread = expit(logits + shift)
        weight = float((spread * (1 - spread)).sum())
        if weight <= 0:
            return None
        step = float(np.clip((labels - spread).sum() / weight, -_MOST_STEP, _MOST_STEP))
        shift += step
        if abs(step) < _CLOSE:
            return shift
    return None


def _slope(logits: Floats, labels: Floats) -> ChartFigure | None:
    """The slope of a logistic regression of the labels on the logits; None where the rows are separable.

    From a slope of 0 on, by Newton's method on standardised logits, which does not overshoot there.
    """
    scale = float(logits.std())
    columns = np.column_stack([np.ones_like(logits), (logits - logits.mean()) / scale])
    found = np.array([float(logit(labels.mean())), 0.0])
    for _ in range(_STEPS):
        spread = expit(columns @ found)
        information = (columns * (spread * (1 - spread))[:, None]).T @ columns
        if np.linalg.eigvalsh(information)[0] < 1e-4:
            return None
        step = np.linalg.solve(information, columns.T @ (labels - spread))
        found = found + np.clip(step, -_MOST_STEP, _MOST_STEP)
        if np.abs(step).max() < _CLOSE:
            error = math.sqrt(float(np.linalg.inv(information)[1, 1]))
            return ChartFigure(float(found[1]) / scale, error / scale)
    return None


# Several classes


def _of_classes(scores: Floats, labels: NDArray[np.int64]) -> Figures:
    counts = np.bincount(labels, minlength=scores.shape[1]).astype(np.float64)
    found: Figures = {
        f"{BASE_RATE}.{index}": _share(float(count), len(labels)) for index, count in enumerate(counts[:MOST_CLASSES])
    }
    sure = scores.max(axis=1) - (scores.argmax(axis=1) == labels)
    if len(labels) < 2 * LEAST_PER_CLASS or (counts >= LEAST_PER_CLASS).sum() < 2 or len(counts) > scores.shape[1]:
        return found
    found[CALIBRATION] = ChartFigure(float(sure.mean()), _error(sure))
    logs = np.log(np.clip(scores, LEAST, 1.0))
    if np.ptp(logs, axis=0).max() <= 1e-9:
        return found
    found[RANKING] = _one_against_rest(scores, labels, counts)
    slope = _inverse_temperature(logs, labels)
    if slope is not None:
        found[SLOPE] = slope
    behind = _behind_intercepts(logs, counts)
    if behind is not None:
        entropy = -(np.exp(behind) * behind).sum(axis=1)
        excess = -behind[np.arange(len(labels)), labels] - entropy
        found[LEVEL] = ChartFigure(float(excess.mean()), _error(excess))
    return found


def _one_against_rest(scores: Floats, labels: NDArray[np.int64], counts: Floats) -> ChartFigure:
    """The AUC of each class against all others, weighted by frequency; the error from the sum of each row's parts."""
    kept = np.flatnonzero((counts >= LEAST_PER_CLASS) & (len(labels) - counts >= LEAST_PER_CLASS))
    weights, value, parts = counts[kept] / counts[kept].sum(), 0.0, np.zeros(len(labels))
    for weight, index in zip(weights, kept, strict=True):
        is_own = labels == index
        right, wrong = _parts(scores[:, index], is_own)
        area = float(right.mean())
        value += weight * area
        parts[is_own] += weight * (right - area) * len(labels) / len(right)
        parts[~is_own] += weight * (wrong - area) * len(labels) / len(wrong)
    return ChartFigure(float(value), max(_error(parts), 1 / len(labels) ** 2))


def _inverse_temperature(logs: Floats, labels: NDArray[np.int64]) -> ChartFigure | None:
    """The factor on the logarithms of the scores with the greatest likelihood; None where it has no bound."""
    factor, true = 1.0, logs[np.arange(len(labels)), labels]
    for _ in range(_STEPS):
        spread = softmax(factor * logs, axis=1)
        mean = (spread * logs).sum(axis=1)
        information = float(((spread * logs**2).sum(axis=1) - mean**2).sum())
        if information <= 1e-9:
            return None
        step = float(np.clip((true - mean).sum() / information, -1.0, 1.0))
        factor += step
        if abs(step) < 1e-8:
            return ChartFigure(factor, 1 / math.sqrt(information))
    return None


def _behind_intercepts(logs: Floats, counts: Floats) -> Floats | None:
    """The logarithms of the scores, shifted per class so that their means are the shares (Deming and Stephan 1940).

    None where they do not come near. A class without a label keeps half a row.
    """
    wanted = (counts + 0.5 * (counts == 0)) / (counts + 0.5 * (counts == 0)).sum()
    shifts = np.zeros(len(counts))
    for _ in range(20 * _STEPS):
        behind = logs + shifts
        behind = behind - logsumexp(behind, axis=1, keepdims=True)
        means = np.exp(behind).mean(axis=0)
        if np.abs(means - wanted).max() < 1e-7:
            return behind
        shifts += np.log(wanted) - np.log(np.maximum(means, 1e-300))
    return None


# Numbers


def _of_numbers(scores: Floats, labels: Floats) -> Figures:
    if len(labels) < 2:
        return {}
    found: Figures = {BASE_RATE: ChartFigure(float(labels.mean()), _error(labels))}
    if len(labels) < LEAST_NUMBERS:
        return found
    residuals = labels - scores
    found[CALIBRATION] = ChartFigure(float(residuals.mean()), _error(residuals))
    apart = np.abs(residuals - np.median(residuals))
    if apart.mean() > 0:
        found[LEVEL] = ChartFigure(math.log(apart.mean()), _error(apart) / float(apart.mean()))
    centred = scores - scores.mean()
    squares = float(centred @ centred)
    if squares > 0 and np.ptp(labels) > 0:
        found[RANKING] = _spearman(scores, labels)
        slope = float(centred @ labels) / squares
        left = labels - labels.mean() - slope * centred
        error = math.sqrt(float((centred**2) @ (left**2))) / squares
        found[SLOPE] = ChartFigure(slope, error)
    return found


def _spearman(scores: Floats, labels: Floats) -> ChartFigure:
    """Spearman's rank correlation; the standard error of Bonett and Wright (2000), at least 1 / n."""
    value = float(np.corrcoef(rankdata(scores), rankdata(labels))[0, 1])
    error = (1 - value**2) * math.sqrt((1 + value**2 / 2) / (len(labels) - 3))
    return ChartFigure(value, max(error, 1 / len(labels)))


def _error(values: Floats) -> float:
    """The standard error of a mean of independent rows."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))
