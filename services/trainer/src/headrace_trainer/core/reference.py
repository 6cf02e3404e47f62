"""What is normal for a version that was trained: its training rows by column, and the scores of its gated twin."""

import numpy as np
from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.references import VersionReference
from headrace.stats.references import described
from headrace_trainer.core.fitting import Gated
from headrace_trainer.core.splits import masks
from headrace_trainer.core.training_set import TrainingSet


def reference_of(deployment: DeploymentDefinition, training_set: TrainingSet, gated: Gated) -> VersionReference:
    """The reference of a version that was fitted on the rows of `gated.span`. Its `windows` are made by `out_of_time`."""
    chosen = training_set.in_span(gated.span)
    at_s, matrix = training_set.rows.at_s[chosen], training_set.rows.matrix[chosen]
    _, holdout = masks(gated.span, training_set.rows.at_s)
    has_scores = gated.scores.ndim == 1 and holdout.any()
    scores = (gated.scores.astype(np.float32), training_set.rows.at_s[holdout]) if has_scores else None
    defaulted = training_set.rows.defaulted
    found = described(
        training_set.signature.columns,
        matrix,
        at_s,
        deployment.evaluation_window_s,
        scores,
        None if defaulted is None else defaulted[chosen],
    )
    return replace(found, from_s=gated.span.from_s, to_s=gated.span.to_s)
