"""Whether served rows equal recomputed ones, and from where a restart reads again."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from services.monitor.tests.watched import DAY, DEPLOYMENT, PROJECT, decision

from headrace.events.inference import DecisionMade
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.parity import parity
from headrace.features.plan import plan_view
from headrace.project.compile_streams import event_struct
from headrace_monitor.core.replay import ReplayOffsets


def table(count: int = 20) -> EventTable:
    struct = event_struct(PROJECT.sources[0])
    found = EventTable(PROJECT.sources[0])
    for offset in range(count):
        found.add(struct(at=1000.0 + 300 * offset, carrier="AA", delay=float(offset)), 0, offset)
    return found


def served_row(found: EventTable, at_s: float, applied: int) -> DecisionMade:
    plan = plan_view(PROJECT, "carrier")
    seen = found.select(found.offsets < applied)
    values = as_of(plan, seen, ["AA"], np.array([at_s]), 0.0).values[0].astype("<f4")
    return decision(
        "u", at_s, row=values.tobytes(), entities={"carrier": "AA"}, applied={"events.landings.v1/0": applied}
    )


TOPICS = {"landings": "events.landings.v1"}


def test_rows_made_from_all_events_are_equal_by_both_figures() -> None:
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [served_row(table(), 7200.0, 20)])
    assert (found.rows, found.tiles, found.as_of, found.max_lag_s) == (1, 1.0, 1.0, 0.0)


def test_rows_of_another_number_of_columns_were_made_by_other_views_and_are_left_out() -> None:
    """A view was added while the window was open: its older rows are shorter, and no window is lost by them."""
    older = msgspec.structs.replace(served_row(table(), 7000.0, 20), row=b"\0" * 4)
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [older, served_row(table(), 7200.0, 20)])
    assert (found.rows, found.tiles) == (1, 1.0)


def test_features_that_came_late_show_in_one_figure_only_with_how_late_they_came() -> None:
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [served_row(table(), 7200.0, 10)])
    assert (found.tiles, found.as_of) == (1.0, 0.0)
    assert found.max_lag_s == 7200.0 - (1000.0 + 300 * 10)


def test_a_difference_in_code_of_one_ulp_shows_in_both_figures() -> None:
    row = served_row(table(), 7200.0, 20)
    values = np.frombuffer(row.row, "<f4").copy()
    values[0] = np.nextafter(values[0], np.float32(math.inf))
    changed = msgspec.structs.replace(row, row=values.tobytes())
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [changed])
    assert (found.tiles, found.as_of) == (0.0, 0.0)


def test_a_restart_reads_again_from_the_lowest_offset_that_it_still_needs() -> None:
    places = ReplayOffsets()
    for day, offset in ((0, 3), (1, 8), (1, 7), (2, 12)):
        places.note("t/0", day * DAY + 5, offset)
    assert places.from_day(DAY) == {"t/0": 7}
    assert places.from_day(2 * DAY) == {"t/0": 12}
    assert places.from_day(3 * DAY) == {"t/0": 13}


def test_a_clock_that_does_not_run_yet_reads_everything_again() -> None:
    """A blue-green rollout that ends before the first decision used to end the monitor, again at every start."""
    places = ReplayOffsets()
    places.note("inference.decisions.v1/0", 5 * DAY, 7)
    assert places.since(-math.inf) == {"inference.decisions.v1/0": 7}
    assert places.since(math.inf) == {"inference.decisions.v1/0": 8}


@given(st.lists(st.integers(-800_000, 800_000), min_size=1, max_size=60), st.integers(-800_000, 800_000))
def test_however_many_days_a_user_names_their_number_is_bounded_and_nothing_needed_is_left_out(
    days: list[int], since: int
) -> None:
    places, whole = ReplayOffsets(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace_monitor.core.replay.MOST_DAYS", 8)
        for offset, day in enumerate(days):
            places.note("t/0", day * DAY, offset)
            whole.setdefault(day, offset)
    assert places.held_bytes <= 8 * 100
    needed = [offset for day, offset in whole.items() if day >= since]
    assert places.since(since * DAY)["t/0"] <= min(needed, default=len(days))
