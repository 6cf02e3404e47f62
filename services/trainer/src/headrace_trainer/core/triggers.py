"""Whether a retrain request is accepted: one run at a time per deployment, and a cool-down in event time between drifts.

The first request, manual ones and those that follow up a change do not wait for the cool-down. A run that registered no version
begins none: there is nothing new to be judged. Users write to the topic of requests, so everything in a request is bounded
before it is used, and a waiver of a gate that keeps no version away is refused by the rule of the command line
(`headrace.registry.waivers`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.events.definition import DeploymentDefinition
from headrace.events.training import (
    REQUEST_ID_CHARS,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
)
from headrace.instants import why_not
from headrace.log.envelope import derived_id
from headrace.registry.waivers import refuse_waivers
from headrace.stats.figures import FINDINGS
from headrace.step import Step

# Causes that do not wait for the cool-down.
WITHOUT_COOLDOWN = ("first", "manual", "follow_up")
CAUSES = ("first", *FINDINGS, "follow_up", "schedule", "new_rows", "manual")
# The outcome of a run that registered a version.
REGISTERED = "registered"
MAX_NAME, MAX_TEXT, MAX_WAIVERS = 200, 4_000, 50
# The newest answered requests are known by a hash of their ids, in so many groups of so many: repeats are not answered again.
GROUPS, GROUP = 100, 100
ANSWERED_BYTES = 130

Answer = RetrainAccepted | RetrainCoalesced | RetrainRefused


@dataclass(frozen=True, slots=True)
class Runs:
    """What was accepted.

    `running`: the run under way per deployment. `last_clock_s`: the clock of the last accepted request per deployment; `before_s`: that of
    the one before it. `answered`: hashes of the newest answered requests, in groups, the newest group first.
    """

    running: Mapping[str, RetrainAccepted] = field(default_factory=dict)
    last_clock_s: Mapping[str, float] = field(default_factory=dict)
    answered: tuple[frozenset[str], ...] = ()
    before_s: Mapping[str, float] = field(default_factory=dict)

    def has_answered(self, request_id: str) -> bool:
        """Whether a request was answered before."""
        mark = _mark(request_id)
        return any(mark in group for group in self.answered)


def apply(runs: Runs, fact: Any) -> Runs:
    """The state after a fact."""
    match fact:
        case RetrainAccepted():
            return Runs(
                {**runs.running, fact.deployment: fact},
                {**runs.last_clock_s, fact.deployment: fact.clock_s},
                _with(runs.answered, fact.request_id),
                {**runs.before_s, fact.deployment: runs.last_clock_s.get(fact.deployment, -math.inf)},
            )
        case RetrainCoalesced() | RetrainRefused():
            return replace(runs, answered=_with(runs.answered, fact.request_id))
        case TrainingFinished():
            return _without(runs, fact)
        case _:
            return runs


def _without(runs: Runs, fact: TrainingFinished) -> Runs:
    """Without a run that has finished; where it registered no version, the cool-down is as before it."""
    running = {name: run for name, run in runs.running.items() if (name, run.run) != (fact.deployment, fact.run)}
    if fact.outcome == REGISTERED or fact.deployment not in runs.before_s:
        return replace(runs, running=running)
    last_clock_s = {**runs.last_clock_s, fact.deployment: runs.before_s[fact.deployment]}
    return replace(runs, running=running, last_clock_s=last_clock_s)


def _mark(request_id: str) -> str:
    return derived_id("answered", request_id)[:16]


def _with(answered: tuple[frozenset[str], ...], request_id: str) -> tuple[frozenset[str], ...]:
    """The same with one more request; the oldest group is forgotten when there are too many."""
    mark = _mark(request_id)
    if answered and len(answered[0]) < GROUP:
        return (answered[0] | {mark}, *answered[1:])
    return (frozenset({mark}), *answered[: GROUPS - 1])


def why_unfit(request: RetrainRequested, request_id: str, clock_s: float, appended_ms: int) -> str | None:
    """Why a request cannot be considered, whatever deployment it is for; None when it can. `appended_ms`: its append time on the log."""
    names = {"deployment": request.deployment, "by": request.by, "finding": request.finding or "", "id": request_id}
    names |= {"a waiver's gate": "", "a waiver's name": ""}
    for waiver in request.waivers[:MAX_WAIVERS]:
        names["a waiver's gate"] = max(names["a waiver's gate"], waiver.gate, key=len)
        names["a waiver's name"] = max(names["a waiver's name"], waiver.by, key=len)
    for name, text in names.items():
        if len(text) > MAX_NAME:
            return f"{name} has {len(text):,} characters, at most {MAX_NAME} are allowed"
    texts = [request.reason, *(waiver.reason for waiver in request.waivers[:MAX_WAIVERS])]
    if (longest := max(map(len, texts))) > MAX_TEXT:
        return f"a reason has {longest:,} characters, at most {MAX_TEXT:,} are allowed"
    if len(request.waivers) > MAX_WAIVERS:
        return f"there are {len(request.waivers):,} waivers, at most {MAX_WAIVERS} are allowed"
    if request.cause not in CAUSES:
        return f"cause must be one of {', '.join(CAUSES)}, got {request.cause[:MAX_NAME]!r}"
    if request.changed_at_s is not None and (why := why_not(request.changed_at_s, appended_ms, "changed_at_s")):
        return why
    return why_not(clock_s, appended_ms, "clock_s")


def on_request(
    runs: Runs,
    request: RetrainRequested,
    request_id: str,
    deployment: DeploymentDefinition | None,
    clock_s: float,
    appended_ms: int = 0,
) -> Step[Runs, Answer]:
    """The answer to a request; no fact when it was answered before.

    `deployment`: None where no applied project declares it. `clock_s`: of the deployment, when this was asked. `appended_ms`: the append
    time of the request on the log.
    """
    if runs.has_answered(request_id):
        return Step(runs)
    answer = _answer(runs, request, request_id, deployment, clock_s, appended_ms)
    return Step(apply(runs, answer), (answer,))


def _answer(
    runs: Runs,
    request: RetrainRequested,
    request_id: str,
    deployment: DeploymentDefinition | None,
    clock_s: float,
    appended_ms: int,
) -> Answer:
    name = request.deployment[:MAX_NAME]

    def refused(reason: str, again_at_s: float | None = None) -> RetrainRefused:
        return RetrainRefused(name, request_id[:REQUEST_ID_CHARS], reason, again_at_s)

    unfit = why_unfit(request, request_id, clock_s, appended_ms)
    if unfit is not None:
        return refused(unfit)
    if deployment is None:
        return refused(f"no applied project declares a deployment {name!r}")
    if deployment.training is None:
        return refused(f"deployment {name} declares no training=Training(...)")
    of_no_gate = refuse_waivers(deployment, (waiver.gate for waiver in request.waivers))
    if of_no_gate is not None:
        return refused(of_no_gate)
    if name in runs.running:
        return RetrainCoalesced(name, runs.running[name].run, request_id)
    waits_s = _cooldown_left_s(runs, request, deployment, clock_s)
    if waits_s > 0:
        return refused(
            f"cool-down: {math.ceil(waits_s / 3600)} h of event time are left; a manual request does not wait",
            clock_s + waits_s,
        )
    # NB: with the append time: on a log that was made anew the same request is another run, and folders of the former one may be left.
    run = derived_id("run", name, request_id, appended_ms)[:16]
    asked_by = request.by if request.cause == "manual" else ""
    return RetrainAccepted(
        name, run, request_id, request.cause, request.reason, clock_s, request.waivers, request.changed_at_s, asked_by
    )


def _cooldown_left_s(runs: Runs, request: RetrainRequested, deployment: DeploymentDefinition, clock_s: float) -> float:
    """What is left of the cool-down, in event time; 0 or less for none.

    There is none either when the last run's clock lies further ahead than a cool-down: that was another replay.
    """
    if (
        request.cause in WITHOUT_COOLDOWN
        or deployment.retraining is None
        or request.deployment not in runs.last_clock_s
    ):
        return 0.0
    cooldown_s = deployment.retraining.cooldown_s
    left_s = runs.last_clock_s[request.deployment] + cooldown_s - clock_s
    return left_s if left_s < 2 * cooldown_s else 0.0
