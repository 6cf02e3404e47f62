"""How well versions did on the labelled rows of a closed evaluation window."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from headrace.events.monitor import VersionQuality
from headrace_monitor.core.windows import ROLES, Rows

_LEAST = 1e-15

Floats = NDArray[np.float64]


def qualities_of(rows: Rows, prior: float | None = None) -> tuple[VersionQuality, ...]:
    """One entry per (version, role) among the labelled rows of a closed window; binary labels. The fallback's scores count for the
    version that answered (0: the prior). `prior`: of the ladder."""
    versions, roles, scores, labels = rows.scores()
    keys = versions.astype(np.int64) * len(ROLES) + roles
    groups = sorted((int(key) // len(ROLES), ROLES[int(key) % len(ROLES)], key) for key in np.unique(keys))
    return tuple(
        quality(version, role, scores[keys == key], labels[keys == key], prior) for version, role, key in groups
    )


def quality(version: int, role: str, scores: Floats, labels: Floats, prior: float | None = None) -> VersionQuality:
    """Log-loss in nats, AUC (None when one class is missing), the loss that the scores themselves lead one to expect, and that of the prior."""
    losses = log_losses(scores, labels)
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    entropy = -(clipped * np.log(clipped) + (1 - clipped) * np.log(1 - clipped))
    both = 0 < labels.sum() < len(labels)
    auc = float(roc_auc_score(labels, scores)) if both else None
    over = None if prior is None else losses - log_losses(np.full(len(labels), prior), labels)
    return VersionQuality(
        version,
        role,
        len(labels),
        float(losses.mean()),
        float(entropy.mean()),
        auc,
        float(scores.mean()),
        **errors_of(losses, losses - entropy, over),
    )


def errors_of(losses: Floats, excess: Floats, over: Floats | None) -> dict[str, Any]:
    """How sure the means of a window's rows are, as `VersionQuality` tells it. `over`: losses less those of the prior, None without one."""
    return {
        "loss_error": error_of(losses),
        "excess_error": error_of(excess),
        "loss_skew": skew_of(losses),
        "over_prior": None if over is None else float(over.mean()),
        "over_prior_error": 0.0 if over is None else error_of(over),
    }


def error_of(values: Floats) -> float:
    """Standard error of the mean of rows that have nothing to do with each other; 0 for a single one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def skew_of(values: Floats) -> float:
    """Skewness of the mean of rows: that of the rows over the root of their number; 0 where they are all the same."""
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean() / math.sqrt(len(values))) if spread > 0 else 0.0


def log_losses(scores: Floats, labels: Floats) -> Floats:
    """Per row, in nats; scores are kept 1e-15 away from 0 and 1.

    >>> log_losses(np.array([0.5]), np.array([1.0])).round(3).tolist()
    [0.693]
    """
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
