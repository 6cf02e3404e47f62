"""How many rows a model gets at once, and which of them are to blame when it raises.

A model that is slow for its load is asked in portions of about `PORTION_S` each, by the pace of its last calls, so that
what is done when time is up counts, and the rest goes down the ladder. One row that a model cannot stand must not cost the others
their version: a portion that raises is asked again in halves.

Level by level, so that a model on which everything fails is found out soon: at most `MAX_CALLS` calls in all. Rows that
are not cleared by then fail with it. One bad row in 1000 takes 21 calls.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MAX_CALLS = 32
PORTION_S = 0.05
_LEAST_ROWS = 16
# How much of the newest call's pace goes into the mean.
_WEIGHT = 0.3
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(slots=True)
class Pace:
    """How fast a model is: seconds per row, a mean that forgets; 0 before the first call."""

    per_row_s: float = 0.0

    def note(self, rows: int, took_s: float) -> None:
        """Take in a call."""
        newest_s = took_s / rows
        self.per_row_s += (newest_s - self.per_row_s) * (_WEIGHT if self.per_row_s else 1.0)

    def portion(self, rows: int) -> int:
        """How many of `rows` to ask at once.

        >>> Pace(0.001).portion(1000), Pace(0.00001).portion(1000)
        (50, 1000)
        """
        at_once = int(PORTION_S / self.per_row_s) if self.per_row_s else rows
        return min(rows, max(_LEAST_ROWS, at_once))


@dataclass(frozen=True, slots=True)
class Predicted:
    """Results of `raw`, NaN where there is none. `faults`: rows that failed, and why; `unasked`: rows for which no time was left."""

    raw: np.ndarray
    faults: dict[int, str]
    unasked: tuple[int, ...] = ()


def predict_in_portions(
    predict: Predict, rows: np.ndarray, pace: Pace, now_s: Callable[[], float], until_s: float
) -> Predicted:
    """All rows, portion by portion, until `until_s` of the clock `now_s`; at least one portion. Raises what the model
    raised when no row was cleared.
    """
    parts: list[tuple[int, np.ndarray]] = []
    faults: dict[int, str] = {}
    start, first = 0, None
    while start < len(rows) and (start == 0 or now_s() < until_s):
        portion = rows[start : start + pace.portion(len(rows) - start)]
        began_s = now_s()
        try:
            raw, found = predict_apart(predict, portion, lambda: now_s() < until_s)
            parts.append((start, raw))
            faults.update({start + row: reason for row, reason in found.items()})
        except Exception as error:
            # NB: a model is foreign code and may raise anything.
            first = first or error
            faults.update(dict.fromkeys(range(start, start + len(portion)), _told(error)))
        pace.note(len(portion), now_s() - began_s)
        start += len(portion)
    if not parts and first is not None:
        raise first
    return Predicted(_joined(parts, len(rows)), faults, tuple(range(start, len(rows))))


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
