"""Which decision a message needs, and what has to be decided after it.

A command is looked at only when `admission` lets it pass. A registered version gets its card, and a rollout where that was asked for; an approved
one may be what a rollout has waited for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    ArchiveVersion,
    CardWritten,
    DeleteVersion,
    PauseRollout,
    PromoteRollout,
    RegisterVersion,
    ResumeRollout,
    RetryRollout,
    RollBack,
    SetAlias,
    SetOverride,
    StartRollout,
    TagVersion,
    TimedOut,
    VersionRegistered,
)
from headrace.events.verdicts import VerdictGiven
from headrace.registry.state import Registry
from headrace.step import Step
from headrace_registry.core import registration, rollout, versions
from headrace_registry.core.card import write_card
from headrace_registry.core.machine import UNDECLARED, Approved, Fact, Unloadable, Warmed, step_of
from headrace_registry.core.passed_over import on_finding

_OF_VERSIONS = {
    SetAlias: versions.on_set_alias,
    SetOverride: versions.on_set_override,
    TagVersion: versions.on_tag,
    ArchiveVersion: versions.on_archive,
    DeleteVersion: versions.on_delete,
}
_OF_ROLLOUTS = (
    StartRollout | AbortRollout | PauseRollout | ResumeRollout | PromoteRollout | RetryRollout | RollBack | TimedOut
)
_TO_THE_MACHINE = _OF_ROLLOUTS | VerdictGiven | Warmed | Unloadable | Approved


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the deployment of a message. `definition`: None when no applied project declares it.

    `time_s`: the instant of the message. `has_artifact`: whether all artifacts that a registration names are complete on the log.
    """

    definition: DeploymentDefinition | None = None
    time_s: float = 0.0
    has_artifact: bool = False

    @property
    def plan(self) -> RolloutDefinition:
        """The deployment's rollout policy as it is applied now."""
        return UNDECLARED if self.definition is None else self.definition.rollout


@dataclass(frozen=True, slots=True)
class WriteCard:
    """A version was registered: its card is to be written."""

    registered: VersionRegistered
    definition: DeploymentDefinition


FollowUp = WriteCard | StartRollout | Approved


def is_command(event: Any) -> bool:
    """Whether this is a command, which may be refused."""
    return isinstance(event, RegisterVersion | ApproveVersion | _OF_ROLLOUTS) or type(event) in _OF_VERSIONS


def on_message(state: Registry, deployment: str, message: Any, ident: str, known: Known) -> Step[Registry, Fact]:
    """What follows from a message with the id `ident`; nothing from one that is not for the registry."""
    match message:
        case RegisterVersion():
            return registration.on_register(
                state,
                message,
                ident,
                is_declared=known.definition is not None,
                has_artifact=known.has_artifact,
                now_s=known.time_s,
                label=None if known.definition is None else known.definition.label,
            )
        case ApproveVersion():
            return versions.on_approve(state, message, ident, known.plan)
        case WriteCard(registered, definition):
            card = write_card(registered, definition)
            return step_of(state, [CardWritten(deployment, registered.version, card)])
        case FindingOpened() | FindingResolved():
            return on_finding(state, message)
        case _ if isinstance(message, _TO_THE_MACHINE):
            return rollout.on_message(state, deployment, message, ident, known.plan)
        case _:
            handler = _OF_VERSIONS.get(type(message))
            return step_of(state) if handler is None else handler(state, message, ident)


def follow_ups(command: Any, facts: Iterable[Any], known: Known) -> list[FollowUp]:
    """What is to be decided after the facts of a command were published, in this order, each by the state that the one before left."""
    if isinstance(command, ApproveVersion):
        return [Approved()]
    found: list[FollowUp] = []
    for fact in facts:
        if isinstance(fact, VersionRegistered) and known.definition is not None:
            found.append(WriteCard(fact, known.definition))
            if isinstance(command, RegisterVersion) and command.rollout:
                found.append(StartRollout(fact.deployment, fact.version, command.reason, command.by))
    return found
