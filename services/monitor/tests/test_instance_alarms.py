"""Alarms of what instances report to fail, of training, the dead-man record, and links to runbooks."""

import pytest
from services.monitor.tests.alarms_scene import beat, opened

from headrace.events.ops import HealthReported
from headrace.events.training import RetrainAccepted, RetrainCoalesced, RetrainRefused, TrainingFinished
from headrace.hosting.alerts import WATCHDOG_EVERY_S
from headrace.log.port import Record
from headrace_monitor.core import training_alarms
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.instance_alarms import UNREADY_S, alarms
from headrace_monitor.core.liveness import FORGOTTEN_S, Liveness
from headrace_monitor.core.now import Now


def on(liveness: Liveness) -> list[tuple[str, dict[str, str]]]:
    return [(alarm.name, alarm.about) for alarm in alarms(liveness)]


def failing(liveness: Liveness, at_s: float, *what: str, reason: str = "why") -> None:
    beat(liveness, at_s, lag={"t/0": 7, "t/1": 1}, failing=what, reason=reason)


def unready(liveness: Liveness, at_s: float, *what: str, instance: str = "i", reason: str = "why") -> None:
    report = HealthReported("feature", instance, False, failing=what, reason=reason)
    liveness.on_record(report, Record("ops.health.v1", 0, 0, b"k", b"", (), int(at_s * 1000)))


def test_records_that_wait_and_are_not_handled_are_an_alarm_unless_a_transaction_holds_them() -> None:
    liveness = Liveness()
    failing(liveness, 100.0, "progress")
    (alarm,) = alarms(liveness)
    assert (alarm.name, alarm.about, alarm.severity) == ("ConsumerLag", {"service": "feature"}, "critical")
    assert alarm.summary == "feature handles nothing while 8 records wait: why"
    failing(liveness, 101.0, "progress", "transaction:t/0")
    assert on(liveness) == []
    failing(liveness, 102.0)
    assert on(liveness) == []


def test_a_receiver_of_alerts_that_is_away_is_an_alarm_of_its_own() -> None:
    liveness = Liveness()
    failing(liveness, 100.0, "receiver:slack")
    (alarm,) = alarms(liveness)
    assert (alarm.name, alarm.about) == ("ReceiverAway", {"receiver": "slack"})
    assert alarm.summary == "alerts do not reach slack, and are kept until they do: why"


def test_an_instance_that_is_not_ready_for_two_minutes_of_the_log_is_an_alarm() -> None:
    liveness = Liveness()
    unready(liveness, 100.0, "views")
    unready(liveness, 99.9 + UNREADY_S, "views")
    assert on(liveness) == []
    unready(liveness, 100.0 + UNREADY_S, "views")
    assert on(liveness) == [("InstanceNotReady", {"service": "feature", "instance": "i"})]
    assert alarms(liveness)[0].summary == "i has not been ready for 2 minutes: why"
    beat(liveness, 101.0 + UNREADY_S)
    unready(liveness, 102.0 + UNREADY_S, "views")
    assert on(liveness) == []


def test_an_instance_that_ends_or_was_replaced_is_not_waited_for() -> None:
    liveness = Liveness()
    unready(liveness, 100.0, "views")
    beat(liveness, 100.0 + UNREADY_S, stopping=True)
    assert on(liveness) == []
    unready(liveness, 300.0, "views", instance="old")
    beat(liveness, 301.0 + FORGOTTEN_S, instance="new")
    unready(liveness, 302.0 + FORGOTTEN_S, "views", instance="old")
    assert on(liveness) == []


@pytest.mark.parametrize("what", ["stopped:t/0", "state:tiles", "transaction:t/0"])
def test_what_has_an_alert_of_its_own_is_not_told_twice(what: str) -> None:
    liveness = Liveness()
    for at_s in (100.0, 100.0 + UNREADY_S):
        unready(liveness, at_s, what)
    assert on(liveness) == []
    unready(liveness, 101.0 + UNREADY_S, what, "views")
    assert [name for name, _ in on(liveness)] == ["InstanceNotReady"]


def test_alarms_of_reports_begin_and_end_with_them() -> None:
    alerting = Alerting(Liveness())
    failing(alerting._liveness, 100.0, "progress")
    (begun,) = alerting.look((), Now(5.0, 0.0)).facts
    assert alerting.look((), Now(6.0, 1.0)).facts == ()
    failing(alerting._liveness, 101.0)
    (ended,) = alerting.look((), Now(7.0, 2.0)).facts
    assert (begun.status, ended.status, ended.fingerprint) == ("firing", "resolved", begun.fingerprint)


# training


def names(found: tuple[list, list]) -> tuple[list[str], list[str]]:
    return [alarm.name for alarm in found[0]], [alarm.name for alarm in found[1]]


def test_a_run_that_fails_and_a_request_that_is_refused_for_good_are_alarms() -> None:
    failed = TrainingFinished("d", "r", "failed", "it used its limit of CPU time")
    (begun,), _ = training_alarms.alarms_of(failed, ())
    assert (begun.name, begun.about) == ("TrainingFailed", {"deployment": "d"})
    assert begun.summary == "run r of d failed: it used its limit of CPU time"
    for outcome in ("registered", "rejected", "waiting"):
        well = TrainingFinished("d", "r", outcome, "")
        assert names(training_alarms.alarms_of(well, ())) == ([], ["TrainingFailed", "TrainingRefused"])
    refused = RetrainRefused("d", "q", "no training is declared")
    assert names(training_alarms.alarms_of(refused, ["q"])) == (["TrainingRefused"], [])
    assert names(training_alarms.alarms_of(refused, ["by hand"])) == ([], [])
    assert names(training_alarms.alarms_of(RetrainRefused("d", "q", "cool-down", 9.0), ["q"])) == ([], [])
    assert names(training_alarms.alarms_of(RetrainAccepted("d", "r", "q", "drift", "", 1.0), ["q"])) == (
        [],
        ["TrainingRefused"],
    )
    assert names(training_alarms.alarms_of(RetrainCoalesced("d", "r", "q"), ["q"])) == ([], [])


# the dead-man record, and links


def test_the_dead_man_record_is_written_again_and_again_and_fires_since_the_first() -> None:
    alerting = Alerting(Liveness(), runbook_url="https://ops.example/runbooks")
    (first,) = alerting.due((), Now(5.0, 100.0))
    assert (first.status, first.labels["alertname"], first.starts_at) == ("firing", "Watchdog", "1970-01-01T00:00:05Z")
    assert first.annotations["runbook_url"] == "https://ops.example/runbooks/Watchdog.md"
    assert alerting.due((), Now(6.0, 99.9 + WATCHDOG_EVERY_S)) == []
    assert alerting.due((), Now(7.0, 100.0 + WATCHDOG_EVERY_S)) == [first]
    assert alerting.table.firing == []
    again = Alerting(Liveness())
    again.on_history(first, Now(50.0, 0.0))
    assert again.table.firing == []
    assert again.due((), Now(51.0, 0.0)) == [first]


@pytest.mark.parametrize(
    ("folder", "link"),
    [
        ("", "docs/runbooks/ModelDrift.md"),
        ("https://ops.example/r", "https://ops.example/r/ModelDrift.md"),
        ("https://ops.example/r/", "https://ops.example/r/ModelDrift.md"),
    ],
)
def test_an_alert_links_to_its_runbook_where_it_can_be_read(folder: str, link: str) -> None:
    alerting = Alerting(Liveness(), runbook_url=folder)
    alert = alerting.published([opened("drift")], Now(5.0, 0.0))[1]
    assert alert.annotations["runbook_url"] == link
