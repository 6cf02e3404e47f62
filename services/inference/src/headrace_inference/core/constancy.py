"""Whether a model's score of a row is a function of that row: the same each time, and whatever is asked beside it.

Rows of different clients share a call, and a decision is scored anew to be explained. A network that was exported in training mode
breaks both without an error: batch normalisation takes its means from the rows of the call, and dropout draws anew. Such a model
changes the scores of nearly all rows. A sound model may change a few, where rounding (which depends on the size of the call) decides a
tie: a tree behind a projection, a nearest neighbour. So a model is rejected when more than a quarter of the rows change, and more than
one.
"""

import numpy as np

ROWS = 8
MOST_SHARE, MOST_ROWS = 0.25, 1


def why_inconstant(together: np.ndarray, again: np.ndarray, alone: np.ndarray, within: float) -> str | None:
    """Why the scores of rows that were asked in one call, in one more such call, and each in its own, must not be served.

    All of shape (rows, values), NaN where there is no score: what is missing in one is left out. `within`: how far two scores may
    lie apart, as a share of the largest score (of 1 when all are smaller).

    >>> scores = np.linspace(0, 1, 8).reshape(-1, 1)
    >>> why_inconstant(scores, scores, scores[::-1], 1e-6)
    'its score of a row depends on the rows beside it: 0 in a call with others, 1 alone'
    """
    for other, reason, where in (
        (again, "its score of the same row differs each time", ("first", "then")),
        (alone, "its score of a row depends on the rows beside it", ("in a call with others", "alone")),
    ):
        compared, apart = _apart(together, other, within)
        if len(apart) > max(MOST_ROWS, MOST_SHARE * compared):
            row, value = apart[0]
            return f"{reason}: {together[row, value]:.6g} {where[0]}, {other[row, value]:.6g} {where[1]}"
    return None


def _apart(left: np.ndarray, right: np.ndarray, within: float) -> tuple[int, list[tuple[int, int]]]:
    """How many rows have a score in both, and those that differ, each with the value that does so most."""
    if left.shape != right.shape or not left.size:
        return 0, []
    both = np.isfinite(left) & np.isfinite(right)
    gaps = np.abs(np.where(both, left, 0.0) - np.where(both, right, 0.0))
    scale = max(1.0, float(np.abs(np.where(both, left, 0.0)).max()))
    apart = np.flatnonzero((gaps > within * scale).any(axis=1))
    return int(both.any(axis=1).sum()), [(int(row), int(gaps[row].argmax())) for row in apart]
