"""Alarms of dead letters and of failures of the monitoring itself, and which alerts reports end."""

import pytest
from services.monitor.tests.alarms_scene import FINDINGS, beat, opened

from headrace.events.inference import (
    BreakerChanged,
)
from headrace.events.ops import PartitionResumed, PartitionStopped
from headrace.hosting.alerts import Alarm, fire
from headrace.log.port import Record
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.cadence import LOOK_EVERY, Cadence
from headrace_monitor.core.dead_letters import GROW_COUNT, GROW_S, QUIET_S, SKEW_COUNT, SKEW_S, DeadLetters
from headrace_monitor.core.facts import GaveUp, MonitoringFailed
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.monitoring_failures import FAILING_S, ROLLOUT, WINDOWS, MonitoringFailures
from headrace_monitor.core.now import Now

# dead letters

DEAD = Alarm(
    "DeadLettered",
    {"service": "feature"},
    "warning",
    "records that feature cannot read are in dlq.feature",
    "headrace dlq list --service feature",
)
GROW = Alarm(
    "DeadLettersGrow", {"service": "feature"}, "critical",
    "feature could not read 100 records within 5 minutes: a producer writes what nobody can read",
    "headrace dlq list --service feature",
)  # fmt: skip
SKEW = Alarm(
    "ClockSkew", {"topic": "t"}, "warning",
    "10 records of t within 5 minutes lie further ahead than 5 minutes: a sender's clock is wrong", "headrace topic tail t",
)  # fmt: skip


def test_a_dead_letter_is_over_after_a_minute_in_which_its_service_went_on() -> None:
    liveness, dead = Liveness(), DeadLetters()
    beat(liveness, 100.0, handled_total=5, lag={"t/0": 3})
    assert dead.add("feature", 0.0, liveness) == [DEAD]
    assert dead.pop_over(QUIET_S + 1, liveness) == []
    beat(liveness, 101.0, handled_total=6, lag={"t/0": 3})
    assert dead.pop_over(QUIET_S, liveness) == []
    assert dead.pop_over(QUIET_S + 1, liveness) == [DEAD, GROW]
    assert dead.pop_over(QUIET_S + 1, liveness) == []


def test_a_service_that_has_read_all_has_recovered_and_one_that_stopped_has_not() -> None:
    liveness, dead = Liveness(), DeadLetters()
    beat(liveness, 100.0, handled_total=5, lag={"t/0": 0})
    dead.add("feature", 0.0, liveness)
    liveness.on_record(PartitionStopped("feature", "t", 3, 42, "r"), Record("ops.stops.v1", 0, 0, b"k", b"", (), 0))
    assert dead.pop_over(QUIET_S + 1, liveness) == []
    liveness.on_record(
        PartitionResumed("feature", "t", 3, 42, "r", "ann"), Record("ops.stops.v1", 0, 1, b"k", b"", (), 0)
    )
    assert dead.pop_over(QUIET_S + 1, liveness) == [DEAD, GROW]


def test_a_hundred_dead_letters_within_five_minutes_are_more_than_one_bad_record() -> None:
    dead, step_s = DeadLetters(), GROW_S / (GROW_COUNT - 1)
    found = [dead.add("feature", n * step_s, Liveness()) for n in range(GROW_COUNT)]
    assert found == [[DEAD]] * (GROW_COUNT - 1) + [[DEAD, GROW]]
    assert dead.add("registry", GROW_S, Liveness()) != found[-1]
    assert dead.add("feature", GROW_S + step_s + 0.1, Liveness()) == [DEAD]


def test_ten_refused_instants_within_five_minutes_are_a_wrong_clock() -> None:
    dead = DeadLetters()
    step_s = SKEW_S / (SKEW_COUNT - 1)
    assert [dead.add_refused_instant("t", n * step_s) for n in range(SKEW_COUNT)] == [None] * 9 + [SKEW]
    assert dead.add_refused_instant("u", SKEW_S) is None
    assert dead.add_refused_instant("t", SKEW_S + step_s + 0.1) is None
    assert dead.pop_over(2 * SKEW_S, Liveness()) == []
    assert [alarm.about["topic"] for alarm in dead.pop_over(2 * SKEW_S + step_s + 0.2, Liveness())] == ["t", "u"]
    assert dead.add_refused_instant("t", 0.0) is None


@pytest.mark.parametrize(
    ("field", "counts"), [("ce_time", True), ("available_at", True), ("label", False), (None, False)]
)
def test_a_dead_letter_for_its_instant_counts_for_the_clock_too(field: str | None, counts: bool) -> None:
    alerting = Alerting(Liveness())
    names = [
        alert.labels["alertname"]
        for n in range(SKEW_COUNT)
        for alert in alerting.on_dead_letter("feature", field, "t", Now(0.0, float(n))).facts
    ]
    assert names == ["DeadLettered"] + ["ClockSkew"] * counts


# failures of the monitoring itself


def not_monitored(name: str, part: str, why: str) -> Alarm:
    about = {"deployment": name} | ({"about": part} if part else {})
    what = f"{part + ' of ' if part else ''}{name or 'a deployment'}"
    return Alarm(
        "MonitoringFailed", about, "critical", f"{what} is not monitored as it should be: {why}", "headrace status"
    )


def test_a_failure_is_on_for_a_while_or_until_a_window_closes_well() -> None:
    failures = MonitoringFailures()
    failures.add("d", WINDOWS, "a", 10.0)
    failures.add("d", ROLLOUT, "b", 10.0)
    failures.add("", WINDOWS, "c", 10.0)
    assert [failures.is_known("d", WINDOWS, why) for why in ("a", "b")] == [True, False]
    assert not failures.is_known("e", WINDOWS, "a")
    on = [not_monitored("d", "", "a"), not_monitored("d", "rollout", "b"), not_monitored("", "", "c")]
    assert failures.alarms(["d"], 9.9 + FAILING_S) == on
    assert failures.alarms(["d"], 10.0 + FAILING_S) == on[:1]
    failures.note_well("d")
    failures.note_well("never")
    assert failures.alarms(["d"], 0.0) == []


def test_a_definition_that_cannot_be_monitored_is_on_until_it_is_another_or_gone() -> None:
    failures = MonitoringFailures()
    failures.refuse("d", "no")
    failures.add("d", ROLLOUT, "b", 0.0)
    assert failures.alarms([], 1e12) == [not_monitored("d", "", "no")]
    failures.forget("d")
    assert failures.alarms(["d"], 0.0) == []


def test_a_failure_is_told_with_its_type() -> None:
    alerting = Alerting(Liveness())
    (alert,) = alerting.on_failure(MonitoringFailed("d", ROLLOUT, ValueError("no")), Now(5.0, 0.0)).facts
    assert alert == fire(not_monitored("d", ROLLOUT, "ValueError: no"), 5.0)
    notes = {"group": "drift", "group_from": "1970-01-01T00:00:05Z", "findings": "1"}
    assert alerting.published([opened("drift")], Now(5.0, 0.0)) == [
        opened("drift"),
        fire(Alarm("ModelDrift", {"deployment": "d"}, "warning", "it is so", FINDINGS, notes), 5.0),
    ]
    assert [
        fact.labels["alertname"] for fact in alerting.published([GaveUp(opened("drift"), "no use")], Now(5.0, 0.0))
    ] == ["RetrainingUnhelpful"]


def test_alerts_about_instances_are_ended_by_reports_that_are_new_enough() -> None:
    alerting = Alerting(Liveness())
    beat(alerting._liveness, 100.0, "inference", "j")
    alerting.on_inference_fact(BreakerChanged("d", 3, "open", "closed", "NaN", "i"), Now(100.0, 0.0))
    beat(alerting._liveness, 115.0, "inference", "j")
    assert alerting.look([], Now(115.0, 1.0)).facts == ()
    beat(alerting._liveness, 115.1, "inference", "j")
    (over,) = alerting.look([], Now(116.0, 1.0)).facts
    assert (over.labels["alertname"], over.status, over.ends_at) == ("BreakerOpen", "resolved", "1970-01-01T00:01:56Z")


# cadence


def test_windows_are_looked_at_after_so_many_records_or_at_rest() -> None:
    cadence = Cadence()
    cadence.note_records(LOOK_EVERY - 1)
    assert not cadence.is_time_for_windows(0.0, is_idle=False)
    cadence.note_records(1)
    assert [cadence.is_time_for_windows(0.0, is_idle=False) for _ in range(2)] == [True, False]
    assert [cadence.is_time_for_windows(at_s, is_idle=True) for at_s in (0.0, 0.4, 0.5, 0.9, 1.0)] == [
        True,
        False,
        True,
        False,
        True,
    ]
    cadence.note_records(LOOK_EVERY)
    assert cadence.is_time_for_windows(1.1, is_idle=False)
    assert cadence.is_time_for_windows(1.5, is_idle=True)
    cadence.note_records(LOOK_EVERY)
    assert cadence.is_time_for_windows(2.0, is_idle=True)
    assert not cadence.is_time_for_windows(2.0, is_idle=False)
    assert [cadence.is_time_for_services(at_s) for at_s in (0.0, 0.9, 1.0, 1.9)] == [True, False, True, False]
