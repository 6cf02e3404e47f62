"""Fit, gate, refit: the gated artifact is fitted on rows older than the holdout; the artifact that is registered is fitted on all rows.

The refit is compared with its gated twin: how far their scores lie apart on the holdout is part of the metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import GateResult
from headrace.models.digest import model_digest
from headrace_trainer.core.change_point import history_of
from headrace_trainer.core.gates import gates_of, judge
from headrace_trainer.core.splits import Span, masks
from headrace_trainer.core.target import Target

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Gated:
    """The gated twin and the results of its gates.

    `span`: of the rows that are used. `scores`: on the holdout. `changed_at_s`: the change that later retrains have to respect too; None where
    older rows stayed.
    """

    results: list[GateResult]
    metrics: dict[str, float]
    scores: Floats
    span: Span
    twin: Any
    changed_at_s: float | None = None


@dataclass(frozen=True)
class Fitted:
    """The artifact that is registered. `rows`: that it was fitted on."""

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
    """Fit on the older rows, and judge on the holdout.

    `build`: makes an estimator that is not fitted; users' code runs in it and in the fits, and may raise anything. `champion`: its scores on
    all rows, NaN where it must not be compared with; None without one.
    """

    def losses_of(fits: NDArray[np.bool_], judges: NDArray[np.bool_]) -> Floats:
        scores = target.scores(target.fit(build(), matrix[fits], labels[fits]), matrix[judges])
        return target.yardstick(labels[fits]).losses(scores, labels[judges])

    from_s, figures = history_of(span, at_s, labels, losses_of)
    changed_at_s = span.changed_at_s if from_s > span.from_s else None
    span = replace(span, from_s=from_s)
    fits, gates = masks(span, at_s)
    twin = target.fit(build(), matrix[fits], labels[fits])
    scores = target.scores(twin, matrix[gates])
    beside = None if champion is None else champion[gates]
    measured = target.yardstick(labels[_newest(fits, span, at_s)])
    asked = gates_of(deployment.gates, span.changed_at_s, labels[gates], beside, measured)
    digest = model_digest(twin)
    judged = [judge(gate, digest, labels[gates], at_s[gates], scores, beside, measured) for gate in asked]
    holdout = {f"holdout_{name}": value for name, value in target.figures(scores, labels[gates]).items()}
    metrics = figures | holdout | {"holdout_rows": float(gates.sum()), "fit_rows": float(fits.sum())}
    return Gated([result for result in judged if result is not None], metrics, scores, span, twin, changed_at_s)


def _newest(fits: NDArray[np.bool_], span: Span, at_s: Floats) -> NDArray[np.bool_]:
    """The rows that set the prior: after a change those beyond it, since the old prior would be no measure for a candidate."""
    after = fits & (at_s >= (span.changed_at_s or span.from_s))
    return after if after.any() else fits


def refit(
    target: Target, build: Callable[[], Any], matrix: Matrix, labels: Floats, at_s: Floats, gated: Gated
) -> Fitted:
    """Fit on all rows that are used, and compare with the gated twin on the holdout."""
    span = gated.span
    inside = (at_s >= span.from_s) & (at_s < span.to_s)
    model = target.fit(build(), matrix[inside], labels[inside])
    _, gates = masks(span, at_s)
    apart = target.apart(gated.scores, target.scores(model, matrix[gates]))
    metrics = gated.metrics | {"refit_mean_difference": float(apart.mean()), "refit_max_difference": float(apart.max())}
    return Fitted(model, model_digest(model), metrics, int(inside.sum()))
