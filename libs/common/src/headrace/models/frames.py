"""Rows as a pandas frame with names and category values, for imported pipelines that select columns by name.

The frame is made from the matrix that is logged, so that a decision can be computed again. Category values come from
the codes of the signature's vocabularies. A missing one is NaN, and one that the version does not know is a text
outside of the vocabulary, so that the pipeline treats both as it was built to. Numbers are float64, as they were sent
(`as_sent`), since ties and thresholds lie among the values that the model was fitted on. Frames are about a hundred
times slower than arrays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import ColumnPin
from headrace.features.precision import as_sent
from headrace.models.engine import extra


def frame_of(rows: NDArray[np.float32], columns: Sequence[ColumnPin]) -> Any:
    """A pandas `DataFrame` of `rows`, shape (n, len(columns)). Raises `Poison` when pandas is not installed.

    >>> frame_of(np.array([[0.5, 1.0]], np.float32), [ColumnPin("x"), ColumnPin("c", ("AA", "UA"))])["c"].tolist()
    ['UA']
    """
    pandas = extra("pandas")
    return pandas.DataFrame({pin.name: _values(rows[:, n], pin) for n, pin in enumerate(columns)})


def _values(column: NDArray[np.float32], pin: ColumnPin) -> NDArray[Any]:
    if pin.vocabulary is None:
        return as_sent(column)
    count = len(pin.vocabulary)
    values = np.array([*pin.vocabulary, _stranger(pin.vocabulary), np.nan], dtype=object)
    codes = np.where(np.isnan(column), count + 1, np.clip(column, 0, count)).astype(np.int64)
    return values[codes]


def _stranger(vocabulary: Sequence[str]) -> str:
    """A text that is not in the vocabulary.

    >>> _stranger(("AA", "~unseen~"))
    '~unseen~~'
    """
    found = "~unseen~"
    while found in vocabulary:
        found += "~"
    return found
