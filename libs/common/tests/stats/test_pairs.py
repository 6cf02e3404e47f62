"""Blocks of paired requests by hand: what is known before and after the labels, and the results of the three tests."""

import math

import numpy as np
import pytest

from headrace.stats.pairs import (
    EMPTY,
    BlockSum,
    PairTest,
    brier_losses,
    brier_losses_of_classes,
    days_to_decision,
    shows_harm,
    shows_no_worse,
    sum_up,
)
from headrace.stats.sequential import Chains

MARGIN = 0.1
# Differences by label 0 and 1: new scores 0.5, control 0.2 -> .21 and -.39; new fails, control 0.2 -> .96 and .36.
NEW, CONTROL = brier_losses([0.5, np.nan, 0.2]), brier_losses([0.2, 0.2, 0.2])
WEIGHT = 3 + 10


def test_a_block_with_all_its_labels_by_hand() -> None:
    found = sum_up(NEW, CONTROL, [0, 1, 1], MARGIN, missing_is_worst=False)
    assert (found.rows, found.labelled) == (3, 3)
    assert found.difference == pytest.approx(0.21 + 0.36 + 0.0)
    assert found.harm_gain == pytest.approx((0.11 + 0.26 - 0.1) / WEIGHT)
    assert found.margin_gain == pytest.approx(-found.harm_gain)
    assert found.better_gain == pytest.approx(-0.57 / WEIGHT)
    assert found.harm_risk == pytest.approx((0.49 + 0.0 + 0.1) / WEIGHT)
    assert found.margin_risk == pytest.approx((0.11 + 0.86 + 0.0) / WEIGHT)
    assert found.better_risk == pytest.approx((0.21 + 0.96 + 0.0) / WEIGHT)


def test_labels_that_are_still_to_come_count_as_the_worst_for_each_test() -> None:
    found = sum_up(NEW, CONTROL, [np.nan, 1, np.nan], MARGIN, missing_is_worst=True)
    assert (found.rows, found.labelled, found.difference) == (3, 1, pytest.approx(0.36))
    assert found.harm_gain == pytest.approx((-0.49 + 0.26 - 0.1) / WEIGHT)
    assert found.margin_gain == pytest.approx((-0.11 - 0.26 + 0.1) / WEIGHT)
    assert found.better_gain == pytest.approx((-0.21 - 0.36 - 0.0) / WEIGHT)


def test_labels_that_never_came_count_as_nothing() -> None:
    found = sum_up(NEW, CONTROL, [np.nan, 1, np.nan], MARGIN, missing_is_worst=False)
    assert (found.harm_gain, found.margin_gain) == (pytest.approx(0.26 / WEIGHT), pytest.approx(-0.26 / WEIGHT))
    assert found.better_gain == pytest.approx(-0.36 / WEIGHT)


def test_a_block_without_rows_is_the_empty_one() -> None:
    nobody = np.empty((0, 2))
    assert sum_up(nobody, nobody, [], MARGIN, missing_is_worst=True) == EMPTY == BlockSum(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_for_several_classes_the_loss_is_half_the_sum_of_squares() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, np.nan, 0.8]])
    by_hand = [sum((p - (k == true)) ** 2 for k, p in enumerate(probabilities[0])) / 2 for true in range(3)]
    assert brier_losses_of_classes(probabilities) == pytest.approx(np.array([by_hand, [1.0, 1.0, 1.0]]))


BLOCK = BlockSum(5, 5, 0.0, 0.3, 0.5, -0.2, 0.4, 0.1, 0.7)
OPEN = BlockSum(5, 0, 0.0, -0.1, 0.2, -0.3, 0.6, -0.2, 0.9)


def alone(chains: int, least: float, stakes: list[tuple[float, float]], low: float, risk: float) -> float:
    test = Chains.new(chains, least)
    for gain, at_risk in stakes:
        test.settle(gain, at_risk)
    return float(test.log_e([low], [risk]))


def test_each_of_the_three_tests_takes_its_own_gain_and_risk() -> None:
    test = PairTest.new(2, 0.04)
    test.settle(BLOCK)
    assert test.log_e([OPEN]) == pytest.approx(
        (
            alone(2, 0.01, [(0.3, 0.5)], -0.1, 0.2),
            alone(2, 0.01, [(-0.2, 0.4)], -0.3, 0.6),
            alone(2, 0.01, [(0.1, 0.7)], -0.2, 0.9),
        )
    )


@pytest.mark.parametrize(("margin", "least"), [(0.04, 0.01), (0.0, 1e-4)])
def test_less_than_a_quarter_of_the_margin_at_risk_counts_as_that_much(margin: float, least: float) -> None:
    assert [test.least for test in PairTest.new(1, margin)._tests] == [least] * 3


def test_blocks_without_requests_take_their_turn_in_all_three() -> None:
    test = PairTest.new(3, 0.04)
    test.settle(BLOCK)
    test.skip(2)
    assert [chains.settled for chains in (test.harm, test.margin, test.better)] == [3, 3, 3]


def stakes_of(block: BlockSum) -> tuple[float, ...]:
    return (
        block.harm_gain, block.harm_risk, block.margin_gain, block.margin_risk, block.better_gain, block.better_risk
    )  # fmt: skip


def test_rollouts_in_parallel_are_each_as_if_alone() -> None:
    two = PairTest.new(2, 0.04, (2,))
    both = [np.array(pair) for pair in zip(stakes_of(BLOCK), stakes_of(OPEN), strict=True)]
    two.settle(BlockSum(5, 5, 0.0, *both))
    for row, block in enumerate((BLOCK, OPEN)):
        one = PairTest.new(2, 0.04)
        one.settle(block)
        assert [float(found[row]) for found in two.log_e()] == pytest.approx([float(found) for found in one.log_e()])


def test_a_rollout_continues_from_plain_numbers_test_by_test() -> None:
    test = PairTest.new(3, 0.04)
    test.settle(BLOCK)
    test.settle(OPEN)
    state = test.state()
    assert sorted(state) == ["labels.better", "labels.harm", "labels.margin"]
    again = PairTest.restored(3, 0.04, state)
    assert again.state() == state
    assert list(map(float, again.log_e([OPEN]))) == pytest.approx(list(map(float, test.log_e([OPEN]))))
    assert again.harm.least == 0.01
    fresh = PairTest.restored(3, 0.04, {"labels.margin": state["labels.margin"]})
    assert [chains.settled for chains in fresh._tests] == [0, 2, 0]


@pytest.mark.parametrize(
    ("log_e", "difference", "harm", "no_worse"),
    [
        (3.0, 0.11, True, False),
        (3.0, 0.1, False, False),
        (3.0, 0.09, False, True),
        (2.99, 0.2, False, False),
        (2.99, 0.0, False, False),
    ],
)
def test_evidence_shows_something_only_where_the_plain_mean_agrees(
    log_e: float, difference: float, harm: bool, no_worse: bool
) -> None:
    level = math.exp(-3.0)
    assert bool(shows_harm(log_e, difference, MARGIN, level)) is harm
    assert bool(shows_no_worse(log_e, difference, MARGIN, level)) is no_worse


def test_days_to_a_decision_by_hand() -> None:
    """Edge .2, spread .36 + .04: the best bet is .5. With edge .8, spread .01 + .64, it would be 1.2, and the largest is .95."""
    assert days_to_decision(0.0, 0.1, 0.3, 0.5, 24.0, 3, 0.05) == pytest.approx(-math.log(0.05) / 0.05 * 3 / 24)
    cut = 0.95 * 0.8 - 0.95**2 * 0.65 / 2
    assert days_to_decision(-0.3, 0.1, 0.05, 0.5, 24.0, 3, 0.05) == pytest.approx(-math.log(0.05) / cut * 3 / 24)


def test_without_an_edge_no_day_is_enough() -> None:
    assert days_to_decision(0.1, 0.1, 0.15, 0.5, 24.0, 3, 0.05) == math.inf
    assert days_to_decision(0.1, 0.1, 0.0, 0.5, 24.0, 3, 0.05) == math.inf
