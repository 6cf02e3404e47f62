"""Fit, gate, refit: the gated artifact is fitted on rows older than the holdout; what is registered is fitted on all.

The refit is proven against its gated twin: how far their scores lie apart on the holdout is part of the metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from headrace.events.registry import GateResult
from headrace.models.digest import model_digest
from headrace.policy.losses import yardstick_of
from headrace.project.definition import DeploymentDefinition
from headrace_trainer.core.changed import history_of
from headrace_trainer.core.gates import gates_of, judge
from headrace_trainer.core.splits import Span, masks

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Gated:
    """The gated twin and what the gates said of it. `span`: of the rows that are used; `scores`: on the holdout."""

    results: list[GateResult]
    metrics: dict[str, float]
    scores: Floats
    span: Span
    twin: Any


@dataclass(frozen=True)
class Fitted:
    """What is registered."""

    model: Any
    digest: str
    metrics: dict[str, float]
    rows: int


def fit_gated(
    deployment: DeploymentDefinition,
    span: Span,
    build: Callable[[], Any],
    matrix: Matrix,
    labels: Floats,
    at_s: Floats,
    champion: Floats | None,
) -> Gated:
    """Fit on the older rows, judge on the holdout. `champion`: its scores on all rows, NaN where they are not to be compared with."""

    def loss_of(fits: NDArray[np.bool_], judges: NDArray[np.bool_]) -> float:
        scores = build().fit(matrix[fits], labels[fits]).predict_proba(matrix[judges])[:, 1]
        return float(yardstick_of("binary", labels[fits]).losses(scores, labels[judges]).mean())

    from_s, figures = history_of(span, at_s, labels, loss_of)
    span = replace(span, from_s=from_s)
    fits, gates = masks(span, at_s)
    twin = build().fit(matrix[fits], labels[fits])
    scores = twin.predict_proba(matrix[gates])[:, 1]
    beside = None if champion is None else champion[gates]
    measured = yardstick_of("binary", labels[_newest(fits, span, at_s)])
    asked = gates_of(deployment.gates, span.changed_at_s, labels[gates], beside, measured)
    digest = model_digest(twin)
    judged = [judge(gate, digest, labels[gates], at_s[gates], scores, beside, measured) for gate in asked]
    metrics = figures | {
        "holdout_log_loss": float(measured.losses(scores, labels[gates]).mean()),
        "holdout_auc": float(roc_auc_score(labels[gates], scores))
        if 0 < labels[gates].sum() < gates.sum()
        else float("nan"),
        "holdout_rows": float(gates.sum()),
        "fit_rows": float(fits.sum()),
    }
    metrics = {name: value for name, value in metrics.items() if value == value}
    return Gated([result for result in judged if result is not None], metrics, scores, span, twin)


def _newest(fits: NDArray[np.bool_], span: Span, at_s: Floats) -> NDArray[np.bool_]:
    """The rows by which the prior is set: after a change those beyond it, or a candidate would be measured by the old world's."""
    after = fits & (at_s >= (span.changed_at_s or span.from_s))
    return after if after.any() else fits


def refit(build: Callable[[], Any], matrix: Matrix, labels: Floats, at_s: Floats, gated: Gated) -> Fitted:
    """Fit on all rows that are used, and compare with the gated twin on the holdout."""
    span = gated.span
    inside = (at_s >= span.from_s) & (at_s < span.to_s)
    model = build().fit(matrix[inside], labels[inside])
    _, gates = masks(span, at_s)
    apart = np.abs(model.predict_proba(matrix[gates])[:, 1] - gated.scores)
    metrics = gated.metrics | {"refit_mean_difference": float(apart.mean()), "refit_max_difference": float(apart.max())}
    return Fitted(model, model_digest(model), metrics, int(inside.sum()))
