"""Whether traffic repeats itself daily or weekly: found where it does, and only there."""

import numpy as np
import pytest

from headrace.stats.seasons import DAY_S, WEEK_S, missed_season, seasons_of

HOURS = np.arange(60 * 24) * 3600.0


def noise(seed: int = 0, memory: float = 0.0) -> np.ndarray:
    """Hourly values that remember so much of the hour before."""
    dice, found, last = np.random.default_rng(seed), np.empty(len(HOURS)), 0.0
    for place, own in enumerate(dice.standard_normal(len(HOURS))):
        found[place] = last = memory * last + own
    return found


def daily(size: float) -> np.ndarray:
    return size * np.sin(2 * np.pi * HOURS / DAY_S)


def weekly(size: float) -> np.ndarray:
    return size * ((HOURS // DAY_S) % 7 >= 5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (daily(0.7), {DAY_S}),
        (weekly(1.5), {WEEK_S}),
        (daily(1.0) + weekly(1.5), {DAY_S, WEEK_S}),
        (np.zeros(len(HOURS)), set()),
        (HOURS / HOURS.max() * 5, set()),
    ],
)
def test_a_pattern_in_noise_is_found_with_its_length(values: np.ndarray, expected: set[float]) -> None:
    assert set(seasons_of(HOURS, values + noise())) == expected


def test_noise_and_slow_weather_have_no_season() -> None:
    found = [bool(seasons_of(HOURS, noise(seed, memory))) for seed in range(20) for memory in (0.0, 0.8, 0.99)]
    assert sum(found) <= 3


def test_hours_without_requests_are_left_out() -> None:
    is_day = (HOURS % DAY_S) < 14 * 3600
    values = daily(2.0) + noise()
    assert set(seasons_of(HOURS[is_day], values[is_day])) == {DAY_S}


def test_several_requests_of_an_hour_count_by_their_mean_in_any_order() -> None:
    values = daily(2.0)
    order = np.random.default_rng(1).permutation(2 * len(HOURS))
    at_s, both = np.tile(HOURS, 2)[order], np.concatenate([values + 3, values - 3])[order]
    assert seasons_of(at_s, both)[DAY_S] == pytest.approx(seasons_of(HOURS, values)[DAY_S])


def test_too_short_a_record_has_no_season() -> None:
    assert seasons_of(HOURS[:72], daily(2.0)[:72]) == {}
    assert seasons_of([], []) == {}


@pytest.mark.parametrize(
    ("declared_s", "missed_s"), [(None, WEEK_S), (DAY_S, WEEK_S), (WEEK_S, None), (2 * WEEK_S, None), (3600.0, WEEK_S)]
)
def test_a_declared_season_must_contain_what_was_found(declared_s: float | None, missed_s: float | None) -> None:
    assert missed_season({DAY_S: 0.5, WEEK_S: 0.4}, declared_s) == missed_s
