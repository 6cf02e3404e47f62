"""Bounded scores of a version's answers, in 0..1, and how two versions can differ in them.

    binary     Brier: the squared difference of the probability of the positive class and the label
    classes    Brier of several classes: half the sum of squared differences
    number     the absolute error as a share of the declared range

A version without a score gets the worst one, 1, whatever the label is: an answer by another step is not its merit, and
failing on difficult requests must not pay. What two versions can differ by at the least and the most is known before
any label.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.losses import BINARY, NUMBER

Floats = NDArray[np.float64]

WORST = 1.0
# Into how many parts the range of numbers is cut to find the best constant.
PARTS = 64
# The default margin: at most so much, and at most so much of what the control gains over the best constant.
MOST_MARGIN, MARGIN_SHARE = 0.01, 0.1
# So many pairs before two versions count as unable to differ.
LEAST_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Differences:
    """Per request the score of the new version less that of its control, shape (n,) each.

    `seen`: NaN without a label. `low`, `high`: the least and the greatest that any label can make of it. `control`: the
    control's own score, NaN without a label.
    """

    seen: Floats
    low: Floats
    high: Floats
    control: Floats


def differences(kind: str, new: ArrayLike, control: ArrayLike, labels: ArrayLike) -> Differences:
    """The differences of two versions' scores of the same requests.

    `kind`: of the label. `new`, `control`: probabilities of shape (n,), or (n, classes), or numbers scaled to the range
    0..1; NaN is a failure. `labels`: places of classes, or scaled numbers, shape (n,); NaN where unknown.

    >>> differences("binary", [0.5, np.nan], [0.0, 0.0], [1.0, np.nan]).high.tolist()
    [0.25, 1.0]
    """
    truth = np.asarray(labels, dtype=np.float64)
    ours, theirs = np.asarray(new, dtype=np.float64), np.asarray(control, dtype=np.float64)
    if kind == NUMBER:
        return _of_numbers(ours, theirs, truth)
    by_label = _briers(kind, theirs)
    apart = _briers(kind, ours) - by_label
    known, rows = ~np.isnan(truth), np.arange(len(truth))
    place = np.where(known, truth, 0).astype(np.int64)
    seen, own = (np.where(known, table[rows, place], np.nan) for table in (apart, by_label))
    return Differences(seen, apart.min(axis=1), apart.max(axis=1), own)


def constant_score(kind: str, counts: ArrayLike) -> float:
    """The mean score of the best constant answer; 0 without labels.

    `counts`: labels per class; of numbers per part of the range, whose parts are equally wide.

    >>> constant_score("binary", [3, 1]), constant_score("number", [1, 0, 0, 1])
    (0.1875, 0.375)
    """
    found = np.asarray(counts, dtype=np.float64)
    total = found.sum()
    if not total:
        return 0.0
    if kind != NUMBER:
        return float(1 - ((found / total) ** 2).sum()) / 2
    middles = (np.arange(len(found)) + 0.5) / len(found)
    median = middles[int(np.searchsorted(np.cumsum(found), total / 2))]
    return float((found * np.abs(middles - median)).sum() / total)


def label_counts(kind: str, labels: ArrayLike, classes: int) -> Floats:
    """How many labels there are per class, or of numbers per part of the range, in the form of `constant_score`.

    `labels`: places of classes, or scaled numbers, all known. `classes`: how many there are.
    """
    known = np.asarray(labels, dtype=np.float64)
    if kind == NUMBER:
        places, width = np.clip(known * PARTS, 0, PARTS - 1), PARTS
    else:
        places, width = known, max(classes, 2)
    return np.bincount(places.astype(np.int64), minlength=width).astype(np.float64)


def default_margin(gain: ArrayLike) -> Floats:
    """The margin where none is declared; NaN, which nothing passes and nothing fails, without a gain.

    `gain`: by how much the control's mean score is better than that of the best constant answer.

    >>> default_margin([0.2, 0.03, -0.1]).round(4).tolist()
    [0.01, 0.003, nan]
    """
    found = np.asarray(gain, dtype=np.float64)
    return np.where(found > 0, np.minimum(MARGIN_SHARE * found, MOST_MARGIN), np.nan)


def _briers(kind: str, scores: Floats) -> Floats:
    """The Brier score by label, shape (n, classes); failures have the worst one."""
    if kind == BINARY:
        table = np.stack([scores**2, (1 - scores) ** 2], axis=1)
        return np.where(np.isnan(scores)[:, None], WORST, table)
    table = ((scores**2).sum(axis=1)[:, None] - 2 * scores + 1) / 2
    return np.where(np.isnan(scores).any(axis=1, keepdims=True), WORST, table)


def _of_numbers(new: Floats, control: Floats, truth: Floats) -> Differences:
    # NB: a label outside the declared range counts as the end of it, or one of them would outweigh all others.
    ours, theirs, truth = (np.clip(values, 0.0, 1.0) for values in (new, control, truth))
    failed, other_failed = np.isnan(ours), np.isnan(theirs)
    own = np.where(other_failed, WORST, np.abs(truth - theirs))
    seen = np.where(failed, WORST, np.abs(truth - ours)) - own
    apart = np.abs(np.nan_to_num(ours) - np.nan_to_num(theirs))
    # Where one of them failed, the other's error is between 0 and the longer way to an end of the range.
    far_ours, far_theirs = (np.maximum(np.nan_to_num(p), 1 - np.nan_to_num(p)) for p in (ours, theirs))
    high = np.select([failed & other_failed, failed, other_failed], [0.0, WORST, far_ours - WORST], apart)
    low = np.select([failed & other_failed, failed, other_failed], [0.0, WORST - far_theirs, -WORST], -apart)
    known = ~np.isnan(truth)
    return Differences(np.where(known, seen, np.nan), low, high, np.where(known, own, np.nan))
