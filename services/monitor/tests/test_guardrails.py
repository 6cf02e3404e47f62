"""Guardrails: seldom wrong under their nulls at every look, quick when a version is bad, and the same after a restart."""

import math

import numpy as np
import pytest

from headrace_monitor.core.guardrails import DistanceTest, LatencyTest, ShareTest, guardrail_test, split_alpha

ALPHA = 0.05


def share_test(new: float, control: float, runs: int, decisions: int, limit: float = 0.02, share: float = 0.1) -> float:
    """The share of runs in which the limit counts as exceeded at any of the looks."""
    rng = np.random.default_rng(6)
    failed = 0
    for _ in range(runs):
        test = ShareTest(limit)
        for _ in range(decisions // 100):
            in_new = rng.random(100) < share
            bad = rng.random(100) < np.where(in_new, new, control)
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
    rng = np.random.default_rng(7)
    in_new, bad = rng.random(1000) < 0.3, rng.random(1000) < 0.1
    whole, parts = ShareTest(0.02), ShareTest(0.02)
    whole.take(in_new, bad, ~in_new, bad)
    for some in np.array_split(np.arange(1000), 37):
        parts.take(in_new[some], bad[some], ~in_new[some], bad[some])
    assert parts.log_e == pytest.approx(whole.log_e)
    assert (parts.measured, parts.streak) == (whole.measured, whole.streak)


def test_slow_calls_of_both_cancel_out_and_slow_ones_of_one_do_not() -> None:
    rng = np.random.default_rng(8)
    same, slow = LatencyTest(3.0), LatencyTest(3.0)
    control = rng.lognormal(0, 1, 500)
    same.take(rng.lognormal(0, 1, 500), control)
    slow.take(rng.lognormal(2, 1, 500), control)
    assert same.log_e < 1 < -math.log(0.001) < slow.log_e
    assert slow.measured == pytest.approx(math.exp(2), rel=0.2)


def test_scores_that_are_spread_differently_are_found_and_a_shift_within_the_limit_is_not() -> None:
    rng = np.random.default_rng(9)
    scores = rng.random(800)
    moved, turned = DistanceTest(0.3), DistanceTest(0.3)
    moved.take(np.clip(scores + 0.15, 0, 1), scores)
    turned.take(np.full(800, 0.05), scores)
    assert moved.log_e < 0 < -math.log(0.001) < turned.log_e
    assert moved.measured == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize("metric", ["errors", "latency", "distribution"])
def test_a_guardrail_goes_on_from_its_plain_numbers(metric: str) -> None:
    rng = np.random.default_rng(10)
    test = guardrail_test(metric, 0.4)
    batch = [rng.random(50) for _ in range(4)]
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
