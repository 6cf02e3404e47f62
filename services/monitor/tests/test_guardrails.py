"""Guardrails: seldom wrong under their nulls at every look, quick when a version is bad, and the same after a restart."""

import math

import numpy as np
import pytest

from headrace_monitor.core.guardrails import LatencyTest, ShareTest, guardrail_test, split_alpha

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
            test.bet_on_arms(in_new, bad, ~in_new, bad)
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
        test.streak.take(mine, np.array(bad), mine, good, np.zeros(3, dtype=np.int64))
    assert (test.streak.longest, test.streak.length) == (6, 1)


def test_without_a_control_there_is_neither_a_bet_nor_a_streak() -> None:
    test = ShareTest(0.5)
    mine, nobody = np.ones(30, dtype=bool), np.zeros(30, dtype=bool)
    test.bet_on_arms(mine, mine, nobody, nobody)
    test.streak.take(mine, mine, nobody, nobody, np.zeros(30, dtype=np.int64))
    assert (test.log_e, test.streak.longest) == (0, 0)


def test_batches_of_any_size_lead_to_the_same_evidence() -> None:
    rng = np.random.default_rng(7)
    in_new, bad = rng.random(1000) < 0.3, rng.random(1000) < 0.1
    whole, parts = ShareTest(0.02), ShareTest(0.02)
    units, blocks = rng.integers(0, 50, 1000), np.arange(1000) // 200
    for test, cuts in ((whole, 1), (parts, 37)):
        for some in np.array_split(np.arange(1000), cuts):
            columns = in_new[some], bad[some], ~in_new[some], bad[some]
            test.bet_on_arms(*columns, units[some])
            test.streak.take(*columns, blocks[some])
    assert parts.log_e == pytest.approx(whole.log_e)
    assert (parts.measured, parts.streak, parts.failures) == (whole.measured, whole.streak, whole.failures)


def test_slow_calls_of_both_cancel_out_and_slow_ones_of_one_do_not() -> None:
    rng = np.random.default_rng(8)
    same, slow = LatencyTest(3.0), LatencyTest(3.0)
    control = rng.lognormal(5, 1, 500)
    same.take(rng.lognormal(5, 1, 500), control)
    slow.take(rng.lognormal(7, 1, 500), control)
    assert same.log_e < 1 < -math.log(0.001) < slow.log_e
    assert slow.measured == pytest.approx(math.exp(2), rel=0.2)


@pytest.mark.parametrize("metric", ["errors", "latency", "distribution", "rank_correlation"])
@pytest.mark.parametrize("count", [33, 77])
def test_a_guardrail_goes_on_from_its_plain_numbers(metric: str, count: int) -> None:
    rng = np.random.default_rng(10)
    test, (new, control) = guardrail_test(metric, 0.4), rng.random((2, count))

    def feed(which) -> None:
        if isinstance(which, ShareTest):
            which.bet_on_pairs(new < 0.4, control < 0.4, np.arange(count))
            which.streak.take(new < 1, new < 0.4, control < 1, control < 0.4, np.arange(count) // 9)
        elif metric == "rank_correlation":
            which.take([((a, 1 - a), (b, 1 - b)) for a, b in zip(new, control, strict=True)])
        else:
            which.take(new, control)

    feed(test)
    again = guardrail_test(metric, 0.4, test.state())
    for one in (test, again):
        feed(one)
    assert (again.log_e, again.measured, again.state()) == (test.log_e, test.measured, test.state())


def test_alpha_is_split_once_over_everything_that_can_roll_back() -> None:
    parts = split_alpha(0.05, ["errors", "latency", "degraded"], has_labels=True)
    assert sum(parts.values()) == pytest.approx(0.05)
    assert split_alpha(0.05, [], has_labels=True) == {"labels": 0.05}
    assert split_alpha(0.05, ["errors"], has_labels=False) == {"errors": 0.05}
    three = split_alpha(0.05, ["errors", "latency", "degraded"], has_labels=True)
    assert three["errors"] == pytest.approx(3 * three["latency"])


def test_no_unit_fails_a_version_alone_and_two_do() -> None:
    def log_e(*failing: int) -> float:
        test, units = ShareTest(0.002), np.arange(100)
        for _ in range(30):
            test.bet_on_pairs(np.isin(units, failing), np.zeros(100, dtype=bool), units)
        return test.log_e

    assert log_e() < 0
    assert log_e(3) == pytest.approx(log_e(), abs=0.1)
    assert log_e(3, 4) > -math.log(0.001)
