"""How sure a mean is, by hand: blocks of time as clusters, or single rows where there are too few of them."""

import math

import numpy as np
import pytest
from scipy.stats import t

from headrace_trainer.core.intervals import Estimate, estimate

DAY, HOUR = 86_400.0, 3_600.0


def by_hand(values: list[float], places: list[int]) -> float:
    """Cochran 1977, eq. 6.13: of a ratio over clusters."""
    mean = sum(values) / len(values)
    blocks = sorted(set(places))
    sums = [sum(v - mean for v, p in zip(values, places, strict=True) if p == block) for block in blocks]
    return math.sqrt(len(blocks) / (len(blocks) - 1) * sum(s * s for s in sums)) / len(values)


VALUES = [1.0, 2.0, 4.0, 3.0, 0.0, 5.0, 7.0, 1.0]


@pytest.mark.parametrize("width_s", [DAY, 6 * HOUR, HOUR])
def test_the_widest_blocks_of_which_there_are_five_give_the_error(width_s: float) -> None:
    places = [0, 0, 1, 1, 2, 3, 3, 4]
    found = estimate(np.array(VALUES), np.array(places) * width_s)
    assert (found.rows, found.blocks, found.width_s) == (8, 5, width_s)
    assert found.mean == pytest.approx(sum(VALUES) / 8)
    assert found.error == pytest.approx(by_hand(VALUES, places))


def test_four_blocks_are_too_few() -> None:
    found = estimate(np.array(VALUES), np.array([0, 0, 1, 1, 2, 2, 3, 3]) * HOUR)
    assert (found.width_s, found.blocks, found.is_measured) == (0.0, 8, False)
    assert (found.reach, found.low, found.high) == (math.inf, -math.inf, math.inf)


@pytest.mark.parametrize(("rows", "is_measured"), [(29, False), (30, True)])
def test_of_single_rows_thirty_are_wanted(rows: int, is_measured: bool) -> None:
    values = np.arange(float(rows))
    found = estimate(values, np.zeros(rows))
    assert (found.rows, found.blocks, found.is_measured) == (rows, rows, is_measured)
    if is_measured:
        assert found.error == pytest.approx(values.std(ddof=1) / math.sqrt(rows))


def test_the_bounds_are_one_sided_by_student() -> None:
    found = Estimate(2.0, 0.5, 100, 7, DAY)
    assert found.reach == pytest.approx(0.5 * t.ppf(0.95, 6))
    assert (found.low, found.high) == (pytest.approx(2.0 - found.reach), pytest.approx(2.0 + found.reach))


def test_how_many_rows_would_decide_grows_by_the_square() -> None:
    found = Estimate(2.0, 0.5, 100, 7, DAY)
    assert found.rows_to_decide(2.0 - found.reach / 2) in (400, 401)
    assert found.rows_to_decide(2.0 + found.reach / 2) in (400, 401)
    assert found.rows_to_decide(2.0 + found.reach / 3) in (900, 901)


def test_where_a_hundred_times_more_would_not_decide_nothing_is_said() -> None:
    found = Estimate(2.0, 0.5, 100, 7, DAY)
    assert found.rows_to_decide(2.0 + found.reach / 10.1) is None
    assert found.rows_to_decide(2.0 + found.reach / 9.9) is not None
    assert Estimate(2.0, math.inf, 10, 10, 0.0).rows_to_decide(0.0) is None
