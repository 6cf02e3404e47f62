"""When evaluation windows close, what they hold, and how their labels are kept."""

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, decision
from services.monitor.tests.windows_scene import BINARY, flat, windows

from headrace.events.definition import LabelDefinition
from headrace.events.inference import DecisionMade, Expired, FellBack, Invalid, Refused, Score, Served, ShadowScored
from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome, key_of
from headrace_monitor.core.held_rows import Among
from headrace_monitor.core.labels import KEPT_S, Labels
from headrace_monitor.core.windows import ROW_BYTES, Windows

HOUR = 3_600.0
assert BINARY is not None


def told(unit: str, value: float, known_s: float, **more: Any) -> KnownOutcome:
    return KnownOutcome(unit, value, known_s, **more)


def fill(found: Windows, count: int = 10, start_s: float = 0.0) -> None:
    for number in range(count):
        found.add_decision(decision(f"u{number}", start_s + number * HOUR, 0.25), 0, number)


# windows


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"evaluation_window_s": 0.5}, "an evaluation window must be at least 1 s long, got 0.5 s"),
        ({"evaluation_window_s": math.inf}, "an evaluation window must be at least 1 s long, got inf s"),
        ({"horizon_s": -1.0}, "the horizon of a label must be a time, got -1.0 s"),
        ({"horizon_s": math.inf}, "the horizon of a label must be a time, got inf s"),
    ],
)
def test_lengths_that_are_no_time_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        windows(**changes)
    assert windows(evaluation_window_s=1.0, horizon_s=0.0).labels is not None


def test_a_window_closes_when_its_labels_came_at_the_next_full_hour() -> None:
    found = windows(coverage=0.8)
    fill(found)
    assert not found.may_close_by(DAY - 1)
    assert found.may_close_by(DAY)
    for number in range(7):
        found.add_outcome(told(f"u{number}", 1.0, DAY + number * 600.0))
    assert found.closable(DAY + 2 * HOUR) is None
    assert not found.may_close_by(DAY + 2.5 * HOUR)
    found.add_outcome(told("u7", 1.0, DAY + 2.5 * HOUR))
    assert found.closable(DAY + 2.9 * HOUR) is None
    assert found.closable(DAY + 3 * HOUR) == (0.0, DAY + 3 * HOUR)
    assert found.closable(DAY + 9 * HOUR) == (0.0, DAY + 3 * HOUR)


def test_a_window_closes_without_labels_when_their_horizon_has_passed_and_without_a_label_at_its_end() -> None:
    found = windows(coverage=0.8)
    fill(found)
    assert found.closable(2 * DAY - 1) is None
    assert found.closable(2 * DAY) == (0.0, 2 * DAY)
    bare = windows(bare=True)
    fill(bare)
    assert (bare.closable(DAY - 1), bare.closable(DAY)) == (None, (0.0, DAY))
    assert (windows().closable(DAY), windows().may_close_by(DAY)) == (None, False)


def test_where_no_label_means_negative_the_horizon_of_each_request_labels_it() -> None:
    found = windows(coverage=0.8, absent="negative", horizon_s=2 * HOUR)
    fill(found)
    assert found.closable(DAY) == (0.0, DAY)
    late = windows(coverage=1.0, absent="negative", horizon_s=2 * HOUR)
    late.add_decision(decision("u", DAY - 1.0), 0, 0)
    assert (late.closable(DAY + HOUR), late.closable(DAY + 2 * HOUR)) == (None, (0.0, DAY + 2 * HOUR))


def test_windows_close_in_order_and_over_the_bound_at_once() -> None:
    found = windows(limit_bytes=10 * ROW_BYTES)
    fill(found)
    found.add_decision(decision("v", DAY + 5.0), 0, 11)
    assert (found.held_bytes, found.rows_in(0.0), found.rows_in(DAY), found.open_from_s) == (11 * ROW_BYTES, 10, 1, 0.0)
    assert found.may_close_by(0.0)
    assert found.closable(0.0) == (0.0, DAY)
    found.drop(0.0, DAY + HOUR)
    assert (found.held_bytes, found.open_from_s, found.closed_to_s, found.closed_at_s) == (
        ROW_BYTES,
        DAY,
        DAY,
        DAY + HOUR,
    )
    assert found.closable(0.0) is None
    found.drop(DAY, DAY)
    assert (found.closed_at_s, found.open_from_s) == (DAY + HOUR, 2 * DAY)


def test_what_comes_after_its_window_is_counted_unless_it_is_read_again() -> None:
    found = windows()
    fill(found)
    found.drop(0.0, DAY + HOUR)
    assert [
        found.add_decision(decision("late", at_s), 0, 9, is_new=is_new)
        for at_s, is_new in ((5.0, True), (5.0, False), (DAY, True))
    ] == [None, None, DAY]
    assert found.late_requests == 1
    for known_s, is_new in ((DAY + HOUR, True), (DAY + HOUR, False), (DAY + HOUR + 1, True)):
        found.add_outcome(told("u", 1.0, known_s), is_new=is_new)
    assert found.late_outcomes == 1
    assert found.labels is not None
    held = len(found.labels)
    found.add_outcome(told("u", 1.0, DAY - KEPT_S - 1))
    assert len(found.labels) == held
    found.add_outcome(told("u", 1.0, DAY - KEPT_S))
    found.add_outcome(told("u", 1.0, -5.0, corrects="x"))
    assert len(found.labels) == held + 2
    assert found.highest_s == DAY


def test_rows_hold_answers_scores_and_labels() -> None:
    found = windows()
    shadow = (Score(2, "", 0.6), Score(3, "", None, (0.1, 0.9)))
    answers = [
        ("a", Served(Score(1, "", 0.1))), ("b", FellBack("previous", "r", Score(2, "", 0.2))), ("c", FellBack("odd", "r", Score(3, "", 0.3))), ("d", Expired(1)),
        ("e", Refused("r", 1.0)), ("f", Invalid("r")), ("g", FellBack("prior", "r", Score(0, "", 0.4))),
    ]  # fmt: skip
    for n, (unit, answer) in enumerate(answers):
        found.add_decision(
            DecisionMade(f"r{unit}", "d", unit, 10.0 + n, answer, 0, shadows=shadow if unit == "a" else ()), 1, 50 + n
        )
        found.add_outcome(told(unit, float(n % 2), 100.0))
    rows = found.rows_of(0.0, 2 * DAY)
    assert (len(rows), rows.served_version) == (7, 1)
    assert list(rows.answers.items()) == [
        ("served", 1),
        ("fell_back", 3),
        ("expired", 1),
        ("refused", 1),
        ("invalid", 1),
    ]
    assert list(zip(*flat(rows), strict=True)) == [
        (0, "prior", 0.4, 0.0), (1, "champion", 0.1, 0.0), (2, "previous", 0.2, 1.0), (2, "shadow", 0.6, 0.0),
        (3, "fallback", 0.3, 0.0),
    ]  # fmt: skip
    assert rows.sample(100) == {1: pytest.approx(np.arange(50, 57))}
    chosen = rows.sample(3)[1].tolist()
    assert (len(chosen), sorted(chosen), rows.sample(3)[1].tolist()) == (3, chosen, chosen)
    assert found.held_bytes == 7 * ROW_BYTES + 16
    found.add_decision(decision("z", 50.0, 0.5, 9), 0, 60)
    assert found.rows_of(0.0, 2 * DAY).served_version is None


def test_a_late_score_of_a_shadow_counts_in_its_window() -> None:
    found = windows()
    found.add_decision(decision("a", 10.0), 0, 1)
    found.add_outcome(told("a", 1.0, 100.0))
    for at_s, score in ((10.0, Score(7, "", 0.75)), (DAY + 5.0, Score(7, "", 0.1)), (10.0, None)):
        found.add_late_score(ShadowScored("ra", "d", "a", 7, at_s, score), 0, 2)
    assert [(version, score) for version, _, score, _ in zip(*flat(found.rows_of(0.0, DAY)), strict=True)] == [
        (1, 0.5),
        (7, 0.75),
    ]
    held = found.held_bytes
    found.drop(0.0, DAY)
    assert (held > ROW_BYTES, found.held_bytes) == (True, 0)


def test_another_definition_takes_over_what_waits_divided_anew() -> None:
    old, new = windows(), windows(evaluation_window_s=12 * HOUR)
    fill(old, 20)
    old.add_decision(decision("s", 13 * HOUR, shadows=(Score(2, "", 0.6),)), 0, 99)
    old.late_requests, old.late_outcomes, old.closed_at_s = 3, 4, 5.0
    old.add_outcome(told("u1", 1.0, 100.0))
    new.adopt(old)
    assert [(start_s, new.rows_in(start_s)) for start_s in sorted(new.open)] == [(0.0, 12), (12 * HOUR, 9)]
    assert (new.late_requests, new.late_outcomes, new.closed_at_s, new.highest_s) == (3, 4, 5.0, 19 * HOUR)
    assert (new.held_bytes, len(new.labels or ())) == (old.held_bytes, 1)
    later = new.rows_of(12 * HOUR, 2 * DAY)
    assert [(int(row), int(version), float(score)) for row, version, score in later.shadows.tolist()] == [(8, 2, 0.6)]


# labels

U = Among(np.array([key_of("u")], dtype=np.uint64))


def test_outcomes_are_kept_for_a_day_and_corrections_stay() -> None:
    labels = Labels(BINARY, 10**6)
    for known_s, corrects in ((10.0, ""), (KEPT_S, ""), (3 * KEPT_S, ""), (20.0, "x")):
        labels.add(told("u", 1.0, known_s, corrects=corrects or None))
    assert (len(labels), labels.observed, labels.held_bytes) == (4, 4, 4 * OUTCOME_BYTES)
    assert labels.between(KEPT_S, 2 * KEPT_S, U)["known_s"].tolist() == [KEPT_S, 20.0]
    labels.forget_before(2 * KEPT_S)
    assert len(labels) == 4
    labels.forget_before(3 * KEPT_S)
    assert labels.between(-math.inf, math.inf, U)["known_s"].tolist() == [3 * KEPT_S, 20.0]
    assert labels.held_bytes == 2 * OUTCOME_BYTES
    labels.forget_before(4 * KEPT_S + 1.0)
    assert len(labels) == 0


def test_over_the_bound_the_chunk_of_the_oldest_outcomes_is_dropped_and_counted() -> None:
    labels = Labels(BINARY, 16 * OUTCOME_BYTES)
    for number in range(17):
        labels.add(told("u", 1.0, float(number)))
    assert (len(labels), labels.dropped, labels.observed) == (15, 2, 17)
    assert labels.between(-math.inf, math.inf, U)["known_s"].tolist() == [float(n) for n in range(2, 17)]


def test_labels_of_another_kind_are_not_taken_over() -> None:
    old, same, other = (
        Labels(BINARY, 10**6),
        Labels(replace(BINARY, name="x"), 10**6),
        Labels(LabelDefinition("n", "number", 60.0), 10**6),
    )
    old.add(told("u", 1.0, 5.0))
    old.dropped = 3
    same.adopt(old)
    other.adopt(old)
    assert (len(same), same.dropped, len(other), other.dropped) == (1, 3, 0, 0)
