"""A source that falls silent is found within minutes, by what came at the same time of the days before."""

import numpy as np
import pytest

from headrace_monitor.core.source_silence import DAY_S, Silence, silence

HOUR = 3600.0
RNG = np.random.default_rng(1)


def by_day(days: int, per_hour: float = 60.0) -> np.ndarray:
    """Events between 5 and 23 o'clock, at random."""
    day = np.sort(RNG.uniform(5 * HOUR, 23 * HOUR, int(18 * per_hour)))
    return np.concatenate([n * DAY_S + day + RNG.uniform(-30, 30, len(day)) for n in range(days)])


def test_a_source_that_stops_by_day_is_found_within_the_hour() -> None:
    times = by_day(4)
    times = times[times < 3 * DAY_S + 12 * HOUR]
    first = next(m for m in range(5, 120) if silence(times, 3 * DAY_S + 12 * HOUR + 60 * m, 0.0) is not None)
    assert 20 <= first <= 45
    found = silence(times, 3 * DAY_S + 13 * HOUR, 0.0)
    assert found is not None
    assert (found.since_s, found.usually) == (times.max(), pytest.approx(60, abs=15))


def test_a_source_that_sleeps_at_night_is_not_silent() -> None:
    times = by_day(4)
    assert [silence(times, 3 * DAY_S + 23 * HOUR + 600.0 * n, 0.0) for n in range(36)] == [None] * 36


def test_in_the_morning_after_it_is() -> None:
    assert silence(by_day(4), 4 * DAY_S + 7 * HOUR, 0.0) is not None


@pytest.mark.parametrize("clock_s", [3 * DAY_S + 1.0, 5 * DAY_S, 2 * DAY_S])
def test_what_is_short_or_a_day_long_is_left_to_others(clock_s: float) -> None:
    times = by_day(3)
    assert silence(times[times < 3 * DAY_S], clock_s, 0.0) is None


def test_without_a_day_before_nothing_is_known() -> None:
    times = by_day(1)
    assert silence(times, 20 * HOUR + DAY_S / 2, 0.0) is None
    assert silence(np.empty(0), DAY_S, 0.0) is None
    assert silence(np.arange(0.0, 3 * DAY_S, 60.0), 3 * DAY_S + HOUR, 2.5 * DAY_S) is None


def test_a_rare_source_is_not_judged() -> None:
    assert silence(np.arange(0.0, 5 * DAY_S, HOUR), 5 * DAY_S + 5 * HOUR, 0.0) is None
    assert silence(np.arange(0.0, 5 * DAY_S, 60.0), 5 * DAY_S + HOUR, 0.0) == Silence(5 * DAY_S - 60, 61)
