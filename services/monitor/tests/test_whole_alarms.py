"""Alarms of rollouts, findings and serving, field by field: name, labels, severity, summary and command."""

from typing import Any

import pytest
from services.monitor.tests.alarms_scene import FINDINGS, breaker, opened, reported

from headrace.events.inference import (
    BreakerChanged,
    OverloadChanged,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.events.monitor import FindingResolved
from headrace.events.ops import HealthReported
from headrace.events.registry import (
    ApprovalAwaited,
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
    Route,
)
from headrace.hosting.alerts import Alarm, fire
from headrace_monitor.core import finding_alarms, rollout_alarms
from headrace_monitor.core.facts import Concern, GaveUp
from headrace_monitor.core.finding_groups import FindingGroups
from headrace_monitor.core.serving_alarms import ServingAlarms

# rollouts

STATUS, RETRY = "headrace rollout status d", "headrace rollout retry d"


def unjudged(summary: str = "") -> Alarm:
    return Alarm("RolloutUnjudged", {"deployment": "d"}, "warning", summary, STATUS)


def awaits(summary: str = "") -> Alarm:
    return Alarm("RolloutAwaitsApproval", {"deployment": "d"}, "warning", summary, STATUS)


def aborted(summary: str = "") -> Alarm:
    return Alarm("RolloutAborted", {"deployment": "d"}, "warning", summary, RETRY)


def rolled_back(summary: str = "") -> Alarm:
    return Alarm("RolloutRolledBack", {"deployment": "d", "version": "2"}, "critical", summary, STATUS)


WAITS = [unjudged(), awaits()]
HARM, TRIED = "version 2 was rolled back: why", "rollout of version 2 ended and may be tried again: why"


@pytest.mark.parametrize(
    ("fact", "begun", "ended"),
    [
        (RolloutPaused("d", "r", 2, "why", unjudged=True), [unjudged("rollout of version 2: why")], []),
        (RolloutPaused("d", "r", 2, "why"), [], [unjudged()]),
        (RolloutResumed("d", "r", 2, "why"), [], [unjudged()]),
        (ApprovalAwaited("d", "r", 2, "why"), [awaits("version 2: why")], []),
        (RolloutAborted("d", "r", 2, "why", harmful=True), [rolled_back(HARM)], [*WAITS, aborted()]),
        (RolledBack("d", 2, 1, "why", "ann"), [rolled_back(HARM)], [*WAITS, aborted()]),
        (RolloutAborted("d", "r", 2, "why", cause="load"), [aborted(TRIED)], WAITS),
        (RolloutAborted("d", "r", 2, "why", cause="undecided"), [aborted(TRIED)], WAITS),
        (RolloutAborted("d", "r", 2, "why", cause="superseded"), [], WAITS),
        (RolloutAborted("d", "r", 2, "why", cause="operator"), [], WAITS),
        (RolloutStarted("d", "r", 2, "canary", "why"), [], [aborted()]),
        (RolloutCompleted("d", "r", 2, 0.0, True), [], WAITS),
        (RolloutCompleted("d", "r", 2, 0.0, False), [], WAITS),
        ("another", [], []),
    ],
)
def test_alarms_of_rollouts(fact: Any, begun: list[Alarm], ended: list[Alarm]) -> None:
    assert rollout_alarms.alarms_of(fact) == (begun, ended)


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
    resolved = FindingResolved("f", "d", kind, "r", 6.0, about=about)
    alone = kind == "worse_than_prior"
    assert finding_alarms.alarms_of(found) == ([], [])
    assert finding_alarms.alarms_of(resolved) == ([], [over, unhelpful] if alone else [unhelpful])
    notes = {"group": kind, "group_from": "1970-01-01T00:00:05Z", "findings": "1"}
    begun, groups = Alarm(name, labels, "warning", "it is so", command, notes), FindingGroups()
    assert groups.alarms_of(resolved) == ([], [] if alone else [over])
    assert groups.alarms_of(found) == ([] if alone else [begun], [])
    assert groups.alarms_of(resolved) == ([], [] if alone else [begun])
    assert finding_alarms.alarms_of(Concern(found, True)) == ([alarm], [])
    assert finding_alarms.alarms_of(Concern(found, False)) == ([], [alarm])
    told = Alarm("RetrainingUnhelpful", helpless, "warning", "no use", unhelpful.command)
    assert finding_alarms.alarms_of(GaveUp(found, "no use")) == ([told], [])
    assert finding_alarms.alarms_of("another") == ([], [])


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
