"""The deployment's clock, and from where a restart reads again."""

import math

import pytest

from headrace_monitor.core.clock import GONE_AFTER, RECENT_S, Bulk, Clocks, InputPlaces, Reading, level
from headrace_monitor.core.replay import DAY_S, ReplayOffsets, day_of

# the clock


def test_the_level_is_the_third_or_the_tenth_highest_unit_of_the_last_day() -> None:
    units = [(float(n), n, 0.0) for n in range(40)]
    assert [level(units[:count]) for count in (2, 3, 30, 31, 40)] == [-math.inf, 0.0, 27.0, 27.0, 36.0]
    assert level([*units[:5], *[(99.0, 1, 0.0)] * 9]) == 3.0
    old = [(50.0 + n, 100 + n, -RECENT_S - 1) for n in range(9)]
    assert level([*units[:5], *old]) == 2.0
    assert level([(50.0 + n, n, -RECENT_S) for n in range(2)] + units[2:4]) == 3.0
    assert [level([(float(n), n % 2, 0.0) for n in range(count)]) for count in (2, 3, 9)] == [-math.inf, 0.0, 6.0]
    assert level([(5.0, 1, 0.0), (5.0, 2, 0.0), (4.0, 1, 0.0)]) == -math.inf


def test_the_level_of_a_partition_follows_its_newest_records() -> None:
    bulk = Bulk()
    assert bulk.level_s == -math.inf
    for n in range(3):
        bulk.note(float(n), n, 0.0)
    assert bulk.level_s == 0.0
    bulk.note(9.0, 9, 0.0)
    assert bulk.level_s == 1.0


def clocks() -> Clocks:
    found = Clocks()
    for n in range(10):
        found.note("d", "t/0", 100.0 + n, n, 0.0, 5.0)
        found.note("d", "t/1", 200.0 + n, n, 0.0, 5.0)
    return found


@pytest.mark.parametrize(
    ("reading", "time_s"),
    [
        (Reading(frozenset()), 107.0), (Reading(frozenset(), frozenset(), 5.1), 207.0), (Reading(frozenset({"t/0"}), frozenset(), 5.1), 107.0),
        (Reading(frozenset({"t/1"}), frozenset(), 5.1), 207.0), (Reading(frozenset({"t/0"}), frozenset({"t/0"}), 5.1), 207.0),
        (Reading(frozenset({"t/2"}), frozenset(), 5.1), -math.inf), (Reading(frozenset({"o/0"}), frozenset(), 5.1), -math.inf),
    ],
)  # fmt: skip
def test_a_place_that_is_unread_or_was_written_to_just_now_holds_the_clock_back(
    reading: Reading, time_s: float
) -> None:
    assert clocks().time_s("d", ["t/0", "t/1", "t/2"], ["o/0"], reading) == time_s


def test_a_deployment_that_was_not_seen_has_no_clock_and_one_that_is_gone_neither() -> None:
    found = clocks()
    assert found.time_s("e", ["t/0"], [], Reading(frozenset())) == -math.inf
    found.forget("d")
    found.forget("never")
    assert found.time_s("d", ["t/0"], [], Reading(frozenset())) == -math.inf


def test_the_events_of_a_source_hold_it_back_too_until_they_are_read_again() -> None:
    found = clocks()
    for n in range(5):
        found.note_source("s/0", 50.0 + n, n, 0.0, 5.0)
    quiet = Reading(frozenset(), frozenset(), 5.1)
    assert found.time_s("d", ["t/1"], ["s/0"], quiet) == 207.0
    assert found.time_s("d", ["t/1"], ["s/0"], Reading(frozenset({"s/0"}), frozenset(), 5.1)) == 52.0
    found.forget_source("s")
    assert found.time_s("d", ["t/1"], ["s/0"], Reading(frozenset({"s/0"}), frozenset(), 5.1)) == -math.inf


def test_a_partition_full_of_others_records_waits_for_a_deployment_no_longer() -> None:
    found = clocks()
    for n in range(GONE_AFTER):
        found.note("e", "t/0", 500.0 + n, n, 0.0, 5.0)
    unread = Reading(frozenset({"t/0"}), frozenset(), 5.1)
    assert found.time_s("d", ["t/0", "t/1"], [], unread) == 207.0


def test_the_places_of_a_deployment() -> None:
    places = InputPlaces("dec", "out", {"dec": ["dec/0"], "out": ["out/0", "out/1"], "s": ["s/0"], "x": ["x/0"]})
    assert places.of_deployment(["s", "never"], has_label=True) == (["dec/0"], ["s/0", "out/0", "out/1"])
    assert places.of_deployment(["s"], has_label=False) == (["dec/0"], ["s/0"])
    assert places.all_unread == Reading(frozenset({"dec/0", "out/0", "out/1", "s/0", "x/0"}))


# where a restart reads again


def test_everything_of_a_day_or_later_is_found_again() -> None:
    found = ReplayOffsets()
    for at_s, offset in ((0.0, 7), (DAY_S, 5), (DAY_S + 1, 9), (3 * DAY_S, 12)):
        found.note("t/0", at_s, offset)
    found.note("t/1", 0.0, 4)
    found.skip("t/2", 41)
    assert found.since(DAY_S + 5) == {"t/0": 5, "t/1": 5, "t/2": 42}
    assert found.since(3 * DAY_S) == {"t/0": 12, "t/1": 5, "t/2": 42}
    assert found.since(-math.inf) == {"t/0": 5, "t/1": 4, "t/2": 42}
    assert found.since(4 * DAY_S) == {"t/0": 13, "t/1": 5, "t/2": 42}
    assert found.from_day(DAY_S) == {"t/0": 5, "t/1": 5, "t/2": 42}
    assert found.since(-math.inf) == {"t/0": 5, "t/1": 5, "t/2": 42}
    assert [day_of(at_s) for at_s in (DAY_S + 5, math.inf, -math.inf)] == [DAY_S, None, None]
