"""What is normal for a version: its training rows by column, and how far one block of them lies from the others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.events.registry import ColumnPin
from headrace.stats.references import MOST_COLUMNS, block_of, column_of, described, left_out, spread_of
from headrace.stats.sketches import quantiles_of

DAY_S, HOUR_S = 86_400.0, 3600.0
DAYS, PER_DAY = 40, 240
AT_S = np.repeat(np.arange(DAYS) * DAY_S, PER_DAY) + np.tile(np.arange(PER_DAY) * (DAY_S / PER_DAY), DAYS)


def values_of(rng: np.random.Generator, per_day: float) -> NDArray[np.float32]:
    """Normal values, whose mean moves from day to day with this standard deviation."""
    days = np.repeat(rng.normal(0, per_day, DAYS), PER_DAY)
    return (rng.normal(100, 1, len(AT_S)) + days).astype(np.float32)


def test_independent_rows_have_no_spread() -> None:
    found = column_of("x", values_of(np.random.default_rng(1), 0.0), AT_S, DAY_S)
    assert found.kind == "number"
    assert found.spread == pytest.approx(1.0, abs=0.2)
    assert found.shares == pytest.approx([0.1] * 10, abs=1e-9)
    assert (len(found.edges), found.codes) == (9, ())


def test_days_that_differ_have_a_spread_and_a_tail() -> None:
    found = column_of("x", values_of(np.random.default_rng(1), 1.0), AT_S, DAY_S)
    assert found.spread > 8
    assert found.tail is not None
    assert 0.3 < found.tail < 2


def test_a_block_is_compared_with_those_before_it_too() -> None:
    """A column that rises all the time: within the history a day lies in the middle, tomorrow does not."""
    rng = np.random.default_rng(2)
    rising = (rng.normal(0, 1, len(AT_S)) + AT_S / DAY_S / 10).astype(np.float32)
    mixed = rising.reshape(DAYS, PER_DAY)[rng.permutation(DAYS)].ravel()
    assert column_of("x", rising, AT_S, DAY_S).spread > 1.5 * column_of("x", mixed, AT_S, DAY_S).spread


def test_too_few_blocks_say_nothing() -> None:
    assert spread_of(np.full((4, 10), 20.0)) == (1.0, None)


def test_a_category_is_binned_by_its_frequent_codes_and_nulls_are_counted_by_hour_and_day() -> None:
    codes = np.tile(np.repeat([0.0, 1.0, 2.0], [150, 88, 2]), DAYS).astype(np.float32)
    codes[(AT_S >= 20 * DAY_S) & (AT_S < 20 * DAY_S + 2 * HOUR_S)] = np.nan
    codes[:PER_DAY] = np.nan  # where the log begins, features have no values yet
    found = column_of("c", codes, AT_S, DAY_S, is_category=True)
    assert (found.codes, len(found.shares), found.kind) == ((0, 1), 4, "category")
    assert sum(found.shares) == pytest.approx(1.0)
    assert found.shares[2] == pytest.approx(39 * 2 / len(codes))
    assert found.shares[3] == found.null_share == pytest.approx((PER_DAY + 20) / len(codes))
    assert found.most_null == pytest.approx(2 * 20 / PER_DAY)
    assert [found.most_null_hours[hour] for hour in (0, 2, 4, 5, 6)] == [1.0, 1.0, 1.0, 0.5, 0.0]
    assert (found.low, found.sketch) == (None, b"")


def test_a_number_has_its_range_its_quantiles_and_the_size_of_its_days() -> None:
    values = np.exp(values_of(np.random.default_rng(3), 0.0) / 100).astype(np.float32)
    found = column_of("x", values, AT_S, DAY_S)
    assert (found.low, found.high) == (values.min(), values.max())
    assert quantiles_of(found.sketch, [0.5])[0] == pytest.approx(float(np.median(values)), rel=1e-3)
    assert found.log_mean == pytest.approx(1.0, abs=1e-3)
    assert found.log_std == pytest.approx(0.01, abs=1e-3)
    assert found.log_apart is not None
    assert 0 < found.log_apart < 0.003
    assert len(found.sketch) < 1500


def test_a_number_that_may_be_below_zero_has_no_size() -> None:
    assert column_of("x", values_of(np.random.default_rng(3), 0.0) - 100, AT_S, DAY_S).log_mean is None


def test_a_column_without_any_value_is_null_throughout() -> None:
    found = column_of("x", np.full(len(AT_S), np.nan, np.float32), AT_S, DAY_S)
    assert (found.null_share, found.most_null, found.low, found.tail, found.shares) == (1.0, 1.0, None, None, (0.0,))


def test_blocks_are_widened_until_they_hold_rows_enough() -> None:
    assert block_of(AT_S, HOUR_S) == 8 * HOUR_S
    assert block_of(AT_S, DAY_S) == DAY_S
    assert block_of(np.arange(30) * DAY_S, DAY_S) == 2 * DAY_S


def test_what_is_left_out_of_a_reference_is_said() -> None:
    pins = tuple(ColumnPin(f"x{n}") for n in range(MOST_COLUMNS + 2))
    assert left_out(pins[:-2]) == ""
    assert left_out(pins) == "the last 2 columns are not compared with live rows, from x200 on"


def test_rows_are_described_by_column_with_their_scores() -> None:
    rng = np.random.default_rng(4)
    matrix = np.column_stack([values_of(rng, 0.0), np.tile([0.0, 1.0], len(AT_S) // 2)]).astype(np.float32)
    pins = (ColumnPin("x"), ColumnPin("c", ("a", "b")))
    found = described(pins, matrix, AT_S, DAY_S, (rng.random(50).astype(np.float32), AT_S[-50:]))
    assert [(column.name, column.kind) for column in found.columns] == [("x", "number"), ("c", "category")]
    assert (found.rows, found.from_s, found.to_s, found.block_s) == (len(AT_S), AT_S[0], AT_S[-1], DAY_S)
    assert (found.block_rows, found.windows) == (PER_DAY, ())
    assert found.scores is not None
    assert found.scores.name == "score"
    assert described(pins, matrix, AT_S, DAY_S).scores is None


def test_how_often_a_default_stood_for_a_feature_is_counted_by_day_and_hour() -> None:
    """NB: the first twentieth of the time is left out, where features have no values yet."""
    is_missing = AT_S < DAY_S
    is_missing |= (AT_S >= 20 * DAY_S) & (AT_S < 20 * DAY_S + 6 * HOUR_S)
    matrix = np.ones((len(AT_S), 2), np.float32)
    pins = (ColumnPin("x"), ColumnPin("v.n", None, 1.0))
    x, feature = described(pins, matrix, AT_S, DAY_S, None, np.column_stack([is_missing, is_missing])).columns
    assert (x.most_missing, x.most_missing_hours) == (None, ())
    assert (feature.most_missing, feature.most_missing_hours[3], feature.most_missing_hours[12]) == (0.5, 1.0, 0.0)
    assert described(pins, matrix, AT_S, DAY_S).columns[1].most_missing is None
