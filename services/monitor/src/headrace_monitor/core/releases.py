"""Which alarms follow from what the registry says of rollouts.

fact                                  RolloutHeld   RolloutRolledBack
paused for lack of verdicts           raise
resumed, completed, aborted           lower
aborted for harm, or rolled back      lower         raise
started, completed with a promotion                 lower
"""

from typing import Any

from headrace.events.registry import (
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
)
from headrace_monitor.core.alarm import Alarm

HELD, BACK = "RolloutHeld", "RolloutRolledBack"


def alarms_of(fact: Any) -> tuple[list[Alarm], list[Alarm]]:
    """Alarms to raise and alarms to lower."""
    match fact:
        case RolloutPaused(held=True):
            return [_held(fact.deployment, f"rollout of version {fact.version}: {fact.reason}")], []
        case RolloutResumed() | RolloutPaused():
            return [], [_held(fact.deployment)]
        case RolloutAborted(harmful=True) | RolledBack():
            return [_back(fact.deployment, f"version {fact.version} was taken back: {fact.reason}")], [
                _held(fact.deployment)
            ]
        case RolloutAborted():
            return [], [_held(fact.deployment)]
        case RolloutCompleted(promoted=promoted):
            return [], [_held(fact.deployment), *([_back(fact.deployment)] if promoted else [])]
        case _:
            return [], []


def _held(deployment: str, summary: str = "") -> Alarm:
    return Alarm(HELD, {"deployment": deployment}, "warning", summary, f"headrace rollout status {deployment}")


def _back(deployment: str, summary: str = "") -> Alarm:
    return Alarm(BACK, {"deployment": deployment}, "critical", summary, f"headrace rollout status {deployment}")
