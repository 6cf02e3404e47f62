"""Whether a retrain request is taken up: one run at a time per deployment, and a pause of event time between drifts.

Manual requests and the first one do not wait for the pause.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.envelope import derived_id
from headrace.events.training import (
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
)
from headrace.project.definition import DeploymentDefinition

IMPATIENT = ("first", "manual")


@dataclass(frozen=True, slots=True)
class Runs:
    """What was taken up: the run under way and the last accepted clock, per deployment; requests answered."""

    running: Mapping[str, RetrainAccepted] = field(default_factory=dict)
    last_clock_s: Mapping[str, float] = field(default_factory=dict)
    answered: frozenset[str] = frozenset()


def apply(runs: Runs, fact: Any) -> Runs:
    """The state after a fact."""
    match fact:
        case RetrainAccepted():
            return Runs(
                {**runs.running, fact.deployment: fact},
                {**runs.last_clock_s, fact.deployment: fact.clock_s},
                runs.answered | {fact.request_id},
            )
        case RetrainCoalesced() | RetrainRefused():
            return replace(runs, answered=runs.answered | {fact.request_id})
        case TrainingFinished():
            return replace(runs, running={name: run for name, run in runs.running.items() if name != fact.deployment})
        case _:
            return runs


def on_request(
    runs: Runs, request: RetrainRequested, request_id: str, deployment: DeploymentDefinition | None, clock_s: float
) -> RetrainAccepted | RetrainCoalesced | RetrainRefused | None:
    """The answer to a request; None when it was answered before."""
    if request_id in runs.answered:
        return None
    name = request.deployment
    if deployment is None:
        return RetrainRefused(name, request_id, f"no applied project declares a deployment {name!r}")
    if deployment.training is None:
        return RetrainRefused(name, request_id, f"deployment {name} declares no training=Training(...)")
    if name in runs.running:
        return RetrainCoalesced(name, runs.running[name].run, request_id)
    waits_s = _pause_left_s(runs, request, deployment, clock_s)
    if waits_s > 0:
        return RetrainRefused(
            name,
            request_id,
            f"cool-down: {waits_s / 3600:.0f} h of event time are left; a manual request does not wait",
        )
    run = derived_id("run", name, request_id)[:16]
    return RetrainAccepted(name, run, request_id, request.cause, request.reason, clock_s, request.waivers)


def _pause_left_s(runs: Runs, request: RetrainRequested, deployment: DeploymentDefinition, clock_s: float) -> float:
    if request.cause in IMPATIENT or deployment.retraining is None or request.deployment not in runs.last_clock_s:
        return 0.0
    return runs.last_clock_s[request.deployment] + deployment.retraining.cooldown_s - clock_s
