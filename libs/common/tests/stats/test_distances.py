"""Distances between binned samples: they agree with scipy, and their p-values know how many rows there are and how alike these are."""

import math

import numpy as np
import pytest
from scipy.stats import binom, chi2, chi2_contingency, chisquare, false_discovery_control, ks_2samp

from headrace.stats.bins import codes_of, edges_of, places_of, places_of_codes
from headrace.stats.distances import (
    Dependence,
    benjamini_hochberg,
    binomial_tail,
    chi_square,
    chi_square_tail,
    ks,
    p_value,
    psi,
)

RNG = np.random.default_rng(14)


def test_pearsons_statistic_is_scipys() -> None:
    counts, shares = RNG.multinomial(500, [0.1] * 10), np.full(10, 0.1)
    statistic, freedom = chi_square(counts, shares)
    theirs = chisquare(counts, 500 * shares)
    assert (float(statistic), float(freedom)) == (pytest.approx(theirs.statistic), 9.0)
    assert chi_square_tail(float(statistic), 9) == pytest.approx(theirs.pvalue)


def test_pearsons_statistic_of_two_samples_is_that_of_a_table() -> None:
    """Nearly: the table has the shares of both together, and the reference its own."""
    one, two = RNG.multinomial(4000, [0.25] * 4), RNG.multinomial(1000, [0.3, 0.2, 0.25, 0.25])
    theirs = chi2_contingency(np.stack([one, two]), correction=False).statistic
    assert float(chi_square(two, one / 4000, 4000)[0]) == pytest.approx(theirs, rel=0.05)


def test_bins_that_are_expected_to_hold_little_are_one() -> None:
    counts, shares = np.array([60, 30, 4, 6]), np.array([0.6, 0.32, 0.04, 0.04])
    joined = chisquare([60, 30, 10], [60, 32, 8])
    statistic, freedom = chi_square(counts, shares)
    assert (float(statistic), float(freedom)) == (pytest.approx(joined.statistic), 2.0)
    alone = chi_square(np.array([60, 38, 1, 1]), np.array([0.6, 0.38, 0.01, 0.01]))
    assert float(alone[0]) == pytest.approx(chisquare([60, 40], [60, 40]).statistic)
    assert float(alone[1]) == 1.0


def test_many_samples_are_compared_at_once() -> None:
    counts = RNG.multinomial(300, [0.2, 0.3, 0.5], size=5)
    statistics, _ = chi_square(counts, np.array([0.2, 0.3, 0.5]))
    assert statistics.tolist() == pytest.approx([chisquare(c, [60, 90, 150]).statistic for c in counts])


def test_nothing_is_compared_with_nothing() -> None:
    assert [float(found) for found in chi_square(np.zeros(3), np.array([0.2, 0.3, 0.5]))] == [0.0, 0.0]
    assert (psi([1, 2], [0, 0]), ks([0, 0], [1, 2])) == (0.0, 0.0)


@pytest.mark.parametrize("freedom", [1, 2, 5, 8, 30])
def test_the_tail_of_chi_square_is_scipys(freedom: int) -> None:
    for statistic in (0.1, 3.0, 20.0, 90.0):
        assert chi_square_tail(statistic, freedom) == pytest.approx(chi2.sf(statistic, freedom), rel=1e-9)


@pytest.mark.parametrize(("count", "rows", "share"), [(3, 40, 0.05), (40, 40, 0.9), (500, 10_000, 0.04), (7, 900, 0.5)])
def test_the_tail_of_the_binomial_is_scipys(count: int, rows: int, share: float) -> None:
    assert binomial_tail(count, rows, share) == pytest.approx(binom.sf(count - 1, rows, share), rel=1e-9)


def test_benjamini_and_hochberg_reject_what_scipy_adjusts_below_the_share() -> None:
    found = np.concatenate([RNG.random(50), RNG.random(10) / 1000])
    assert benjamini_hochberg(found, 0.05).tolist() == (false_discovery_control(found) <= 0.05).tolist()


def test_ks_of_values_in_bins_of_one_value_each_is_scipys() -> None:
    one, two = RNG.integers(0, 9, 500).astype(np.float32), RNG.integers(2, 9, 300).astype(np.float32)
    edges = tuple(float(n) for n in range(1, 9))
    counts = [np.bincount(places_of(found, edges), minlength=9) for found in (one, two)]
    assert ks(*counts) == pytest.approx(ks_2samp(one, two).statistic)


def test_independent_rows_have_the_p_values_of_chi_square_and_no_smaller_ones() -> None:
    assert p_value(20.0, 9, 500, Dependence(1.0, 0.2, 500.0)) == pytest.approx(chi2.sf(20.0, 9))


def test_how_far_is_far_depends_on_the_rows() -> None:
    """What the rows of a block have in common does not average out: with ten times the rows of a block it weighs ten times."""
    usual = Dependence(5.0, 0.5, 100.0)
    assert [usual.factor(rows) for rows in (0, 100, 1000)] == [1.0, 5.0, 41.0]
    assert p_value(9 * 41.0, 9, 1000, usual) == pytest.approx(0.5)
    assert p_value(9 * 41.0, 9, 100, usual) < 1e-4


def test_what_is_not_known_is_no_evidence() -> None:
    assert p_value(500.0, 9, 500, Dependence(1.0, math.inf, 500.0)) == 1.0
    assert p_value(500.0, 9, 19, Dependence(1.0, 0.2, 500.0)) == 1.0


def test_p_values_of_dependent_blocks_are_small_as_seldom_as_they_say() -> None:
    """Days whose mean moves: a test that takes their rows as independent finds something in every second one."""
    days = [RNG.normal(RNG.normal(0, 0.3), 1, 400).astype(np.float32) for _ in range(400)]
    edges = edges_of(np.concatenate(days[:200]))
    counts = np.array([np.bincount(places_of(day, edges), minlength=10) for day in days]).astype(float)
    shares = counts[:200].sum(axis=0) / counts[:200].sum()
    logs = np.log(chi_square(counts[:200], shares, counts[:200].sum())[0] / 9)
    usual = Dependence(math.exp(logs.mean()), float(logs.std(ddof=1)), 400.0)
    statistics = chi_square(counts[200:], shares, counts[:200].sum())[0]
    found = np.array([p_value(float(one), 9, 400, usual) for one in statistics])
    assert (np.array([chi2.sf(one, 9) for one in statistics]) < 0.01).mean() > 0.4
    assert (found < 0.05).mean() <= 0.08  # 10 of 200, and two standard errors
    assert (found < 0.001).sum() <= 2


def test_a_value_that_many_rows_share_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(np.float32)
    edges = edges_of(values)
    counts = np.bincount(places_of(values, edges), minlength=len(edges) + 1)
    assert counts.max() == 900
    assert counts.sum() == 1000


def test_rare_codes_share_a_bin_and_unknown_values_have_the_last() -> None:
    values = np.array([0] * 500 + [3] * 300 + [5] * 2 + [np.nan] * 4, np.float32)
    codes = codes_of(values)
    assert codes == (0, 3)
    assert np.bincount(places_of_codes(values, codes)).tolist() == [500, 300, 2, 4]
    assert places_of_codes(np.array([1.0, np.nan], np.float32), ()).tolist() == [0, 1]
    assert places_of(np.array([np.nan, 1.0], np.float32), (0.5,)).tolist() == [-1, 1]
