"""Sequential tests: valid under their nulls at every look, with late outcomes too, and fast when there is an effect."""

import math

import numpy as np
import pytest

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
    rng = np.random.default_rng(1)
    rejected = highest(rng.choice([-1.0, 1.0], (RUNS, 300)), 1) >= -math.log(ALPHA)
    assert 0.005 < rejected.mean() <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def test_correlated_neighbouring_blocks_are_no_more_often_rejected() -> None:
    """Outcomes come four blocks late, and shocks affect five neighbouring blocks alike: a single chain would be
    wrong.
    """
    rng = np.random.default_rng(2)
    shocks = rng.choice([-1.0, 1.0], (RUNS, 60)).repeat(5, axis=1)
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
    rng = np.random.default_rng(3)
    means = np.tile([-0.4] * 10 + [0.4] * 10, 15)
    gains = np.where(rng.random((RUNS, len(means))) < (1 + means) / 2, 1.0, -1.0)
    rejected = highest(gains, 1) >= -math.log(ALPHA)
    assert rejected.mean() <= ALPHA


def test_an_open_loss_counts_before_it_is_known() -> None:
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
    rng = np.random.default_rng(4)
    gains = rng.uniform(-1, 1.5, 40)
    test = Chains.new(1, 1.0)
    for gain in gains:
        test.settle(gain, 1.0)
    assert float(test.log_e()) == pytest.approx(math.log(np.mean([np.prod(1 + bet * gains) for bet in BETS])))
    assert float(log_mean_exp([-1000.0, -1001.0])) == pytest.approx(-1000 + math.log((1 + math.exp(-1)) / 2))


def test_units_split_as_stated_are_accepted_and_a_broken_split_is_found() -> None:
    rng = np.random.default_rng(5)
    found = [log_e_of_counts(new, 2000 - new, 0.05) for new in rng.binomial(2000, 0.05, RUNS)]
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


def test_a_version_with_equal_scores_is_within_any_margin_and_never_harmful() -> None:
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
