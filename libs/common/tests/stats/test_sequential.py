"""Bets against a running mean: valid under their null at every look, and the evidence against a split of units."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.stats.sequential import BETS, log_e_of_counts, log_mean_exp, staked

ALPHA = 0.05
RUNS = 2000


def highest(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """The highest evidence at any look, per run. `gains`: (runs, looks)."""
    return log_mean_exp(staked(gains).cumsum(axis=1)).max(axis=1)


def test_a_fair_game_is_rejected_at_most_as_often_as_stated_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    rejected = highest(rng.choice([-1.0, 1.0], (RUNS, 300))) >= -math.log(ALPHA)
    assert 0.005 < rejected.mean() <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def test_the_running_mean_is_tested_and_not_each_mean_by_itself() -> None:
    """Gains whose conditional means go up and down, but never lead the running mean above 0."""
    rng = np.random.default_rng(3)
    means = np.tile([-0.4] * 10 + [0.4] * 10, 15)
    gains = np.where(rng.random((RUNS, len(means))) < (1 + means) / 2, 1.0, -1.0)
    assert (highest(gains) >= -math.log(ALPHA)).mean() <= ALPHA


def test_gains_above_zero_are_found() -> None:
    rng = np.random.default_rng(2)
    gains = np.where(rng.random((200, 150)) < 0.7, 1.0, -1.0)
    assert (highest(gains) >= -math.log(ALPHA)).mean() > 0.99


def test_evidence_agrees_with_the_plain_product_of_bets() -> None:
    gains = np.random.default_rng(4).uniform(-1, 1.5, 40)
    wealth = staked(gains).sum(axis=0)
    assert wealth == pytest.approx([sum(math.log(1 + bet * gain) for gain in gains) for bet in BETS])
    assert float(log_mean_exp(wealth)) == pytest.approx(math.log(np.mean([np.prod(1 + bet * gains) for bet in BETS])))
    assert staked(np.zeros((3, 2))).shape == (3, 2, len(BETS))


def test_the_mean_of_exponentials_neither_overflows_nor_vanishes() -> None:
    assert float(log_mean_exp([-1000.0, -1001.0])) == pytest.approx(-1000 + math.log((1 + math.exp(-1)) / 2))
    assert float(log_mean_exp([900.0, -math.inf])) == pytest.approx(900 - math.log(2))
    assert float(log_mean_exp([-math.inf, -math.inf])) == -math.inf
    rows = np.log([[1.0, 3.0], [2.0, 6.0]])
    assert log_mean_exp(rows) == pytest.approx(np.log([2.0, 4.0]))
    assert log_mean_exp(rows, axis=0) == pytest.approx(np.log([1.5, 4.5]))
    assert float(log_mean_exp(rows, axis=(0, 1))) == pytest.approx(math.log(3.0))


# units


def test_units_split_as_stated_are_accepted_and_a_broken_split_is_found() -> None:
    rng = np.random.default_rng(5)
    found = [log_e_of_counts(new, 2000 - new, 0.05) for new in rng.binomial(2000, 0.05, RUNS)]
    assert np.mean(np.array(found) >= -math.log(0.01)) <= 0.01 + 3 * math.sqrt(0.01 / RUNS)
    assert log_e_of_counts(160, 1840, 0.05) > -math.log(0.001)
    assert log_e_of_counts(1, 5, 0.0) == math.inf


@pytest.mark.parametrize(("new", "control", "share"), [(0, 9, 0.0), (9, 0, 1.0)])
def test_a_share_of_none_or_all_is_kept_while_no_unit_contradicts_it(new: int, control: int, share: float) -> None:
    assert log_e_of_counts(new, control, share) == 0
    assert log_e_of_counts(control + 1, new + 1, share) == math.inf


def test_the_evidence_against_a_split_is_the_ratio_of_its_beta_mixture() -> None:
    """By hand: Beta(20, 80) with 2 and 1 units seen, against 0.2 ** 2 * 0.8."""
    mixed = (20 * 21 * 80) / (100 * 101 * 102)
    assert log_e_of_counts(2, 1, 0.2) == pytest.approx(math.log(mixed / (0.2**2 * 0.8)))
