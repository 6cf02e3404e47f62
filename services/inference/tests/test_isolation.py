"""How a model is asked: in portions, and rows on which it raises apart from the others."""

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.failures import NoTime, Raised, RowUnfit
from headrace.events.registry import ColumnPin
from headrace_inference.core.isolation import MAX_CALLS, Pace, predict_in_portions


def predict_at_once(
    predict: Any, rows: np.ndarray, may_go_on: Any, columns: Any = (), pace: Pace | None = None
) -> tuple[np.ndarray | None, dict[int, Any]]:
    """Results and faults of one portion. `may_go_on`: asked before each further call, False when time is up."""
    begun: list[bool] = []

    def clock() -> float:
        if not begun:
            begun.append(True)
            return 0.0
        return 0.0 if may_go_on() else 2.0

    found = predict_in_portions(predict, rows, pace or Pace(), clock, 1.0, columns)
    return found.raw, found.faults


def counted_picky(bad: set[float]) -> tuple[Any, list[int]]:
    """A model that raises on some values, and the sizes of the calls that it got."""
    sizes: list[int] = []

    def predict(rows: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        if bad & set(rows[:, 0].tolist()):
            raise ValueError("unknown value")
        return rows[:, 0].astype(np.float64)

    return predict, sizes


@settings(deadline=None)
@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=4))
def test_rows_on_which_a_model_raises_fail_alone(count: int, bad: set[int]) -> None:
    rows = np.arange(count, dtype=np.float32).reshape(-1, 1)
    hit = {row for row in bad if row < count}
    predict, sizes = counted_picky({float(row) for row in hit})
    raw, faults = predict_at_once(predict, rows, lambda: True)
    if raw is None:
        assert len(hit) > 0
        assert len(faults) == count
        return
    assert hit <= set(faults)
    assert len(sizes) <= MAX_CALLS
    assert [raw[row] for row in range(count) if row not in faults] == [row for row in range(count) if row not in faults]
    assert np.isnan(raw[list(faults)]).all()


def test_one_bad_row_of_a_thousand_is_found_in_21_calls() -> None:
    predict, sizes = counted_picky({617.0})
    _, faults = predict_at_once(predict, np.arange(1000, dtype=np.float32).reshape(-1, 1), lambda: True)
    assert (set(faults), len(sizes)) == ({617}, 21)


def test_a_model_on_which_everything_fails_is_not_asked_for_every_row() -> None:
    predict, sizes = counted_picky(set(map(float, range(1000))))
    raw, faults = predict_at_once(predict, np.arange(1000, dtype=np.float32).reshape(-1, 1), lambda: True)
    assert raw is None
    assert set(faults.values()) == {Raised("predict raised ValueError: unknown value")}
    assert len(sizes) <= MAX_CALLS


def test_when_time_is_up_the_rows_not_cleared_fail() -> None:
    predict, sizes = counted_picky({0.0})
    left = iter([True, True])
    _, faults = predict_at_once(predict, np.arange(8, dtype=np.float32).reshape(-1, 1), lambda: next(left, False))
    assert set(faults) == {0, 1, 2, 3}
    assert {type(failure) for failure in faults.values()} == {NoTime}
    assert len(sizes) == 3


def holed(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1)


def no_holes(rows: np.ndarray) -> np.ndarray:
    """A model that refuses NaN and infinity, as scikit-learn's do."""
    if not np.isfinite(rows).all():
        raise ValueError("Input contains NaN")
    return rows[:, 0].astype(np.float64)


def test_a_row_with_a_hole_that_the_model_does_not_take_is_unfit_and_names_its_column() -> None:
    raw, faults = predict_at_once(no_holes, holed(1, math.nan, 2, math.inf), lambda: True, (ColumnPin("x"),))
    assert raw is not None
    assert [type(faults[row]) for row in (1, 3)] == [RowUnfit, RowUnfit]
    assert faults[1].field == "x"
    assert raw[[0, 2]].tolist() == [1.0, 2.0]


def test_a_row_with_a_hole_alone_is_unfit_too_since_the_model_scores_it_without() -> None:
    pace = Pace()
    predict_at_once(no_holes, holed(1), lambda: True, pace=pace)
    _, faults = predict_at_once(no_holes, holed(math.nan), lambda: True, pace=pace)
    assert isinstance(faults[0], RowUnfit)


def test_a_model_that_raises_on_everything_is_to_blame_for_rows_with_holes_as_well() -> None:
    pace = Pace()
    predict_at_once(no_holes, holed(1), lambda: True, pace=pace)

    def broken(rows: np.ndarray) -> np.ndarray:
        raise ValueError("broken")

    _, faults = predict_at_once(broken, holed(math.nan, 2), lambda: True, pace=pace)
    assert {type(failure) for failure in faults.values()} == {Raised}


def test_twenty_equal_bad_rows_are_found_like_one() -> None:
    predict, sizes = counted_picky({7.0})
    rows = np.array([7.0] * 20 + [float(n) for n in range(100, 200)], np.float32).reshape(-1, 1)
    raw, faults = predict_at_once(predict, rows, lambda: True)
    assert set(faults) == set(range(20))
    assert len(sizes) < 20
    assert raw is not None
    assert raw[20:].tolist() == rows[20:, 0].tolist()


class Slow:
    """A model that takes a second of its own clock per row, and raises on some."""

    def __init__(self, bad: set[float] | None = None) -> None:
        self.now_s, self.sizes, self.bad = 0.0, [], bad or set()

    def predict(self, rows: np.ndarray) -> np.ndarray:
        self.now_s += len(rows)
        self.sizes.append(len(rows))
        if self.bad & set(rows[:, 0].tolist()):
            raise ValueError("unknown")
        return rows[:, 0].astype(np.float64)

    def clock(self) -> float:
        return self.now_s


def test_a_slow_model_is_asked_in_portions_and_what_it_did_not_reach_in_time_is_named() -> None:
    model, rows = Slow(), np.arange(100, dtype=np.float32).reshape(-1, 1)
    found = predict_in_portions(model.predict, rows, Pace(1.0), model.clock, until_s=40.0)
    assert model.sizes == [16, 16, 16]
    assert found.unasked == tuple(range(48, 100))
    assert found.raw is not None
    assert found.raw[:48].tolist() == rows[:48, 0].tolist()


def test_a_portion_that_fails_whole_does_not_cost_the_next_one() -> None:
    model, rows = Slow(set(map(float, range(16)))), np.arange(32, dtype=np.float32).reshape(-1, 1)
    found = predict_in_portions(model.predict, rows, Pace(1.0), model.clock, until_s=1e9)
    assert set(found.faults) == set(range(16))
    assert found.raw is not None
    assert found.raw[16:].tolist() == rows[16:, 0].tolist()


def test_a_fast_model_gets_all_at_once() -> None:
    pace = Pace()
    assert pace.portion(1000) == 1000
    pace.note(1000, 0.01)
    assert pace.portion(1000) == 1000
    pace.note(1000, 1.0)
    assert 100 < pace.portion(1000) < 200
