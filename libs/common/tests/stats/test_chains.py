"""Chains of bets: which chain a block belongs to, the cost of an open bet, and the restoration from plain numbers."""

import math

import numpy as np
import pytest

from headrace.stats.sequential import BETS, Chains, log_e_of_counts


def evidence(*gains_of_chains: list[float]) -> float:
    """By definition: the mean wealth of the chains, each the mean over its bettors."""
    return math.log(np.mean([np.prod(1 + bet * np.array(gains)) for gains in gains_of_chains for bet in BETS]))


def test_every_kth_block_goes_to_the_same_chain() -> None:
    test = Chains.new(2, 1.0)
    for gain in (0.5, -0.2, 0.7, -0.4, 0.1):
        test.settle(gain, 1.0)
    assert test.settled == 5
    assert float(test.log_e()) == pytest.approx(evidence([0.5, 0.7, 0.1], [-0.2, -0.4]))


def test_a_block_in_which_nothing_was_at_risk_takes_its_turn() -> None:
    test = Chains.new(3, 1.0)
    test.settle(0.5, 1.0)
    test.skip(1)
    test.settle(0.7, 1.0)
    test.skip(4)
    test.settle(-0.3, 1.0)
    assert test.settled == 8
    assert float(test.log_e()) == pytest.approx(evidence([0.5], [-0.3], [0.7]))


def test_the_open_blocks_follow_the_settled_ones_in_their_chains() -> None:
    test = Chains.new(3, 1.0)
    for gain in (0.9, 0.1):
        test.settle(gain, 1.0)
    assert float(test.log_e([-0.5, -0.25], [1.0, 1.0])) == pytest.approx(evidence([0.9, -0.25], [0.1], [-0.5]))
    assert float(test.log_e()) == pytest.approx(evidence([0.9], [0.1], []))


def test_an_open_block_can_lose_no_more_than_its_stake_and_wins_nothing_yet() -> None:
    test = Chains.new(3, 1.0)
    test.settle(0.9, 1.0)
    assert float(test.log_e([-7.0, 0.4], [1.0, 1.0])) == pytest.approx(evidence([0.9], [-1.0], [0.0]))


def test_a_settled_block_loses_no_more_than_its_stake() -> None:
    test = Chains.new(1, 1.0)
    test.settle(-7.0, 1.0)
    assert float(test.log_e()) == pytest.approx(evidence([-1.0]))


def test_a_gain_is_divided_by_the_mean_of_the_risks_so_far_where_that_is_more() -> None:
    test = Chains.new(1, 0.01)
    for gain, risk in ((0.3, 0.6), (0.1, 0.2), (0.0, 0.0), (0.3, 0.1)):
        test.settle(gain, risk)
    typical = (0.6 + 0.2 + 0.1) / 3
    assert float(test.log_e()) == pytest.approx(evidence([0.3 / 0.6, 0.1 / 0.4, 0.0, 0.3 / typical]))


def test_the_risks_of_open_blocks_count_one_after_the_other() -> None:
    test = Chains.new(3, 0.01)
    test.settle(0.0, 0.6)
    low, typical = [-0.1, -0.1], [(0.6 + 0.2) / 2, (0.6 + 0.2 + 0.1) / 3]
    wanted = evidence([0.0], *([gain / scale] for gain, scale in zip(low, typical, strict=True)))
    assert float(test.log_e(low, [0.2, 0.1])) == pytest.approx(wanted)


def test_where_hardly_anything_was_at_risk_the_least_divides() -> None:
    test = Chains.new(1, 0.5)
    test.settle(0.1, 0.1)
    assert float(test.log_e()) == pytest.approx(evidence([0.2]))


def test_a_test_half_way_through_its_chains_continues_from_plain_numbers() -> None:
    gains, risks = [0.5, -0.2, 0.7, -0.4, 0.1, 0.3], [1.0, 0.5, 0.7, 0.4, 1.0, 0.3]
    whole, again = Chains.new(4, 0.01), Chains.new(4, 0.01)
    for gain, risk in zip(gains[:3], risks[:3], strict=True):
        whole.settle(gain, risk)
    assert sorted(whole.state()) == ["risk", "settled", "wealth"]
    again.restore(whole.state())
    for gain, risk in zip(gains[3:], risks[3:], strict=True):
        whole.settle(gain, risk)
        again.settle(gain, risk)
    assert again.settled == whole.settled == 6
    assert again.log_e([-0.2], [0.4]) == pytest.approx(whole.log_e([-0.2], [0.4]))
    assert again.state() == whole.state()


def test_many_tests_in_one_batch_are_each_as_if_alone() -> None:
    gains = np.array([[0.5, -0.2, 0.7], [-0.4, 0.1, 0.3]])
    together = Chains.new(2, 0.01, (2,))
    for block in range(3):
        together.settle(gains[:, block], np.array([1.0, 0.5]))
    for row, risk in enumerate((1.0, 0.5)):
        alone = Chains.new(2, 0.01)
        for block in range(3):
            alone.settle(gains[row, block], risk)
        assert float(together.log_e()[row]) == pytest.approx(float(alone.log_e()))


@pytest.mark.parametrize(("new", "control", "share"), [(0, 9, 0.0), (9, 0, 1.0)])
def test_a_share_of_none_or_all_is_kept_while_no_unit_contradicts_it(new: int, control: int, share: float) -> None:
    assert log_e_of_counts(new, control, share) == 0
    assert log_e_of_counts(control + 1, new + 1, share) == math.inf


def test_the_evidence_against_a_split_is_the_ratio_of_its_beta_mixture() -> None:
    """By hand: Beta(20, 80) with 2 and 1 units seen, against 0.2 ** 2 * 0.8."""
    mixed = (20 * 21 * 80) / (100 * 101 * 102)
    assert log_e_of_counts(2, 1, 0.2) == pytest.approx(math.log(mixed / (0.2**2 * 0.8)))
