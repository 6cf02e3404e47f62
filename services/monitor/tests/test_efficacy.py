"""What a switch brought: both versions on the same requests, day by day."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from services.monitor.tests.watched import DAY, DEPLOYMENT, Watched, watch, window

from headrace.events.definition import LabelDefinition
from headrace.events.efficacy import EfficacyReported, Paired
from headrace_monitor.core.efficacy import pairs_of
from headrace_monitor.core.scored import Scored


def scored(version: int, role: str, scores: list[float], rows: list[int], labels: list[float]) -> Scored:
    return Scored(version, role, np.array(scores), np.array(labels), np.array(rows))


def switched() -> Watched:
    found = watch()
    found.on_champion(2)
    return found


def reports(found: Watched, gains: dict[int, float], rows: int = 100) -> list[EfficacyReported]:
    """Days in which version 2 gains so much per request over version 1."""
    facts = []
    for day, gain in gains.items():
        pairs = (Paired(2, 1, rows, gain * rows), Paired(2, 7, rows, 99.0))
        facts += found.on_window(window(day, 0.5, 2, pairs=pairs), 2, (day + 1) * DAY)
    return [fact for fact in facts if isinstance(fact, EfficacyReported)]


def test_versions_are_compared_on_the_requests_that_both_scored() -> None:
    label = LabelDefinition("y", "binary", 60.0)
    new = scored(2, "champion", [0.5, 0.5, 1.0], [0, 2, 3], [1.0, 0.0, 1.0])
    old = scored(1, "shadow", [0.0, 1.0, 0.5], [0, 1, 3], [1.0, 0.0, 1.0])
    assert pairs_of(label, [new, old]) == (Paired(2, 1, 2, pytest.approx(0.75 + 0.25)),)
    assert pairs_of(label, [new, replace(old, rows=np.array([7, 8, 9]))]) == ()
    assert pairs_of(None, [new, old]) == ()


def test_numbers_are_compared_in_shares_of_their_range_and_classes_by_their_own_scores() -> None:
    number = LabelDefinition("y", "number", 60.0, low=0.0, high=10.0)
    new, old = scored(2, "champion", [4.0], [0], [5.0]), scored(1, "shadow", [8.0], [0], [5.0])
    assert pairs_of(number, [new, old]) == (Paired(2, 1, 1, pytest.approx(0.2)),)
    assert pairs_of(LabelDefinition("y", "number", 60.0), [new, old]) == ()
    classes = LabelDefinition("y", "classes", 60.0, classes=("a", "b", "c"))
    sure = Scored(2, "champion", np.array([[1.0, 0.0, 0.0]]), np.array([0.0]), np.array([4]))
    wrong = Scored(1, "shadow", np.array([[0.0, 1.0, 0.0]]), np.array([0.0]), np.array([4]))
    (pair,) = pairs_of(classes, [sure, wrong])
    assert (pair.rows, pair.gain > 0) == (1, True)


def test_the_figure_is_reported_each_day_and_ends_after_so_many() -> None:
    found = switched()
    made = reports(found, {day: 0.02 + 0.002 * (-1) ** day for day in range(3, 30)})
    assert [(report.at_s / DAY, report.days, report.is_final) for report in made] == [
        (day, day - 3, day == 17) for day in range(4, 18)
    ]
    assert (made[0].low, made[0].high) == (None, None)
    last = made[-1]
    assert (last.version, last.previous, last.since_s, last.requests) == (2, 1, 3 * DAY, 1_400)
    assert last.gain == pytest.approx(0.02)
    assert last.low is not None
    assert last.high is not None
    assert 0.01 < last.low < 0.02 < last.high < 0.03
    assert found.state.efficacy is None


def test_without_the_previous_version_there_is_no_figure() -> None:
    found = switched()
    assert [found.on_window(window(day, 0.5, 2), 2, (day + 1) * DAY) for day in range(30)] == [[]] * 30


def test_a_first_champion_is_compared_with_nothing() -> None:
    assert watch().state.efficacy is None


def test_another_switch_ends_the_figure_and_begins_the_next() -> None:
    found = switched()
    reports(found, dict.fromkeys(range(5), 0.01))
    (last,) = found.on_champion(3)
    assert (last.version, last.previous, last.days, last.is_final) == (2, 1, 5, True)
    assert found.state.efficacy is not None
    assert (found.state.efficacy.version, found.state.efficacy.previous) == (3, 2)


def test_a_restart_goes_on_where_it_was() -> None:
    whole, found = switched(), switched()
    gains = {day: 0.02 + 0.002 * (-1) ** day for day in range(14)}
    made = reports(found, {day: gain for day, gain in gains.items() if day < 6})
    again = Watched(DEPLOYMENT, found.memory())
    made += reports(again, {day: gain for day, gain in gains.items() if day >= 6})
    assert made == reports(whole, gains)


def test_windows_of_an_hour_make_one_report_a_day() -> None:
    found = switched()
    made = []
    for hour in range(60):
        closed = msgspec.structs.replace(
            window(0, 0.5, 2, pairs=(Paired(2, 1, 10, 0.1),)), from_s=hour * 3600.0, to_s=(hour + 1) * 3600.0
        )
        made += [f for f in found.on_window(closed, 2, (hour + 1) * 3600.0) if isinstance(f, EfficacyReported)]
    assert [(report.at_s / DAY, report.days, report.requests) for report in made] == [(1.0, 1, 240), (2.0, 2, 480)]
