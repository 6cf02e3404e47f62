"""Evaluation windows of one deployment, and the rows of their figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, decision

from headrace.events.definition import LabelDefinition
from headrace.events.inference import DecisionMade
from headrace.events.monitor import VersionQuality
from headrace_monitor.core.quality import Figures, Prior, figures_of, qualities_of
from headrace_monitor.core.scored import labelled_of
from headrace_monitor.core.windows import Rows, Windows

BINARY = DEPLOYMENT.label


def windows(**changes: Any) -> Windows:
    label = replace(BINARY, **{name: changes.pop(name) for name in ("absent", "horizon_s") if name in changes})
    limit = changes.pop("limit_bytes", 10**9)
    return Windows(replace(DEPLOYMENT, label=None if changes.pop("bare", False) else label, **changes), limit)


# figures


def rows(scores: list[float], labels: list[float], version: int = 1) -> Rows:
    found = windows()
    for n, score in enumerate(scores):
        found.add_decision(decision(f"u{n}", float(n), score, version), 0, n)
    return Rows(found.rows_of(0.0, DAY).table, np.array(labels), found.rows_of(0.0, DAY).shadows)


def flat(found: Rows) -> tuple[list[int], list[str], list[float], list[float]]:
    """Versions, roles, scores and labels of the labelled scores of two classes or numbers."""
    each = [
        (one.version, one.role, score, label)
        for one in labelled_of(BINARY, found, ())
        for score, label in zip(one.scores.tolist(), one.labels.tolist(), strict=True)
    ]
    versions, roles, scores, labels = zip(*each, strict=True)
    return list(versions), list(roles), list(scores), list(labels)


def qualities(found: Rows, prior: float | None = None) -> tuple[VersionQuality, ...]:
    """How each version did on rows with a binary label."""
    return qualities_of(BINARY, labelled_of(BINARY, found, ()), prior)


def figured(label: LabelDefinition | None, found: Rows, sample: Sequence[DecisionMade], prior: Prior = None) -> Figures:
    """The figures of rows, with a sample of their decisions."""
    return figures_of(label, found, () if label is None else labelled_of(label, found, sample), prior)
