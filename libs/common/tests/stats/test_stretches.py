"""Shares of rows over stretches of hours: what training rows lead to expect of the same stretches of live ones."""

import numpy as np
import pytest

from headrace.stats.stretches import recent, usual_of

HOUR_S, DAY = 3600.0, 24
DAYS = 20


def instants(per_hour: list[int]) -> np.ndarray:
    """Twenty days with so many rows in each hour of the day."""
    hours = np.repeat(np.arange(DAYS * DAY), np.tile(per_hour, DAYS))
    return hours * HOUR_S + 1.0


def test_the_newest_hours_are_those_that_hold_twenty_rows_together():
    assert [recent(rows) for rows in ([20], [30, 19], [30, 10, 9], [9, 10], [])] == [1, 2, 3, 0, 0]


def test_few_rows_of_a_night_join_those_of_the_morning():
    """Five rows at night, all null: no hour of them alone has twenty rows, but the first of the morning has them behind it."""
    at_s = instants([0, 0, 0, 0, 5, 30, *[30] * 18])
    found = usual_of((at_s // HOUR_S) % DAY == 4, at_s)
    assert [found.hours[hour] for hour in (4, 5, 6)] == [pytest.approx(5 / 35)] * 3
    # Behind it the hours have rows enough by themselves; the last four hours still hold the night's.
    assert [found.hours[hour] for hour in (7, 8, 9)] == [pytest.approx(5 / 65), pytest.approx(5 / 95), 0.0]


def test_a_night_is_no_day():
    """Of a whole day a twentieth is null, of its first hours all: only whole days tell what is usual of a day."""
    at_s = instants([30] * 20 + [0] * 4)
    found = usual_of((at_s // HOUR_S) % DAY == 0, at_s)
    assert found.day == pytest.approx(1 / 20)
    assert (found.hours[0], found.hours[12]) == (1.0, 0.0)


def test_one_storm_leaves_room_for_another_that_is_twice_as_bad():
    at_s = instants([30] * 24)
    hour = at_s // HOUR_S
    storm = (hour >= 10 * DAY + 12) & (hour < 10 * DAY + 18)
    assert usual_of(storm, at_s).day == pytest.approx(2 * 6 / 24)
    two = storm | ((hour >= 15 * DAY + 12) & (hour < 15 * DAY + 17))
    assert usual_of(two, at_s).day == pytest.approx((2 * 6 - 5) / 24)


def test_of_few_days_all_hours_tell_and_of_few_rows_nothing_does():
    at_s = instants([30] * 24)[: 3 * DAY * 30]
    found = usual_of(at_s // HOUR_S == 5, at_s)
    assert len(found.hours) == 1
    assert usual_of(np.zeros(19, bool), np.arange(19.0)) == usual_of(np.zeros(0, bool), np.zeros(0))
    assert usual_of(np.zeros(19, bool), np.arange(19.0)).day == 1.0
