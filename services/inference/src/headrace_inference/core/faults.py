"""Whose fault it is when a model raises on a row. It is the row's, when the row holds a hole (a null, an unknown category, an infinity)
and the model scores the same row without it. Otherwise it is the version's own.
"""

from collections.abc import Sequence

import numpy as np

from headrace.events.failures import Failure, Raised, RowUnfit
from headrace.events.registry import ColumnPin

_MOST_CHARS = 500


def raised(reason: str) -> Raised:
    """The version's own failure."""
    return Raised(f"predict raised {reason}")


def unfit(reason: str, row: np.ndarray, columns: Sequence[ColumnPin]) -> Failure:
    """The failure of a row with a hole that the version does not take. `row`: shape (columns,).

    >>> unfit("ValueError: NaN", np.array([1.0, np.nan]), [ColumnPin("x"), ColumnPin("carrier")]).field
    'carrier'
    """
    holes = np.flatnonzero(holes_of(row.reshape(1, -1), columns)[0])
    name = columns[holes[0]].name if len(holes) and holes[0] < len(columns) else None
    return RowUnfit(
        f"predict raised {reason}, for the row has no value for {name or 'a column'} that this version takes", name
    )


def holes_of(rows: np.ndarray, columns: Sequence[ColumnPin]) -> np.ndarray:
    """Which places hold a hole, something that a model need not know, bool (n, columns): a null, an infinity, an unknown category.

    >>> holes_of(np.array([[0.0, 1.0], [np.nan, 0.0]]), [ColumnPin("x"), ColumnPin("c", ("AA",))]).tolist()
    [[False, True], [True, False]]
    """
    counts = np.full(rows.shape[1], np.inf)
    for place, pin in enumerate(columns[: rows.shape[1]]):
        if pin.vocabulary is not None:
            counts[place] = len(pin.vocabulary)
    return ~np.isfinite(rows) | (rows >= counts)


def text_of(error: BaseException) -> str:
    """What a model raised, short enough for a record, and such that it can be written."""
    try:
        text = str(error)
    except Exception:
        # NB: the exception is of foreign code too.
        text = "?"
    # NB: half of a surrogate pair is no text in any record.
    return f"{type(error).__name__}: {text}"[:_MOST_CHARS].encode("utf-8", "backslashreplace").decode()
