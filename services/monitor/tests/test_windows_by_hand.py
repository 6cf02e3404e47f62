"""Windows, their labels and figures, the clock, and where a restart reads again: by hand."""

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, decision

from headrace.events.definition import LabelDefinition
from headrace.events.inference import DecisionMade, Expired, FellBack, Invalid, Refused, Score, Served, ShadowScored
from headrace.events.monitor import VersionQuality
from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome
from headrace_monitor.core.clock import GONE_AFTER, RECENT_S, Bulk, Clocks, InputPlaces, Reading, level
from headrace_monitor.core.labels import KEPT_S, Labels
from headrace_monitor.core.late_scores import SHADOW_DTYPE
from headrace_monitor.core.quality import Figures, error_of, figures_of, log_losses, qualities_of, quality, skew_of
from headrace_monitor.core.replay import DAY_S, ReplayOffsets, day_of
from headrace_monitor.core.windows import ROW_BYTES, ROW_DTYPE, Rows, Windows

HOUR = 3_600.0
BINARY = DEPLOYMENT.label
assert BINARY is not None


def windows(**changes: Any) -> Windows:
    label = replace(BINARY, **{name: changes.pop(name) for name in ("absent", "horizon_s") if name in changes})
    limit = changes.pop("limit_bytes", 10**9)
    return Windows(replace(DEPLOYMENT, label=None if changes.pop("bare", False) else label, **changes), limit)


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
    ] == [False, False, True]
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
    versions, roles, scores, labels = rows.scores()
    assert list(zip(versions.tolist(), roles.tolist(), scores.tolist(), labels.tolist(), strict=True)) == [
        (1, 1, 0.1, 0.0), (2, 2, 0.2, 1.0), (3, 5, 0.3, 0.0), (0, 4, 0.4, 0.0), (2, 6, 0.6, 0.0),
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
    assert [(version, score) for version, _, score, _ in zip(*found.rows_of(0.0, DAY).scores(), strict=True)] == [
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


def test_outcomes_are_kept_for_a_day_and_corrections_stay() -> None:
    labels = Labels(BINARY, 10**6)
    for known_s, corrects in ((10.0, ""), (KEPT_S, ""), (3 * KEPT_S, ""), (20.0, "x")):
        labels.add(told("u", 1.0, known_s, corrects=corrects or None))
    assert (len(labels), labels.observed, labels.held_bytes) == (4, 4, 4 * OUTCOME_BYTES)
    assert labels.between(KEPT_S, 2 * KEPT_S)["known_s"].tolist() == [KEPT_S, 20.0]
    labels.forget_before(2 * KEPT_S)
    assert len(labels) == 4
    labels.forget_before(3 * KEPT_S)
    assert labels.between(-math.inf, math.inf)["known_s"].tolist() == [3 * KEPT_S, 20.0]
    assert labels.held_bytes == 2 * OUTCOME_BYTES
    labels.forget_before(4 * KEPT_S + 1.0)
    assert len(labels) == 0


def test_over_the_bound_the_chunk_of_the_oldest_outcomes_is_dropped_and_counted() -> None:
    labels = Labels(BINARY, 16 * OUTCOME_BYTES)
    for number in range(17):
        labels.add(told("u", 1.0, float(number)))
    assert (len(labels), labels.dropped, labels.observed) == (15, 2, 17)
    assert labels.between(-math.inf, math.inf)["known_s"].tolist() == [float(n) for n in range(2, 17)]


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


# figures


def rows(scores: list[float], labels: list[float], version: int = 1) -> Rows:
    found = windows()
    for n, score in enumerate(scores):
        found.add_decision(decision(f"u{n}", float(n), score, version), 0, n)
    return Rows(found.rows_of(0.0, DAY).table, np.array(labels), found.rows_of(0.0, DAY).shadows)


def entropy(p: float) -> float:
    return -(p * math.log(p) + (1 - p) * math.log(1 - p))


def test_the_quality_of_a_version_by_hand() -> None:
    scores, labels = np.array([0.2, 0.8, 0.6]), np.array([0.0, 1.0, 0.0])
    row_losses = np.array([-math.log(0.8), -math.log(0.8), -math.log(0.4)])
    excess = row_losses - np.array([entropy(p) for p in scores])
    over = row_losses - np.array([-math.log(0.7), -math.log(0.3), -math.log(0.7)])
    found = quality(4, "shadow", scores, labels, 0.3)
    assert found == VersionQuality(
        4, "shadow", 3, pytest.approx(row_losses.mean()), pytest.approx(np.mean([entropy(p) for p in scores])), 1.0, pytest.approx(8 / 15),
        loss_error=pytest.approx(row_losses.std(ddof=1) / math.sqrt(3)), excess_error=pytest.approx(excess.std(ddof=1) / math.sqrt(3)),
        loss_skew=pytest.approx((((row_losses - row_losses.mean()) / row_losses.std()) ** 3).mean() / math.sqrt(3)), over_prior=pytest.approx(over.mean()),
        over_prior_error=pytest.approx(over.std(ddof=1) / math.sqrt(3)),
    )  # fmt: skip
    plain = quality(4, "shadow", scores[:1], labels[:1])
    assert (plain.auc, plain.over_prior, plain.over_prior_error, plain.loss_error) == (None, None, 0.0, 0.0)
    assert quality(4, "shadow", np.array([0.5]), np.array([1.0])).auc is None
    assert log_losses(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx([-math.log(1e-15), 0.0], abs=1e-9)
    assert (error_of(np.array([1.0])), skew_of(np.array([1.0, 1.0]))) == (0.0, 0.0)


def test_figures_of_two_classes_say_who_did_how_well_or_why_nothing_is_known() -> None:
    found = figures_of(BINARY, rows([0.2, 0.8], [0.0, 1.0]), (), 0.3)
    assert (found.positive_share, found.unmeasured, found.class_shares, found.mean_label) == (0.5, "", None, None)
    assert found.qualities == qualities_of(rows([0.2, 0.8], [0.0, 1.0]), 0.3)
    assert [one.over_prior is None for one in figures_of(BINARY, rows([0.2], [0.0]), (), (0.2, 0.8)).qualities] == [
        True
    ]
    assert figures_of(None, rows([0.2], [0.0]), ()) == Figures(unmeasured="no label is declared")
    assert figures_of(BINARY, rows([0.2], [math.nan]), ()) == Figures(unmeasured="no label has come")
    assert figures_of(BINARY, Rows(np.empty(0, ROW_DTYPE), np.empty(0), np.empty(0, SHADOW_DTYPE)), ()) == Figures(
        unmeasured="nothing was asked"
    )
    lost = figures_of(BINARY, rows([math.nan], [1.0]), ())
    assert lost == Figures((), 1.0, unmeasured="no labelled request has a score of the label's kind")


def test_figures_of_numbers_are_in_quarters_of_the_declared_range() -> None:
    label = LabelDefinition("y", "number", 60.0, low=0.0, high=8.0)
    (found,) = figures_of(label, rows([1.0, 5.0], [3.0, 4.0]), (), 3.0).qualities
    over = np.array([1.0, 0.25]) - np.array([0.0, 0.25])
    assert found == VersionQuality(
        1, "champion", 2, None, None, None, 3.0, rmse=pytest.approx(math.sqrt(2.5)), mae=1.5, squared_error=pytest.approx(0.625),
        loss_error=pytest.approx(np.std([1.0, 0.25], ddof=1) / math.sqrt(2)), excess_error=pytest.approx(np.std([1.0, 0.25], ddof=1) / math.sqrt(2)),
        loss_skew=0.0, over_prior=pytest.approx(over.mean()), over_prior_error=pytest.approx(over.std(ddof=1) / math.sqrt(2)),
    )  # fmt: skip
    assert figures_of(label, rows([1.0, 5.0], [3.0, 4.0]), ()).mean_label == 3.5
    (bare,) = figures_of(replace(label, high=None), rows([1.0, 5.0], [3.0, 4.0]), (), 3.0).qualities
    assert (bare.squared_error, bare.over_prior, bare.loss_error, bare.mae) == (None, None, 0.0, 1.5)


def test_figures_of_several_classes_come_from_the_decisions_that_are_read_again() -> None:
    label = LabelDefinition("y", "classes", 60.0, classes=("a", "b", "c"))
    table = rows([math.nan] * 4, [0.0, 1.0, math.nan, 2.0])
    good, short = Score(1, "", None, (0.7, 0.2, 0.1)), Score(1, "", None, (0.5, 0.5))
    sample = [
        replace(decision("u0", 0.0), answer=Served(good), shadows=(Score(2, "", None, (0.1, 0.1, 0.8)),)),
        replace(decision("u1", 1.0), answer=FellBack("odd", "r", good)),
        replace(decision("u2", 2.0), answer=Served(good)),
        replace(decision("u3", 3.0), answer=Served(short)),
        replace(decision("never", 3.0), answer=Served(good)),
    ]
    found = figures_of(label, table, sample, (0.5, 0.25, 0.25))
    assert found.class_shares == {"a": pytest.approx(1 / 3), "b": pytest.approx(1 / 3), "c": pytest.approx(1 / 3)}
    assert [(one.version, one.role, one.rows, one.accuracy) for one in found.qualities] == [
        (1, "champion", 1, 1.0),
        (1, "fallback", 1, 0.0),
        (2, "shadow", 1, 0.0),
    ]
    champion = found.qualities[0]
    assert champion.log_loss == pytest.approx(-math.log(0.7))
    assert champion.expected_log_loss == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)))
    assert champion.over_prior == pytest.approx(-math.log(0.7) + math.log(0.5))
    assert figures_of(label, table, sample, 0.5).qualities[0].over_prior is None
    unnamed = figures_of(replace(label, classes=()), table, [sample[3], sample[0]])
    assert [(one.version, one.rows) for one in unnamed.qualities] == [(1, 1), (2, 1)]
    assert unnamed.class_shares == {"0": pytest.approx(1 / 3), "1": pytest.approx(1 / 3), "2": pytest.approx(1 / 3)}


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
