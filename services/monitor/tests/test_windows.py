"""Evaluation windows: when one closes, which labels count in it, and how versions did."""

from collections.abc import Sequence

import numpy as np
import pytest
from services.monitor.tests.watched import DAY, DEPLOYMENT, decision, windows
from services.monitor.tests.windows_scene import qualities
from sklearn.metrics import log_loss

from headrace.events.inference import DecisionMade, Score
from headrace.features.outcomes import KnownOutcome
from headrace_monitor.core.windows import Rows, Windows


def label(found: Windows, count: int, known_s: float, since: int = 0) -> None:
    for number in range(since, count):
        found.add_outcome(KnownOutcome(f"u{number}", 1.0, known_s))


def closed(decisions: Sequence[DecisionMade], labels: Sequence[float] = ()) -> Rows:
    """The rows of a closed window with these decisions."""
    found = Windows(DEPLOYMENT)
    for number, made in enumerate(decisions):
        found.add_decision(made, 0, number)
    for made, value in zip(decisions, labels, strict=False):
        found.add_outcome(KnownOutcome(made.unit, value, made.at_s))
    return found.rows_of(0.0, 2 * DAY)


def test_a_window_is_open_while_the_clock_is_inside_it() -> None:
    found = windows()
    label(found, 100, DAY)
    assert found.closable(DAY - 1) is None
    assert found.closable(DAY) == (0.0, DAY)


def test_a_window_closes_when_enough_of_its_labels_are_known() -> None:
    found = windows()
    label(found, 97, DAY)
    assert found.closable(DAY + 3600) is None
    label(found, 98, DAY + 10, since=97)
    assert found.closable(DAY + 7200) == (0.0, DAY + 3600)


def test_a_label_counts_only_from_when_it_was_known() -> None:
    found = windows()
    label(found, 100, DAY + 800)
    assert found.closable(DAY + 800) is None
    assert found.closable(DAY + 3600) == (0.0, DAY + 3600)


def test_a_window_closes_at_the_hour_at_which_it_could_however_late_one_looks() -> None:
    found = windows()
    label(found, 100, DAY + 800)
    assert found.closable(DAY + 20_000) == (0.0, DAY + 3600)


def test_after_the_horizon_a_window_closes_with_what_there_is() -> None:
    assert windows().closable(2 * DAY - 1) is None
    assert windows().closable(2 * DAY) == (0.0, 2 * DAY)


def test_a_clock_a_thousand_years_on_costs_no_more_than_one_an_hour_on() -> None:
    assert windows().closable(3e10) == (0.0, 2 * DAY)
    assert windows().closable(253_402_300_799.0) == (0.0, 2 * DAY)


def test_a_window_of_long_ago_begins_at_a_multiple_of_its_length() -> None:
    found = Windows(DEPLOYMENT)
    found.add_decision(decision("u", -62_135_596_800.0 + 5), 0, 0)
    assert found.open_from_s == -62_135_596_800.0


def test_a_decision_of_a_closed_window_is_late_and_changes_nothing() -> None:
    found = windows()
    found.drop(0.0, DAY)
    assert not found.add_decision(decision("late", 5.0), 0, 100)
    assert (found.late_requests, found.open) == (1, {})
    found.add_decision(decision("late", 5.0), 0, 100, is_new=False)
    assert found.late_requests == 1


def test_an_outcome_that_comes_after_its_window_has_closed_is_counted() -> None:
    found = windows()
    found.drop(0.0, DAY + 3600)
    found.add_outcome(KnownOutcome("u1", 1.0, DAY + 3600))
    found.add_outcome(KnownOutcome("u2", 1.0, DAY + 3601))
    assert found.late_outcomes == 1


def test_a_unit_that_is_asked_about_twice_has_a_label_for_each_request() -> None:
    """The outcome of day 2 is none of the request of day 10, and closing the first window takes nothing from the second."""
    found = Windows(DEPLOYMENT)
    for day in (1.0, 10.0):
        found.add_decision(decision("u", day * DAY), 0, int(day))
        found.add_outcome(KnownOutcome("u", 1.0 if day == 1.0 else 0.0, (day + 0.5) * DAY))
    assert found.rows_of(10 * DAY, 12 * DAY).labels.tolist() == [0.0]
    first = found.rows_of(DAY, 3 * DAY)
    found.drop(DAY, 3 * DAY)
    assert (first.labels.tolist(), found.rows_of(10 * DAY, 12 * DAY).labels.tolist()) == ([1.0], [0.0])


def test_a_label_known_before_its_request_is_none_of_it() -> None:
    found = Windows(DEPLOYMENT)
    found.add_outcome(KnownOutcome("u", 1.0, 9 * DAY))
    found.add_decision(decision("u", 9.5 * DAY), 0, 0)
    assert np.isnan(found.rows_of(9 * DAY, 20 * DAY).labels).all()


def test_only_a_correction_changes_a_label_and_only_up_to_the_horizon() -> None:
    found = windows(1)
    for ident, value, known_s, corrects in (
        ("a", 1.0, 100.0, None), ("b", 0.0, 120.0, None), ("a", 0.0, 130.0, None), ("c", 0.0, 200.0, "a"), ("d", 1.0, DAY + 1, "a"),
    ):  # fmt: skip
        found.add_outcome(KnownOutcome("u0", value, known_s, ident, corrects=corrects))
    assert found.rows_of(0.0, 2 * DAY).labels.tolist() == [0.0]
    assert found.rows_of(0.0, 150.0).labels.tolist() == [1.0]
    assert found.rows_of(0.0, 2 * DAY).beyond == 1


def test_quality_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truths = (rng.random(200) < 0.3).astype(float)
    rows = [decision(f"u{n}", 0.0, float(p), 1, shadows=(Score(2, "m", 0.3),)) for n, p in enumerate(rng.random(200))]
    champion, shadow = qualities(closed(rows, truths.tolist()))
    assert champion.log_loss == pytest.approx(log_loss(truths, [row.answer.score.value for row in rows]))  # type: ignore[union-attr]
    assert (champion.role, shadow.role, shadow.version) == ("champion", "shadow", 2)
    assert shadow.auc == 0.5


def test_a_window_of_two_champions_belongs_to_none() -> None:
    assert closed([decision("a", 0.0, version=1), decision("b", 0.0, version=1)]).served_version == 1
    assert closed([decision("a", 0.0, version=1), decision("b", 0.0, version=2)]).served_version is None
    assert closed([decision("a", 0.0, version=0)]).served_version is None
