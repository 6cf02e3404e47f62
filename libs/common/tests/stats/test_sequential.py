"""Sequential tests: right under their nulls at every look, with late outcomes too, and quick when there is something."""

import math

import numpy as np
import pytest

from headrace.policy.guardrails import DistanceTest, LatencyTest, ShareTest, guardrail_test, split_alpha
from headrace.stats.pairs import PairTest, brier_losses, brier_losses_of_classes, sum_up
from headrace.stats.sequential import BETS, Chains, log_e_of_counts, log_mean_exp

ALPHA = 0.05
RUNS = 2000


def highest(gains: np.ndarray, chains: int, risk: float = 1.0) -> np.ndarray:
    """The highest evidence at any look, per run; the open bets count as lost. `gains`: (runs, blocks)."""
    test = Chains.new(chains, 0.01, (len(gains),))
    found = np.full(len(gains), -math.inf)
    for block in range(gains.shape[1]):
        test.settle(gains[:, block], np.full(len(gains), risk))
        coming = min(chains - 1, gains.shape[1] - 1 - block)
        lost = np.full((len(gains), coming), -risk)
        found = np.maximum(found, test.log_e(lost, -lost))
    return found


def test_a_fair_game_is_rejected_at_most_as_often_as_stated_however_often_one_looks() -> None:
    dice = np.random.default_rng(1)
    rejected = highest(dice.choice([-1.0, 1.0], (RUNS, 300)), 1) >= -math.log(ALPHA)
    assert 0.005 < rejected.mean() <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def test_blocks_that_share_their_fate_with_those_beside_them_are_no_more_often_rejected() -> None:
    """Outcomes come four blocks late, and what happens strikes five neighbouring blocks alike: one chain would be wrong."""
    dice = np.random.default_rng(2)
    shocks = dice.choice([-1.0, 1.0], (RUNS, 60)).repeat(5, axis=1)
    limit = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
    assert (highest(shocks, 5) >= -math.log(ALPHA)).mean() <= limit
    naive = Chains.new(1, 0.01, (RUNS,))
    found = np.full(RUNS, -math.inf)
    for block in range(shocks.shape[1]):
        naive.settle(shocks[:, block], np.ones(RUNS))
        found = np.maximum(found, naive.log_e())
    assert (found >= -math.log(ALPHA)).mean() > 2 * limit


def test_the_running_mean_is_tested_and_not_each_mean_by_itself() -> None:
    """Gains whose conditional means go up and down, but never lead the running mean above 0."""
    dice = np.random.default_rng(3)
    means = np.tile([-0.4] * 10 + [0.4] * 10, 15)
    gains = np.where(dice.random((RUNS, len(means))) < (1 + means) / 2, 1.0, -1.0)
    rejected = highest(gains, 1) >= -math.log(ALPHA)
    assert rejected.mean() <= ALPHA


def test_a_loss_that_lies_open_counts_before_it_is_known() -> None:
    test = Chains.new(2, 0.01)
    for _ in range(10):
        test.settle(1.0, 1.0)
    assert test.log_e() > test.log_e([-0.5], [1.0]) > test.log_e([-1.0], [1.0])


def test_a_block_of_hardly_any_risk_weighs_less_than_a_full_one() -> None:
    full, thin = Chains.new(1, 0.01), Chains.new(1, 0.01)
    for test in (full, thin):
        test.settle(0.0, 1.0)
    full.settle(0.5, 0.5)
    thin.settle(0.05, 0.05)
    assert full.log_e() > thin.log_e() > 0


def test_evidence_agrees_with_the_plain_product_of_bets() -> None:
    dice = np.random.default_rng(4)
    gains = dice.uniform(-1, 1.5, 40)
    test = Chains.new(1, 1.0)
    for gain in gains:
        test.settle(gain, 1.0)
    assert float(test.log_e()) == pytest.approx(math.log(np.mean([np.prod(1 + bet * gains) for bet in BETS])))
    assert float(log_mean_exp([-1000.0, -1001.0])) == pytest.approx(-1000 + math.log((1 + math.exp(-1)) / 2))


def test_units_split_as_stated_are_accepted_and_a_broken_split_is_found() -> None:
    dice = np.random.default_rng(5)
    found = [log_e_of_counts(new, 2000 - new, 0.05) for new in dice.binomial(2000, 0.05, RUNS)]
    assert np.mean(np.array(found) >= -math.log(0.01)) <= 0.01 + 3 * math.sqrt(0.01 / RUNS)
    assert log_e_of_counts(160, 1840, 0.05) > -math.log(0.001)
    assert log_e_of_counts(1, 5, 0.0) == math.inf


# pairs


def test_what_a_block_can_lose_is_known_from_its_scores() -> None:
    new, control = brier_losses([0.9, 0.5]), brier_losses([0.5, 0.5])
    for labels in ([0, 0], [0, 1], [1, 0], [1, 1]):
        sums = sum_up(new, control, labels, 0.01, missing_is_worst=True)
        assert -sums.harm_risk <= sums.harm_gain
        assert -sums.margin_risk <= sums.margin_gain
    unknown = sum_up(new, control, [np.nan, np.nan], 0.01, missing_is_worst=True)
    assert unknown.harm_gain == pytest.approx(-unknown.harm_risk, abs=0.01)
    assert sum_up(new, control, [np.nan, np.nan], 0.01, missing_is_worst=False).harm_gain == 0


def test_a_version_that_says_the_same_is_within_any_margin_and_never_harmful() -> None:
    test = PairTest.new(1, 0.01)
    losses = brier_losses(np.full(50, 0.3))
    for _ in range(8):
        test.settle(sum_up(losses, losses, np.zeros(50), 0.01, missing_is_worst=False))
    harm, margin, better = test.log_e()
    assert harm < 0 < -math.log(ALPHA) < margin
    assert better == 0


def test_the_brier_score_of_two_classes_is_that_of_the_binary_one() -> None:
    scores = np.array([0.1, 0.8])
    both = brier_losses_of_classes(np.stack([1 - scores, scores], axis=1))
    assert both == pytest.approx(brier_losses(scores))


# guardrails


def share_test(new: float, control: float, runs: int, decisions: int, limit: float = 0.02, share: float = 0.1) -> float:
    """In what share of runs the limit counts as broken at any of the looks."""
    dice = np.random.default_rng(6)
    failed = 0
    for _ in range(runs):
        test = ShareTest(limit)
        for _ in range(decisions // 100):
            in_new = dice.random(100) < share
            bad = dice.random(100) < np.where(in_new, new, control)
            test.take(in_new, bad, ~in_new, bad)
            if test.log_e >= -math.log(ALPHA):
                failed += 1
                break
    return failed / runs


def test_equal_error_rates_seldom_fail_and_a_rate_at_the_limit_seldom_too() -> None:
    assert share_test(0.05, 0.05, 200, 2000) <= 0.05
    assert share_test(0.07, 0.05, 200, 2000) <= 0.1


def test_a_clear_error_rate_fails() -> None:
    assert share_test(0.3, 0.01, 50, 3000) == 1.0


def test_failures_in_a_row_are_counted_over_batches() -> None:
    test = ShareTest(0.5)
    mine, good = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)
    for bad in ([False, True, True], [True, True, True], [True, False, True]):
        test.take(mine, np.array(bad), mine, good)
    assert (test.streak.longest, test.streak.length) == (6, 1)


def test_without_a_control_there_is_neither_a_bet_nor_a_streak() -> None:
    test = ShareTest(0.5)
    mine, nobody = np.ones(30, dtype=bool), np.zeros(30, dtype=bool)
    test.take(mine, mine, nobody, nobody)
    assert (test.log_e, test.streak.longest) == (0, 0)


def test_batches_of_any_size_lead_to_the_same_evidence() -> None:
    dice = np.random.default_rng(7)
    in_new, bad = dice.random(1000) < 0.3, dice.random(1000) < 0.1
    whole, parts = ShareTest(0.02), ShareTest(0.02)
    whole.take(in_new, bad, ~in_new, bad)
    for some in np.array_split(np.arange(1000), 37):
        parts.take(in_new[some], bad[some], ~in_new[some], bad[some])
    assert parts.log_e == pytest.approx(whole.log_e)
    assert (parts.measured, parts.streak) == (whole.measured, whole.streak)


def test_slow_calls_of_both_cancel_out_and_slow_ones_of_one_do_not() -> None:
    dice = np.random.default_rng(8)
    same, slow = LatencyTest(3.0), LatencyTest(3.0)
    control = dice.lognormal(0, 1, 500)
    same.take(dice.lognormal(0, 1, 500), control)
    slow.take(dice.lognormal(2, 1, 500), control)
    assert same.log_e < 1 < -math.log(0.001) < slow.log_e
    assert slow.measured == pytest.approx(math.exp(2), rel=0.2)


def test_scores_that_are_spread_differently_are_found_and_a_shift_within_the_limit_is_not() -> None:
    dice = np.random.default_rng(9)
    scores = dice.random(800)
    moved, turned = DistanceTest(0.3), DistanceTest(0.3)
    moved.take(np.clip(scores + 0.15, 0, 1), scores)
    turned.take(np.full(800, 0.05), scores)
    assert moved.log_e < 0 < -math.log(0.001) < turned.log_e
    assert moved.measured == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize("metric", ["errors", "latency", "distribution"])
def test_a_guardrail_goes_on_from_its_plain_numbers(metric: str) -> None:
    dice = np.random.default_rng(10)
    test = guardrail_test(metric, 0.4)
    batch = [dice.random(50) for _ in range(4)]
    flags = [values < 0.4 for values in batch]
    for _ in range(2):
        test.take(*flags) if isinstance(test, ShareTest) else test.take(batch[0], batch[1])
    again = guardrail_test(metric, 0.4, test.state())
    assert (again.log_e, again.measured, again.state()) == (test.log_e, test.measured, test.state())


def test_alpha_is_split_once_over_everything_that_can_roll_back() -> None:
    parts = split_alpha(0.05, ["errors", "latency", "degraded"], has_labels=True)
    assert sum(parts.values()) == pytest.approx(0.05)
    assert split_alpha(0.05, [], has_labels=True) == {"labels": 0.05}
    assert split_alpha(0.05, ["errors"], has_labels=False) == {"errors": 0.05}
