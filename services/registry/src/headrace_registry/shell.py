"""The registry's one shard: a command, a verdict or an observation in, facts and current state out, in one transaction."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headrace.clock import Clock
from headrace.errors import Fatal, Poison, Retryable
from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    ArchiveVersion,
    ArtifactPlace,
    CardWritten,
    CommandRefused,
    DeleteVersion,
    ModelVersion,
    PauseRollout,
    PromoteRollout,
    RegisterVersion,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolloutStarted,
    RouteChanged,
    SetAlias,
    SetOverride,
    StartRollout,
    TagVersion,
    TimedOut,
    VersionDeleted,
    VersionRegistered,
)
from headrace.events.verdicts import VerdictGiven
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message, caused_by, out, tombstone
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.registry.state import ID_BYTES, IDS_KEPT, Entry, Fold, Registry, Rollout
from headrace_registry.core import admission, passing, rollout, versions
from headrace_registry.core.card import write_card
from headrace_registry.core.case import UNDECLARED, Approved, Unloadable, Warmed
from headrace_registry.core.instances import Instances
from headrace_registry.core.patience import Patience

SERVICE = "registry"
HELD_EVERY_S = 2.0
_log = logging.getLogger("headrace.registry")

HasArtifact = Callable[[ArtifactPlace], Awaitable[bool]]
# Told what a state that grows holds, and its bound: see `Health.holds`.
Holds = Callable[[str, int, int], None]
_BY_HAND = {
    SetAlias: versions.on_set_alias,
    SetOverride: versions.on_set_override,
    TagVersion: versions.on_tag,
    ArchiveVersion: versions.on_archive,
    DeleteVersion: versions.on_delete,
    ApproveVersion: versions.on_approve,
}
_OF_ROLLOUTS = (
    StartRollout | AbortRollout | PauseRollout | ResumeRollout | PromoteRollout | RetryRollout | RollBack | TimedOut
)


class RegistryShard:
    """All commands and verdicts; one active instance."""

    def __init__(
        self,
        topics: Topics,
        projects: Projects,
        instances: Instances,
        has_artifact: HasArtifact,
        clock: Clock,
        holds: Holds | None = None,
    ) -> None:
        self._topics, self._projects, self._instances = topics, projects, instances
        self._has_artifact, self._clock, self._holds = has_artifact, clock, holds
        self._facts = Fold()
        self._patience = Patience()
        self._story: dict[str, Message] = {}
        self._began_s: dict[str, float] = {}
        self._recorded: dict[str, str] = {}
        self._told_s = 0.0

    @property
    def _state(self) -> Registry:
        return self._facts.state

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("registry.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        self._facts.take(message.event, message.envelope.id)
        deployment = getattr(message.event, "deployment", None)
        if deployment is not None and deployment in self._state.entries:
            self._story[deployment] = _bare(message)
        if isinstance(message.event, RolloutStarted):
            self._began_s[message.event.deployment] = message.record.timestamp_ms / 1000

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outputs = Outputs([], [], [], [])
        for message in batch:
            before = self._facts.mark()
            try:
                outputs.outs += await self._take(message)
            except (Retryable, Fatal):
                raise
            except Exception as error:
                # NB: whatever one command raises is that command's fault, and the state is as it was before it.
                self._facts.back(before)
                outputs.dead.append((message, _poison(error)))
        return outputs

    async def on_tick(self) -> Outputs:
        """Rollouts that wait for instances, or have heard nothing."""
        outs: list[Out] = []
        for deployment, entry in list(self._state.entries.items()):
            if entry.rollout is not None:
                outs += self._tend(deployment, entry.rollout)
            else:
                self._patience.forget(deployment)
        self._tell_held()
        return Outputs(outs=outs)

    def _tell_held(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._holds is None or now_s - self._told_s < HELD_EVERY_S:
            return
        self._told_s = now_s
        self._holds("registry_ids", self._facts.held_bytes, 2 * IDS_KEPT * ID_BYTES)
        self._holds("registry_instances", *self._instances.held_bytes())
        self._holds("registry_versions", self._state.versions_bytes, versions.VERSIONS_BYTES)

    def _tend(self, deployment: str, running: Rollout) -> list[Out]:
        """What was observed of a running rollout, as messages to its machine."""
        seen: list[Any] = []
        refused = self._instances.unloadable(deployment, running.version)
        if refused is not None:
            seen.append(Unloadable(running.version, refused))
        warmed = self._instances.warmed(f"{deployment}/{running.version}", self._clock.now_s())
        if warmed and all(warmed.values()):
            seen.append(Warmed())
        cause = self._story.get(deployment)
        outs = [written for message in seen for written in self._decide(deployment, message, "", cause)]
        return outs or self._record_waits(deployment, running, cause)

    def _record_waits(self, deployment: str, running: Rollout, cause: Message | None) -> list[Out]:
        """A wait that ran out goes through the log, once, and is acted on when it is read."""
        began_s = self._began_s.get(deployment, 0.0)
        clocks = (self._clock.monotonic_s(), self._clock.now_s())
        over = self._patience.look(deployment, running, began_s, self._instances, *clocks)
        if over is None:
            return []
        ident = derived_id("timed-out", running.id, over.what, self._state.entry(deployment).facts)
        if self._recorded.get(deployment) == ident:
            return []
        self._recorded[deployment] = ident
        event = TimedOut(deployment, running.id, over.what, over.for_s, over.reason)
        return [out(self._topics.name("registry.commands"), deployment, event, self._envelope(cause, ident))]

    def _decide(self, deployment: str, message: Any, ident: str, cause: Message | None) -> list[Out]:
        facts = rollout.decide(self._state, deployment, message, ident, self._plan(deployment))
        return self._publish(facts, cause)

    def _definition(self, deployment: str) -> DeploymentDefinition | None:
        found = self._projects.deployment(deployment)
        return None if found is None else found[1]

    def _plan(self, deployment: str) -> RolloutDefinition:
        found = self._definition(deployment)
        return UNDECLARED if found is None else found.rollout

    async def _take(self, message: Message) -> list[Out]:
        event, ident = message.event, message.envelope.id
        if isinstance(event, VerdictGiven):
            self._patience.hear(event.deployment)
            return self._decide(event.deployment, event, ident, message)
        if isinstance(event, FindingOpened | FindingResolved):
            return self._publish(passing.on_finding(self._state, event), message)
        if not isinstance(event, RegisterVersion | _OF_ROLLOUTS) and type(event) not in _BY_HAND:
            return []
        # NB: what is asked for right after an apply is judged by what was applied.
        await self._projects.learn()
        refused = self._turned_away(event, ident)
        if refused is not None:
            return self._publish([refused], message)
        if isinstance(event, RegisterVersion):
            return await self._register(message, event, ident)
        if isinstance(event, _OF_ROLLOUTS):
            return self._decide(event.deployment, event, ident, message)
        before = self._state
        facts = _BY_HAND[type(event)](before, event, ident)
        outs = self._publish(facts, message) + self._tombstones(before, facts, message)
        if type(event) is not ApproveVersion:
            return outs
        return outs + self._decide(event.deployment, Approved(), ident, message)

    def _turned_away(self, command: Any, ident: str) -> CommandRefused | None:
        """What is not looked at. Raises `Poison` where nobody could be answered."""
        reason = admission.why_dead(command.deployment, ident)
        if reason is not None:
            raise Poison(reason)
        declared = (found.name for _, found in self._projects.deployments())
        return admission.refusal(self._state, declared, command, ident)

    async def _register(self, message: Message, command: RegisterVersion, ident: str) -> list[Out]:
        definition = self._definition(command.deployment)
        places = [place for place in (command.place, command.onnx, command.twin) if place is not None]
        facts = versions.on_register(
            self._state,
            command,
            ident,
            is_declared=definition is not None,
            has_artifact=all([await self._has_artifact(place) for place in places]),
            now_s=message.envelope.time_s,
            label=None if definition is None else definition.label,
        )
        outs = self._publish(facts, message)
        for fact in facts:
            if isinstance(fact, VersionRegistered) and definition is not None:
                card = CardWritten(fact.deployment, fact.version, write_card(fact, definition))
                outs += self._publish([card], message)
                outs += self._ask(fact, command, ident, message)
        return outs

    def _ask(self, fact: VersionRegistered, command: RegisterVersion, ident: str, message: Message) -> list[Out]:
        if not command.rollout:
            return []
        start = StartRollout(command.deployment, fact.version, command.reason, command.by)
        return self._decide(command.deployment, start, ident, message)

    def _publish(self, facts: Sequence[Any], cause: Message | None) -> list[Out]:
        """Facts, and whatever of the current state they changed."""
        if not facts:
            return []
        deployment = facts[0].deployment
        before = self._state.entry(deployment)
        outs = [self._fact(fact, cause) for fact in facts]
        after = self._state.entry(deployment)
        outs += self._models(deployment, before, after, cause)
        if any(isinstance(fact, RouteChanged) for fact in facts) and after.route is not None:
            ident = derived_id("route", deployment, after.route.revision)
            outs.append(
                out(self._topics.name("registry.routes"), deployment, after.route, self._envelope(cause, ident))
            )
        if cause is not None and deployment in self._state.entries:
            self._story[deployment] = _bare(cause)
        return outs

    def _fact(self, fact: Any, cause: Message | None) -> Out:
        if isinstance(fact, CommandRefused):
            ident = derived_id("refused", fact.deployment, fact.command_id)
        else:
            # NB: not "fact" as before: refusals of unknown deployments are no longer counted, and ids must never be given twice.
            ident = derived_id("told", fact.deployment, self._state.entry(fact.deployment).facts)
        self._facts.take(fact, ident)
        if isinstance(fact, RolloutStarted):
            self._began_s[fact.deployment] = self._clock.now_s()
        return out(self._topics.name("registry.facts"), fact.deployment, fact, self._envelope(cause, ident))

    def _models(self, deployment: str, before: Entry, after: Entry, cause: Message | None) -> list[Out]:
        changed: dict[int, ModelVersion] = {
            version: found
            for version in after.versions
            if (found := after.model_version(version))
            != (before.model_version(version) if version in before.versions else None)
        }
        topic = self._topics.name("registry.models")
        return [
            out(topic, f"{deployment}/{version}", found, self._envelope(cause, _model_id(deployment, version, after)))
            for version, found in changed.items()
        ]

    def _envelope(self, cause: Message | None, ident: str) -> Envelope:
        time_s = cause.envelope.time_s if cause is not None else self._clock.now_s()
        return caused_by(cause, id=ident, source=SERVICE, time_s=time_s)

    def _tombstones(self, before: Registry, facts: Sequence[Any], cause: Message) -> list[Out]:
        """The artifacts of a deleted version: manifest first, so that a reader never finds a manifest without its chunks."""
        topic = self._topics.name("registry.artifacts")
        return [
            tombstone(topic, f"{place.digest}/{part}", self._envelope(cause, ""), place.partition)
            for fact in facts
            if isinstance(fact, VersionDeleted)
            for place in versions.orphaned(before, fact.deployment, fact.version)
            for part in _parts(place)
        ]


def _bare(message: Message) -> Message:
    """What is remembered of a cause: its envelope."""
    record = message.record
    return Message(Record(record.topic, record.partition, record.offset, None, None), message.envelope, None)


def _poison(error: Exception) -> Poison:
    if isinstance(error, Poison):
        return error
    _log.error("a command could not be carried out", exc_info=error)
    return Poison(f"{type(error).__name__}: {error}"[:500])


def _parts(place: ArtifactPlace) -> list[str]:
    return ["manifest", *map(str, range(place.chunk_count))]


def _model_id(deployment: str, version: int, entry: Entry) -> str:
    return derived_id("model", deployment, version, entry.facts)
