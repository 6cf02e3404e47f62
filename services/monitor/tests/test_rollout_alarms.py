"""Which alarms follow from the facts of the registry about rollouts."""

from typing import Any

import pytest

from headrace.events.registry import (
    ApprovalAwaited,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
)
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.now import Now
from headrace_monitor.core.rollout_alarms import alarms_of

WAITS = ["RolloutUnjudged", "RolloutAwaitsApproval"]


@pytest.mark.parametrize(
    ("fact", "raised", "lowered"),
    [
        (RolloutPaused("d", "r", 2, "no verdict for 300 s", unjudged=True), ["RolloutUnjudged"], []),
        (RolloutPaused("d", "r", 2, "paused by me"), [], ["RolloutUnjudged"]),
        (RolloutResumed("d", "r", 2, "verdicts come again"), [], ["RolloutUnjudged"]),
        (ApprovalAwaited("d", "r", 2, "no label can judge it"), ["RolloutAwaitsApproval"], []),
        (RolloutAborted("d", "r", 2, "no verdict for 600 s"), [], WAITS),
        (RolloutAborted("d", "r", 2, "errors 1", harmful=True), ["RolloutRolledBack"], [*WAITS, "RolloutAborted"]),
        (RolloutAborted("d", "r", 2, "not warm", cause="warming"), ["RolloutAborted"], WAITS),
        (RolloutAborted("d", "r", 2, "no memory", cause="load"), ["RolloutAborted"], WAITS),
        (RolloutAborted("d", "r", 2, "no verdict", cause="silence"), ["RolloutAborted"], WAITS),
        (RolloutAborted("d", "r", 2, "no label came", cause="undecided"), ["RolloutAborted"], WAITS),
        (RolloutAborted("d", "r", 2, "by version 3", cause="superseded"), [], WAITS),
        (RolloutAborted("d", "r", 2, "aborted by me", cause="operator"), [], WAITS),
        (RolledBack("d", 2, 1, "level 0.1", "monitor"), ["RolloutRolledBack"], [*WAITS, "RolloutAborted"]),
        (RolloutCompleted("d", "r", 2, 0.0), [], WAITS),
        (RolloutCompleted("d", "r", 2, 0.0, promoted=False), [], WAITS),
        (RolloutStarted("d", "r", 3, "canary", "r"), [], ["RolloutAborted"]),
        (RolloutAdvanced("d", "r", 2, "canary", 0.1), [], []),
    ],
)
def test_alarms_follow_the_facts_of_rollouts(fact: Any, raised: list[str], lowered: list[str]) -> None:
    up, down = alarms_of(fact)
    assert ([alarm.name for alarm in up], [alarm.name for alarm in down]) == (raised, lowered)
    assert all(str(fact.version) in alarm.summary for alarm in up)


def test_each_version_that_is_rolled_back_is_news_and_a_promotion_ends_them_all() -> None:
    alerting, now = Alerting(Liveness()), Now(100.0, 0.0)
    for version in (4, 5):
        (fired,) = alerting.on_registry_fact(RolloutAborted("d", "r", version, "errors", harmful=True), now).facts
        assert (fired.status, fired.labels["version"]) == ("firing", str(version))
        assert fired.annotations["summary"] == f"version {version} was rolled back: errors"
    alerting.on_registry_fact(RolloutAborted("other", "r", 9, "errors", harmful=True), now)
    assert alerting.on_registry_fact(RolloutCompleted("d", "r", 6, 0.0, promoted=False), now).facts == ()
    ended = alerting.on_registry_fact(RolloutCompleted("d", "r", 6, 0.0), now).facts
    assert [(alert.status, alert.labels["version"]) for alert in ended] == [("resolved", "4"), ("resolved", "5")]
    assert [alert.labels["deployment"] for alert in alerting.table.firing] == ["other"]
