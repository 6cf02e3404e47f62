"""When a block of paired requests closes, which labels count in it, and what its open neighbours are worth by then."""

import pytest

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.features.outcomes import KnownOutcome
from headrace_monitor.core.blocks import Blocks, Closed, Pair

HOUR = 3600.0
GOOD, BAD = Score(2, "", 0.1), Score(1, "", 0.5)


def blocks(horizon_h: float = 4, delay_h: float | None = None, absent: str = "unknown", kind: str = "binary") -> Blocks:
    label = LabelDefinition("y", kind, horizon_h * HOUR, absent, ("a", "b", "c") if kind == "classes" else ())
    return Blocks(label, HOUR, (horizon_h if delay_h is None else delay_h) * HOUR, 0.01)


def pair(unit: str, at_s: float, new: Score | None = GOOD, control: Score | None = BAD) -> Pair:
    return Pair(unit, at_s, new, control)


def closed(found: Blocks, clock_s: float) -> Closed:
    result = found.close_next(clock_s)
    assert result is not None
    return result


def test_a_block_closes_when_the_label_delay_after_its_end_is_over_and_not_before() -> None:
    found = blocks()
    found.add_pair(pair("u", 100.0))
    found.add_outcome(KnownOutcome("u", 0.0, 200.0))
    assert found.close_next(5 * HOUR - 1) is None
    result = closed(found, 5 * HOUR)
    assert (result.from_s, result.to_s, result.closed_s) == (0.0, HOUR, 5 * HOUR)
    assert (result.sums.rows, result.sums.labelled) == (1, 1)
    assert result.sums.difference == pytest.approx(0.01 - 0.25)


def test_blocks_without_requests_close_in_their_turn() -> None:
    found = blocks()
    found.add_pair(pair("u", 100.0))
    found.add_pair(pair("w", 3 * HOUR + 100))
    ends = [closed(found, 8 * HOUR).sums.rows for _ in range(4)]
    assert ends == [1, 0, 0, 1]
    assert found.close_next(8 * HOUR) is None


def test_a_hundred_years_without_requests_are_passed_over_in_one_turn() -> None:
    found = blocks(horizon_h=4)
    found.add_pair(pair("u", 100.0))
    found.add_pair(pair("w", 100 * 365.25 * 86_400.0))
    turns = []
    while (one := found.close_next(101 * 365.25 * 86_400.0)) is not None:
        turns.append((one.sums.rows, one.empty))
    assert len(turns) < 12
    assert sum(rows for rows, _ in turns) == 2
    passed = sum(empty for _, empty in turns) + len(turns)
    assert passed == found.number_of(101 * 365.25 * 86_400.0) - 4
    assert found.close_next(101 * 365.25 * 86_400.0) is None


def test_a_request_of_today_amid_a_replay_of_ten_years_ago_makes_nothing_late() -> None:
    found = blocks(horizon_h=4)
    found.add_pair(pair("today", 1.7e9))
    found.add_pair(pair("u", 1.3e9))
    found.add_outcome(KnownOutcome("u", 1.0, 1.3e9 + 60))
    assert found.late == 0
    assert closed(found, 1.3e9 + 6 * HOUR).sums.labelled == 1
    assert closed(found, 1.3e9 + 6 * HOUR).sums.rows == 0
    assert found.close_next(1.3e9 + 6 * HOUR) is None


def test_what_is_no_label_of_the_kind_is_counted_and_changes_nothing() -> None:
    found = blocks()
    found.add_pair(pair("u", 0.0))
    for wild in (2.0, -1.0, 0.5, float("nan"), float("inf"), 1e300):
        found.add_outcome(KnownOutcome("u", wild, 60.0))
    assert (found.foreign, closed(found, 5 * HOUR).sums.labelled) == (6, 0)


def test_a_label_belongs_only_to_requests_before_it() -> None:
    found = blocks()
    found.add_pair(pair("u", 0.0))
    found.add_pair(pair("u", 1800.0))
    found.add_outcome(KnownOutcome("u", 1.0, 900.0))
    assert closed(found, 5 * HOUR).sums.labelled == 1


def test_a_pair_costs_forty_bytes_and_a_label_forty_eight_and_over_the_bound_pairs_are_missing_and_labels_the_oldest() -> (
    None
):
    found = blocks()
    found.pairs_limit_bytes, found.labels_limit_bytes = 100 * found.pair_bytes, 100 * 48
    for n in range(1000):
        found.add_pair(pair(f"u{n}", float(n)))
        found.add_outcome(KnownOutcome(f"u{n}", 1.0, 1000.0 + n))
        found.add_outcome(KnownOutcome(f"stranger{n}", 1.0, 1000.0 + n))
    assert found.pair_bytes == 40
    assert found.pairs_bytes <= 100 * found.pair_bytes
    assert found.labels_bytes <= 100 * 48
    result = closed(found, 5 * HOUR)
    assert (result.sums.rows, result.missing) == (100, 900)
    assert found.pairs_bytes == 0


def test_a_label_counts_if_it_was_known_within_the_horizon_and_only_a_correction_changes_it() -> None:
    found = blocks()
    for unit in ("in time", "reported twice", "corrected", "too late"):
        found.add_pair(pair(unit, 0.0))
    found.add_outcome(KnownOutcome("in time", 1.0, HOUR))
    found.add_outcome(KnownOutcome("reported twice", 1.0, HOUR))
    found.add_outcome(KnownOutcome("reported twice", 0.0, 2 * HOUR))
    found.add_outcome(KnownOutcome("corrected", 1.0, HOUR, "a"))
    found.add_outcome(KnownOutcome("corrected", 0.0, 2 * HOUR, "b", corrects="a"))
    found.add_outcome(KnownOutcome("too late", 1.0, 4 * HOUR + 1))
    sums = closed(found, 6 * HOUR).sums
    assert (sums.rows, sums.labelled) == (4, 3)
    assert sums.difference == pytest.approx(2 * (0.81 - 0.25) + (0.01 - 0.25))


def test_an_absent_label_may_mean_negative_and_only_after_the_horizon() -> None:
    unknown, negative = blocks(), blocks(absent="negative")
    for found in (unknown, negative):
        found.add_pair(pair("u", 0.0))
    assert closed(unknown, 5 * HOUR).sums.labelled == 0
    assert closed(negative, 5 * HOUR).sums.difference == pytest.approx(0.01 - 0.25)


def test_a_label_that_misses_a_delay_shorter_than_the_horizon_counts_as_the_worst_for_either_test() -> None:
    found = blocks(delay_h=2)
    found.add_pair(pair("u", 0.0))
    sums = closed(found, 3 * HOUR).sums
    assert sums.labelled == 0
    assert sums.harm_gain == pytest.approx(-sums.harm_risk)
    assert sums.margin_gain == pytest.approx(-sums.margin_risk)


def test_open_neighbours_are_worth_what_is_known_of_them_when_the_block_closes() -> None:
    found = blocks(delay_h=2)
    found.add_pair(pair("u", 0.0))
    for unit in ("known", "open"):
        found.add_pair(pair(unit, HOUR + 1))
    found.add_outcome(KnownOutcome("known", 1.0, 2 * HOUR))
    found.add_outcome(KnownOutcome("open", 1.0, 5 * HOUR))
    behind = closed(found, 3 * HOUR).open_after
    assert [sums.rows for sums in behind] == [2, 0]
    assert behind[0].labelled == 1
    assert -behind[0].harm_risk < behind[0].harm_gain < (0.81 - 0.25 - 0.01) * 2 / 12


def test_a_neighbour_that_has_not_ended_yet_counts_as_lost() -> None:
    found = Blocks(LabelDefinition("y", "binary", 1.5 * HOUR), HOUR, 1.5 * HOUR, 0.01)
    found.add_pair(pair("u", 0.0))
    found.add_pair(pair("w", 2 * HOUR + 1))
    behind = closed(found, 2.5 * HOUR).open_after
    assert len(behind) == 2
    assert behind[1].harm_gain < -1e6


def test_requests_of_closed_blocks_are_late_and_change_nothing() -> None:
    found = blocks(delay_h=1)
    found.add_pair(pair("u", 0.0))
    closed(found, 2 * HOUR)
    found.add_pair(pair("late", 10.0))
    assert (found.late, found.open_from_s) == (1, HOUR)


def test_labels_of_closed_blocks_are_forgotten_and_those_of_open_ones_kept() -> None:
    found = blocks(delay_h=1)
    found.add_pair(pair("u", 0.0))
    found.add_pair(pair("w", HOUR + 1))
    found.add_outcome(KnownOutcome("u", 1.0, 600.0))
    found.add_outcome(KnownOutcome("w", 1.0, HOUR + 600))
    closed(found, 2 * HOUR)
    assert found.labels_bytes == 48
    assert closed(found, 3 * HOUR).sums.labelled == 1


def test_several_classes_are_scored_by_half_the_sum_of_squares_and_a_failure_is_the_worst() -> None:
    found = blocks(kind="classes")
    found.add_pair(pair("u", 0.0, Score(2, "", None, (0.8, 0.1, 0.1)), None))
    found.add_outcome(KnownOutcome("u", 0.0, 60.0))
    assert closed(found, 5 * HOUR).sums.difference == pytest.approx((0.04 + 0.01 + 0.01) / 2 - 1)


def test_a_correction_stays_as_long_as_what_it_corrects_and_other_old_outcomes_go() -> None:
    found = blocks()
    found.add_pair(pair("u", 100.0))
    found.add_outcome(KnownOutcome("v", 1.0, 3 * HOUR, id="o1"))
    found.add_outcome(KnownOutcome("v", 0.0, 50.0, id="o2", corrects="o1"))
    found.add_outcome(KnownOutcome("w", 0.0, 50.0, id="o3"))
    found.add_outcome(KnownOutcome("w", 0.0, 60.0, corrects="o3"))
    one = found.labels_bytes // 4
    closed(found, 5 * HOUR)
    assert found.labels_bytes == 2 * one
