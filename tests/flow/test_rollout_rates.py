"""A hundred whole rollouts on traffic with storms: a harmless version is promoted, a bad one is rolled back. `make bench ONLY=rollouts` runs thousands on real flights."""

import math

import numpy as np
import pytest
from bench.guardrail_sims import broken_client, by_hour, outages, plain, rollbacks, rolled_back_after, worse
from bench.rollout_sims import SHOWN_LEVEL, Outcome, Traffic, draw_hours, naive_arms, roll_out
from scipy.stats import binom

RUNS, WEEKS = 100, 3
# What a test at 5 % exceeds by chance alone one time in a thousand.
MOST = int(binom.ppf(0.999, RUNS, 0.05))


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Twenty days with 40 requests an hour by day. In storms of eight hours six of ten flights are late instead of two, and both versions
    know the probability but for some noise.
    """
    rng = np.random.default_rng(1)
    hours = np.arange(20 * 24)
    sizes = np.where(hours % 24 < 18, 40, 0)
    storm = (rng.random(len(hours) // 8 + 1) < 0.25).repeat(8)[: len(hours)]
    at_s = (np.repeat(hours, sizes) + rng.random(sizes.sum())) * 3600
    late = np.repeat(np.where(storm, 0.6, 0.2), sizes) + rng.normal(0, 0.12, len(at_s))
    labels = (rng.random(len(at_s)) < late).astype(float)
    new, control = (np.clip(late + rng.normal(0, 0.1, len(at_s)), 0.02, 0.98) for _ in range(2))
    return Traffic(at_s, rng.uniform(1, 12, len(at_s)) * 3600, labels, new, control)


def count(outcome: Outcome) -> int:
    return int(np.isfinite(outcome.back_h).sum())


def test_the_same_version_on_different_units_is_seldom_rolled_back_and_a_repeated_t_test_often_does_so(
    traffic: Traffic,
) -> None:
    same = Traffic(traffic.at_s, traffic.lag_s, traffic.labels, traffic.new, traffic.new)
    assert count(roll_out(same, runs=RUNS, days=7 * WEEKS, seed=2)) <= MOST
    rng = np.random.default_rng(3)
    naive = naive_arms(rng, same, draw_hours(rng, RUNS, 7 * WEEKS, same.days))
    assert np.isfinite(naive).sum() > 2 * MOST


@pytest.mark.parametrize(("null", "flip_hours"), [("zero", 1), ("border", 1), ("border", 12)])
def test_versions_whose_difference_is_only_noise_are_seldom_rolled_back_even_at_every_border(
    traffic: Traffic, null: str, flip_hours: int
) -> None:
    assert np.std(traffic.new - traffic.control) > 0
    found = roll_out(traffic, runs=RUNS, days=7 * WEEKS, seed=4, null=null, flip_hours=flip_hours)
    assert count(found) <= MOST
    assert np.isfinite(found.labels.naive_h).sum() > 2 * MOST
    if null == "border":
        assert np.isfinite(found.labels.shown_h).sum() <= binom.ppf(0.999, RUNS, SHOWN_LEVEL)


def test_a_version_without_skill_is_rolled_back_by_its_labels_and_a_good_one_is_shown_to_be_no_worse(
    traffic: Traffic,
) -> None:
    bad = Traffic(traffic.at_s, traffic.lag_s, traffic.labels, 1 - traffic.control, traffic.control)
    found = roll_out(bad, runs=30, days=7 * WEEKS, seed=5)
    assert np.isfinite(found.labels.harm_h).all()
    assert np.isfinite(found.labels.shown_h).sum() == 0
    stale = np.clip(traffic.control + np.random.default_rng(8).normal(0, 0.15, len(traffic.control)), 0, 1)
    good = Traffic(traffic.at_s, traffic.lag_s, traffic.labels, traffic.new, stale)
    shown = roll_out(good, runs=30, days=7 * WEEKS, seed=6)
    assert np.isfinite(shown.labels.shown_h).mean() > 0.9
    assert np.isfinite(shown.labels.harm_h).sum() == 0


def test_a_version_that_always_raises_is_rolled_back_within_its_first_twenty_requests() -> None:
    always, never = np.ones(200, dtype=bool), np.zeros(200, dtype=bool)
    traffic = plain(np.arange(200.0), [f"u{n}" for n in range(200)], always, never)
    assert rolled_back_after(traffic) == (20, "errors")


def test_two_points_more_errors_are_found_within_2000_requests() -> None:
    assert rollbacks("worse", worse(0.003), 40, seed=3)[0] >= binom.ppf(0.001, 40, 0.95)


@pytest.mark.parametrize("draw", [outages, broken_client(in_new_only=True), broken_client(in_new_only=False), by_hour])
def test_equal_versions_are_seldom_rolled_back_by_their_guardrails(draw) -> None:
    assert rollbacks("equal", draw, 15, seed=4)[0] <= 2


def test_a_rollout_is_drawn_in_blocks_of_neighbouring_days() -> None:
    hours = draw_hours(np.random.default_rng(7), 50, 20, 30)
    days = hours[:, ::24] // 24
    follows = (days[:, 1:] - days[:, :-1]) % 30 == 1
    assert follows.mean() == pytest.approx(2 / 3, abs=0.08)
    assert math.isclose(float(days.mean()), 14.5, abs_tol=2)
