"""One row that a model cannot stand must not cost the others their version: a call that raises is asked again in halves.

Level by level, so that a model on which everything fails is found out soon: at most `MAX_CALLS` calls in all. Rows that
are not cleared by then fail with it. One bad row in 1000 takes 21 calls.
"""

from collections import deque
from collections.abc import Callable

import numpy as np

MAX_CALLS = 32
Predict = Callable[[np.ndarray], np.ndarray]


def predict_apart(
    predict: Predict, rows: np.ndarray, may_go_on: Callable[[], bool]
) -> tuple[np.ndarray, dict[int, str]]:
    """Results of all rows, NaN where a row failed, and why per failed row. `may_go_on`: False when time is up.

    Raises what the model raised when no row is cleared.

    >>> def picky(rows): return np.array([1 / value for value in rows[:, 0].tolist()])
    >>> predict_apart(picky, np.array([[1.0], [0.0], [2.0]]), lambda: True)[1]
    {1: 'ZeroDivisionError: float division by zero'}
    """
    try:
        return predict(rows), {}
    except Exception as error:
        # NB: a model is foreign code and may raise anything.
        if len(rows) == 1:
            raise
        return _in_halves(predict, rows, error, may_go_on)


def _in_halves(
    predict: Predict, rows: np.ndarray, first: Exception, may_go_on: Callable[[], bool]
) -> tuple[np.ndarray, dict[int, str]]:
    cleared: list[tuple[int, np.ndarray]] = []
    faults: dict[int, str] = {}
    waiting = deque(_halves(0, len(rows), _told(first)))
    calls = 1
    while waiting:
        start, end, reason = waiting.popleft()
        if calls >= MAX_CALLS or not may_go_on():
            faults.update(dict.fromkeys(range(start, end), f"{reason} (in a call with others)"))
            continue
        calls += 1
        try:
            cleared.append((start, predict(rows[start:end])))
        except Exception as error:
            if end - start == 1:
                faults[start] = _told(error)
            else:
                waiting.extend(_halves(start, end, _told(error)))
    if not cleared:
        raise first
    return _joined(cleared, len(rows)), dict(sorted(faults.items()))


def _halves(start: int, end: int, reason: str) -> list[tuple[int, int, str]]:
    middle = (start + end) // 2
    return [(start, middle, reason), (middle, end, reason)]


def _joined(cleared: list[tuple[int, np.ndarray]], rows: int) -> np.ndarray:
    whole = np.full((rows, *cleared[0][1].shape[1:]), np.nan)
    for start, raw in cleared:
        whole[start : start + len(raw)] = raw
    return whole


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
