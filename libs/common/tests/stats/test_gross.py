"""The gross test: bets on each request's difference less a tenth, by hand, and what it can and cannot see."""

import math

import numpy as np
import pytest

from headrace.stats.gross import GrossTest, gross_stakes
from headrace.stats.ranking import BETS

ALPHA = 0.0025


def taken(*blocks: list[float] | np.ndarray) -> GrossTest:
    test = GrossTest()
    for block in blocks:
        test.take(block)
    return test


def test_each_difference_less_the_limit_multiplies_the_wealth() -> None:
    # Gains of (.65 - .1) / 1.1 = .5 and (-.45 - .1) / 1.1 = -.5.
    found = gross_stakes([0.65, -0.45])
    assert found == pytest.approx([math.log((1 + bet / 2) * (1 - bet / 2)) for bet in BETS])
    assert gross_stakes([0.1]) == pytest.approx(np.zeros(len(BETS)))
    assert gross_stakes([]).tolist() == [0.0] * len(BETS)


def test_evidence_is_the_mean_wealth_of_all_bets() -> None:
    seen = np.array([0.5, -0.2, 0.9, 0.1])
    test = taken(seen[:1], seen[1:])
    wealth = [math.prod(1 + bet * (one - 0.1) / 1.1 for one in seen) for bet in BETS]
    assert test.log_e == pytest.approx(math.log(sum(wealth) / len(wealth)))
    assert (test.labels, test.total, test.mean) == (4, pytest.approx(1.3), pytest.approx(0.325))


def test_without_labels_there_is_no_mean_and_no_evidence() -> None:
    test = taken()
    assert (test.mean, test.log_e, test.has_failed(ALPHA)) == (None, 0.0, False)


def test_a_hundred_labels_are_needed_however_clear_they_are() -> None:
    assert taken([1.0] * 99).log_e > -math.log(ALPHA)
    assert not taken([1.0] * 99).has_failed(ALPHA)
    assert taken([1.0] * 99, [1.0]).has_failed(ALPHA)


def test_evidence_fails_at_its_threshold_and_not_below() -> None:
    test = taken([0.18] * 400)
    alpha = math.exp(-test.log_e)
    assert test.has_failed(alpha * 1.001)
    assert not test.has_failed(alpha * 0.999)


def test_evidence_without_a_mean_over_the_limit_is_no_failure() -> None:
    test = taken([1.0] * 50)
    test.take([0.0] * 451)
    assert test.mean is not None
    assert test.mean < 0.1
    assert not test.has_failed(0.999)
    early = taken([1.0] * 100)
    early.total = 0.1 * early.labels
    assert not early.has_failed(ALPHA)
    early.total = 0.1 * early.labels + 1e-9
    assert early.has_failed(ALPHA)


def test_a_version_that_is_worse_by_less_than_the_limit_is_seldom_rejected_at_any_look() -> None:
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(300):
        test = GrossTest()
        for block in rng.choice([-0.4, 0.6], (40, 25)):
            test.take(block)
            if test.has_failed(0.05):
                rejected += 1
                break
    assert rejected / 300 <= 0.05


def test_a_restored_test_goes_on_as_if_nothing_had_happened() -> None:
    seen = np.random.default_rng(2).uniform(-0.5, 1, 300)
    whole, again = taken(seen[:120]), GrossTest()
    again.restore(whole.state())
    whole.take(seen[120:])
    assert (again.labels, again.total) == (120, pytest.approx(seen[:120].sum()))
    again.take(seen[120:])
    assert again.wealth == pytest.approx(whole.wealth)
    assert (again.labels, again.total) == (300, pytest.approx(whole.total))


def test_the_labels_of_one_block_count_as_fifty_at_the_most() -> None:
    seen = np.random.default_rng(3).uniform(-0.5, 1, 200)
    apart = sum((gross_stakes([one]) for one in seen), np.zeros(len(BETS)))
    assert gross_stakes(seen) == pytest.approx(apart / 4)
    assert gross_stakes(seen[:50]) == pytest.approx(
        sum((gross_stakes([one]) for one in seen[:50]), np.zeros(len(BETS)))
    )


def test_a_state_is_plain_numbers() -> None:
    whole = taken(np.full(300, 0.25))
    assert whole.state() == {"wealth": whole.wealth.tolist(), "sums": [300.0, whole.total]}
