"""Limits on scores: how they are spread beside the control's own deciles, and how they are ordered."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from headrace_monitor.core.score_tests import DECILES, GROUP, LEARNED, DistanceTest, RankTest, correlations

SURE = -math.log(0.001)


def pairs(new: np.ndarray, control: np.ndarray) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """One score per request (shape (n,)), or one per class (shape (n, classes))."""
    return [
        (tuple(ours), tuple(theirs))
        for ours, theirs in zip(new.reshape(len(new), -1), control.reshape(len(control), -1), strict=True)
    ]


def ranked(new: np.ndarray, control: np.ndarray, limit: float = 0.2) -> RankTest:
    test = RankTest(limit)
    test.take(pairs(new, control))
    return test


# spread


def test_the_deciles_are_those_of_the_first_pairs_which_are_not_bet_on() -> None:
    rng = np.random.default_rng(1)
    control, test = rng.random(LEARNED + 1), DistanceTest(0.3)
    test.take(np.zeros(LEARNED - 1), control[: LEARNED - 1])
    assert (test.thresholds, test.measured, test.log_e) == (None, None, 0.0)
    test.take([0.0, 0.0], control[LEARNED - 1 :])
    expected = np.quantile(control[:LEARNED], DECILES, method="inverted_cdf")
    assert test.thresholds is not None
    assert test.thresholds.tolist() == [*expected, *np.nextafter(expected, -1)]
    assert (test.rows, test.seen) == (1, LEARNED + 1)
    whole = DistanceTest(0.3)
    whole.take(np.zeros(LEARNED + 1), control)
    assert whole.state() == test.state()


def test_the_deciles_are_learned_again_from_all_scores_whenever_they_have_doubled() -> None:
    control, test, learned_at = np.arange(1.0, 1001.0), DistanceTest(0.3), []
    for n in range(1000):
        before = test.thresholds
        test.take([0.0], control[n : n + 1])
        if test.thresholds is not before:
            learned_at.append(n + 1)
    assert learned_at == [50, 100, 200, 400, 800]
    assert test.thresholds is not None
    assert test.thresholds[:9].tolist() == pytest.approx(np.arange(80, 800, 80), abs=16)
    assert (test.stride, len(test.learned), test.rows) == (16, 63, 950)
    whole = DistanceTest(0.3)
    whole.take(np.zeros(1000), control)
    assert whole.state() == test.state() == DistanceTest.restored(0.3, test.state()).state()


def test_rare_labels_are_compared_where_their_scores_are() -> None:
    rng = np.random.default_rng(9)
    control = rng.beta(1, 200, 1000)
    turned, near = DistanceTest(0.7), DistanceTest(0.7)
    turned.take(np.full(1000, 0.04), control)
    near.take(control * 1.3, control)
    assert control.max() < 0.1
    assert near.log_e < 0 < SURE < turned.log_e
    assert near.measured == pytest.approx(0.12, abs=0.05)
    assert turned.measured == pytest.approx(0.9, abs=0.1)


def test_numbers_are_compared_without_any_range() -> None:
    rng = np.random.default_rng(3)
    control, moved = rng.normal(500, 90, 800), DistanceTest(0.3)
    moved.take(control + 200, control)
    assert moved.log_e > SURE


@pytest.mark.parametrize(("score", "distance"), [(0.5, 0.0), (0.6, 1.0), (0.4, 1.0)])
def test_a_control_that_always_scores_alike_is_compared_on_both_sides(score: float, distance: float) -> None:
    test = DistanceTest(0.3)
    test.take(np.full(100, score), np.full(100, 0.5))
    assert test.measured == distance


# order


def test_a_groups_correlation_is_spearmans_with_ties_averaged() -> None:
    rng = np.random.default_rng(4)
    new, control = rng.integers(0, 6, (2, 40, GROUP)).astype(float)
    found = correlations(new[:, :, None], control[:, :, None])
    assert found.tolist() == pytest.approx([spearmanr(*one).statistic for one in zip(new, control, strict=True)])


def test_only_whole_groups_are_bets_and_batches_of_any_size_lead_to_the_same_evidence() -> None:
    rng = np.random.default_rng(5)
    new, control = rng.random((2, 137))
    whole, parts = ranked(new, control), RankTest(0.2)
    for some in np.array_split(np.arange(137), 29):
        parts.take(pairs(new[some], control[some]))
    assert (whole.groups, whole.rows, len(whole.open)) == (13, 130, 7)
    assert (parts.groups, parts.open) == (whole.groups, whole.open)
    assert (parts.log_e, parts.measured) == pytest.approx((whole.log_e, whole.measured))


def test_a_version_in_any_order_fails_within_1000_requests_and_one_in_the_opposite_order_within_100() -> None:
    rng = np.random.default_rng(6)
    control = rng.beta(1, 50, 1000)
    assert ranked(rng.random(1000), control).log_e > SURE
    assert ranked(1 - control[:100], control[:100]).log_e > SURE


def test_a_version_that_agrees_more_than_the_limit_seldom_fails_at_any_look() -> None:
    rng, failed, measured = np.random.default_rng(7), 0, []
    for _ in range(100):
        risk, test = rng.normal(0, 1, 3000), RankTest(0.2)
        new, control = risk + rng.normal(0, 1.6, 3000), risk + rng.normal(0, 1.6, 3000)
        for some in np.array_split(np.arange(3000), 30):
            test.take(pairs(new[some], control[some]))
            if test.log_e >= -math.log(0.05):
                failed += 1
                break
        measured.append(test.measured)
    assert 0.2 < np.median(measured) < 0.25
    assert failed <= 5


def test_a_monotone_change_of_all_scores_changes_no_order() -> None:
    scores = np.random.default_rng(8).random(100)
    assert ranked(scores**2, scores).measured == pytest.approx(1.0)


def test_a_group_without_an_order_is_no_bet_for_the_control_and_none_at_all_for_the_version() -> None:
    order = np.arange(20.0)
    assert (ranked(order, np.full(20, 0.3)).groups, ranked(order, np.full(20, 0.3)).flat) == (0, 2)
    flat = ranked(np.full(20, 0.3), order)
    assert (flat.groups, flat.measured) == (2, 0.0)


def test_each_class_is_ranked_by_itself_and_counts_by_its_probability() -> None:
    rng = np.random.default_rng(11)
    control = np.column_stack([np.full(10, 0.5), np.linspace(0.3, 0.4, 10), np.linspace(0.2, 0.1, 10)])
    swapped = control[:, [0, 2, 1]]
    assert ranked(control, control).measured == pytest.approx(1.0)
    assert ranked(swapped, control).measured == pytest.approx(-1.0)
    one = np.column_stack([control[:, :2], control[::-1, 2]])
    assert ranked(one, control).measured == pytest.approx((0.35 - 0.15) / 0.5)
    # The highest probability alone would see no difference here.
    several = rng.dirichlet([1, 1, 1], 600)
    assert several.max(axis=1).tolist() == several[:, [1, 2, 0]].max(axis=1).tolist()
    assert ranked(several[:, [1, 2, 0]], several).log_e > SURE


def test_scores_of_another_shape_are_left_out() -> None:
    test = ranked(np.arange(9.0), np.arange(9.0))
    test.take([((0.1, 0.9), (0.1, 0.9))])
    assert len(test.open) == 9
