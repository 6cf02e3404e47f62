"""Retrains by schedule, by new rows and by hand, and where several reasons meet."""

from typing import Any

import msgspec
import pytest
from services.monitor.tests.watched import DAY, DEPLOYMENT, Watched, days, finished, watch, window

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import ColumnProfile, FindingOpened, FindingResolved, SourceProfile
from headrace.events.policies import RetrainingDefinition
from headrace.events.training import RetrainAccepted, RetrainAsk, RetrainRefused, RetrainRequested, TrainingFinished
from headrace_monitor.core.retrain_reasons import JUDGED_WINDOWS, MOST_WINDOWS, after_window
from headrace_monitor.core.retrain_requests import request_id_of

# 1970-01-05 is a Monday.
MONDAYS = "0 3 * * 1"
FIRST_MONDAY = 4 * DAY + 3 * 3600


def deployment(**policy: Any) -> DeploymentDefinition:
    return msgspec.structs.replace(DEPLOYMENT, retraining=RetrainingDefinition(("drift",), 7 * DAY, **policy))


def scheduled(champion: int | None = 1, **policy: Any) -> Watched:
    found = Watched(deployment(**policy))
    if champion is not None:
        found.on_champion(champion)
    return found


def asked(facts: list[Any]) -> list[tuple[str, float]]:
    return [(fact.cause, fact.clock_s) for fact in facts if isinstance(fact, RetrainRequested)]


def steady(first: int, last: int) -> dict[int, float]:
    return dict.fromkeys(range(first, last), 0.5)


def lived(found: Watched, to_day: int, losses: dict[int, float] | None = None) -> list[RetrainRequested]:
    """Days in which the trainer answers every request at once with a version."""
    requests: list[RetrainRequested] = []
    for day in range(to_day):
        loss = (losses or {}).get(day, 0.5)
        for fact in days(found, {day: loss}):
            if isinstance(fact, RetrainRequested):
                requests.append(fact)
                finished(found, fact, "registered")
    return requests


def test_every_so_often_is_counted_from_the_newest_version_and_asks_by_its_own_instant() -> None:
    found = scheduled(every_s=10 * DAY)
    requests = lived(found, 35)
    assert asked(requests) == [("schedule", 11 * DAY), ("schedule", 21 * DAY), ("schedule", 31 * DAY)]
    assert requests[0].reason == "10 d since 1970-01-02T00:00:00Z"


def test_a_cron_schedule_asks_at_its_instants_in_utc_of_event_time() -> None:
    requests = lived(scheduled(cron=MONDAYS), 14)
    assert asked(requests) == [("schedule", FIRST_MONDAY), ("schedule", FIRST_MONDAY + 7 * DAY)]
    assert requests[0].reason == "cron '0 3 * * 1'"


def test_new_labelled_rows_ask_once_for_each_so_many() -> None:
    requests = lived(scheduled(after_rows=500), 12)
    assert asked(requests) == [("new_rows", 6 * DAY), ("new_rows", 11 * DAY)]
    assert requests[0].reason == "500 labelled rows have come since the newest version was asked for"


def test_nothing_is_asked_on_schedule_before_there_is_a_champion() -> None:
    requests = lived(scheduled(None, every_s=DAY, after_rows=1), 2)
    assert asked(requests) == []


def test_a_version_that_was_asked_for_by_hand_puts_schedule_and_rows_off() -> None:
    found = scheduled(every_s=10 * DAY, after_rows=1_000)
    assert asked(days(found, steady(0, 5))) == []
    found.on_training(RetrainAccepted("d", "r", "by hand", "manual", "", 5 * DAY))
    found.on_training(TrainingFinished("d", "r", "registered", ""))
    assert asked(days(found, steady(5, 16))) == [("schedule", 15 * DAY)]


def test_while_a_run_is_under_way_a_schedule_waits_and_counts_from_its_version() -> None:
    found = scheduled(every_s=10 * DAY)
    days(found, steady(0, 9))
    found.on_training(RetrainAccepted("d", "r", "by hand", "manual", "", 9 * DAY))
    assert asked(days(found, steady(9, 14))) == []
    assert asked(list(found.on_training(TrainingFinished("d", "r", "registered", "")))) == []
    assert asked(days(found, steady(14, 20))) == [("schedule", 19 * DAY)]


def test_a_run_without_a_version_puts_nothing_off() -> None:
    found = scheduled(every_s=10 * DAY)
    days(found, steady(0, 9))
    found.on_training(RetrainAccepted("d", "r", "by hand", "manual", "", 9 * DAY))
    assert asked(days(found, steady(9, 14))) == []
    facts = found.on_training(TrainingFinished("d", "r", "failed", "no memory"))
    assert asked(list(facts)) == [("schedule", 11 * DAY)]


@pytest.mark.parametrize("outcome", ["rejected", "failed", "waiting"])
def test_what_came_of_a_scheduled_run_does_not_matter_to_the_next_instant(outcome: str) -> None:
    found = scheduled(cron=MONDAYS)
    (request,) = days(found, steady(0, 6))
    finished(found, request, outcome, missing_rows=5)
    assert asked(days(found, steady(6, 13))) == [("schedule", FIRST_MONDAY + 7 * DAY)]


def test_an_instant_within_the_cooldown_is_passed_over() -> None:
    found = scheduled(cron=MONDAYS)
    (request,) = days(found, steady(0, 6))
    found.on_training(RetrainRefused("d", request_id_of(request), "cool-down", 9 * DAY))
    assert asked(days(found, steady(6, 13))) == [("schedule", FIRST_MONDAY + 7 * DAY)]


def test_a_finding_waits_while_a_scheduled_run_is_under_way_and_then_asks_for_itself() -> None:
    found = scheduled(every_s=10 * DAY)
    losses = {day: 0.5 if day < 10 else 0.9 for day in range(16)}
    facts = days(found, losses)
    (request, opened) = (fact for fact in facts if isinstance(fact, RetrainRequested | FindingOpened))
    assert (request.cause, opened.kind) == ("schedule", "drift")
    (own,) = finished(found, request, "registered")
    assert (own.cause, own.finding) == ("drift", opened.finding)


def test_where_a_finding_and_a_schedule_are_due_at_once_the_finding_asks() -> None:
    found = scheduled(every_s=12 * DAY)
    facts = days(found, {day: 0.5 if day < 10 else 0.9 for day in range(14)})
    assert asked(facts)[0] == ("drift", 13 * DAY)
    assert len(asked(facts)) == 1


def test_a_restart_at_any_day_asks_for_the_same() -> None:
    whole = lived(scheduled(cron=MONDAYS, after_rows=1_500), 40)
    assert len(whole) >= 5
    for cut in (1, 5, 11, 25):
        found = scheduled(cron=MONDAYS, after_rows=1_500)
        requests = lived(found, cut)
        again = Watched(deployment(cron=MONDAYS, after_rows=1_500), found.memory())
        for day in range(cut, 40):
            for fact in days(again, {day: 0.5}):
                requests.append(fact)
                finished(again, fact, "registered")
        assert [request_id_of(request) for request in requests] == [request_id_of(request) for request in whole]


def test_windows_that_close_in_one_go_ask_for_the_same_as_windows_that_close_one_by_one() -> None:
    """A replay: the trainer answers only after many windows."""
    found = scheduled(cron=MONDAYS)
    (request,) = days(found, steady(0, 26))
    assert asked([request]) == [("schedule", FIRST_MONDAY)]
    (caught_up,) = finished(found, request, "registered")
    assert asked([caught_up]) == [("schedule", FIRST_MONDAY + 7 * DAY)]


def test_another_policy_counts_from_the_same_version() -> None:
    found = scheduled(every_s=30 * DAY)
    days(found, steady(0, 12))
    again = Watched(deployment(every_s=10 * DAY), found.memory())
    assert asked(days(again, {12: 0.5})) == [("schedule", 11 * DAY)]
    none = Watched(DEPLOYMENT, found.memory())
    assert (days(none, steady(12, 60)), none.state.requests.by_key) == ([], {})


def broken(day: int, columns: int) -> SourceProfile:
    nulls = 0.9 if day >= 10 else 0.0
    return SourceProfile("landings", 100, {f"c{n:04}": ColumnProfile(nulls, 1.0) for n in range(columns)})


def test_a_thousand_findings_in_one_window_make_one_request() -> None:
    found = Watched(
        msgspec.structs.replace(DEPLOYMENT, retraining=RetrainingDefinition(("contract", "drift"), 7 * DAY))
    )
    found.on_champion(1)
    facts = [
        fact
        for day in range(13)
        for fact in found.on_window(window(day, 0.5, sources=(broken(day, 1_000),)), 1, (day + 1) * DAY)
    ]
    opened = [fact for fact in facts if isinstance(fact, FindingOpened)]
    (request,) = (fact for fact in facts if isinstance(fact, RetrainRequested))
    assert (len(opened), request.cause, request.finding) == (1_000, "contract", opened[0].finding)
    assert request.reason == f"{opened[0].summary}, and 999 further findings"
    finished(found, request, "registered")
    assert {ask.tried for ask in found.state.requests.by_key.values()} == {True}


def test_findings_of_another_kind_join_the_request_that_is_under_way() -> None:
    found = Watched(
        msgspec.structs.replace(DEPLOYMENT, retraining=RetrainingDefinition(("contract", "drift"), 7 * DAY))
    )
    found.on_champion(1)
    losses = {day: 0.5 if day < 9 else 0.9 for day in range(13)}
    facts: list[Any] = []
    for day, loss in losses.items():
        facts += found.on_window(window(day, loss, sources=(broken(day, 1),)), 1, (day + 1) * DAY)
    assert [fact.cause for fact in facts if isinstance(fact, RetrainRequested)] == ["contract"]
    asks = found.state.requests.by_key
    assert asks["drift"].request_id == asks["contract:landings.c0000"].request_id is not None


def test_a_run_of_a_finding_that_is_resolved_meanwhile_is_still_under_way() -> None:
    found = watch()
    facts = days(found, {day: 0.5 if day < 10 else 0.9 for day in range(14)})
    request = facts[-1]
    found.on_training(RetrainAccepted("d", "r", request_id_of(request), "drift", "", request.clock_s))
    (resolved,) = days(found, {14: 0.4})
    assert isinstance(resolved, FindingResolved)
    assert [(key, ask.run) for key, ask in found.state.requests.by_key.items()] == [("run", "r")]
    found.on_training(TrainingFinished("d", "r", "registered", ""))
    assert found.state.requests.by_key == {}


@pytest.mark.parametrize(
    ("windows", "judged", "gained", "wanted"),
    [
        (JUDGED_WINDOWS - 2, True, False, (True, 0)),
        (JUDGED_WINDOWS - 1, True, False, (False, 1)),
        (JUDGED_WINDOWS - 1, True, True, (False, 0)),
        (JUDGED_WINDOWS - 1, False, False, (True, 0)),
        (MOST_WINDOWS - 2, False, False, (True, 0)),
        (MOST_WINDOWS - 1, False, False, (False, 1)),
        (MOST_WINDOWS - 1, False, True, (False, 1)),
    ],
)
def test_a_retrain_is_given_up_after_two_windows_of_its_own_or_sixty_of_others(
    windows: int, judged: bool, gained: bool, wanted: tuple[bool, int]
) -> None:
    ask = after_window(RetrainAsk("drift", tried=True, windows=windows), is_judged=judged, has_gained=gained)
    assert (ask.tried, ask.unhelpful) == wanted
