"""What the raw output of a model means, and when it must not be served: wrong shape, NaN, probabilities outside 0..1, another label."""

from collections.abc import Sequence

import numpy as np

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.events.registry import VersionRegistered
from headrace.project.labels import are_its_answers

BINARY, NUMBER, CLASSES = "binary", "number", "classes"
_SLACK = 1e-6
_SHOWN = 10


def other_label(registered: VersionRegistered, label: LabelDefinition | None) -> str | None:
    """Why a version does not answer for the label of a deployment as it is declared now (it was registered for an earlier one), None when it does."""
    if label is None or are_its_answers(label.kind, label.classes, registered.output, registered.classes):
        return None
    if label.kind != registered.output:
        return f"it is a version of {registered.output!r}, the label {label.name!r} is {label.kind!r} now"
    ours, theirs = (", ".join(classes[:_SHOWN]) for classes in (registered.classes, label.classes))
    return f"its classes are {ours}, those of the label {label.name!r} are {theirs} now"


def fault_of(raw: np.ndarray, rows: int, output: str, classes: int = 0) -> str | None:
    """Why a whole result must not be served, None when its rows can be looked at.

    `raw`: shape (rows, classes) for `binary` and `classes`, (rows,) for `number`. `classes`: how many are named, 0 for none.

    >>> fault_of(np.array([[0.2, 0.3, 0.5]]), 1, "binary")
    "predict returned 3 classes for output 'binary'"
    """
    if raw.shape[:1] != (rows,) or raw.ndim != (1 if output == NUMBER else 2):
        return f"predict returned shape {raw.shape} for {rows} rows of output {output!r}"
    if output == BINARY and raw.shape[1] != 2:
        return f"predict returned {raw.shape[1]} classes for output 'binary'"
    if output == CLASSES and classes not in (0, raw.shape[1]):
        return f"predict returned {raw.shape[1]} classes, and {classes} are named"
    return None


def faults_of_rows(raw: np.ndarray, output: str) -> dict[int, str]:
    """Per row that must not be served why; the others may.

    >>> faults_of_rows(np.array([[0.2, 0.8], [0.2, float("nan")]]), "binary")
    {1: 'predict returned NaN or infinity'}
    """
    if (
        output != NUMBER and raw.min(initial=0.0) >= -_SLACK and raw.max(initial=1.0) <= 1 + _SLACK
    ):  # both False where there is a NaN
        return {}
    columns = raw.reshape(len(raw), -1)
    finite = np.isfinite(columns).all(axis=1)
    found = dict.fromkeys(np.flatnonzero(~finite).tolist(), "predict returned NaN or infinity")
    if output != NUMBER:
        within = ((columns >= -_SLACK) & (columns <= 1 + _SLACK)).all(axis=1)
        outside = np.flatnonzero(finite & ~within).tolist()
        found |= dict.fromkeys(outside, "predict returned probabilities outside 0..1")
    return found


def scores_of(raw: np.ndarray, output: str, version: int, model_digest: str) -> Sequence[Score]:
    """One score per row of a result whose shape is right, whether the row may be served or not."""
    if output == CLASSES:
        return [Score(version, model_digest, None, tuple(probabilities)) for probabilities in raw.tolist()]
    values = raw[:, 1] if output == BINARY else raw
    return [Score(version, model_digest, value) for value in values.tolist()]
