"""Latency digests: where a duration is counted, and what is read from the counts."""

import numpy as np
import pytest

from headrace.latency import BOUNDS_S, BUCKETS, Digest, added, between, quantile_s


def test_a_duration_belongs_to_the_first_bucket_whose_bound_is_not_below_it() -> None:
    digest = Digest()
    for seconds in (0.0, 0.005, 0.0051, 10.0, 10.1, 3600.0):
        digest.add(seconds)
    assert digest.counts == [2, 1, *[0] * 11, 1, 2]
    assert len(digest.counts) == BUCKETS == len(BOUNDS_S) + 1
    assert digest.total == pytest.approx(3620.1101)


def test_many_equal_durations_cost_one_addition_and_two_clocks_that_differ_give_no_negative_sum() -> None:
    digest = Digest()
    digest.add(0.02, 256)
    digest.add(-3.0)
    assert (digest.counts[0], digest.counts[2], digest.total) == (1, 256, pytest.approx(5.12))


def test_quantiles_lie_within_the_bucket_that_holds_the_exact_one() -> None:
    drawn = np.random.default_rng(7).lognormal(-3.0, 1.0, 20_000)
    digest = Digest()
    for seconds in drawn:
        digest.add(float(seconds))
    edges = (0.0, *BOUNDS_S)
    for share in (0.1, 0.5, 0.9, 0.99):
        exact, found = float(np.quantile(drawn, share)), quantile_s(digest.counts, share)
        place = int(np.searchsorted(BOUNDS_S, exact))
        assert found is not None
        assert edges[place] <= found <= edges[place + 1]


def test_an_interval_is_the_difference_of_two_reports_and_instances_add_up() -> None:
    digest = Digest()
    digest.add(0.001, 100)
    older = tuple(digest.counts)
    digest.add(0.3, 4)
    newer = tuple(digest.counts)
    assert sum(between(older, newer)) == 4
    assert quantile_s(between(older, newer), 0.5) == pytest.approx(0.375)
    assert added([between(older, newer), between((), older)]) == newer
    assert quantile_s(added([]), 0.99) is None


def test_a_share_in_percent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share must lie in 0\.\.1, got 99 \(percent\?\)"):
        quantile_s([1] * BUCKETS, 99)
