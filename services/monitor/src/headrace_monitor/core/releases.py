"""Which alarms follow from what the registry says of rollouts.

fact                                  RolloutHeld   RolloutRolledBack   RolloutAborted
paused for lack of verdicts           raise
resumed, completed, aborted           lower
aborted for harm, or rolled back      lower         raise               lower
aborted because a wait ran out        lower                             raise
started                                                                 lower
completed with a promotion            lower         lower
"""

from typing import Any

from headrace.events.registry import (
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
)
from headrace_monitor.core.alarm import Alarm

HELD, BACK, ABORTED = "RolloutHeld", "RolloutRolledBack", "RolloutAborted"


def alarms_of(fact: Any) -> tuple[list[Alarm], list[Alarm]]:
    """Alarms to raise and alarms to lower."""
    match fact:
        case RolloutPaused(held=True):
            return [_held(fact.deployment, f"rollout of version {fact.version}: {fact.reason}")], []
        case RolloutResumed() | RolloutPaused():
            return [], [_held(fact.deployment)]
        case RolloutAborted(harmful=True) | RolledBack():
            return [_back(fact.deployment, f"version {fact.version} was taken back: {fact.reason}")], [
                _held(fact.deployment),
                _aborted(fact.deployment),
            ]
        case RolloutAborted(cause="silence" | "warming" | "load"):
            summary = f"rollout of version {fact.version} ended and may be tried again: {fact.reason}"
            return [_aborted(fact.deployment, summary)], [_held(fact.deployment)]
        case RolloutAborted():
            return [], [_held(fact.deployment)]
        case RolloutStarted():
            return [], [_aborted(fact.deployment)]
        case RolloutCompleted(promoted=promoted):
            return [], [_held(fact.deployment), *([_back(fact.deployment)] if promoted else [])]
        case _:
            return [], []


def _held(deployment: str, summary: str = "") -> Alarm:
    return Alarm(HELD, {"deployment": deployment}, "warning", summary, f"headrace rollout status {deployment}")


def _aborted(deployment: str, summary: str = "") -> Alarm:
    return Alarm(ABORTED, {"deployment": deployment}, "warning", summary, f"headrace rollout retry {deployment}")


def _back(deployment: str, summary: str = "") -> Alarm:
    return Alarm(BACK, {"deployment": deployment}, "critical", summary, f"headrace rollout status {deployment}")
