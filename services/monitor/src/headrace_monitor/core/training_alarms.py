"""Which alarms follow from the facts of the trainer.

fact                                                              TrainingFailed   TrainingRefused
a run failed: its code raised, it ended, or it ran into a limit   begins           ends
a run ended otherwise (registered, rejected by a gate, waiting)   ends             ends
a request of the monitor was accepted                                              ends
it was refused, and waiting does not help                                          begins

A run that is too slow ends at a limit of the trainer (`training_cpu_s`, `training_idle_s`), and so has failed. One that a gate
rejects has not: that is what gates are for. What a person requests by hand is answered to that person.
"""

from collections.abc import Container

from headrace.events.training import RetrainAccepted, RetrainRefused, TrainingFinished
from headrace.hosting.alerts import Alarm
from headrace_monitor.core.retrain_requests import TrainingFact

Alarms = list[Alarm]


def alarms_of(fact: TrainingFact, asked: Container[str]) -> tuple[Alarms, Alarms]:
    """The alarms that a fact begins, and those that it ends. `asked`: the ids of what the monitor has requested."""
    match fact:
        case TrainingFinished(outcome="failed"):
            summary = f"run {fact.run} of {fact.deployment} failed: {fact.reason}"
            return [_failed(fact.deployment, summary)], [_refused(fact.deployment)]
        case TrainingFinished():
            return [], [_failed(fact.deployment), _refused(fact.deployment)]
        case RetrainAccepted():
            return [], [_refused(fact.deployment)]
        case RetrainRefused(again_at_s=None) if fact.request_id in asked:
            return [_refused(fact.deployment, f"{fact.deployment} cannot be trained: {fact.reason}")], []
        case _:
            return [], []


def _failed(deployment: str, summary: str = "") -> Alarm:
    command = f"headrace training list --deployment {deployment}"
    return Alarm("TrainingFailed", {"deployment": deployment}, "warning", summary, command)


def _refused(deployment: str, summary: str = "") -> Alarm:
    command = f"headrace training list --deployment {deployment}"
    return Alarm("TrainingRefused", {"deployment": deployment}, "warning", summary, command)
