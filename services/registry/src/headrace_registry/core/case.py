"""One message to one deployment's rollout, and the machine's phases."""

from dataclasses import dataclass
from typing import Any

from headrace.events import type_name
from headrace.events.definition import RolloutDefinition
from headrace.events.registry import CommandRefused
from headrace.registry.state import RUNNING, WARMING, Entry, Rollout

Facts = list[Any]
# Where no applied project declares the deployment any more.
UNDECLARED = RolloutDefinition("blue_green")


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
class Case:
    """One message to one deployment. `ident`: the id of the command; `plan`: the deployment's policy as it is applied now."""

    deployment: str
    entry: Entry
    message: Any
    ident: str = ""
    plan: RolloutDefinition = UNDECLARED

    @property
    def rollout(self) -> Rollout:
        """The rollout under way."""
        assert self.entry.rollout is not None, "the table leads here from phases with a rollout only"
        return self.entry.rollout


def phase_of(entry: Entry) -> str:
    """`idle`, `paused`, `held`, or the step of the running rollout."""
    rollout = entry.rollout
    if rollout is None:
        return "idle"
    return rollout.step if rollout.standing == RUNNING else rollout.standing


def refused(case: Case, reason: str) -> Facts:
    return [CommandRefused(case.deployment, type_name(type(case.message)), case.ident, reason)]


def why_not(entry: Entry, phase: str) -> str:
    if entry.rollout is None:
        return "no rollout is under way"
    what = f"the rollout of version {entry.rollout.version} is {phase}"
    if phase == WARMING:
        return f"{what}: wait until every inference instance has it warm, or abort it"
    return f"{what}: `headrace rollout status` shows what it waits for"
