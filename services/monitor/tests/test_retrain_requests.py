"""Findings: opened, resolved by the figure being back, and the retrains that they ask for."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from services.monitor.tests.watched import DAY, DEPLOYMENT, PLAN, Watched, days, figure_of, finished, watch, window

from headrace.events.monitor import FindingOpened, FindingResolved, VersionQuality, WindowClosed
from headrace.events.training import RetrainRefused, RetrainRequested, TrainingFinished
from headrace_monitor.core.facts import Concern
from headrace_monitor.core.retrain_requests import request_id_of


def risen() -> tuple[Watched, FindingOpened, RetrainRequested]:
    """A deployment whose champion's loss has risen on day 10."""
    found = watch()
    finding, request = days(found, {day: 0.5 if day < 10 else 0.9 for day in range(14)})
    return found, finding, request


def test_a_rise_opens_one_finding_that_knows_since_when_and_asks_once() -> None:
    found, finding, request = risen()
    assert (finding.changed_at_s, request.changed_at_s, request.finding) == (10 * DAY, 10 * DAY, finding.finding)
    assert finding.back_at == pytest.approx(0.7)
    assert days(found, dict.fromkeys(range(14, 30), 0.9)) == []


def test_a_new_champion_resolves_nothing_and_the_figure_that_is_back_does() -> None:
    found, finding, request = risen()
    finished(found, request, "registered")
    assert found.on_champion(2) == []
    assert [getattr(detector, "fed", None) for detector in found.state.detectors] == [()]
    assert days(found, {15: 0.9}, 2) == []
    (resolved,) = days(found, {16: 0.6}, 2)
    assert isinstance(resolved, FindingResolved)
    assert (resolved.finding, "back" in resolved.reason) == (finding.finding, True)


def test_a_few_lucky_rows_bring_nothing_back() -> None:
    found, _, _ = risen()
    few = VersionQuality(1, "champion", 8, 0.6, 0.6, None, 0.3, loss_error=0.2)
    assert found.on_window(window(14, 0.6, qualities=(few,)), 1, 15 * DAY) == []
    many = msgspec.structs.replace(few, rows=800, loss_error=0.02)
    (resolved,) = found.on_window(window(15, 0.6, qualities=(many,)), 1, 16 * DAY)
    assert isinstance(resolved, FindingResolved)


def test_a_request_that_was_cooled_down_is_made_again_when_that_is_over() -> None:
    found, finding, request = risen()
    found.on_training(RetrainRefused("d", request_id_of(request), "cool-down", 20 * DAY))
    facts = days(found, dict.fromkeys(range(14, 25), 0.9))
    assert [(type(event), event.finding, event.clock_s) for event in facts] == [
        (RetrainRequested, finding.finding, 20 * DAY)
    ]
    assert request_id_of(facts[0]) != request_id_of(request)


def test_a_run_that_lacks_rows_is_asked_for_again_when_they_are_there() -> None:
    found, _, request = risen()
    finished(found, request, "waiting", missing_rows=250)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(14, 25), 0.9))] == [16 * DAY]


def test_rows_that_came_while_a_run_was_under_way_count_towards_the_next_however_late_it_is_reported() -> None:
    """A replay, or a run of an hour: windows close before the trainer reports that rows were missing."""
    found, _, request = risen()
    assert days(found, {14: 0.9}) == []
    finished(found, request, "waiting", missing_rows=250)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(15, 25), 0.9))] == [16 * DAY]
    late, _, request = risen()
    assert days(late, dict.fromkeys(range(14, 20), 0.9)) == []
    (again,) = finished(late, request, "waiting", missing_rows=250)
    assert (type(again), again.clock_s) == (RetrainRequested, 20 * DAY)
    assert days(late, {20: 0.9}) == []


def test_what_was_rejected_is_asked_for_again_when_the_rows_beyond_the_change_have_grown_by_half() -> None:
    found, _, request = risen()
    finished(found, request, "rejected", changed_at_s=10 * DAY, rows_after_change=400, rows_wanted=100)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(14, 25), 0.9))] == [15 * DAY]


def test_rejections_of_few_rows_do_not_make_a_finding_give_up() -> None:
    """The rows beyond a change come slowly, and a model of few of them passes no gate: each time there are half as many more it asks."""
    found, _, request = risen()
    asked, day = [request.clock_s / DAY], 14
    for rows in (400, 600, 900, 1350, 2000):
        finished(found, request, "rejected", changed_at_s=10 * DAY, rows_after_change=rows, rows_wanted=1000)
        again: list[Any] = []
        while not again:
            again, day = days(found, {day: 0.9}), day + 1
        (request,) = again
        asked.append(request.clock_s / DAY)
    assert [later - earlier for earlier, later in pairwise(asked)] == [2, 3, 5, 7, 10]
    assert found.state.requests.by_key["drift"].unhelpful == 0


def test_rejections_of_many_rows_do() -> None:
    found, _, request = risen()
    for round_ in range(3):
        finished(found, request, "rejected", changed_at_s=10 * DAY, rows_after_change=400, rows_wanted=40)
        again = days(found, dict.fromkeys(range(14 + 2 * round_, 16 + 2 * round_), 0.9))
        request = next((event for event in again if isinstance(event, RetrainRequested)), request)
    assert (again, found.state.requests.by_key["drift"].unhelpful) == ([], 3)


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
def test_a_run_that_more_rows_would_not_help_is_asked_for_again_after_a_week_of_windows(outcome: str) -> None:
    found, _, request = risen()
    finished(found, request, outcome)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(14, 25), 0.9))] == [21 * DAY]


def test_after_three_retrains_that_did_not_help_it_stops_asking_and_gives_up() -> None:
    found, _, request = risen()
    facts: list[Any] = []
    for round_, outcome in enumerate(("registered", "rejected", "failed")):
        finished(found, request, outcome)
        if outcome == "registered":
            found.on_champion(2)
        facts = days(found, dict.fromkeys(range(15 + 10 * round_, 25 + 10 * round_), 0.9), 2)
        request = next((event for event in facts if isinstance(event, RetrainRequested)), request)
    given_up = found.state.requests.by_key["drift"]
    assert given_up.unhelpful == 3
    assert days(found, dict.fromkeys(range(50, 80), 0.9), 2) == []
    (resolved,) = days(found, {80: 0.5}, 2)
    assert isinstance(resolved, FindingResolved)
    assert found.state.requests.by_key == {}


def test_what_is_asked_survives_a_restart_of_the_monitor() -> None:
    found, _, request = risen()
    again = Watched(DEPLOYMENT, found.memory())
    finished(again, request, "waiting", missing_rows=250)
    assert [event.clock_s for event in days(again, dict.fromkeys(range(14, 25), 0.9))] == [16 * DAY]


def test_a_version_after_a_change_is_followed_up_as_its_rows_grow() -> None:
    found, _, request = risen()
    finished(found, request, "registered", changed_at_s=10 * DAY, rows_after_change=400, rows_wanted=100)
    found.on_champion(2)
    facts = days(found, dict.fromkeys(range(15, 19), 0.5), 2)
    assert [(type(event).__name__, getattr(event, "cause", "")) for event in facts] == [
        ("FindingResolved", ""),
        ("RetrainRequested", "follow_up"),
    ]
    assert facts[1].changed_at_s == 10 * DAY
    assert "600 labelled rows lie beyond the change" in facts[1].reason
    finished(found, facts[1], "registered", changed_at_s=10 * DAY, rows_after_change=1000, rows_wanted=100)
    assert found.state.requests.by_key == {}


def test_a_version_that_rests_on_older_rows_is_followed_up_once_newer_ones_may_outweigh_them() -> None:
    found, _, request = risen()
    run = {"changed_at_s": 10 * DAY, "rows_after_change": 150, "rows_wanted": 100}
    finished(found, request, "registered", trained_rows=5_000, **run)
    found.on_champion(2)
    facts = days(found, dict.fromkeys(range(15, 40), 0.5), 2)
    assert [type(event) for event in facts] == [FindingResolved, RetrainRequested]
    assert "750 labelled rows lie beyond the change" in facts[1].reason


def test_what_is_followed_up_is_the_newest_version_with_the_rows_that_it_had() -> None:
    found, _, request = risen()
    run = {"changed_at_s": 10 * DAY, "rows_wanted": 100, "trained_rows": 500}
    finished(found, request, "registered", rows_after_change=300, **run)
    assert (
        found.state.requests.by_key["follow_up"].needs_labelled == found.state.requests.by_key["drift"].asked_at + 150
    )
    assert found.on_training(TrainingFinished("d", "by hand", "registered", "", rows_after_change=900, **run)) == []
    assert found.state.requests.by_key["follow_up"].needs_labelled == found.state.labelled_total + 450
    found.on_training(TrainingFinished("d", "by hand 2", "registered", "", rows_after_change=1_000, **run))
    assert "follow_up" not in found.state.requests.by_key


def test_a_version_that_was_asked_for_otherwise_and_knows_no_change_ends_the_following_up() -> None:
    found, _, request = risen()
    run = {"changed_at_s": 10 * DAY, "rows_after_change": 400, "rows_wanted": 100}
    finished(found, request, "registered", trained_rows=500, **run)
    found.on_champion(2)
    found.on_training(TrainingFinished("d", "by hand", "registered", ""))
    assert [type(event) for event in days(found, dict.fromkeys(range(15, 40), 0.5), 2)] == [FindingResolved]


def over_prior(day: int, over: float, version: int = 1, role: str = "champion") -> WindowClosed:
    quality = VersionQuality(version, role, 100, 0.9, 0.9, 0.5, 0.3, over_prior=over, over_prior_error=0.01)
    return window(day, 0.9, version, qualities=(quality,))


def test_a_champion_that_stays_worse_than_the_prior_steps_down_until_it_is_better() -> None:
    found = watch()
    assert [found.on_window(over_prior(day, 0.2), 1, day * DAY) for day in range(2)] == [[], []]
    opened, concern = found.on_window(over_prior(2, 0.2), 1, 3 * DAY)
    assert concern == Concern(opened, True)
    assert isinstance(opened, FindingOpened)
    assert (opened.kind, opened.version, opened.about) == ("worse_than_prior", 1, "version 1")
    assert found.on_window(over_prior(3, 0.2, role="shadow"), None, 4 * DAY) == []
    (resolved,) = found.on_window(over_prior(4, -0.1, role="shadow"), None, 5 * DAY)
    assert (resolved.kind, resolved.about) == ("worse_than_prior", "version 1")


def test_of_a_version_that_is_not_champion_any_more_nobody_is_alarmed() -> None:
    found = watch()
    opened = next(event for day in range(3) for event in found.on_window(over_prior(day, 0.2), 1, day * DAY))
    assert found.on_champion(2) == [Concern(opened, False)]
    assert found.on_champion(1) == [Concern(opened, True)]


def test_a_version_that_scores_along_is_passed_over_without_an_alarm() -> None:
    found = watch()
    found.on_champion(2)
    facts = [event for day in range(3) for event in found.on_window(over_prior(day, 0.2, role="shadow"), 2, day * DAY)]
    assert [type(event) for event in facts] == [FindingOpened]


def test_one_bad_window_less_than_it_takes_is_none() -> None:
    found = watch()
    overs = [0.2, 0.2, 0.01, 0.2, 0.2]
    assert [
        event for day, over in enumerate(overs) for event in found.on_window(over_prior(day, over), 1, day * DAY)
    ] == []


def test_each_detector_is_restored_with_its_own_figures() -> None:
    two = msgspec.structs.replace(DEPLOYMENT, monitoring=(PLAN, msgspec.structs.replace(PLAN, threshold=9.0)))
    found = Watched(two)
    found.on_champion(1)
    fed = (
        detector.on_figure(figure_of(loss)).state
        for detector, loss in zip(found.state.detectors, (0.5, 0.7), strict=True)
    )
    found.state = replace(found.state, detectors=tuple(fed))
    again = Watched(two, found.memory())
    assert [detector.fed for detector in again.state.detectors] == [(figure_of(0.5),), (figure_of(0.7),)]  # ty: ignore[unresolved-attribute]
