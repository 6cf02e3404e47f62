"""Which rows fit and which gate: by time. The newest `holdout` is kept to gate on, `embargo` before it is left out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.project.definition import DeploymentDefinition


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of a run have an instant in [from_s, to_s); those in [holdout_s, to_s) gate."""

    from_s: float
    fit_to_s: float
    holdout_s: float
    to_s: float


def span_of(deployment: DeploymentDefinition, clock_s: float) -> Span:
    """The span at a clock. Only requests whose label horizon has passed are used: early labels are biased."""
    training, label = deployment.training, deployment.label
    if training is None or label is None:
        raise ValueError(f"deployment {deployment.name} declares no training or no label")
    to_s = clock_s - label.horizon_s
    holdout_s = to_s - training.holdout_s
    return Span(clock_s - training.history_s, holdout_s - training.embargo_s, holdout_s, to_s)


def masks(span: Span, at_s: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows to fit on, and rows to gate on."""
    return (at_s >= span.from_s) & (at_s < span.fit_to_s), (at_s >= span.holdout_s) & (at_s < span.to_s)
