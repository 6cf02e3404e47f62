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
completed with a promotion            ends              ends                    ends those of all versions

A version that was rolled back has an alert of its own, so that the second one within an hour is news too.
"""

from collections.abc import Iterable
from typing import Any

from headrace.events.alerts import AlertChanged
from headrace.events.registry import (
    ApprovalAwaited,
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
)
from headrace.hosting.alerts import ABORTED, AWAITS_APPROVAL, ROLLED_BACK, UNJUDGED, Alarm

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
            return [_rolled_back(fact, summary)], [*_waits(fact.deployment), _aborted(fact.deployment)]
        case RolloutAborted(cause="silence" | "warming" | "load" | "undecided"):
            summary = f"rollout of version {fact.version} ended and may be tried again: {fact.reason}"
            return [_aborted(fact.deployment, summary)], _waits(fact.deployment)
        case RolloutAborted():
            return [], _waits(fact.deployment)
        case RolloutStarted():
            return [], [_aborted(fact.deployment)]
        case RolloutCompleted():
            return [], _waits(fact.deployment)
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


def ended_by_promotion(fact: Any, firing: Iterable[AlertChanged]) -> list[str]:
    """The fingerprints of the alerts about versions rolled back before, which end when a version is promoted."""
    if not (isinstance(fact, RolloutCompleted) and fact.promoted):
        return []
    about = {"alertname": ROLLED_BACK, "deployment": fact.deployment}
    return [alert.fingerprint for alert in firing if about.items() <= alert.labels.items()]


def _rolled_back(fact: RolloutAborted | RolledBack, summary: str) -> Alarm:
    about = {"deployment": fact.deployment, "version": str(fact.version)}
    return Alarm(ROLLED_BACK, about, "critical", summary, f"headrace rollout status {fact.deployment}")
