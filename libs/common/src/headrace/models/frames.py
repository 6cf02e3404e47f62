"""Rows as a pandas frame with names and words, for imported pipelines that choose their columns by name.

Made from the very matrix that is logged, so a decision can be made again: words come from the codes of the signature's
vocabularies, a missing one is NaN, and one that the version has never seen stands as a word that is in no vocabulary, so that
the pipeline treats both as it was made to. Numbers are float64, as they were sent (`as_sent`): neighbours tie and thresholds lie among the
values that it was fitted on. Some hundred times slower than arrays.
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
    words = np.array([*pin.vocabulary, _stranger(pin.vocabulary), np.nan], dtype=object)
    codes = np.where(np.isnan(column), count + 1, np.clip(column, 0, count)).astype(np.int64)
    return words[codes]


def _stranger(words: Sequence[str]) -> str:
    """A word that is not among `words`.

    >>> _stranger(("AA", "~unseen~"))
    '~unseen~~'
    """
    found = "~unseen~"
    while found in words:
        found += "~"
    return found
