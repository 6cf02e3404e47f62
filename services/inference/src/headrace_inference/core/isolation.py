"""How many rows a model gets at once, and which of them are to blame when it raises.

A model that is slow for its load is asked in portions of about `PORTION_S` each, by the pace of its last calls. So what is done when
time is up counts, and the rest goes down the fallback chain. One row on which a model raises must not cost the others their version:
a portion that raises is asked again in halves.

Equal rows are asked once. Rows with a hole (NaN, infinity, an unknown category) are asked apart from the others, since they are the
likely ones. The search goes level by level, so that a model on which everything fails is found out soon, and takes at most `MAX_CALLS`
calls in all. Rows that are not cleared by then fail with it. One bad row in 1000 takes 21 calls.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.events.failures import Failure, NoTime
from headrace.events.registry import ColumnPin
from headrace_inference.core.faults import holes_of, raised, text_of, unfit

MAX_CALLS = 32
PORTION_S = 0.05
_LEAST_ROWS = 16
# The weight of the newest call in the mean.
_WEIGHT = 0.3
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(slots=True)
class Pace:
    """How fast a model is, in seconds per row: an exponentially weighted mean, 0 before the first call.

    `good`: a row without a hole that it has scored, shape (columns,), None before there was one.
    """

    per_row_s: float = 0.0
    good: np.ndarray | None = None

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
    """Results of `raw`, NaN where there is none. `faults`: rows that failed, and why; `unasked`: rows for which no time was left.

    `raw` is None when no row was cleared: each has its fault then, or was not asked.
    """

    raw: np.ndarray | None
    faults: dict[int, Failure]
    unasked: tuple[int, ...] = ()


def predict_in_portions(
    predict: Predict,
    rows: np.ndarray,
    pace: Pace,
    now_s: Callable[[], float],
    until_s: float,
    columns: Sequence[ColumnPin] = (),
) -> Predicted:
    """All rows, portion by portion, until `until_s` of the clock `now_s`; at least one portion. `columns`: what the rows hold.

    Raises `MemoryError` where the model does, and nothing else that it raises.

    >>> def picky(rows): return np.array([1 / value for value in rows[:, 0].tolist()])
    >>> predict_in_portions(picky, np.array([[1.0], [0.0], [2.0]]), Pace(), lambda: 0.0, 1.0).faults
    {1: Raised(reason='predict raised ZeroDivisionError: float division by zero')}
    """
    parts: list[tuple[int, np.ndarray]] = []
    faults: dict[int, Failure] = {}
    start = 0
    while start < len(rows) and (start == 0 or now_s() < until_s):
        portion = rows[start : start + pace.portion(len(rows) - start)]
        began_s = now_s()
        raw: np.ndarray | None
        found: dict[int, Failure] = {}
        try:
            raw = predict(portion)
        except MemoryError:
            raise
        except Exception as error:
            # NB: a model is foreign code and may raise anything.
            search = _Search(predict, portion, lambda: now_s() < until_s, columns, pace)
            raw, found = search.run(text_of(error))
        else:
            if pace.good is None and not holes_of(portion[:1], columns).any():
                pace.good = portion[0].copy()
        if raw is not None:
            parts.append((start, raw))
        faults.update({start + row: failure for row, failure in found.items()})
        pace.note(len(portion), now_s() - began_s)
        start += len(portion)
    whole = _joined(parts, len(rows)) if parts else None
    return Predicted(whole, faults, tuple(range(start, len(rows))))


class _Search:
    """Finds the rows to blame for a call that raised."""

    def __init__(
        self,
        predict: Predict,
        rows: np.ndarray,
        may_go_on: Callable[[], bool],
        columns: Sequence[ColumnPin],
        pace: Pace,
    ) -> None:
        self._predict, self._rows, self._may_go_on, self._columns, self._pace = predict, rows, may_go_on, columns, pace
        self._holes = holes_of(rows, columns)
        self._has_hole = np.logical_or.reduce(self._holes, axis=1)
        self._calls = 1
        self._cleared: list[tuple[np.ndarray, np.ndarray]] = []
        self._reasons: dict[int, str] = {}
        self._late: dict[int, str] = {}

    def run(self, reason: str) -> tuple[np.ndarray | None, dict[int, Failure]]:
        """The results of all rows, NaN where a row failed (None when all did), and why per failed row. `reason`: what the whole call raised."""
        firsts, same_as = _distinct(self._rows)
        self._halve(firsts, reason)
        if not self._cleared:
            self._reasons, self._late = dict.fromkeys(firsts.tolist(), reason), {}
        found = self._failures()
        faults = {row: found[first] for row, first in enumerate(firsts[same_as].tolist()) if first in found}
        if not self._cleared:
            return None, faults
        whole = np.full((len(self._rows), *self._cleared[0][1].shape[1:]), np.nan)
        for places, raw in self._cleared:
            whole[places] = raw
        return whole[firsts[same_as]], faults

    def _halve(self, places: np.ndarray, reason: str) -> None:
        holes = self._has_hole[places]
        if holes.any() and not holes.all():
            waiting = deque([(places[~holes], reason), (places[holes], reason)])
        else:
            waiting = deque(_halves(places, reason)) if len(places) > 1 else deque()
            if len(places) == 1:
                self._reasons[int(places[0])] = reason
        while waiting:
            part, why = waiting.popleft()
            if not self._may_go_on():
                self._late.update(dict.fromkeys(part.tolist(), why))
                continue
            if self._calls >= MAX_CALLS:
                self._reasons.update(dict.fromkeys(part.tolist(), f"{why} (in a call with others)"))
                continue
            error = self._try(part)
            if error is None:
                continue
            if len(part) == 1:
                self._reasons[int(part[0])] = error
            else:
                waiting.extend(_halves(part, error))

    def _try(self, places: np.ndarray) -> str | None:
        self._calls += 1
        try:
            raw = self._predict(self._rows[places])
        except MemoryError:
            raise
        except Exception as error:
            # NB: a model is foreign code and may raise anything.
            return text_of(error)
        self._cleared.append((places, raw))
        return None

    def _failures(self) -> dict[int, Failure]:
        late = {row: NoTime(f"not cleared in time: a call with others raised {why}") for row, why in self._late.items()}
        holed = [row for row in self._reasons if self._has_hole[row]]
        is_rows_fault = bool(holed) and self._stands_without_holes(holed)
        return late | {
            row: unfit(why, self._rows[row], self._columns) if is_rows_fault and self._has_hole[row] else raised(why)
            for row, why in self._reasons.items()
        }

    def _stands_without_holes(self, places: Sequence[int]) -> bool:
        """Whether the model scores these rows when their holes are filled. When it is not known with what, the rows get the blame."""
        good = next(
            (self._rows[found[0]] for found, _ in self._cleared if not self._has_hole[found[0]]), self._pace.good
        )
        if good is None:
            return True
        rows = self._rows[list(places)]
        try:
            self._predict(np.where(self._holes[list(places)], good, rows).astype(rows.dtype))
        except MemoryError:
            raise
        except Exception:
            # NB: a model is foreign code and may raise anything.
            return False
        return True


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of distinct rows, ascending, and per row which of them it equals, to the bit."""
    known: dict[bytes, int] = {}
    same_as = np.array([known.setdefault(row.tobytes(), len(known)) for row in rows], dtype=np.intp)
    firsts = np.full(len(known), -1, dtype=np.intp)
    for place, group in enumerate(same_as.tolist()):
        if firsts[group] < 0:
            firsts[group] = place
    return firsts, same_as


def _halves(places: np.ndarray, reason: str) -> list[tuple[np.ndarray, str]]:
    middle = len(places) // 2
    return [(places[:middle], reason), (places[middle:], reason)]


def _joined(cleared: list[tuple[int, np.ndarray]], rows: int) -> np.ndarray:
    if len(cleared) == 1 and len(cleared[0][1]) == rows:
        return cleared[0][1]
    whole = np.full((rows, *cleared[0][1].shape[1:]), np.nan)
    for start, raw in cleared:
        whole[start : start + len(raw)] = raw
    return whole
