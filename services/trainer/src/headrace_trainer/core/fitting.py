"""Fit, gate, refit: the gated artifact is fitted on rows older than the holdout; what is registered is fitted on all.

The refit is proven against its gated twin: how far their scores lie apart on the holdout is part of the metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import GateResult
from headrace.models.digest import model_digest
from headrace.project.definition import DeploymentDefinition
from headrace_trainer.core.gates import judge
from headrace_trainer.core.splits import Span, masks
from headrace_trainer.core.target import Target

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Gated:
    """The gated twin and what the gates said."""

    results: list[GateResult]
    metrics: dict[str, float]
    scores: Floats


@dataclass(frozen=True)
class Fitted:
    """What is registered."""

    model: Any
    digest: str
    metrics: dict[str, float]
    rows: int


def fit_gated(
    deployment: DeploymentDefinition,
    target: Target,
    span: Span,
    build: Callable[[], Any],
    matrix: Matrix,
    labels: Floats,
    at_s: Floats,
    champion: Floats | None,
) -> Gated:
    """Fit on the older rows, judge on the holdout. `champion`: its scores on all rows."""
    fits, gates = masks(span, at_s)
    twin = target.fit(build(), matrix[fits], labels[fits])
    scores = target.scores(twin, matrix[gates])
    digest = model_digest(twin)
    beside = None if champion is None else champion[gates]
    measured = target.yardstick(labels[fits])
    results = [judge(g, digest, labels[gates], at_s[gates], scores, beside, measured) for g in deployment.gates]
    figures = target.figures(scores, labels[gates])
    metrics = {f"holdout_{name}": value for name, value in figures.items()} | {
        "holdout_rows": float(gates.sum()),
        "fit_rows": float(fits.sum()),
    }
    return Gated(results, metrics, scores)


def refit(
    target: Target, span: Span, build: Callable[[], Any], matrix: Matrix, labels: Floats, at_s: Floats, gated: Gated
) -> Fitted:
    """Fit on all rows, and compare with the gated twin on the holdout."""
    inside = (at_s >= span.from_s) & (at_s < span.to_s)
    model = target.fit(build(), matrix[inside], labels[inside])
    _, gates = masks(span, at_s)
    apart = target.apart(gated.scores, target.scores(model, matrix[gates]))
    metrics = gated.metrics | {"refit_mean_difference": float(apart.mean()), "refit_max_difference": float(apart.max())}
    return Fitted(model, model_digest(model), metrics, int(inside.sum()))


def has_enough(target: Target, span: Span, labels: Floats, at_s: Floats, least: int) -> str | None:
    """Why there is too little to train on; None when there is enough."""
    fits, gates = masks(span, at_s)
    if fits.sum() < least:
        return f"{fits.sum()} labelled rows to fit on, at least {least} are wanted"
    if gates.sum() == 0:
        return "no labelled row in the holdout"
    return target.too_alike(labels[fits])
