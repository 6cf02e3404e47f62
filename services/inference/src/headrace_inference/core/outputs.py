"""What a model's raw output means, and when it must not be believed: wrong shape, NaN, shares outside 0..1."""

from collections.abc import Sequence

import numpy as np

from headrace.events.inference import Score

BINARY, NUMBER, CLASSES = "binary", "number", "classes"
_SLACK = 1e-6


def fault_of(raw: np.ndarray, rows: int, output: str) -> str | None:
    """Why a result must not be served, None when it may.

    `raw`: shape (rows, classes) for `binary` and `classes`, (rows,) for `number`.

    >>> fault_of(np.array([[0.2, float("nan")]]), 1, "binary")
    'predict returned NaN or infinity in 1 of 1 rows'
    """
    if raw.shape[:1] != (rows,) or raw.ndim != (1 if output == NUMBER else 2):
        return f"predict returned shape {raw.shape} for {rows} rows of output {output!r}"
    if output == BINARY and raw.shape[1] != 2:
        return f"predict returned {raw.shape[1]} classes for output 'binary'"
    finite = np.isfinite(raw).reshape(rows, -1).all(axis=1)
    if not finite.all():
        return f"predict returned NaN or infinity in {int((~finite).sum())} of {rows} rows"
    if output != NUMBER and (raw.min(initial=0.0) < -_SLACK or raw.max(initial=1.0) > 1 + _SLACK):
        return f"predict returned probabilities outside 0..1: {raw.min():.3g}..{raw.max():.3g}"
    return None


def scores_of(raw: np.ndarray, output: str, version: int, model_digest: str) -> Sequence[Score]:
    """One score per row of a result that has no fault."""
    if output == CLASSES:
        return [Score(version, model_digest, None, tuple(shares)) for shares in raw.tolist()]
    values = raw[:, 1] if output == BINARY else raw
    return [Score(version, model_digest, value) for value in values.tolist()]
