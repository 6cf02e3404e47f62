"""Whole alarms: of each fact its name, what it is about, how bad it is, in which words, and the command to look with."""

from typing import Any

import pytest

from headrace.events.inference import (
    BreakerChanged,
    OverloadChanged,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.ops import HealthReported, PartitionResumed, PartitionStopped
from headrace.events.registry import (
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
    Route,
)
from headrace.hosting.alerts import Alarm, fire
from headrace.log.port import Record
from headrace_monitor.core import finding_alarms, rollout_alarms
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.cadence import LOOK_EVERY, Cadence
from headrace_monitor.core.dead_letters import QUIET_S, SKEW_COUNT, SKEW_S, DeadLetters
from headrace_monitor.core.facts import Concern, GaveUp, MonitoringFailed
from headrace_monitor.core.liveness import ENDS_WITHIN_S, FORGOTTEN_S, MOST_ENDS, SILENT_S, Liveness
from headrace_monitor.core.monitoring_failures import FAILING_S, ROLLOUT, WINDOWS, MonitoringFailures
from headrace_monitor.core.now import Now
from headrace_monitor.core.serving_alarms import ServingAlarms

# rollouts

STATUS, RETRY = "headrace rollout status d", "headrace rollout retry d"


def unjudged(summary: str = "") -> Alarm:
    return Alarm("RolloutUnjudged", {"deployment": "d"}, "warning", summary, STATUS)


def aborted(summary: str = "") -> Alarm:
    return Alarm("RolloutAborted", {"deployment": "d"}, "warning", summary, RETRY)


def rolled_back(summary: str = "") -> Alarm:
    return Alarm("RolloutRolledBack", {"deployment": "d"}, "critical", summary, STATUS)


HARM, TRIED = "version 2 was rolled back: why", "rollout of version 2 ended and may be tried again: why"


@pytest.mark.parametrize(
    ("fact", "begun", "ended"),
    [
        (RolloutPaused("d", "r", 2, "why", unjudged=True), [unjudged("rollout of version 2: why")], []),
        (RolloutPaused("d", "r", 2, "why"), [], [unjudged()]),
        (RolloutResumed("d", "r", 2, "why"), [], [unjudged()]),
        (RolloutAborted("d", "r", 2, "why", harmful=True), [rolled_back(HARM)], [unjudged(), aborted()]),
        (RolledBack("d", 2, 1, "why", "ann"), [rolled_back(HARM)], [unjudged(), aborted()]),
        (RolloutAborted("d", "r", 2, "why", cause="load"), [aborted(TRIED)], [unjudged()]),
        (RolloutAborted("d", "r", 2, "why", cause="operator"), [], [unjudged()]),
        (RolloutStarted("d", "r", 2, "canary", "why"), [], [aborted()]),
        (RolloutCompleted("d", "r", 2, 0.0, True), [], [unjudged(), rolled_back()]),
        (RolloutCompleted("d", "r", 2, 0.0, False), [], [unjudged()]),
        ("another", [], []),
    ],
)
def test_alarms_of_rollouts(fact: Any, begun: list[Alarm], ended: list[Alarm]) -> None:
    assert rollout_alarms.alarms_of(fact) == (begun, ended)


# findings


def opened(kind: str, about: str = "") -> FindingOpened:
    return FindingOpened("f", "d", kind, "it is so", 5.0, about=about)


FINDINGS = "headrace topic tail monitor.findings"
NAMES = {
    "drift": ("ModelDrift", FINDINGS, False),
    "skew": ("FeatureSkew", FINDINGS, False),
    "traffic": ("SourceStopped", "headrace feature list", True),
    "contract": ("SourceChanged", FINDINGS, True),
    "labels": ("LabelsMissing", "headrace outcome list d", False),
    "worse_than_prior": ("ModelWorseThanPrior", "headrace explain d", True),
}


@pytest.mark.parametrize("about", ["", "s"])
@pytest.mark.parametrize("kind", NAMES)
def test_alarms_of_findings(kind: str, about: str) -> None:
    name, command, has_subject = NAMES[kind]
    labels = {"deployment": "d"} | ({"about": about} if about and has_subject else {})
    alarm = Alarm(name, labels, "warning", "it is so", command)
    helpless = {"deployment": "d", "finding": kind} | ({"about": about} if about else {})
    unhelpful = Alarm("RetrainingUnhelpful", helpless, "warning", "", "headrace training list --deployment d")
    found, over = opened(kind, about), Alarm(name, labels, "warning", "", command)
    assert finding_alarms.alarms_of(found) == (([], []) if kind == "worse_than_prior" else ([alarm], []))
    assert finding_alarms.alarms_of(FindingResolved("f", "d", kind, "r", 6.0, about=about)) == ([], [over, unhelpful])
    assert finding_alarms.alarms_of(Concern(found, True)) == ([alarm], [])
    assert finding_alarms.alarms_of(Concern(found, False)) == ([], [alarm])
    told = Alarm("RetrainingUnhelpful", helpless, "warning", "no use", unhelpful.command)
    assert finding_alarms.alarms_of(GaveUp(found, "no use")) == ([told], [])
    assert finding_alarms.alarms_of("another") == ([], [])


# serving


def breaker(reason: str) -> Alarm:
    about = {"deployment": "d", "version": "3"}
    return Alarm(
        "BreakerOpen",
        about,
        "critical",
        f"version 3 of d is not asked any more: {reason}",
        "headrace topic tail inference.facts",
    )


def failed(summary: str) -> Alarm:
    return Alarm("VersionLoadFailed", {"deployment": "d", "version": "3"}, "warning", summary, "headrace status")


def overload(summary: str) -> Alarm:
    return Alarm("Overload", {"deployment": "d"}, "critical", summary, "headrace status")


NOT_LOADED = "version 3 of d could not be loaded"


@pytest.mark.parametrize(
    ("fact", "begun", "ended"),
    [
        (BreakerChanged("d", 3, "open", "closed", "NaN", "i"), [breaker("NaN")], []),
        (BreakerChanged("d", 3, "closed", "half_open", "fine", "i"), [], [breaker("fine")]),
        (BreakerChanged("d", 3, "half_open", "open", "NaN", "i"), [], []),
        (OverloadChanged("d", 1, 0, 0.4, "i"), [overload("d sheds load: shadows do not score; requests wait 0.40 s")], []),
        (OverloadChanged("d", 2, 0, 0.4, "i"), [overload("d sheds load: the baseline is not asked; requests wait 0.40 s")], []),
        (OverloadChanged("d", 3, 0, 1.234, "i"), [overload("d sheds load: requests are refused; requests wait 1.23 s")], []),
        (OverloadChanged("d", 0, 1, 0.0, "i"), [], [overload("d sheds load: requests are refused; requests wait 0.00 s")]),
        (VersionLoadFailed("d", 3, "i", "memory", "no room", 2, 4.4), [failed(f"{NOT_LOADED} (try 2, again in 4 s): no room")], []),
        (VersionLoadFailed("d", 3, "i", "time", "slow", goes_on=True), [failed("version 3 of d is not loaded yet: slow")], []),
        (VersionUnloadable("d", 3, "i", "a pickle"), [], [failed(NOT_LOADED)]),
        (VersionWarmed("d", 3, "i", 1.0), [], [breaker("")]),
    ],
)  # fmt: skip
def test_alarms_of_serving(fact: Any, begun: list[Alarm], ended: list[Alarm]) -> None:
    assert ServingAlarms().alarms_of(fact) == (begun, ended)


def test_a_version_that_is_warm_at_last_ends_both_alarms() -> None:
    serving = ServingAlarms()
    serving.alarms_of(VersionLoadFailed("d", 3, "i", "memory", "no room"))
    serving.alarms_of(VersionLoadFailed("d", 3, "j", "memory", "no room"))
    assert serving.alarms_of(VersionWarmed("d", 3, "i", 1.0)) == ([], [breaker("")])
    assert serving.alarms_of(VersionWarmed("d", 3, "j", 1.0)) == ([], [breaker(""), failed(NOT_LOADED)])


def reported(instance: str = "i", service: str = "inference", **more: Any) -> HealthReported:
    return HealthReported(service, instance, True, **more)


LOAD_FAILED = fire(failed(""), 0.0)


@pytest.mark.parametrize(
    ("live", "named", "is_over"),
    [
        ([], (3,), False),
        ([reported(degraded={"d": "why"})], (3,), False),
        ([reported(degraded={"d": "why"}, warmed=("d/3",))], (3,), True),
        ([reported(degraded={"e": "why"})], (3,), True),
        ([reported(degraded={"e": "why"}), reported("j", degraded={"d": "why"})], (3,), False),
        ([reported(degraded={"d": "why"})], (4,), True),
        ([reported(degraded={"d": "why"})], None, False),
    ],
)
def test_an_alert_from_before_is_over_when_no_instance_shows_it_or_no_route_names_it(
    live: list[HealthReported], named: Any, is_over: bool
) -> None:
    serving = ServingAlarms()
    serving.on_history(LOAD_FAILED)
    if named is not None:
        serving.on_route(Route("d", dict.fromkeys(named, 1.0), "d", 1, champion=named[0]))
    assert serving.over([LOAD_FAILED], live) == ([LOAD_FAILED.fingerprint] if is_over else [])


def test_an_alert_is_on_while_an_instance_that_is_in_that_state_lives() -> None:
    serving = ServingAlarms()
    (alarm,), _ = serving.alarms_of(BreakerChanged("d", 3, "open", "closed", "NaN", "i"))
    alert = fire(alarm, 0.0)
    assert serving.over([alert], [reported("i"), reported("j")]) == []
    assert serving.over([alert], [reported("j", breakers={"d/3": "open"})]) == []
    assert serving.over([alert], [reported("j", breakers={"d/4": "open"})]) == [alert.fingerprint]
    (load,), _ = serving.alarms_of(OverloadChanged("d", 1, 0, 0.4, "k"))
    shed = fire(load, 0.0)
    assert serving.over([shed], [reported("j", overload={"d": 1})]) == []
    assert serving.over([shed], [reported("j", overload={"d": 0, "e": 1})]) == [shed.fingerprint]
    serving.on_route(Route("d", {9: 1.0}, "d", 1, champion=9))
    assert serving.over([shed], [reported("j", overload={"d": 1})]) == []


# liveness


def beat(liveness: Liveness, at_s: float, service: str = "feature", instance: str = "i", **more: Any) -> None:
    record = Record("ops.health.v1", 0, 0, b"k", b"", (), int(at_s * 1000))
    liveness.on_record(HealthReported(service, instance, True, **more), record)


def service(name: str, summary: str) -> Alarm:
    return Alarm("ServiceDown", {"service": name}, "critical", summary, "headrace status")


def test_a_service_is_down_after_ten_seconds_of_the_log_without_it() -> None:
    liveness = Liveness()
    beat(liveness, 100.0)
    beat(liveness, 100.0 + SILENT_S, "monitor")
    assert (liveness.down(), [found.service for found in liveness.live()]) == (
        {"feature": False, "monitor": False},
        ["feature", "monitor"],
    )
    beat(liveness, 100.1 + SILENT_S, "monitor")
    down = service("feature", "no instance of feature has reported for 10 s")
    assert liveness.service_alarms() == ([down], [service("monitor", "no instance of monitor has reported for 10 s")])
    assert [found.service for found in liveness.live()] == ["monitor"]
    assert (liveness.live("feature"), len(liveness.newest("feature")), liveness.newest("another")) == ([], 1, [])
    beat(liveness, 50.0, "monitor")
    assert liveness.read_to_s == 100.1 + SILENT_S


def test_of_two_instances_that_report_at_the_same_instant_either_is_enough() -> None:
    liveness = Liveness()
    for instance in ("i", "j"):
        beat(liveness, 100.0, instance=instance)
    assert liveness.down() == {"feature": False}
    beat(liveness, 101.0, instance="k", stopping=True)
    assert [found.instance for found in liveness.live("feature")] == ["i", "j"]


def test_a_service_that_ends_again_and_again_is_down() -> None:
    liveness = Liveness()
    for number in range(MOST_ENDS):
        beat(liveness, 100.0 + number, started_s=float(number))
    beat(liveness, 104.0, started_s=99.0)
    beat(liveness, 103.1 + SILENT_S, started_s=99.0)
    again = service("feature", "feature ended 4 times in 5 minutes, unasked: it is restarted again and again")
    assert (liveness.ends("feature"), liveness.service_alarms()) == (4, ([again], []))
    beat(liveness, 100.0 + ENDS_WITHIN_S, started_s=99.0)
    assert liveness.ends("feature") == 4
    beat(liveness, 100.1 + ENDS_WITHIN_S, started_s=99.0)
    assert liveness.ends("feature") == 3


def test_old_processes_are_forgotten_when_a_new_one_comes() -> None:
    liveness = Liveness()
    for number in range(5):
        beat(liveness, 100.0 + number * ENDS_WITHIN_S, started_s=float(number))
    assert len(liveness._lives["feature"]) == 2
    beat(liveness, 100.0 + 9 * ENDS_WITHIN_S, started_s=4.0)
    assert len(liveness._lives["feature"]) == 2


def test_an_instance_that_was_replaced_long_ago_is_forgotten() -> None:
    liveness = Liveness()
    beat(liveness, 100.0, instance="old")
    beat(liveness, 100.0 + FORGOTTEN_S, instance="new")
    assert len(liveness.newest("feature")) == 2
    beat(liveness, 100.1 + FORGOTTEN_S, instance="new")
    assert [found.instance for found in liveness.newest("feature")] == ["new"]


def test_what_reports_say_of_their_state_is_an_alarm_each() -> None:
    liveness = Liveness()
    state = {"state_bytes": {"keys": 1_001, "rows": 5, "free": 9}, "state_limits": {"keys": 1_000, "rows": 5}}
    beat(
        liveness,
        100.0,
        degraded={"d": "its breaker is open"},
        failing=("transaction:t/3", "other"),
        reason="held",
        **state,
    )
    stop = PartitionStopped("feature", "t", 3, 42, "it broke")
    liveness.on_record(stop, Record("ops.stops.v1", 0, 0, b"feature/t/3", b"", (), 0))
    assert liveness.state_alarms() == [
        Alarm("PartitionStopped", {"service": "feature", "partition": "t/3"}, "critical", "feature reads t/3 no further than offset 42: it broke", "headrace topic resume t --partition 3"),
        Alarm("DeploymentDegraded", {"deployment": "d"}, "critical", "d is answered by its fallback: its breaker is open", "headrace status"),
        Alarm("TransactionOpen", {"service": "feature", "partition": "t/3"}, "critical", "an unfinished transaction holds t/3 back: held", "headrace status"),
        Alarm("StateOverBound", {"service": "feature", "state": "keys"}, "warning", "feature holds 1,001 bytes of keys, its bound is 1,000", "headrace status"),
    ]  # fmt: skip
    assert (liveness.stopped, liveness.has_stopped_partition("feature"), liveness.has_stopped_partition("other")) == (
        {"t/3"},
        True,
        False,
    )


@pytest.mark.parametrize(
    ("event", "key", "is_over"),
    [
        (PartitionResumed("feature", "t", 3, 42, "r", "ann"), b"x", True),
        (PartitionResumed("feature", "t", 4, 42, "r", "ann"), b"x", False),
        (None, b"feature/t/3", True),
        (None, b"feature/t/4", False),
        (None, None, False),
    ],
)
def test_a_stop_ends_by_a_fact_or_a_tombstone(event: Any, key: bytes | None, is_over: bool) -> None:
    liveness = Liveness()
    liveness.on_record(PartitionStopped("feature", "t", 3, 42, "r"), Record("ops.stops.v1", 0, 0, b"k", b"", (), 0))
    liveness.on_record(event, Record("ops.stops.v1", 0, 1, key, None, (), 0))
    assert liveness.has_stopped_partition("feature") is not is_over


# dead letters

DEAD = Alarm(
    "DeadLettered",
    {"service": "feature"},
    "warning",
    "records that feature cannot read are in dlq.feature",
    "headrace dlq list --service feature",
)
SKEW = Alarm(
    "ClockSkew", {"topic": "t"}, "warning",
    "10 records of t within 5 minutes lie further ahead than 5 minutes: a sender's clock is wrong", "headrace topic tail t",
)  # fmt: skip


def test_a_dead_letter_is_over_after_a_minute_in_which_its_service_went_on() -> None:
    liveness, dead = Liveness(), DeadLetters()
    beat(liveness, 100.0, handled_total=5, lag={"t/0": 3})
    assert dead.add("feature", 0.0, liveness) == DEAD
    assert dead.pop_over(QUIET_S + 1, liveness) == []
    beat(liveness, 101.0, handled_total=6, lag={"t/0": 3})
    assert dead.pop_over(QUIET_S, liveness) == []
    assert dead.pop_over(QUIET_S + 1, liveness) == [DEAD]
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
    assert dead.pop_over(QUIET_S + 1, liveness) == [DEAD]


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
    assert alerting.published([opened("drift")], Now(5.0, 0.0)) == [
        opened("drift"),
        fire(Alarm("ModelDrift", {"deployment": "d"}, "warning", "it is so", FINDINGS), 5.0),
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
