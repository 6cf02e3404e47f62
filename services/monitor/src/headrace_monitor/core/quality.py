"""Quality: how well versions did on the labelled rows of a closed window, by the kind of label, or why there are no figures.

| kind    | loss                                                          | beside it             | from                               |
|---------|---------------------------------------------------------------|-----------------------|------------------------------------|
| binary  | log-loss                                                      | AUC, mean score       | every labelled row                 |
| classes | log-loss                                                      | accuracy              | a sample of decisions, read again  |
| number  | squared error, in squares of a quarter of the declared range  | RMSE, MAE, mean score | every labelled row                 |

A score of several classes is as wide as there are classes, so it is not kept until its label comes: at most 5,000 decisions
of a window are read from the log again (those of the lowest hash of where they lie), with the scores of their shadows, also
those that came later. The loss of a number is measured in its range, so that one threshold means the same for prices and for
degrees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.events.monitor import VersionQuality
from headrace.project.labels import CLASSES, NUMBER
from headrace.stats.losses import losses
from headrace_monitor.core.metrics import auc_of
from headrace_monitor.core.scored import Scored
from headrace_monitor.core.windows import Rows

Floats = NDArray[np.float64]
# What the prior of the fallback chain answers: a probability or a number, or one probability per class; None without a prior.
Prior = float | tuple[float, ...] | None

_LEAST = 1e-15
# The standard deviation of labels that fill their range as a bell does, as a share of the range.
SPREAD_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Figures:
    """What the labels of a window show.

    `qualities`: one entry per (version, role). `positive_share`: of two classes; `class_shares`: of several, by name;
    `mean_label`: of numbers. `unmeasured`: why nothing is known of versions; "" when something is.
    """

    qualities: tuple[VersionQuality, ...] = ()
    positive_share: float | None = None
    class_shares: dict[str, float] | None = None
    mean_label: float | None = None
    unmeasured: str = ""


def figures_of(label: LabelDefinition | None, rows: Rows, scored: Sequence[Scored], prior: Prior = None) -> Figures:
    """The figures of the rows of a window. `scored`: the labelled scores of each (version, role), see `scored.labelled_of`."""
    if label is None:
        return Figures(unmeasured="no label is declared")
    known = rows.labels[~np.isnan(rows.labels)]
    if not len(known):
        return Figures(unmeasured="no label has come" if len(rows) else "nothing was asked")
    qualities = qualities_of(label, scored, prior)
    match label.kind:
        case "binary":
            return _explained(Figures(qualities, positive_share=float(known.sum()) / len(known)))
        case "number":
            return _explained(Figures(qualities, mean_label=float(known.mean())))
        case _:
            return _explained(Figures(qualities, class_shares=_class_shares(label, known)))


def qualities_of(label: LabelDefinition, scored: Sequence[Scored], prior: Prior = None) -> tuple[VersionQuality, ...]:
    """One entry per (version, role). `prior`: what the prior of the fallback chain answers."""
    return tuple(_quality_of(label, one, prior) for one in scored)


def _quality_of(label: LabelDefinition, scored: Scored, prior: Prior) -> VersionQuality:
    version, role, scores, labels = scored.version, scored.role, scored.scores, scored.labels
    if label.kind == CLASSES:
        return _class_quality(version, role, scores, labels, prior)
    if label.kind == NUMBER:
        scale = None if label.low is None or label.high is None else (label.high - label.low) * SPREAD_SHARE
        return _number_quality(version, role, scores, labels, scale, prior)
    return quality(version, role, scores, labels, prior if isinstance(prior, float) else None)


def _explained(found: Figures) -> Figures:
    if found.qualities:
        return found
    why = "no labelled request has a score of the label's kind"
    return Figures((), found.positive_share, found.class_shares, found.mean_label, why)


def _class_shares(label: LabelDefinition, known: Floats) -> dict[str, float]:
    indexes, counts = np.unique(known.astype(np.int64), return_counts=True)
    names = [label.classes[index] if index < len(label.classes) else str(index) for index in indexes]
    return {name: int(count) / len(known) for name, count in zip(names, counts, strict=True)}


# Two classes


def quality(version: int, role: str, scores: Floats, labels: Floats, prior: float | None = None) -> VersionQuality:
    """How one version did on rows with a binary label; `scores` and `labels` have shape (n,).

    Log-loss in nats, AUC (None when one class is missing), the loss that the scores themselves lead one to expect, and by how
    much the loss lies above that of the prior.
    """
    row_losses = log_losses(scores, labels)
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    entropy = -(clipped * np.log(clipped) + (1 - clipped) * np.log(1 - clipped))
    over = None if prior is None else row_losses - log_losses(np.full(len(labels), prior), labels)
    return VersionQuality(
        version,
        role,
        len(labels),
        float(row_losses.mean()),
        float(entropy.mean()),
        auc_of(labels, scores),
        float(scores.mean()),
        score=_mean((scores - labels) ** 2),
        **errors_of(row_losses, row_losses - entropy, over),
    )


def log_losses(scores: Floats, labels: Floats) -> Floats:
    """The log-loss of each row, in nats; scores are kept 1e-15 away from 0 and 1.

    >>> log_losses(np.array([0.5]), np.array([1.0])).round(3).tolist()
    [0.693]
    """
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))


# Numbers


def _number_quality(
    version: int, role: str, scores: Floats, labels: Floats, scale: float | None, prior: Prior
) -> VersionQuality:
    errors = scores - labels
    squared = float((errors**2).mean())
    row_losses = None if scale is None else losses(NUMBER, scores, labels, scale)
    over = None
    if row_losses is not None and isinstance(prior, float):
        over = row_losses - losses(NUMBER, np.full(len(labels), prior), labels, scale or 1.0)
    return VersionQuality(
        version,
        role,
        len(labels),
        None,
        None,
        None,
        float(scores.mean()),
        rmse=squared**0.5,
        mae=float(np.abs(errors).mean()),
        score=None if scale is None else _mean(np.abs(errors)) * SPREAD_SHARE / scale,
        squared_error=None if row_losses is None else float(row_losses.mean()),
        **({} if row_losses is None else errors_of(row_losses, row_losses, over)),
    )


# Several classes


def _class_quality(version: int, role: str, probabilities: Floats, labels: Floats, prior: Prior) -> VersionQuality:
    width = probabilities.shape[1]
    clipped = np.clip(probabilities, _LEAST, 1.0)
    true_ones = probabilities[np.arange(len(labels)), labels.astype(np.int64)]
    row_losses = losses(CLASSES, probabilities, labels)
    expected = -(probabilities * np.log(clipped)).sum(axis=1)
    fits = isinstance(prior, tuple) and len(prior) == width
    over = row_losses - losses(CLASSES, np.tile(np.array(prior), (len(labels), 1)), labels) if fits else None
    return VersionQuality(
        version,
        role,
        len(labels),
        float(row_losses.mean()),
        float(expected.mean()),
        None,
        None,
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        score=_mean((probabilities**2).sum(axis=1) - 2 * true_ones + 1) / 2,
        **errors_of(row_losses, row_losses - expected, over),
    )


# How sure the means are


def errors_of(row_losses: Floats, excess: Floats, over: Floats | None) -> dict[str, Any]:
    """How sure the means of a window's rows are, as fields of `VersionQuality`.

    `row_losses`, `excess`: shape (n,); `over`: the losses less those of the prior, None without a prior.
    """
    return {
        "loss_error": error_of(row_losses),
        "excess_error": error_of(excess),
        "loss_skew": skew_of(row_losses),
        "over_prior": None if over is None else float(over.mean()),
        "over_prior_error": 0.0 if over is None else error_of(over),
    }


def _mean(values: Floats) -> float:
    """The mean, to the last bit the same in whichever order the rows were read."""
    return math.fsum(values) / len(values)


def error_of(values: Floats) -> float:
    """The standard error of the mean of independent rows; 0 for a single one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def skew_of(values: Floats) -> float:
    """The skewness of the mean of rows: that of the rows over the root of their number; 0 where all are the same."""
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean() / math.sqrt(len(values))) if spread > 0 else 0.0
