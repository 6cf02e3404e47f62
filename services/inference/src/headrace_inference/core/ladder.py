"""Who answers when the routed version cannot: champion -> previous -> baseline -> prior.

The champion's step is whatever version the route chose. A version that the route passes over (it does worse than the prior) is on no step. A step that failed is passed over and its reason is told in the
answer; a version stands on the ladder only once, on its highest step.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.events.definition import RungDefinition
from headrace.events.failures import Failure
from headrace.events.inference import Answer, FellBack, Refused, Score, Served
from headrace.events.registry import Route
from headrace_inference.core.routing import PREVIEW, Assigned

CHAMPION = "champion"
PRIOR = "prior"
NO_VERSION = "no version yet"


@dataclass(frozen=True, slots=True)
class Ask:
    """Let `version` answer, as the `rung` of that name."""

    rung: str
    version: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Answer with the prior's `value`, or with its `shares` of several classes: needs no model and no features."""

    value: float | None
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """Not this one: a finding that is open says that `version` does worse than the prior. It scores along."""

    rung: str
    version: int
    reason: str


Step = Ask | Constant | Passed


@dataclass(frozen=True, slots=True)
class Chosen:
    """The step to take, None when the ladder is exhausted; `reason`: why every step above it was passed over ("" for none)."""

    step: Ask | Constant | None
    reason: str


def steps_for(rungs: Sequence[RungDefinition], route: Route | None, assigned: Assigned) -> tuple[Step, ...]:
    """The ladder of one request: that of the version it was given to; a preview stands above the one it would have had.

    >>> steps_for([], None, Assigned(9, PREVIEW, 3))
    (Ask(rung='preview', version=9), Ask(rung='champion', version=3))
    """
    if assigned.override != PREVIEW or assigned.version is None:
        return steps_of(rungs, route, assigned.version)
    below = steps_of(rungs, route, assigned.next)
    others = (step for step in below if isinstance(step, Constant) or step.version != assigned.version)
    return (Ask(PREVIEW, assigned.version), *others)


def steps_of(rungs: Sequence[RungDefinition], route: Route | None, routed: int | None) -> tuple[Step, ...]:
    """The ladder of one request, highest step first. `routed`: the version that the route chose, None for none."""
    down = {found.version: found.reason for found in route.passed_over} if route is not None else {}
    steps: list[Step] = [_step(CHAMPION, routed, down)] if routed is not None else []
    for rung in rungs:
        if rung.kind == PRIOR:
            steps.append(Constant(rung.value, rung.shares))
            continue
        version = _version_of(rung.kind, route)
        if version is not None and all(not isinstance(step, Constant) and step.version != version for step in steps):
            steps.append(_step(rung.kind, version, down))
    return tuple(steps)


def _step(rung: str, version: int, down: Mapping[int, str]) -> Step:
    return Passed(rung, version, down[version]) if version in down else Ask(rung, version)


def choose_step(steps: Sequence[Step], failed: Mapping[int, Failure]) -> Chosen:
    """The highest step whose version has not failed; `failed`: why, per version.

    >>> from headrace.events.failures import Hung
    >>> choose_step([Ask("champion", 3), Constant(0.26)], {3: Hung("predict took over 5 s")}).reason
    'champion (version 3): predict took over 5 s'
    """
    passed: list[str] = []
    for step in steps:
        if isinstance(step, Passed):
            passed.append(f"{step.rung} (version {step.version}): {step.reason}")
            continue
        if isinstance(step, Constant) or step.version not in failed:
            return Chosen(step, "; ".join(passed) or ("" if _is_top(step) else NO_VERSION))
        passed.append(f"{step.rung} (version {step.version}): {failed[step.version].reason}")
    return Chosen(None, "; ".join(passed) or NO_VERSION)


def answer_of(chosen: Chosen, score: Score | None, deployment: str) -> Answer:
    """The answer of a step; `score`: what its version said, None for the prior or an exhausted ladder."""
    match chosen.step:
        case Ask(rung, _) if score is not None:
            return FellBack(rung, chosen.reason, score) if chosen.reason else Served(score)
        case Constant(value, shares):
            return FellBack(PRIOR, chosen.reason, Score(0, "", value, shares or None))
        case _:
            return _refusal(chosen.reason, deployment)


def passed_over(steps: Sequence[Step], chosen: Chosen, failed: Mapping[int, Failure]) -> dict[int, Failure]:
    """The versions above the chosen step, and why each gave no answer."""
    above = itertools.takewhile(lambda step: step != chosen.step, steps)
    return {step.version: failed[step.version] for step in above if isinstance(step, Ask)}


def rung_of(chosen: Chosen) -> tuple[str, int]:
    """The rung's name and version (0 for the prior; `none` for an exhausted ladder)."""
    match chosen.step:
        case Ask(rung, version):
            return rung, version
        case Constant():
            return PRIOR, 0
        case None:
            return "none", 0


def _is_top(step: Step) -> bool:
    return isinstance(step, Ask) and step.rung in (CHAMPION, PREVIEW)


def _version_of(kind: str, route: Route | None) -> int | None:
    if route is None:
        return None
    return route.previous if kind == "previous" else route.baseline


def _refusal(reason: str, deployment: str) -> Refused:
    if reason == NO_VERSION:
        return Refused(f"no version of {deployment} yet; register one with `headrace model register`", 5.0)
    return Refused(f"nothing on the ladder of {deployment} can answer: {reason}", 5.0)
