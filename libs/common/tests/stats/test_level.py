"""The level of cycles and its bounds, against the sums written out, and how often the bounds hold."""

import math

import numpy as np
import pytest

from headrace.stats.level import bound, level


def by_hand(requests: list[float], sums: list[float]) -> tuple[float, float]:
    """Mean and standard error, cycle by cycle."""
    total, count = sum(requests), len(requests)
    mean = sum(sums) / total
    rest = [own - mean * size for own, size in zip(sums, requests, strict=True)]
    alone = sum(one * one for one in rest) * count / (count - 1)
    apart = [sum(rest[n] * rest[n + lag] for n in range(count - lag)) for lag in (1, 2)]
    variance = max(alone + 2 * (2 / 3 * apart[0] + 1 / 3 * apart[1]), alone)
    return mean, math.sqrt(variance + 8 * max(one * one for one in rest)) / total


def test_the_mean_is_that_of_the_requests_and_not_of_the_cycles() -> None:
    found = level([100, 300], [10.0, 0.0])
    assert (float(found.mean), found.cycles) == (pytest.approx(0.025), 2)


def test_the_error_of_two_cycles_by_hand() -> None:
    # The residuals are 7.5 and -7.5. The covariance of neighbours is negative: it takes nothing away.
    found = level([100, 300], [10.0, 0.0])
    assert float(found.error) == pytest.approx(math.sqrt(2 * 7.5**2 * 2 + 8 * 7.5**2) / 400)


def test_neighbouring_cycles_that_are_alike_make_the_error_larger_than_the_same_ones_mixed() -> None:
    # The residuals are 2 or -2. Of neighbours 2 of 3 products are 4 and one is -4; two apart both are -4.
    alike, mixed = level([10] * 4, [3.0, 3.0, -1.0, -1.0]), level([10] * 4, [3.0, -1.0, 3.0, -1.0])
    assert (float(alike.mean), float(mixed.mean)) == (0.1, 0.1)
    alone, worst = 16 * 4 / 3, 8 * 4
    assert float(mixed.error) == pytest.approx(math.sqrt(alone + worst) / 40)
    assert float(alike.error) == pytest.approx(math.sqrt(max(alone + 2 * (2 / 3 * 4 + 1 / 3 * -8), alone) + worst) / 40)
    slow = level([10] * 8, [3.0] * 4 + [-1.0] * 4)
    lags = 2 * (2 / 3 * (6 - 1) * 4 + 1 / 3 * (4 - 2) * 4)
    assert float(slow.error) == pytest.approx(math.sqrt(32 * 8 / 7 + lags + worst) / 80)


@pytest.mark.parametrize("count", [2, 3, 4, 14, 60])
def test_mean_and_error_agree_with_the_sums_written_out(count: int) -> None:
    rng = np.random.default_rng(count)
    requests = rng.integers(10, 200, count).astype(float).tolist()
    sums = (rng.normal(0.5, 2, count).cumsum()).tolist()
    found = level(requests, sums)
    assert (float(found.mean), float(found.error)) == pytest.approx(by_hand(requests, sums))


def test_the_worst_cycle_counts_eight_times_more() -> None:
    even, skewed = level([10] * 10, [1.0, -1.0] * 5), level([10] * 10, [3.0, -3.0] + [0.0] * 8)
    assert float(even.error) == pytest.approx(math.sqrt(10 * 10 / 9 + 8) / 100)
    assert float(skewed.error) == pytest.approx(math.sqrt(18 * 10 / 9 + 8 * 9) / 100)


@pytest.mark.parametrize(("cycles", "alpha"), [(1, 0.05), (7, 0.0125), (14, 0.05), (60, 0.05), (400, 0.01)])
def test_the_bounds_are_those_of_the_closed_formula(cycles: int, alpha: float) -> None:
    # Waudby-Smith et al. 2024, one-sided, with rho^2 = 1 / 10.
    rho2 = 0.1
    inner = math.log(1 + math.sqrt(cycles * rho2 + 1) / (2 * alpha))
    expected = math.sqrt(2 * (cycles * rho2 + 1) / (cycles**2 * rho2) * inner) * math.sqrt(cycles)
    assert bound(cycles, alpha) == pytest.approx(expected)


def test_the_bounds_lie_at_both_sides_of_the_mean() -> None:
    found = level([50, 60, 40], [1.0, 2.0, 0.5])
    width = bound(3, 0.05) * float(found.error)
    assert (float(found.low(0.05)), float(found.high(0.05))) == pytest.approx((3.5 / 150 - width, 3.5 / 150 + width))
    assert found.low(0.01) < found.low(0.05) < found.mean


def test_one_cycle_has_no_spread_and_bounds_nothing_and_cycles_without_requests_do_not_count() -> None:
    for one in (level([10], [2.0]), level([0, 10, 0], [0.0, 2.0, 0.0])):
        assert (float(one.mean), float(one.error), int(one.cycles)) == (0.2, math.inf, 1)
        assert (one.low(0.05), one.high(0.05)) == (-math.inf, math.inf)
    for empty in (level([0, 0], [0.0, 0.0]), level([], [])):
        assert (float(empty.mean), float(empty.error), int(empty.cycles)) == (0.0, math.inf, 0)
    runs = level([[5, 5, 0], [5, 5, 5]], [[1.0, 2.0, 0.0], [1.0, 2.0, 1.5]])
    assert runs.cycles.tolist() == [2, 3]
    assert runs.high(0.05)[0] == pytest.approx(float(level([5, 5, 0], [1.0, 2.0, 0.0]).high(0.05)))


def test_cycles_may_weigh_less_than_one_request_together() -> None:
    found = level([0.25, 0.25], [0.25, 0.0])
    assert float(found.mean) == 0.5
    assert float(found.error) == pytest.approx(math.sqrt(2 * 0.125**2 * 2 + 8 * 0.125**2) / 0.5)


def test_runs_side_by_side_have_the_levels_that_they_have_alone() -> None:
    rng = np.random.default_rng(3)
    requests, sums = rng.integers(0, 50, (3, 4, 20)).astype(float), rng.normal(size=(3, 4, 20))
    together = level(requests, sums)
    assert together.mean.shape == together.error.shape == (3, 4)
    for place in np.ndindex(3, 4):
        alone = level(requests[place], sums[place])
        assert (float(together.mean[place]), float(together.error[place])) == (float(alone.mean), float(alone.error))


def test_ten_times_the_traffic_with_the_same_differences_has_the_same_bounds() -> None:
    rng = np.random.default_rng(4)
    requests, sums = rng.integers(10, 50, 20).astype(float), rng.normal(size=20)
    once, tenfold = level(requests, sums), level(10 * requests, 10 * sums)
    assert (float(tenfold.low(0.01)), float(tenfold.high(0.05))) == pytest.approx(
        (float(once.low(0.01)), float(once.high(0.05)))
    )


def test_the_bounds_of_neighbouring_days_that_are_alike_hold_at_all_looks_as_often_as_stated() -> None:
    rng = np.random.default_rng(5)
    runs, cycles = 1000, 60
    noise = rng.normal(size=(runs, cycles + 1))
    requests = rng.integers(50, 150, (runs, cycles)).astype(float)
    sums = requests * (0.02 + 0.01 * (noise[:, 1:] + 0.5 * noise[:, :-1]))
    over = np.zeros(runs, dtype=bool)
    for look in range(14, cycles + 1):
        over |= level(requests[:, :look], sums[:, :look]).high(0.05) < 0.02
    assert over.mean() <= 0.05
    day = level(requests, sums)
    assert (day.high(0.05) < 0.035).mean() > 0.9
