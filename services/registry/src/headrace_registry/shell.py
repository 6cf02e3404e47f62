"""The registry's one shard: a command, a verdict or an observation in, facts and current state out, in one transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headrace.bus.port import Out, TopicPartition
from headrace.bus.projects import Projects
from headrace.bus.shards import Outputs, Rebuild
from headrace.clock import Clock
from headrace.codec import Message, caused_by, out, tombstone
from headrace.envelope import Envelope, derived_id
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    ArchiveVersion,
    ArtifactPlace,
    CardWritten,
    DeleteVersion,
    ModelVersion,
    PauseRollout,
    PromoteRollout,
    RegisterVersion,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RouteChanged,
    SetAlias,
    SetOverride,
    StartRollout,
    TagVersion,
    VersionDeleted,
    VersionRegistered,
)
from headrace.events.verdicts import VerdictGiven
from headrace.project.definition import DeploymentDefinition, RolloutDefinition
from headrace.registry.state import Entry, Fold, Registry
from headrace.topics import Topics
from headrace_registry.core import rollout, versions
from headrace_registry.core.card import write_card
from headrace_registry.core.case import UNDECLARED, Approved, Silent, Unloadable, Warmed
from headrace_registry.core.instances import Instances
from headrace_registry.core.silence import Silence

SERVICE = "registry"

HasArtifact = Callable[[str], Awaitable[bool]]
_BY_HAND = {
    SetAlias: versions.on_set_alias,
    SetOverride: versions.on_set_override,
    TagVersion: versions.on_tag,
    ArchiveVersion: versions.on_archive,
    DeleteVersion: versions.on_delete,
    ApproveVersion: versions.on_approve,
}
_OF_ROLLOUTS = (
    StartRollout | AbortRollout | PauseRollout | ResumeRollout | PromoteRollout | RetryRollout | RollBack | VerdictGiven
)


class RegistryShard:
    """All commands and verdicts; one active instance."""

    def __init__(
        self, topics: Topics, projects: Projects, instances: Instances, has_artifact: HasArtifact, clock: Clock
    ) -> None:
        self._topics, self._projects, self._instances = topics, projects, instances
        self._has_artifact, self._clock = has_artifact, clock
        self._facts = Fold()
        self._silence = Silence()
        self._story: dict[str, Message] = {}

    @property
    def _state(self) -> Registry:
        return self._facts.state

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("registry.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        self._facts.take(message.event, message.envelope.id)
        deployment = getattr(message.event, "deployment", None)
        if deployment is not None:
            self._story[deployment] = message

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        return Outputs(outs=[written for message in batch for written in await self._take(message)])

    async def on_tick(self) -> Outputs:
        """Rollouts that wait for instances, or have heard nothing."""
        outs: list[Out] = []
        for deployment, entry in list(self._state.entries.items()):
            if entry.rollout is not None:
                outs += self._tend(deployment, entry.rollout)
        return Outputs(outs=outs)

    def _tend(self, deployment: str, running: Any) -> list[Out]:
        """What was observed of a running rollout, as messages to its machine."""
        seen: list[Any] = []
        refused = self._instances.unloadable(deployment, running.version)
        if refused is not None:
            seen.append(Unloadable(running.version, refused))
        warmed = self._instances.warmed(f"{deployment}/{running.version}", self._clock.now_s())
        if warmed and all(warmed.values()):
            seen.append(Warmed())
        silent_s = self._silence.since_s(deployment, running, self._clock.monotonic_s())
        if silent_s is not None:
            seen.append(Silent(silent_s))
        cause = self._story.get(deployment)
        return [written for message in seen for written in self._decide(deployment, message, "", cause)]

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
        if isinstance(event, RegisterVersion):
            return await self._register(message, event, ident)
        if isinstance(event, VerdictGiven):
            self._silence.hear(event.deployment, self._clock.monotonic_s())
        if isinstance(event, _OF_ROLLOUTS):
            return self._decide(event.deployment, event, ident, message)
        if type(event) not in _BY_HAND:
            return []
        before = self._state
        facts = _BY_HAND[type(event)](before, event, ident)
        outs = self._publish(facts, message) + self._tombstones(before, facts, message)
        if type(event) is not ApproveVersion:
            return outs
        return outs + self._decide(event.deployment, Approved(), ident, message)

    async def _register(self, message: Message, command: RegisterVersion, ident: str) -> list[Out]:
        definition = self._definition(command.deployment)
        places = [command.place] if command.onnx is None else [command.place, command.onnx]
        facts = versions.on_register(
            self._state,
            command,
            ident,
            is_declared=definition is not None,
            has_artifact=all([await self._has_artifact(place.digest) for place in places]),
            now_s=message.envelope.time_s,
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
        if cause is not None:
            self._story[deployment] = cause
        return outs

    def _fact(self, fact: Any, cause: Message | None) -> Out:
        ident = derived_id("fact", fact.deployment, self._state.entry(fact.deployment).facts)
        self._facts.take(fact, ident)
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


def _parts(place: ArtifactPlace) -> list[str]:
    return ["manifest", *map(str, range(place.chunk_count))]


def _model_id(deployment: str, version: int, entry: Entry) -> str:
    return derived_id("model", deployment, version, entry.facts)
