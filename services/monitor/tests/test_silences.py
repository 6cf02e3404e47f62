"""What a silence does to alerts: they open and end as ever, and bear its mark while it lasts."""

from services.monitor.tests.test_monitoring_by_hand import NAMES

from headrace.events.alerts import AlertChanged, AlertSilence, SilenceEnded, SilenceSet
from headrace.hosting.alerts import Alarm, fire
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace_monitor.adapters.records import Records
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.facts import MonitoringFailed, Refused
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.monitoring import Monitoring
from headrace_monitor.core.monitoring_failures import ROLLOUT
from headrace_monitor.core.now import Now
from headrace_monitor.core.silences import Silences, refuse

WALL_S = 1_780_000_000.0
FAILED = MonitoringFailed("d", ROLLOUT, ValueError("no"))
FOR_AN_HOUR = SilenceSet("s", {"deployment": "d"}, WALL_S + 10, WALL_S + 3610, "ann", "a test")
MARK = AlertSilence("s", "ann", "a test", "2026-05-28T21:26:50Z")


def at(passed_s: float) -> Now:
    """The monotonic clock stands, so that no failure is over."""
    return Now(WALL_S + passed_s, 0.0)


def scene(*events: SilenceSet | SilenceEnded) -> tuple[Alerting, Silences]:
    silences = Silences()
    for event in events:
        silences.on_record(event, event.id, WALL_S)
    return Alerting(Liveness(read_to_s=1.0), silences), silences


def marks(alerts: object) -> list[tuple[str, AlertSilence | None]]:
    return [(alert.status, alert.silence) for alert in alerts]  # type: ignore[attr-defined]


def test_an_alert_that_opens_and_ends_under_a_silence_bears_its_mark_and_is_no_page() -> None:
    alerting, _ = scene(FOR_AN_HOUR)
    assert marks(alerting.published([FAILED], at(20.0))) == [("firing", MARK)]
    assert marks(alerting.on_gone(["d"], at(30.0)).facts) == [("resolved", MARK)]
    assert alerting.pages.count(WALL_S + 31) == 0
    alerting.published([FAILED], at(4000.0))
    assert alerting.pages.count(WALL_S + 4001) == 1


def test_an_alert_that_outlasts_its_silence_is_a_page_from_then_on() -> None:
    alerting, _ = scene(FOR_AN_HOUR)
    alerting.published([FAILED], at(20.0))
    assert alerting.pages.count(WALL_S + 21) == 0
    alerting.look(["d"], at(3610.0))
    assert alerting.pages.count(WALL_S + 3611) == 1


def test_the_mark_comes_with_the_beginning_of_a_silence_and_goes_by_the_clock_alone() -> None:
    alerting, _ = scene(FOR_AN_HOUR)
    (begun,) = alerting.published([FAILED], at(0.0))
    assert begun.silence is None
    assert marks(alerting.look(["d"], at(9.9)).facts) == []
    (silenced,) = alerting.look(["d"], at(10.0)).facts
    assert (silenced.silence, silenced.status, silenced.starts_at) == (MARK, "firing", begun.starts_at)
    assert marks(alerting.look(["d"], at(3609.9)).facts) == []
    assert marks(alerting.look(["d"], at(3610.0)).facts) == [("firing", None)]
    assert marks(alerting.look(["d"], at(3611.0)).facts) == []


def test_the_mark_goes_when_somebody_ends_the_silence_and_changes_with_a_longer_one() -> None:
    alerting, silences = scene(FOR_AN_HOUR)
    alerting.published([FAILED], at(20.0))
    silences.on_record(
        SilenceSet("t", {"severity": "critical"}, WALL_S, WALL_S + 9000, "bob", "more"), "t", WALL_S + 20
    )
    (changed,) = alerting.look(["d"], at(21.0)).facts
    assert changed.silence is not None
    assert changed.silence.id == "t"
    silences.on_record(SilenceEnded("t", "bob", "done"), "t", WALL_S + 30)
    assert marks(alerting.look(["d"], at(31.0)).facts) == [("firing", MARK)]
    silences.on_record(SilenceEnded("s", "bob", "done"), "s", WALL_S + 40)
    assert marks(alerting.look(["d"], at(41.0)).facts) == [("firing", None)]


def test_other_alerts_are_left_alone() -> None:
    alerting, _ = scene(FOR_AN_HOUR)
    assert marks(alerting.published([MonitoringFailed("e", ROLLOUT, ValueError("no"))], at(20.0))) == [("firing", None)]
    assert marks(alerting.look(["d", "e"], at(21.0)).facts) == []


def test_after_a_restart_a_silence_that_goes_on_changes_nothing_and_one_that_is_over_does() -> None:
    alerting, _ = scene(FOR_AN_HOUR)
    (begun,) = alerting.published([FAILED], at(20.0))
    for passed_s, expected in ((30.0, []), (4000.0, [("firing", None)])):
        restarted, _ = scene(FOR_AN_HOUR)
        restarted.on_history(begun, at(passed_s))
        restarted.published([FAILED], at(passed_s))
        assert marks(restarted.look(["d"], at(passed_s)).facts) == expected


def test_the_supervisors_alerts_are_not_the_monitors_to_write() -> None:
    everything = SilenceSet("s", {"severity": "critical"}, WALL_S, WALL_S + 99, "ann", "r")
    alerting, silences = scene(everything)
    down = fire(Alarm("MonitorDown", {"service": "monitor"}, "critical", "it is down", "headrace status"), WALL_S)
    alerting.on_history(down, at(1.0))
    assert list(alerting.table.firing) == []
    assert silences.changed(alerting.table.firing, WALL_S + 1) == []
    assert alerting.look([], at(1.0)).facts == ()


def test_a_record_that_is_not_sound_is_dead_lettered_and_changes_nothing() -> None:
    core, silences = Monitoring(NAMES, [], Liveness()), Silences()
    empty = SilenceSet("s", {}, WALL_S, WALL_S + 9, "ann", "r")
    record = Record("silences", 0, 0, b"s", b"", (), int(WALL_S * 1000))
    (refused,) = core.on_record(empty, record, Envelope("i", "", "cli", WALL_S), at(0.0))
    assert refused == Refused("a silence has 1 to 10 labels that an alert must have, got 0", "matchers")
    assert core.on_record(FOR_AN_HOUR, record, Envelope("i", "", "cli", WALL_S), at(0.0)) == ()
    assert core.on_record(None, record, Envelope("i", "", "cli", WALL_S), at(0.0)) == ()
    silences.on_record(empty, "s", WALL_S)
    assert silences.known == {}
    other = refuse(FOR_AN_HOUR, "other", WALL_S)
    assert other is not None
    assert other.field == "id"


def test_each_change_of_a_mark_is_a_record_of_its_own_id() -> None:
    from headrace.log.topics import Topics

    alert = fire(Alarm("Overload", {"deployment": "d"}, "critical", "x", "y"), WALL_S)
    records = Records(Topics.load(), "monitor")
    idents = {
        dict(out.headers)["ce_id"]
        for passed_s in (0.0, 10.0, 20.0)
        for out in records.of([alert], None, WALL_S + passed_s)
    }
    assert len(idents) == 3
    assert isinstance(alert, AlertChanged)
