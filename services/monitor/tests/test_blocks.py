"""When a block of paired requests becomes ripe and final, and which labels are known of it by then."""

import numpy as np
import pytest

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.features.outcomes import KnownOutcome
from headrace_monitor.core.blocks import Blocks, Known, Pair

HOUR = 3600.0
GOOD, BAD = Score(2, "", 0.1), Score(1, "", 0.5)
YEAR = 365.25 * 86_400.0


def blocks(horizon_h: float = 4, delay_h: float | None = None, absent: str = "unknown", kind: str = "binary") -> Blocks:
    classes = ("a", "b", "c") if kind == "classes" else ()
    low, high = (10.0, 30.0) if kind == "number" else (None, None)
    label = LabelDefinition("y", kind, horizon_h * HOUR, absent, classes, low, high)
    return Blocks(label, HOUR, (horizon_h if delay_h is None else delay_h) * HOUR)


def pair(unit: str, at_s: float, new: Score | None = GOOD, control: Score | None = BAD) -> Pair:
    return Pair(unit, at_s, new, control)


def all_due(found: Blocks, clock_s: float) -> list[tuple[str, float, Known]]:
    """What becomes of blocks by the clock: what, since when, and the pairs as known then."""
    given = []
    while (due := found.next_due(clock_s)) is not None:
        known = found.ripen(due) if due.what == "ripe" else found.finish(due)
        given.append((due.what, due.at_s, known))
    return given


def ripe(found: Blocks, clock_s: float) -> Known:
    due = found.next_due(clock_s)
    assert due is not None
    assert due.what == "ripe"
    return found.ripen(due)


def labelled(known: Known) -> int:
    return int((~np.isnan(known.labels)).sum())


def test_a_block_is_ripe_after_the_label_delay_and_final_after_the_horizon_and_not_before() -> None:
    found = blocks(delay_h=2)
    found.add_pair(pair("u", 100.0))
    found.add_outcome(KnownOutcome("u", 0.0, 200.0))
    assert found.next_due(3 * HOUR - 1) is None
    known = ripe(found, 3 * HOUR)
    assert (known.number, known.from_s, known.to_s, known.missing) == (0, 0.0, HOUR, 0)
    assert (known.new.tolist(), known.control.tolist(), known.labels.tolist()) == ([0.1], [0.5], [0.0])
    assert (found.next_due(5 * HOUR - 1), found.pairs_bytes) == (None, 40)
    ((what, at_s, final),) = all_due(found, 5 * HOUR)
    assert (what, at_s, final.labels.tolist(), found.pairs_bytes) == ("final", 5 * HOUR, [0.0], 0)


def test_blocks_follow_each_other_in_time_whenever_the_clock_is_looked_at() -> None:
    coarse, fine = blocks(delay_h=2), blocks(delay_h=2)
    for found in (coarse, fine):
        for hour in range(6):
            found.add_pair(pair(f"u{hour}", hour * HOUR + 5))
    at_once = [(what, known.number) for what, _, known in all_due(coarse, 20 * HOUR)]
    by_and_by = [(w, k.number) for quarter in range(80) for w, _, k in all_due(fine, (quarter + 1) * HOUR / 4)]
    assert at_once == by_and_by
    assert at_once[:5] == [("ripe", 0), ("ripe", 1), ("ripe", 2), ("final", 0), ("ripe", 3)]


def test_a_hundred_years_without_requests_are_passed_over() -> None:
    found = blocks()
    found.add_pair(pair("u", 100.0))
    found.add_pair(pair("w", 100 * YEAR))
    given = all_due(found, 101 * YEAR)
    assert [what for what, _, _ in given] == ["ripe", "final", "ripe", "final"]
    assert found.next_due(101 * YEAR) is None


def test_a_request_of_today_amid_a_replay_of_ten_years_ago_makes_nothing_late() -> None:
    found = blocks()
    found.add_pair(pair("today", 1.7e9))
    found.add_pair(pair("u", 1.3e9))
    found.add_outcome(KnownOutcome("u", 1.0, 1.3e9 + 60))
    assert found.late == 0
    assert labelled(ripe(found, 1.3e9 + 6 * HOUR)) == 1
    assert [what for what, _, _ in all_due(found, 1.3e9 + 6 * HOUR)] == ["final"]


def test_what_is_no_label_of_the_kind_is_counted_and_changes_nothing() -> None:
    found = blocks()
    found.add_pair(pair("u", 0.0))
    for wild in (2.0, -1.0, 0.5, float("nan"), float("inf"), 1e300):
        found.add_outcome(KnownOutcome("u", wild, 60.0))
    assert (found.foreign, labelled(ripe(found, 5 * HOUR))) == (6, 0)
    numbers = blocks(kind="number")
    for wild in (float("nan"), float("inf"), 20.0):
        numbers.add_outcome(KnownOutcome("u", wild, 60.0))
    assert numbers.foreign == 2


def test_a_label_belongs_only_to_requests_before_it() -> None:
    found = blocks()
    found.add_pair(pair("u", 0.0))
    found.add_pair(pair("u", 1800.0))
    found.add_outcome(KnownOutcome("u", 1.0, 900.0))
    assert labelled(ripe(found, 5 * HOUR)) == 1


def test_requests_of_a_block_are_in_the_order_of_their_instants() -> None:
    found = blocks()
    for at_s in (30.0, 10.0, 20.0):
        found.add_pair(pair(f"u{at_s}", at_s, Score(2, "", at_s / 100)))
    assert ripe(found, 5 * HOUR).new.tolist() == [0.1, 0.2, 0.3]


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
    (_, _, known), _ = all_due(found, 5 * HOUR)
    assert (len(known.labels), known.missing) == (100, 900)
    assert found.pairs_bytes == 0


def test_near_the_bound_ripe_blocks_are_final_early_and_no_new_pair_is_missing() -> None:
    found = blocks(delay_h=1, horizon_h=1000)
    found.pairs_limit_bytes = 100 * found.pair_bytes
    finals = []
    for hour in range(20):
        for n in range(10):
            found.add_pair(pair(f"u{hour}.{n}", hour * HOUR + n))
        finals += [known.number for what, _, known in all_due(found, (hour + 1) * HOUR) if what == "final"]
    assert finals == list(range(len(finals)))
    assert len(finals) >= 10
    assert found._missing == {}
    assert found.pairs_bytes <= found.pairs_limit_bytes


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
    labels = ripe(found, 6 * HOUR).labels
    assert labels[:3].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(labels[3])


def test_an_absent_label_may_mean_negative_and_only_after_the_horizon() -> None:
    for absent, at_last in (("unknown", 0), ("negative", 1)):
        found = blocks(delay_h=1, absent=absent)
        found.add_pair(pair("u", 0.0))
        (_, _, early), (_, _, late) = all_due(found, 5 * HOUR)
        assert (labelled(early), labelled(late)) == (0, at_last)


def test_a_label_that_comes_after_the_delay_is_known_later() -> None:
    found = blocks(delay_h=2)
    found.add_pair(pair("u", 0.0))
    found.add_outcome(KnownOutcome("u", 1.0, 3.5 * HOUR))
    assert labelled(ripe(found, 3 * HOUR)) == 0
    assert [labelled(known) for known in found.provisional(1, 3.25 * HOUR)] == [0]
    assert [labelled(known) for known in found.provisional(1, 3.5 * HOUR)] == [1]
    assert found.provisional(0, 4 * HOUR) == []
    ((_, _, final),) = all_due(found, 5 * HOUR)
    assert labelled(final) == 1


def test_a_block_that_is_not_ripe_is_not_provisional() -> None:
    found = blocks(delay_h=1)
    for hour in range(3):
        found.add_pair(pair(f"u{hour}", hour * HOUR))
    ripe(found, 2 * HOUR)
    assert [known.number for known in found.provisional(9, 2 * HOUR)] == [0]


def test_requests_of_ripe_blocks_still_count_and_those_of_final_ones_are_late() -> None:
    found = blocks(delay_h=1)
    found.add_pair(pair("u", 0.0))
    ripe(found, 2 * HOUR)
    found.add_pair(pair("slow", 10.0))
    ((_, _, final),) = all_due(found, 5 * HOUR)
    assert (len(final.labels), found.late) == (2, 0)
    found.add_pair(pair("late", 10.0))
    assert (found.late, found.open_from_s) == (1, HOUR)


def test_a_request_before_the_first_ripe_block_is_late() -> None:
    found = blocks(delay_h=1)
    found.add_pair(pair("u", 5 * HOUR))
    ripe(found, 7 * HOUR)
    found.add_pair(pair("before", 4 * HOUR))
    assert found.late == 1


def test_labels_of_final_blocks_are_forgotten_and_those_of_open_ones_kept() -> None:
    found = blocks(delay_h=1, horizon_h=1)
    found.add_pair(pair("u", 0.0))
    found.add_pair(pair("w", HOUR + 1))
    found.add_outcome(KnownOutcome("u", 1.0, 600.0))
    found.add_outcome(KnownOutcome("w", 1.0, HOUR + 600))
    assert len(all_due(found, 2 * HOUR)) == 2
    assert found.labels_bytes == 48
    assert labelled(ripe(found, 3 * HOUR)) == 1


def test_several_classes_have_a_score_each_and_a_failure_has_none() -> None:
    found = blocks(kind="classes")
    found.add_pair(pair("u", 0.0, Score(2, "", None, (0.8, 0.1, 0.1)), None))
    known = ripe(found, 5 * HOUR)
    assert known.new.tolist() == [[0.8, 0.1, 0.1]]
    assert np.isnan(known.control).all()


def test_numbers_are_scaled_to_their_range() -> None:
    found = blocks(kind="number")
    found.add_pair(pair("u", 0.0, Score(2, "", 15.0), Score(1, "", 40.0)))
    found.add_outcome(KnownOutcome("u", 20.0, 60.0))
    known = ripe(found, 5 * HOUR)
    assert (known.new.tolist(), known.control.tolist(), known.labels.tolist()) == ([0.25], [1.5], [0.5])


@pytest.mark.parametrize("score", [Score(2, "", 1.5), Score(2, "", float("nan")), Score(2, "", None, (0.5, 0.5)), None])
def test_what_is_no_probability_is_a_failure(score: Score | None) -> None:
    found = blocks()
    found.add_pair(pair("u", 0.0, score))
    assert np.isnan(ripe(found, 5 * HOUR).new).all()


def test_a_correction_stays_as_long_as_what_it_corrects_and_other_old_outcomes_go() -> None:
    found = blocks()
    found.add_pair(pair("u", 100.0))
    found.add_outcome(KnownOutcome("v", 1.0, 3 * HOUR, id="o1"))
    found.add_outcome(KnownOutcome("v", 0.0, 50.0, id="o2", corrects="o1"))
    found.add_outcome(KnownOutcome("w", 0.0, 50.0, id="o3"))
    found.add_outcome(KnownOutcome("w", 0.0, 60.0, corrects="o3"))
    one = found.labels_bytes // 4
    assert len(all_due(found, 5 * HOUR)) == 2
    assert found.labels_bytes == 2 * one
