"""How a version's card describes its data: figures per column of the rows, and how good the version is per value of a category.

Slices are measured on the holdout, by the gated twin: the first three categories, their most frequent values with at
least 100 rows each (the standard error of a mean log-loss is then near .05).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import Signature
from headrace.project.labels import BINARY, NUMBER
from headrace_trainer.core.target import Target

CATEGORIES = 3
VALUES = 8
LEAST_ROWS = 100

Floats = NDArray[np.float64]
Figures = dict[str, dict[str, float]]


def profile_of(signature: Signature, matrix: NDArray[np.float32]) -> Figures:
    """Per column the share of nulls and, except for categories, mean, std, min and max of the other values. `matrix`: (n, columns)."""
    return {
        column.name: _figures(matrix[:, place].astype(np.float64), is_category=column.vocabulary is not None)
        for place, column in enumerate(signature.columns)
    }


def _figures(values: Floats, *, is_category: bool) -> dict[str, float]:
    there = values[~np.isnan(values)]
    found = {"null_share": 1.0 - len(there) / len(values) if len(values) else 0.0}
    if is_category or not len(there):
        return found
    figures = {"mean": there.mean(), "std": there.std(), "min": there.min(), "max": there.max()}
    return found | {name: float(value) for name, value in figures.items()}


def slices_of(
    signature: Signature, target: Target, inputs: Sequence[dict[str, Any]], scores: Floats, labels: Floats
) -> Figures:
    """Per `column=value` the number of rows, mean label and mean score (of two classes and of numbers), and the figures of the label's kind.

    `inputs`, `scores`, `labels`: of the same rows.
    """
    categories = [column for column in signature.columns if column.vocabulary is not None][:CATEGORIES]
    found: Figures = {}
    for column in categories:
        values = np.array([str(row.get(column.name)) for row in inputs])
        named, counts = np.unique(values, return_counts=True)
        frequent = [str(named[n]) for n in np.argsort(-counts, kind="stable")[:VALUES] if counts[n] >= LEAST_ROWS]
        for value in frequent:
            found[f"{column.name}={value}"] = _slice(target, scores[values == value], labels[values == value])
    return found


def _slice(target: Target, scores: Floats, labels: Floats) -> dict[str, float]:
    found = {"rows": float(len(labels))}
    if target.kind == BINARY:
        found |= {"positive_share": float(labels.mean())}
    if target.kind == NUMBER:
        found |= {"mean_label": float(labels.mean())}
    if scores.ndim == 1:
        found |= {"mean_score": float(scores.mean())}
    return found | target.figures(scores, labels)
