"""How well versions did on the labelled rows of a closed evaluation window."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from headrace.events.monitor import VersionQuality
from headrace_monitor.core.windows import ROLES, Rows

_LEAST = 1e-15

Floats = NDArray[np.float64]


def qualities_of(rows: Rows) -> tuple[VersionQuality, ...]:
    """One entry per (version, role) among the labelled rows of a closed window; binary labels. The fallback's scores count for the
    version that answered (0: the prior)."""
    versions, roles, scores, labels = rows.scores()
    keys = versions.astype(np.int64) * len(ROLES) + roles
    groups = sorted((int(key) // len(ROLES), ROLES[int(key) % len(ROLES)], key) for key in np.unique(keys))
    return tuple(quality(version, role, scores[keys == key], labels[keys == key]) for version, role, key in groups)


def quality(version: int, role: str, scores: Floats, labels: Floats) -> VersionQuality:
    """Log-loss in nats, AUC (None when one class is missing), and the loss that the scores themselves lead one to expect."""
    losses = log_losses(scores, labels)
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    entropy = -(clipped * np.log(clipped) + (1 - clipped) * np.log(1 - clipped))
    both = 0 < labels.sum() < len(labels)
    auc = float(roc_auc_score(labels, scores)) if both else None
    return VersionQuality(
        version, role, len(labels), float(losses.mean()), float(entropy.mean()), auc, float(scores.mean())
    )


def log_losses(scores: Floats, labels: Floats) -> Floats:
    """Per row, in nats; scores are kept 1e-15 away from 0 and 1.

    >>> log_losses(np.array([0.5]), np.array([1.0])).round(3).tolist()
    [0.693]
    """
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
