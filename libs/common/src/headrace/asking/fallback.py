"""The fallback chain: who answers when the routed version cannot. Champion -> previous -> baseline -> prior.

The step of the champion is the version that the route chose. A step that cannot answer is passed over, and the answer
names the reason: its version failed, or a finding that is open says that it does worse than the prior. A version is in
the chain only once, at its highest step.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.asking.routing import PREVIEW, Assigned
from headrace.events.definition import FallbackStepDefinition
from headrace.events.failures import Failure
from headrace.events.inference import Answer, FellBack, Refused, Score, Served
from headrace.events.registry import Route

CHAMPION = "champion"
PRIOR = "prior"
NO_VERSION = "no version yet"


@dataclass(frozen=True, slots=True)
class Ask:
    """Let `version` answer, as the step `name` of the chain."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Answer with the `value` of the prior, or for several classes with its `probabilities`: this needs no model and no
    features.
    """

    value: float | None
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """Do not let `version` answer: a finding that is open says that it does worse than the prior. It scores along."""

    name: str
    version: int
    reason: str


Step = Ask | Constant | Passed


@dataclass(frozen=True, slots=True)
class Chosen:
    """The step to take, None when no step can answer; `reason`: why every step above it was passed over ("" for
    none).
    """

    step: Ask | Constant | None
    reason: str


def steps_for(declared: Sequence[FallbackStepDefinition], route: Route | None, assigned: Assigned) -> tuple[Step, ...]:
    """The fallback chain of one request: that of the version it was assigned to; a preview is a step above the chain it
    would have had.

    >>> steps_for([], None, Assigned(9, PREVIEW, 3))
    (Ask(name='preview', version=9), Ask(name='champion', version=3))
    """
    if assigned.override != PREVIEW or assigned.version is None:
        return steps_of(declared, route, assigned.version)
    chain = steps_of(declared, route, assigned.next)
    others = (step for step in chain if isinstance(step, Constant) or step.version != assigned.version)
    return (Ask(PREVIEW, assigned.version), *others)


def steps_of(declared: Sequence[FallbackStepDefinition], route: Route | None, routed: int | None) -> tuple[Step, ...]:
    """The fallback chain of one request, highest step first. `declared`: its steps below the champion; `routed`: the
    version that the route chose, None for none.
    """
    down = {found.version: found.reason for found in route.passed_over} if route is not None else {}
    steps: list[Step] = [_step(CHAMPION, routed, down)] if routed is not None else []
    for lower in declared:
        if lower.kind == PRIOR:
            steps.append(Constant(lower.value, lower.probabilities))
            continue
        version = _version_of(lower.kind, route)
        if version is not None and all(not isinstance(step, Constant) and step.version != version for step in steps):
            steps.append(_step(lower.kind, version, down))
    return tuple(steps)


def _step(name: str, version: int, down: Mapping[int, str]) -> Step:
    return Passed(name, version, down[version]) if version in down else Ask(name, version)


def choose_step(steps: Sequence[Step], failed: Mapping[int, Failure]) -> Chosen:
    """The highest step whose version has not failed; `failed`: why, per version.

    >>> from headrace.events.failures import Hung
    >>> choose_step([Ask("champion", 3), Constant(0.26)], {3: Hung("predict took over 5 s")}).reason
    'champion (version 3): predict took over 5 s'
    """
    above: list[str] = []
    for step in steps:
        if isinstance(step, Passed):
            above.append(f"{step.name} (version {step.version}): {step.reason}")
            continue
        if isinstance(step, Constant) or step.version not in failed:
            return Chosen(step, "; ".join(above) or ("" if _is_top(step) else NO_VERSION))
        above.append(f"{step.name} (version {step.version}): {failed[step.version].reason}")
    return Chosen(None, "; ".join(above) or NO_VERSION)


def answer_of(chosen: Chosen, score: Score | None, deployment: str) -> Answer:
    """The answer of a step; `score`: that of its version, None for the prior and when no step can answer."""
    match chosen.step:
        case Ask(name, _) if score is not None:
            return FellBack(name, chosen.reason, score) if chosen.reason else Served(score)
        case Constant(value, probabilities):
            return FellBack(PRIOR, chosen.reason, Score(0, "", value, probabilities or None))
        case _:
            return _refusal(chosen.reason, deployment)


def passed_over(steps: Sequence[Step], chosen: Chosen, failed: Mapping[int, Failure]) -> dict[int, Failure]:
    """The versions above the chosen step, and why each gave no answer."""
    before = itertools.takewhile(lambda step: step != chosen.step, steps)
    return {step.version: failed[step.version] for step in before if isinstance(step, Ask)}


def step_of(chosen: Chosen) -> tuple[str, int]:
    """The name and the version of the step that answers (0 for the prior; `none` when no step can answer)."""
    match chosen.step:
        case Ask(name, version):
            return name, version
        case Constant():
            return PRIOR, 0
        case None:
            return "none", 0


def _is_top(step: Step) -> bool:
    return isinstance(step, Ask) and step.name in (CHAMPION, PREVIEW)


def _version_of(kind: str, route: Route | None) -> int | None:
    if route is None:
        return None
    return route.previous if kind == "previous" else route.baseline


def _refusal(reason: str, deployment: str) -> Refused:
    if reason == NO_VERSION:
        return Refused(f"no version of {deployment} yet; register one with `headrace model register`", 5.0)
    return Refused(f"no step of the fallback chain of {deployment} can answer: {reason}", 5.0)
