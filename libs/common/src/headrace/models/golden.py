"""Golden rows: each has its request and its score, and every instance scores them again before it serves the
version.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import GoldenRow
from headrace.models.engine import BINARY, NUMBER, Floats

KEPT_ROWS, KEPT_BYTES = 64, 100_000


def golden_row(
    row: NDArray[np.float32], scores: Floats, output: str, inputs: dict[str, Any] | None = None
) -> GoldenRow:
    """A row and its scores. `scores`: shape (values,); for two classes only that of the positive one."""
    data = np.ascontiguousarray(row, "<f4").tobytes()
    if output in (BINARY, NUMBER):
        return GoldenRow(data, float(scores[0]), (), inputs)
    return GoldenRow(data, 0.0, tuple(scores.tolist()), inputs)


def fitting(golden: Sequence[GoldenRow], most_bytes: int = KEPT_BYTES) -> tuple[GoldenRow, ...]:
    """Evenly spaced rows, as many as fit and at least one. A command must fit into a record of the log."""
    if not golden:
        return ()
    largest = max(len(found.row) + 9 * len(found.probabilities) + len(repr(found.inputs)) for found in golden) + 16
    count = min(len(golden), KEPT_ROWS, max(1, most_bytes // largest))
    return tuple(golden[place] for place in spread(len(golden), count))


def spread(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` evenly spaced positions out of `count`.

    >>> spread(9, 3).tolist(), spread(2, 3).tolist(), spread(0, 3).tolist()
    ([0, 4, 8], [0, 1], [])
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp)) if count else np.empty(0, np.intp)
