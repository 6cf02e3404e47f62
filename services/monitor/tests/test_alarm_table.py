"""The alarm table: an alert begins once per episode and ends once, and the table of all alerts is complete."""

import re
from pathlib import Path

import pytest

from headrace.errors import Poison
from headrace.hosting.alerts import OF_SUPERVISOR, Alarm, fire
from headrace_monitor.core import alarm_table
from headrace_monitor.core.alarm_table import AlarmStep, AlarmTable, applied, change, end, set_to
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.dead_letters import QUIET_S, SKEW_COUNT, SKEW_S
from headrace_monitor.core.facts import InstantRefused, MonitoringFailed, Refused
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.monitoring_failures import FAILING_S, ROLLOUT, WINDOWS
from headrace_monitor.core.now import Now

OPEN = Alarm("BreakerOpen", {"deployment": "d", "version": "1"}, "critical", "it is open", "headrace status")
OTHER = Alarm("BreakerOpen", {"deployment": "d", "version": "2"}, "critical", "it is open", "headrace status")
LOAD = Alarm("Overload", {"deployment": "d"}, "critical", "too much", "headrace status")


def changes(step: AlarmStep) -> list[tuple[str, str]]:
    return [(alert.labels["alertname"], alert.status) for alert in step.facts]


def test_an_alert_begins_once_however_often_it_is_raised_and_ends_once() -> None:
    step = change(AlarmTable(), [OPEN, OPEN], [], 1.0)
    assert changes(step) == [("BreakerOpen", "firing")]
    assert changes(change(step.state, [OPEN], [], 2.0)) == []
    over = change(step.state, [], [OPEN, OPEN], 3.0)
    assert changes(over) == [("BreakerOpen", "resolved")]
    assert changes(change(over.state, [], [OPEN], 4.0)) == []
    assert changes(change(over.state, [OPEN], [], 5.0)) == [("BreakerOpen", "firing")]


def test_an_alert_keeps_the_instant_at_which_it_began() -> None:
    begun = change(AlarmTable(), [OPEN], [], 1.0)
    (over,) = end(begun.state, [OPEN.fingerprint], 61.0).facts
    assert (over.starts_at, over.ends_at) == ("1970-01-01T00:00:01Z", "1970-01-01T00:01:01Z")


def test_what_is_not_on_cannot_end() -> None:
    assert changes(end(AlarmTable(), [OPEN.fingerprint], 1.0)) == []


def test_history_makes_the_table_that_was_left() -> None:
    step = change(AlarmTable(), [OPEN, LOAD], [], 1.0)
    over = end(step.state, [LOAD.fingerprint], 2.0)
    table = AlarmTable()
    for alert in (*step.facts, *over.facts):
        table = applied(table, [alert])
    assert table == over.state
    assert [alert.fingerprint for alert in table.firing] == [OPEN.fingerprint]


def test_alarms_of_some_names_are_set_to_those_that_are_on_and_others_are_left_alone() -> None:
    begun = change(AlarmTable(), [OPEN, LOAD], [], 1.0)
    held = set_to(begun.state, [OTHER], ["BreakerOpen"], 2.0, may_end=False)
    assert changes(held) == [("BreakerOpen", "firing")]
    ended = set_to(held.state, [OTHER], ["BreakerOpen"], 3.0, may_end=True)
    assert [alert.fingerprint for alert in ended.facts] == [OPEN.fingerprint]
    assert {alert.fingerprint for alert in ended.state.firing} == {OTHER.fingerprint, LOAD.fingerprint}


def test_every_alert_of_the_monitor_is_in_the_table_of_the_module() -> None:
    runbooks = {path.stem for path in (Path(__file__).parents[3] / "docs" / "runbooks").glob("*.md")}
    # Two alerts are the supervisor's: that the monitor itself is away, and that the disk is full.
    listed = re.findall(r"^((?:[A-Z]\w+(?:, )?)+)  ", alarm_table.__doc__ or "", re.MULTILINE)
    assert {name for line in listed for name in line.split(", ")} == runbooks - {"MonitorDown", "DiskAlmostFull"}


# what leads to alerts


def at(monotonic_s: float) -> Now:
    return Now(1_780_000_000.0 + monotonic_s, monotonic_s)


def test_a_failure_is_news_once_per_reason_and_its_alert_is_on_for_a_while() -> None:
    alerting = Alerting(Liveness(read_to_s=1.0))
    failed = MonitoringFailed("d", ROLLOUT, ZeroDivisionError("float division by zero"))
    assert alerting.is_news(failed)
    (begun,) = alerting.published([failed], at(0.0))
    assert begun.labels["about"] == ROLLOUT
    assert not alerting.is_news(failed)
    assert alerting.is_news(MonitoringFailed("d", ROLLOUT, ValueError("other")))
    assert alerting.look([], at(FAILING_S - 1)).facts == ()
    assert changes(alerting.look([], at(FAILING_S + 1))) == [("MonitoringFailed", "resolved")]


def test_the_failure_of_a_window_is_on_until_a_window_closes_well() -> None:
    alerting = Alerting(Liveness(read_to_s=1.0))
    assert len(alerting.published([MonitoringFailed("d", WINDOWS, ValueError("no"))], at(0.0))) == 1
    assert alerting.look(["d"], at(10 * FAILING_S)).facts == ()
    alerting.failures.note_well("d")
    assert changes(alerting.look(["d"], at(10 * FAILING_S))) == [("MonitoringFailed", "resolved")]


def test_nothing_ends_while_no_report_of_any_service_was_read() -> None:
    alerting = Alerting(Liveness())
    alerting.on_history(fire(Alarm("PartitionStopped", {"service": "x"}, "critical", "", ""), 0.0), at(0.0))
    assert alerting.look([], at(1.0)).facts == ()
    known = Alerting(Liveness(read_to_s=1.0))
    known.table = alerting.table
    assert changes(known.look([], at(1.0))) == [("PartitionStopped", "resolved")]


def test_alerts_of_the_supervisor_are_not_the_monitors_since_it_never_reads_their_end() -> None:
    alerting = Alerting(Liveness(read_to_s=1.0))
    for name in OF_SUPERVISOR:
        alerting.on_history(fire(Alarm(name, {"service": "monitor"}, "critical", "", ""), 0.0), at(0.0))
    assert (alerting.table.firing, alerting.look([], at(1.0)).facts) == ([], ())


def test_many_refused_instants_within_a_while_are_a_wrong_clock_until_they_stop() -> None:
    alerting = Alerting(Liveness())
    refused = InstantRefused("inference.requests.v1")
    slow = [alerting.published([refused], at(n * SKEW_S)) for n in range(2 * SKEW_COUNT)]
    assert slow == [[]] * len(slow)
    begin_s = 3 * SKEW_COUNT * SKEW_S
    fast = [alerting.published([refused], at(begin_s + n)) for n in range(SKEW_COUNT)]
    assert [len(alerts) for alerts in fast] == [0] * (SKEW_COUNT - 1) + [1]
    assert alerting.look([], at(begin_s + SKEW_COUNT + SKEW_S - 2)).facts == ()
    assert changes(alerting.look([], at(begin_s + SKEW_COUNT + SKEW_S))) == [("ClockSkew", "resolved")]


def test_a_dead_letter_of_a_service_that_is_silent_stays_on() -> None:
    alerting = Alerting(Liveness())
    assert changes(alerting.on_dead_letter("feature", None, "events.x.v1", at(0.0))) == [("DeadLettered", "firing")]
    assert alerting.look([], at(10 * QUIET_S)).facts == ()


def test_alerts_of_deployments_that_are_gone_end() -> None:
    alerting = Alerting(Liveness())
    for name in ("d", "e"):
        alerting.published([MonitoringFailed(name, WINDOWS, ValueError("no"))], at(0.0))
    gone = alerting.on_gone(["d"], at(1.0)).facts
    assert [(alert.status, alert.labels["deployment"]) for alert in gone] == [("resolved", "d")]


@pytest.mark.parametrize("fact", [Refused("no", "label"), Refused(Poison("no").reason, None)])
def test_a_refused_record_is_not_published(fact: Refused) -> None:
    assert Alerting(Liveness()).published([fact], at(0.0)) == []
