"""Sketches of quantiles: parts merge to the whole, and distances of sketches are those of the values within their bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from headrace.stats.sketches import ks_of, merged, quantiles_of, sketch_of

# Three times the bound of a rank for k = 100, which holds in 99 % of all cases: there are many here, and no seed.
WITHIN = 3 * 0.026


def rank_error(sketch: bytes, values: np.ndarray) -> float:
    """The largest error of a rank at nine quantiles."""
    shares = np.arange(1, 10) / 10
    return float(np.abs(np.searchsorted(np.sort(values), quantiles_of(sketch, shares)) / len(values) - shares).max())


@given(st.integers(1, 2000), st.integers(0, 2000), st.integers(0, 9))
def test_parts_merge_to_a_sketch_of_the_whole(first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=first).astype(np.float32), rng.gamma(1, size=second).astype(np.float32)
    both = np.concatenate([one, two])
    for sketch in (merged([sketch_of(one), sketch_of(two)]), merged([sketch_of(two), sketch_of(one)]), sketch_of(both)):
        assert rank_error(sketch, both) <= WITHIN + 1 / len(both)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5, 2.0])
def test_the_distance_of_two_sketches_is_scipys(shift: float) -> None:
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=5000).astype(np.float32), rng.normal(shift, 1, size=4000).astype(np.float32)
    found = ks_of(sketch_of(one), sketch_of(two))
    assert found == pytest.approx(ks_2samp(one, two).statistic, abs=WITHIN)


def test_no_values_have_no_sketch() -> None:
    nothing = sketch_of(np.array([np.nan], np.float32))
    assert (nothing, merged([nothing]), quantiles_of(nothing, [0.5])) == (b"", b"", [])
    assert ks_of(nothing, sketch_of(np.ones(3, np.float32))) is None


def test_a_sketch_is_small() -> None:
    assert len(sketch_of(np.random.default_rng(1).normal(size=200_000).astype(np.float32))) < 1500
