"""How many distinct values there are: against exact counts, against Apache DataSketches, and merged."""

import numpy as np
import pytest
from datasketches import hll_sketch
from numpy.typing import NDArray

from headrace.stats.distinct import REGISTERS, Distinct, count_of, distinct_sketch, merged_distinct


def drawn(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


@pytest.mark.parametrize("count", [3, 30, 300, 3_000, 30_000])
def test_counts_are_within_the_stated_error_and_have_no_bias(count: int) -> None:
    """The bias of the mean of 100 is within three of its standard errors; a single one within five."""
    errors = np.array([count_of(distinct_sketch(drawn(count, seed))) / count - 1 for seed in range(100)])
    assert abs(errors.mean()) < 3 * 0.065 / 10
    assert np.abs(errors).max() < max(5 * 0.065, 1 / count)


def test_it_errs_as_much_as_the_sketch_of_datasketches_with_as_many_registers() -> None:
    ours, theirs = [], []
    for seed in range(30):
        values = drawn(2_000, seed)
        other = hll_sketch(8)
        for value in values.tolist():
            other.update(value)
        ours.append(count_of(distinct_sketch(values)) / 2_000 - 1)
        theirs.append(other.get_estimate() / 2_000 - 1)
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.5)
    assert abs(np.mean(ours) - np.mean(theirs)) < 0.05


def test_repeats_and_nulls_do_not_count() -> None:
    values = np.array([1, 1, 2, np.nan, 2, 1], np.float32)
    assert count_of(distinct_sketch(values)) == 2
    assert distinct_sketch(np.full(9, np.nan, np.float32)) == b""
    assert count_of(distinct_sketch(np.full(10_000, 3.5, np.float32))) == 1


def test_the_sketch_of_parts_is_that_of_the_whole_to_the_last_bit() -> None:
    matrix = np.random.default_rng(3).integers(0, 400, (2_000, 3)).astype(np.float32)
    matrix[::7, 1] = np.nan
    whole, parts = Distinct(3), [Distinct(3), Distinct(3)]
    whole.fold(matrix, np.isnan(matrix))
    for part, rows in zip(parts, (matrix[:300], matrix[300:]), strict=True):
        part.fold(rows, np.isnan(rows))
    parts[0].merge(parts[1])
    assert (parts[0].registers == whole.registers).all()
    assert merged_distinct([part.of(1) for part in parts]) == whole.of(1) == distinct_sketch(matrix[:, 1])
    assert len(whole.of(0)) == REGISTERS
    assert merged_distinct([b"", b""]) == b""
