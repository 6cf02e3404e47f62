"""Which alarms follow from the facts of the registry about rollouts."""

from typing import Any

import pytest

from headrace.events.registry import (
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
)
from headrace_monitor.core.rollout_alarms import alarms_of


@pytest.mark.parametrize(
    ("fact", "raised", "lowered"),
    [
        (RolloutPaused("d", "r", 2, "no verdict for 300 s", unjudged=True), ["RolloutUnjudged"], []),
        (RolloutPaused("d", "r", 2, "paused by me"), [], ["RolloutUnjudged"]),
        (RolloutResumed("d", "r", 2, "verdicts come again"), [], ["RolloutUnjudged"]),
        (RolloutAborted("d", "r", 2, "no verdict for 600 s"), [], ["RolloutUnjudged"]),
        (
            RolloutAborted("d", "r", 2, "errors 1", harmful=True),
            ["RolloutRolledBack"],
            ["RolloutUnjudged", "RolloutAborted"],
        ),
        (RolloutAborted("d", "r", 2, "not warm", cause="warming"), ["RolloutAborted"], ["RolloutUnjudged"]),
        (RolloutAborted("d", "r", 2, "no memory", cause="load"), ["RolloutAborted"], ["RolloutUnjudged"]),
        (RolloutAborted("d", "r", 2, "no verdict", cause="silence"), ["RolloutAborted"], ["RolloutUnjudged"]),
        (RolloutAborted("d", "r", 2, "aborted by me", cause="operator"), [], ["RolloutUnjudged"]),
        (RolledBack("d", 2, 1, "brier 0.1", "monitor"), ["RolloutRolledBack"], ["RolloutUnjudged", "RolloutAborted"]),
        (RolloutCompleted("d", "r", 2, 0.0), [], ["RolloutUnjudged", "RolloutRolledBack"]),
        (RolloutCompleted("d", "r", 2, 0.0, promoted=False), [], ["RolloutUnjudged"]),
        (RolloutStarted("d", "r", 3, "canary", "r"), [], ["RolloutAborted"]),
        (RolloutAdvanced("d", "r", 2, "canary", 0.1), [], []),
    ],
)
def test_alarms_follow_the_facts_of_rollouts(fact: Any, raised: list[str], lowered: list[str]) -> None:
    up, down = alarms_of(fact)
    assert ([alarm.name for alarm in up], [alarm.name for alarm in down]) == (raised, lowered)
    assert all(str(fact.version) in alarm.summary for alarm in up)
