"""Outputs, holes, constancy and portions at their edges."""

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from headrace.events.definition import LabelDefinition
from headrace.events.failures import NoTime, Raised, RowUnfit
from headrace.events.registry import ColumnPin, Signature
from headrace.features.rows import misfit
from headrace.testing.registry import version_of
from headrace_inference.core.constancy import why_inconstant
from headrace_inference.core.faults import holes_of, raised, text_of, unfit
from headrace_inference.core.isolation import Pace, predict_in_portions
from headrace_inference.core.outputs import fault_of, faults_of_rows, other_label


def test_a_fault_of_a_whole_result_says_what_was_returned() -> None:
    shape = "predict returned shape (2, 2) for 3 rows of output 'binary'"
    assert fault_of(np.zeros((2, 2)), 3, "binary") == shape
    assert fault_of(np.zeros((1, 3)), 1, "classes", 3) is None
    assert fault_of(np.zeros((1, 3)), 1, "classes", 4) == "predict returned 3 classes, and 4 are named"
    assert fault_of(np.zeros((1, 3)), 1, "binary", 3) == "predict returned 3 classes for output 'binary'"


@pytest.mark.parametrize(
    ("values", "output", "faults"),
    [
        ([[-1e-6, 1 + 1e-6]], "binary", {}),
        ([[0.5, 0.5], [-2e-6, 1.0], [0.0, 1 + 2e-6]], "binary", {1: "outside", 2: "outside"}),
        ([[math.nan, 2.0], [2.0, 0.0]], "classes", {0: "NaN", 1: "outside"}),
        ([5.0, math.inf, -5.0], "number", {1: "NaN"}),
        ([[0.5, 0.5], [1.0, math.inf]], "binary", {1: "NaN"}),
    ],
)
def test_each_row_that_must_not_be_served_says_why(values: Any, output: str, faults: dict[int, str]) -> None:
    words = {"NaN": "predict returned NaN or infinity", "outside": "predict returned probabilities outside 0..1"}
    assert faults_of_rows(np.array(values), output) == {row: words[why] for row, why in faults.items()}


def test_a_version_of_another_label_says_which() -> None:
    label = LabelDefinition("late", "binary", 60.0)
    assert other_label(version_of(1, output="binary"), label) is None
    assert other_label(version_of(1, output="number"), None) is None
    assert (
        other_label(version_of(1, output="number"), label)
        == "it is a version of 'number', the label 'late' is 'binary' now"
    )
    named = replace(LabelDefinition("kind", "classes", 60.0), classes=("a", "b"))
    assert (
        other_label(version_of(1, output="classes", classes=("a", "c")), named)
        == "its classes are a, c, those of the label 'kind' are a, b now"
    )


def test_a_hole_names_its_column_where_there_is_one() -> None:
    columns = [ColumnPin("x"), ColumnPin("c", ("A", "B"))]
    assert holes_of(np.array([[math.inf, 1.0], [0.0, 2.0]]), columns).tolist() == [[True, False], [False, True]]
    assert holes_of(np.array([[0.0, 1.0, math.nan]]), columns).tolist() == [[False, False, True]]
    assert holes_of(np.array([[9.0]]), columns).tolist() == [[False]]
    why = "predict raised r, for the row has no value for {} that this version takes"
    assert unfit("r", np.array([0.0, 2.0]), columns) == RowUnfit(why.format("c"), "c")
    assert unfit("r", np.array([0.0, 1.0, math.nan]), columns) == RowUnfit(why.format("a column"), None)
    assert unfit("r", np.array([0.0, 1.0]), columns) == RowUnfit(why.format("a column"), None)
    assert raised("r") == Raised("predict raised r")


class Rude(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_what_a_model_raises_is_text_and_short() -> None:
    assert text_of(ValueError("no")) == "ValueError: no"
    assert text_of(Rude()) == "Rude: ?"
    assert len(text_of(ValueError("x" * 600))) == 500
    assert text_of(ValueError("\udc00")) == "ValueError: \\udc00"


# constancy and portions


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float64).reshape(-1, 1)


EIGHT = column(*range(8))


def moved(*rows: int, by: float = 1.0) -> np.ndarray:
    found = EIGHT.copy()
    found[list(rows)] += by
    return found


def test_a_model_is_inconstant_when_more_than_a_quarter_of_its_rows_change() -> None:
    assert [
        why_inconstant(EIGHT, moved(0, 1), moved(2, 3), 0.01),
        why_inconstant(EIGHT, EIGHT, moved(0, by=9.0), 0.01),
    ] == [None, None]
    assert (
        why_inconstant(EIGHT, moved(1, 2, 3), EIGHT, 0.01)
        == "its score of the same row differs each time: 1 first, 2 then"
    )
    alone = "its score of a row depends on the rows beside it: 1 in a call with others, 2 alone"
    assert why_inconstant(EIGHT, EIGHT, moved(1, 2, 3), 0.01) == alone
    assert why_inconstant(EIGHT, EIGHT, moved(1, 2, 3, by=0.07), 0.01) is None
    assert why_inconstant(EIGHT, EIGHT, moved(1, 2, 3, by=0.071), 0.01) is not None
    small = column(0.1, 0.2, 0.3)
    assert why_inconstant(small, small, small + 0.0099, 0.01) is None
    assert why_inconstant(small, small, small + 0.0101, 0.01) is not None


def test_scores_that_are_missing_in_one_call_are_left_out() -> None:
    gaps = EIGHT.copy()
    gaps[3:] = math.nan
    assert why_inconstant(EIGHT, gaps, EIGHT, 0.01) is None
    gaps[:2] += 1.0
    assert "first" in (why_inconstant(EIGHT, gaps, EIGHT, 0.01) or "")
    assert why_inconstant(column(1.0), column(2.0), column(2.0), 0.01) is None
    assert why_inconstant(EIGHT, EIGHT[:4], np.empty((0, 1)), 0.01) is None
    two = np.array([[0.1, 0.9]] * 4)
    assert (
        why_inconstant(two, two + np.array([0.1, -0.3]), two, 0.01)
        == "its score of the same row differs each time: 0.9 first, 0.6 then"
    )


def test_the_pace_is_a_mean_in_which_the_newest_call_counts_for_a_third() -> None:
    pace = Pace()
    pace.note(100, 1.0)
    assert pace.per_row_s == 0.01
    pace.note(10, 0.2)
    assert pace.per_row_s == pytest.approx(0.013)
    assert [Pace(per_row_s).portion(100) for per_row_s in (0.001, 0.002, 1.0)] == [50, 25, 16]
    assert Pace(1.0).portion(10) == 10


def test_a_memory_error_is_the_machines_and_goes_on() -> None:
    def greedy(_: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(MemoryError):
        predict_in_portions(greedy, column(1.0), Pace(), lambda: 0.0, 1.0)


def test_a_row_without_a_hole_that_was_scored_is_remembered() -> None:
    pace = Pace()
    for first in (math.nan, 5.0, 6.0):
        predict_in_portions(lambda rows: rows[:, 0], column(first), pace, lambda: 0.0, 1.0)
    assert pace.good is not None
    assert pace.good.tolist() == [5.0]


def test_classes_of_several_portions_are_joined_and_what_failed_is_nan() -> None:
    def predict(rows: np.ndarray) -> np.ndarray:
        if (rows == 3).any():
            raise ValueError("three")
        return np.hstack([rows, -rows])

    found = predict_in_portions(predict, column(*range(40)), Pace(1.0), lambda: 0.0, 1.0)
    assert found.raw is not None
    assert (found.raw.shape, found.unasked) == ((40, 2), ())
    assert found.faults == {3: Raised("predict raised ValueError: three")}
    assert np.isnan(found.raw[3]).all()
    assert found.raw[[2, 4, 39]].tolist() == [[2, -2], [4, -4], [39, -39]]


def test_when_time_is_up_what_was_not_cleared_is_late_and_says_so() -> None:
    looks = iter([0.0, 0.0, 0.0])

    def predict(rows: np.ndarray) -> np.ndarray:
        if (rows == 1).any():
            raise ValueError("one")
        return rows[:, 0]

    found = predict_in_portions(predict, column(*range(8)), Pace(), lambda: next(looks, 2.0), 1.0)
    assert {type(failure) for failure in found.faults.values()} <= {NoTime, Raised}
    assert 1 in found.faults


# signatures


def test_a_signature_that_does_not_fit_says_which_columns() -> None:
    bare = Signature((ColumnPin("x"), ColumnPin("y"), ColumnPin("v.mean")), "b", "views")
    odd = "its columns are not the deployment's any more: {}"
    assert misfit(Signature((ColumnPin("x"), ColumnPin("z"), ColumnPin("v.mean")), "v", "views"), bare) == odd.format(
        "y, z"
    )
    assert misfit(Signature(bare.columns[::-1], "v", "views"), bare) == odd.format("their order")
    assert misfit(Signature(bare.columns[:2], "v", ""), bare) is None
    assert misfit(Signature(bare.columns[1:2], "v", ""), bare) == "its columns are not the deployment's inputs any more"
    assert misfit(Signature(bare.columns, "v", "others"), bare) == "its feature views have changed since it was trained"


def test_the_pace_follows_what_each_portion_took() -> None:
    now_s = [100.0]

    def predict(rows: np.ndarray) -> np.ndarray:
        now_s[0] += 0.01 * len(rows)
        return rows[:, 0]

    pace = Pace(0.01)
    predict_in_portions(predict, column(*range(40)), pace, lambda: now_s[0], 1e9)
    assert pace.per_row_s == pytest.approx(0.01)


def test_a_result_of_no_rows_has_no_faults() -> None:
    assert faults_of_rows(np.empty((0, 2)), "binary") == {}
