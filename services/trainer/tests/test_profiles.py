"""What a version's card says of its data."""

import math

import numpy as np
import pytest

from headrace.events.registry import ColumnPin, Signature
from headrace_trainer.core.profiles import profile_of, slices_of
from headrace_trainer.core.target import Target

SIGNATURE = Signature((ColumnPin("miles"), ColumnPin("carrier", ("AA", "UA"))), "s")
TWO = Target("binary")


def test_a_column_is_profiled_by_what_is_there() -> None:
    matrix = np.array([[1.0, 0.0], [3.0, np.nan], [np.nan, 1.0], [np.nan, 1.0]], np.float32)
    assert profile_of(SIGNATURE, matrix) == {
        "miles": {"null_share": 0.5, "mean": 2.0, "std": 1.0, "min": 1.0, "max": 3.0},
        "carrier": {"null_share": 0.25},
    }


def test_a_column_without_any_value_is_said_to_be_null() -> None:
    assert profile_of(SIGNATURE, np.full((2, 2), np.nan, np.float32))["miles"] == {"null_share": 1.0}


def test_slices_are_the_frequent_values_of_categories() -> None:
    inputs = [{"carrier": "AA"}] * 150 + [{"carrier": "UA"}] * 120 + [{"carrier": "ZZ"}] * 99
    labels = np.array([1.0, 0.0] * 75 + [0.0] * 120 + [1.0] * 99)
    found = slices_of(SIGNATURE, TWO, inputs, np.full(369, 0.5), labels)
    assert list(found) == ["carrier=AA", "carrier=UA"]
    assert found["carrier=AA"]["rows"] == 150
    assert found["carrier=AA"]["log_loss"] == pytest.approx(math.log(2))
    assert (found["carrier=AA"]["auc"], "auc" in found["carrier=UA"]) == (0.5, False)
