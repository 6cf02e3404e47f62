"""What the handlers of the rollout machine share: the messages that only the registry knows, the machine's phases, and steps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace.events import type_name
from headrace.events.definition import RolloutDefinition
from headrace.events.registry import CommandRefused
from headrace.registry.state import RUNNING, WARMING, Entry, Registry, Rollout, apply
from headrace.step import Step

# Where no applied project declares the deployment any more.
UNDECLARED = RolloutDefinition("blue_green")
# One of the facts of `headrace.events.registry`.
Fact = Any


@dataclass(frozen=True, slots=True)
class Warmed:
    """Every live inference instance has the version under rollout warm."""


@dataclass(frozen=True, slots=True)
class Unloadable:
    """An inference instance has rejected `version` for good."""

    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Approved:
    """A version was approved: it may be what one that waits has waited for."""


@dataclass(frozen=True, slots=True)
class About:
    """What a message to the machine is about. `ident`: the id of the command; `plan`: the deployment's policy as it is applied now."""

    deployment: str
    ident: str = ""
    plan: RolloutDefinition = UNDECLARED


def phase_of(entry: Entry) -> str:
    """`idle`, `paused`, `unjudged` (paused for lack of verdicts), or the step of the running rollout."""
    rollout = entry.rollout
    if rollout is None:
        return "idle"
    return rollout.step if rollout.standing == RUNNING else rollout.standing


def running(state: Registry, about: About) -> Rollout:
    """The rollout under way. NB: only for handlers to which the table leads from phases with a rollout."""
    rollout = state.entry(about.deployment).rollout
    assert rollout is not None, "the table leads here from phases with a rollout only"
    return rollout


def step_of(state: Registry, facts: Iterable[Fact] = ()) -> Step[Registry, Fact]:
    """The step that publishes these facts: the state after them.

    NB: whoever publishes folds them again by their ids (`Fold`), so that a refusal that is repeated counts once.
    """
    published = tuple(facts)
    for fact in published:
        state = apply(state, fact)
    return Step(state, published)


def refused(state: Registry, command: Any, ident: str, reason: str) -> Step[Registry, Fact]:
    """The step that refuses a command with the reason, and changes nothing else."""
    return step_of(state, [CommandRefused(command.deployment, type_name(type(command)), ident, reason)])


def why_not(entry: Entry, phase: str) -> str:
    """Why a command cannot be carried out in this phase, and the way out."""
    if entry.rollout is None:
        return "no rollout is under way"
    what = f"the rollout of version {entry.rollout.version} is {phase}"
    if phase == WARMING:
        return f"{what}: wait until every inference instance has it warm, or abort it"
    return f"{what}: `headrace rollout status` shows what it waits for"
