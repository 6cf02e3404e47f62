"""Corrections that come after the window of their request had closed are counted, whenever they are read, and nothing else is."""

from typing import Any

import pytest
from services.monitor.tests.watched import DAY, DEPLOYMENT, PROJECT, decision
from services.monitor.tests.windows_scene import windows

from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome
from headrace_monitor.adapters.spill import Spill
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.held_rows import PART_BYTES
from headrace_monitor.core.windows import Late, Windows

HOUR = 3_600.0


def asked(found: Windows, unit: str, at_s: float) -> None:
    """A request, whose first outcome becomes known an hour later under the id of its unit."""
    found.add_decision(decision(unit, at_s), 0, 0)
    found.add_outcome(KnownOutcome(unit, 0.0, at_s + HOUR, unit))


def correct(found: Windows, unit: str, known_s: float, ident: str = "", **more: Any) -> None:
    """The outcome of a unit is corrected, or the one that is named."""
    is_new = more.pop("is_new", True)
    corrects = more.pop("corrects", unit)
    found.add_outcome(KnownOutcome(unit, 1.0, known_s, ident or f"fix-{known_s}", corrects=corrects), is_new=is_new)


def close(found: Windows, start_s: float, closes_s: float) -> tuple[list[float], int]:
    """Close a window: its labels, and how many corrections came too late so far."""
    labels = found.rows_of(start_s, closes_s).labels.tolist()
    found.settle_corrections(closes_s)
    found.drop(start_s, closes_s)
    return labels, found.late.corrections


def days(count: int = 3) -> Windows:
    """One request a day, each with its outcome."""
    found = windows(horizon_s=2 * DAY)
    for day in range(count):
        asked(found, f"u{day}", day * DAY + HOUR)
    return found


def test_a_correction_that_was_known_when_its_window_closed_is_used_and_not_counted() -> None:
    found = days()
    correct(found, "u0", DAY)
    assert close(found, 0.0, DAY + HOUR) == ([1.0], 0)
    assert close(found, DAY, 2 * DAY) == ([0.0], 0)


@pytest.mark.parametrize("is_read_first", [True, False])
def test_one_that_becomes_known_later_is_counted_once_wherever_it_is_read(is_read_first: bool) -> None:
    """In a backlog it is read before the window closes, and live after that."""
    found = days()
    if is_read_first:
        correct(found, "u0", DAY + 2 * HOUR)
    assert close(found, 0.0, DAY + HOUR) == ([0.0], 0)
    if not is_read_first:
        correct(found, "u0", DAY + 2 * HOUR)
    assert close(found, DAY, 2 * DAY) == ([0.0], 1)
    assert close(found, 2 * DAY, 3 * DAY) == ([0.0], 1)


def test_one_of_a_request_that_still_waits_is_used_later_and_not_counted() -> None:
    found = days()
    correct(found, "u2", 2 * DAY + 3 * HOUR)
    assert close(found, 0.0, 2 * DAY + 4 * HOUR) == ([0.0], 0)
    assert close(found, DAY, 3 * DAY) == ([0.0], 0)
    assert close(found, 2 * DAY, 3 * DAY + HOUR) == ([1.0], 0)


def test_one_that_is_read_after_its_window_had_closed_without_it_is_counted() -> None:
    found = days()
    assert close(found, 0.0, DAY + 2 * HOUR) == ([0.0], 0)
    correct(found, "u0", DAY + HOUR)
    assert close(found, DAY, 2 * DAY) == ([0.0], 1)
    assert found.late == Late(0, 1, 1)


def test_corrections_of_corrections_are_counted_each_and_repeats_once() -> None:
    found = days()
    assert close(found, 0.0, DAY + HOUR) == ([0.0], 0)
    correct(found, "u0", DAY + 2 * HOUR, "first")
    correct(found, "u0", DAY + 2 * HOUR, "first")
    correct(found, "u0", DAY + 3 * HOUR, "second", corrects="first")
    assert close(found, DAY, 2 * DAY) == ([0.0], 2)


@pytest.mark.parametrize("is_asked_again", [False, True])
def test_one_that_is_sent_again_counts_once(is_asked_again: bool) -> None:
    """Before the next closing or after it, and whether its unit has a request that is still open or not."""
    found = days()
    assert close(found, 0.0, DAY + HOUR) == ([0.0], 0)
    if is_asked_again:
        found.add_decision(decision("u0", 2 * DAY + 2 * HOUR), 0, 9)
    correct(found, "u0", DAY + 2 * HOUR, "fix")
    correct(found, "u0", DAY + 2 * HOUR, "fix")
    assert close(found, DAY, 2 * DAY) == ([0.0], 1)
    correct(found, "u0", DAY + 2 * HOUR, "fix")
    asked(found, "u3", 3 * DAY + HOUR)
    close(found, 2 * DAY, 3 * DAY + HOUR)
    assert found.late.corrections == 1


def test_what_the_owner_before_has_decided_is_not_decided_again() -> None:
    """A restart reads corrections again; those that were known at the newest closing are counted already."""
    found = Deployments()
    found.declare([PROJECT])
    found.set_up_all()
    before = found.watched["d"]
    asked(before.windows, "u0", HOUR)
    assert close(before.windows, 0.0, DAY + HOUR) == ([0.0], 0)
    correct(before.windows, "u0", DAY + 2 * HOUR)
    asked(before.windows, "u1", DAY + HOUR)
    assert close(before.windows, DAY, 2 * DAY) == ([0.0], 1)
    assert before.report_late().corrections == 1
    found.memories["d"] = before.memory({}, None)
    found.set_up_all()
    after = found.watched["d"]
    correct(after.windows, "u0", DAY + 2 * HOUR, is_new=False)
    correct(after.windows, "u0", 2 * DAY + HOUR, is_new=False)
    asked(after.windows, "u2", 2 * DAY + HOUR)
    assert close(after.windows, 2 * DAY, 3 * DAY) == ([0.0], 2)
    assert after.report_late() == Late(0, 0, 1)


def test_those_that_wait_lie_in_the_file_and_are_gone_once_they_are_counted() -> None:
    spill = Spill()
    found = Windows(DEPLOYMENT, keep=spill.keep)
    count = PART_BYTES // OUTCOME_BYTES + 10
    for n in range(count):
        found.corrections.add(KnownOutcome(f"u{n}", 1.0, DAY, f"fix{n}", corrects=f"u{n}"))
    assert (found.corrections.held_bytes, spill.held_bytes) == (10 * OUTCOME_BYTES, PART_BYTES)
    asked(found, "v", HOUR)
    assert close(found, 0.0, DAY) == ([0.0], count)
    assert (found.corrections.held_bytes, spill.held_bytes) == (0, 0)
