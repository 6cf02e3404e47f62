"""Which alarms follow from the facts of the registry about rollouts.

fact                                  RolloutUnjudged   RolloutAwaitsApproval   RolloutRolledBack   RolloutAborted
paused for lack of verdicts           begins
only an approval is missing                             begins
resumed, or paused by an operator     ends
completed, aborted                    ends              ends
aborted for harm, or rolled back      ends              ends                    begins              ends
aborted because a wait ran out        ends              ends                                        begins
aborted because nothing decided it    ends              ends                                        begins
started                                                                                             ends
completed with a promotion            ends              ends                    ends
"""

from typing import Any

from headrace.events.registry import (
    ApprovalAwaited,
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
)
from headrace.hosting.alerts import Alarm

UNJUDGED, AWAITS_APPROVAL = "RolloutUnjudged", "RolloutAwaitsApproval"
ROLLED_BACK, ABORTED = "RolloutRolledBack", "RolloutAborted"

Alarms = list[Alarm]


def alarms_of(fact: Any) -> tuple[Alarms, Alarms]:
    """The alarms that a fact begins, and those that it ends; none of either for a fact that is not about rollouts."""
    match fact:
        case RolloutPaused(unjudged=True):
            return [_unjudged(fact.deployment, f"rollout of version {fact.version}: {fact.reason}")], []
        case ApprovalAwaited():
            return [_awaits_approval(fact.deployment, f"version {fact.version}: {fact.reason}")], []
        case RolloutResumed() | RolloutPaused():
            return [], [_unjudged(fact.deployment)]
        case RolloutAborted(harmful=True) | RolledBack():
            summary = f"version {fact.version} was rolled back: {fact.reason}"
            return [_rolled_back(fact.deployment, summary)], [*_waits(fact.deployment), _aborted(fact.deployment)]
        case RolloutAborted(cause="silence" | "warming" | "load" | "undecided"):
            summary = f"rollout of version {fact.version} ended and may be tried again: {fact.reason}"
            return [_aborted(fact.deployment, summary)], _waits(fact.deployment)
        case RolloutAborted():
            return [], _waits(fact.deployment)
        case RolloutStarted():
            return [], [_aborted(fact.deployment)]
        case RolloutCompleted(promoted=promoted):
            return [], [*_waits(fact.deployment), *([_rolled_back(fact.deployment)] if promoted else [])]
        case _:
            return [], []


def _waits(deployment: str) -> Alarms:
    """What a running rollout may wait for."""
    return [_unjudged(deployment), _awaits_approval(deployment)]


def _awaits_approval(deployment: str, summary: str = "") -> Alarm:
    return Alarm(
        AWAITS_APPROVAL, {"deployment": deployment}, "warning", summary, f"headrace rollout status {deployment}"
    )


def _unjudged(deployment: str, summary: str = "") -> Alarm:
    return Alarm(UNJUDGED, {"deployment": deployment}, "warning", summary, f"headrace rollout status {deployment}")


def _aborted(deployment: str, summary: str = "") -> Alarm:
    return Alarm(ABORTED, {"deployment": deployment}, "warning", summary, f"headrace rollout retry {deployment}")


def _rolled_back(deployment: str, summary: str = "") -> Alarm:
    return Alarm(ROLLED_BACK, {"deployment": deployment}, "critical", summary, f"headrace rollout status {deployment}")
