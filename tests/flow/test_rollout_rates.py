"""Hundreds of whole rollouts on traffic with storms and a daily pattern: a harmless version is promoted, a bad one is rolled back, at
the stated rates. `make bench ONLY=rollouts` runs thousands on real flights.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from bench.guardrail_sims import broken_client, by_hour, outages, plain, rollbacks, rolled_back_after, worse
from numpy.typing import NDArray
from scipy.stats import binom, norm

from headrace.stats.trials import Traffic, Trials, draw_cycles, judge, tabulate
from headrace.stats.variants import flipped, jittered, noisy, shuffled, squared

Floats = NDArray[np.float64]
HOUR_S, DAY_S, BLOCK_S = 3600.0, 86_400.0, 3 * 3600.0
RUNS, CYCLES, POOL = 300, 60, 120
LIMIT = 0.4
# The stated rates: of a FAIL by labels, and of a PASS.
WRONG_FAIL, WRONG_PASS = 0.025, 0.05


def most(rate: float, runs: int = RUNS) -> int:
    """What a test at this rate exceeds by chance alone one time in a thousand."""
    return int(binom.ppf(0.999, runs, rate))


@dataclass(frozen=True)
class Days:
    """Requests of a champion. `storm`, `hour`: whether each was asked in a storm, and at which hour of the day."""

    traffic: Traffic
    storm: NDArray[np.bool_]
    hour: Floats

    def versus(self, new: Floats) -> Traffic:
        """The same requests with another version."""
        return replace(self.traffic, new=new)

    def worse_version(self) -> Floats:
        """One that is worse in storms and in the morning, and in calm evenings a little better: its difference is no noise."""
        rng = np.random.default_rng(5)
        is_bad = self.storm | (self.hour < 12)
        spread = np.where(is_bad, 1.0, 0.0) * rng.normal(size=len(self.hour))
        fine = np.where(is_bad, self.traffic.control, 0.9 * self.traffic.control + 0.1 * self.traffic.labels)
        return noisy("binary", fine, spread)


@pytest.fixture(scope="module")
def days() -> Days:
    """Up to ten requests an hour by day. In storms of two days the mean log-odds of the label are much higher."""
    rng = np.random.default_rng(1)
    hours = np.arange(POOL * 24)
    sizes = rng.poisson(np.where(hours % 24 < 6, 0, 5 + 4 * np.sin(hours / 24 * 2 * np.pi)))
    storms = (rng.random(len(hours) // 48) < 0.25).repeat(48)
    storm, hour = np.repeat(storms, sizes), np.repeat(hours % 24, sizes).astype(float)
    at_s = np.sort((np.repeat(hours, sizes) + rng.random(sizes.sum())) * HOUR_S)
    odds = np.where(storm, 0.3, -1.6) + 0.3 * np.sin(hour / 24 * 2 * np.pi) + rng.normal(0, 1.2, len(at_s))
    labels = (rng.random(len(at_s)) < 1 / (1 + np.exp(-odds))).astype(float)
    control = 1 / (1 + np.exp(-odds - rng.normal(0, 0.3, len(at_s))))
    return Days(Traffic("binary", at_s, labels, control, control), storm, hour)


def drawn(runs: int = RUNS, seed: int = 2) -> NDArray[np.int64]:
    return draw_cycles(np.random.default_rng(seed), runs, CYCLES, POOL)


def trials(traffic: Traffic, margin: float | None = None, runs: int = RUNS, cycles: int = CYCLES) -> Trials:
    table = tabulate(traffic, DAY_S, BLOCK_S, LIMIT, (0.0, POOL * DAY_S))
    return judge(table, drawn(runs)[:, :cycles], margin)


def brier(scores: Floats, traffic: Traffic) -> Floats:
    return (scores - traffic.labels) ** 2


def repeated_t_test(traffic: Traffic, margin: float, alpha: float) -> tuple[int, int]:
    """How many runs a t-test of all requests, each day anew, finds to be over the margin, and how many below it."""
    apart = brier(traffic.new, traffic) - brier(traffic.control, traffic) - margin
    day = (traffic.at_s // DAY_S).astype(int)
    sums = np.array([np.bincount(day, values, POOL) for values in (np.ones(len(day)), apart, apart**2)])
    count, total, squares = sums[:, drawn()].cumsum(axis=-1)
    scores = total / np.sqrt(np.maximum(squares - total**2 / count, 1e-12))
    limit = norm.ppf(1 - alpha)
    return int((scores.max(axis=1) > limit).sum()), int((scores.min(axis=1) < -limit).sum())


# labels


def test_the_same_version_passes_after_the_least_cycles_and_is_never_rolled_back(days: Days) -> None:
    found = trials(days.traffic)
    assert found.is_passed(within=14).all()
    assert np.isinf(found.failed).all()


def test_a_twin_with_a_little_noise_passes_too(days: Days) -> None:
    twin = jittered("binary", days.traffic.control, np.random.default_rng(3))
    found = trials(days.versus(twin))
    assert found.is_passed(within=21).mean() >= 0.8
    assert found.is_failed().sum() == 0


def test_at_the_border_the_stated_rates_hold_and_those_of_a_repeated_t_test_do_not(days: Days) -> None:
    traffic = days.versus(days.worse_version())
    border = float((brier(traffic.new, traffic) - brier(traffic.control, traffic)).mean())
    assert 0.004 < border < 0.03
    found = trials(traffic, border)
    assert found.is_failed().sum() <= most(WRONG_FAIL)
    assert found.is_passed().sum() <= most(WRONG_PASS)
    wrong_fails, wrong_passes = repeated_t_test(traffic, border, WRONG_FAIL)
    assert wrong_fails > most(WRONG_FAIL)
    assert wrong_passes > most(WRONG_PASS)


def test_a_good_challenger_is_shown_to_be_no_worse(days: Days) -> None:
    rng = np.random.default_rng(4)
    stale = noisy("binary", days.traffic.control, 0.8 * rng.normal(size=len(days.hour)))
    found = trials(replace(days.traffic, control=stale))
    assert found.is_passed(within=21).mean() >= 0.8
    assert found.is_failed().sum() == 0


@pytest.mark.parametrize("how", ["shuffled", "flipped"])
def test_a_version_without_skill_is_found_within_a_thousand_labels(days: Days, how: str) -> None:
    control = days.traffic.control
    broken = flipped("binary", control) if how == "flipped" else shuffled(control, np.random.default_rng(6))
    found = trials(days.versus(broken), runs=100, cycles=20)
    assert np.quantile(found.labels_to_early, 0.9) <= 1000
    assert found.is_failed().all()
    assert found.is_passed().sum() == 0


def test_what_keeps_the_order_is_found_by_the_level_alone(days: Days) -> None:
    found = trials(days.versus(squared("binary", days.traffic.control)))
    assert np.isinf(found.failed_early).all()
    assert (found.level_failed <= 42).mean() >= 0.8
    assert found.is_passed().sum() == 0


# guardrails


def test_a_version_that_always_raises_is_rolled_back_within_its_first_twenty_requests() -> None:
    always, never = np.ones(200, dtype=bool), np.zeros(200, dtype=bool)
    traffic = plain(np.arange(200.0), [f"u{n}" for n in range(200)], always, never)
    assert rolled_back_after(traffic) == (20, "errors")


def test_two_points_more_errors_are_found_within_2000_requests() -> None:
    assert rollbacks("worse", worse(0.003), 20, seed=3)[0] >= binom.ppf(0.001, 20, 0.95)


@pytest.mark.parametrize("draw", [outages, broken_client(in_new_only=True), broken_client(in_new_only=False), by_hour])
def test_equal_versions_are_seldom_rolled_back_by_their_guardrails(draw) -> None:
    assert rollbacks("equal", draw, 5, seed=4)[0] <= 1
