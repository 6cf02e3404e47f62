"""The registry's one shard: a command or an observation in, facts and current state out, in one transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headrace.bus.port import Out, TopicPartition
from headrace.bus.projects import Projects
from headrace.bus.shards import Outputs, Rebuild
from headrace.clock import Clock
from headrace.codec import Message, caused_by, out
from headrace.envelope import derived_id
from headrace.events.ops import HealthReported
from headrace.events.registry import (
    AbortRollout,
    RegisterVersion,
    RouteChanged,
    SetAlias,
    StartRollout,
    VersionRegistered,
)
from headrace.topics import Topics
from headrace_registry.core import rollout, versions
from headrace_registry.core.state import Registry, apply

SERVICE = "registry"
FRESH_S = 5.0

HasArtifact = Callable[[str], Awaitable[bool]]


class RegistryShard:
    """All commands; one active instance."""

    def __init__(
        self, topics: Topics, projects: Projects, instances: "Instances", has_artifact: HasArtifact, clock: Clock
    ) -> None:
        self._topics, self._projects, self._instances = topics, projects, instances
        self._has_artifact, self._clock = has_artifact, clock
        self._state = Registry()
        self._story: dict[str, Message] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("registry.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        self._state = apply(self._state, message.event)
        self._remember(message)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        return Outputs(outs=[written for message in batch for written in await self._take(message)])

    async def on_tick(self) -> Outputs:
        """Rollouts that wait for instances."""
        outs: list[Out] = []
        for deployment, entry in list(self._state.entries.items()):
            if entry.rollout is not None:
                outs += self._tend(deployment, entry.rollout.version)
        return Outputs(outs=outs)

    def _tend(self, deployment: str, version: int) -> list[Out]:
        cause = self._story.get(deployment)
        refused = self._instances.unloadable(deployment, version)
        if refused is not None:
            return self._publish(rollout.on_unloadable(self._state, deployment, version, refused), cause)
        found = self._projects.deployment(deployment)
        if found is None:
            return []
        warmed = self._instances.warmed(f"{deployment}/{version}", self._clock.now_s())
        return self._publish(rollout.on_warmed(self._state, deployment, warmed, found[1].rollout), cause)

    async def _take(self, message: Message) -> list[Out]:
        command, ident = message.event, message.envelope.id
        match command:
            case RegisterVersion():
                return await self._register(message, command, ident)
            case SetAlias():
                return self._publish(versions.on_set_alias(self._state, command, ident), message)
            case StartRollout():
                return self._publish(rollout.on_start(self._state, command, ident), message)
            case AbortRollout():
                return self._publish(rollout.on_abort(self._state, command, ident), message)
            case _:
                return []

    async def _register(self, message: Message, command: RegisterVersion, ident: str) -> list[Out]:
        facts = versions.on_register(
            self._state,
            command,
            ident,
            is_declared=self._projects.deployment(command.deployment) is not None,
            has_artifact=await self._has_artifact(command.place.digest),
            now_s=message.envelope.time_s,
        )
        outs = self._publish(facts, message)
        for fact in facts:
            if isinstance(fact, VersionRegistered) and command.rollout:
                start = StartRollout(command.deployment, fact.version, command.reason, command.by)
                outs += self._publish(rollout.on_start(self._state, start, ident), message)
        return outs

    def _publish(self, facts: Sequence[Any], cause: Message | None) -> list[Out]:
        outs: list[Out] = []
        for fact in facts:
            self._state = apply(self._state, fact)
            outs.append(self._fact(fact, cause))
        if facts:
            outs += self._current(facts[0].deployment, facts, cause)
        return outs

    def _fact(self, fact: Any, cause: Message | None) -> Out:
        origin = cause.envelope.id if cause else ""
        revision = route.revision if (route := self._state.entry(fact.deployment).route) else 0
        ident = derived_id(type(fact).__name__, fact.deployment, origin, revision, getattr(fact, "alias", ""))
        time_s = cause.envelope.time_s if cause else self._clock.now_s()
        envelope = caused_by(cause, id=ident, source=SERVICE, time_s=time_s)
        written = out(self._topics.name("registry.facts"), fact.deployment, fact, envelope)
        if cause is not None:
            self._story[fact.deployment] = cause
        return written

    def _remember(self, message: Message) -> None:
        deployment = getattr(message.event, "deployment", None)
        if deployment is not None:
            self._story[deployment] = message

    def _current(self, deployment: str, facts: Sequence[Any], cause: Message | None) -> list[Out]:
        entry = self._state.entry(deployment)
        time_s = cause.envelope.time_s if cause else self._clock.now_s()
        origin = cause.envelope.id if cause else ""
        outs: list[Out] = []
        for version in entry.versions:
            envelope = caused_by(
                cause, id=derived_id("model", deployment, version, origin, len(facts)), source=SERVICE, time_s=time_s
            )
            outs.append(
                out(
                    self._topics.name("registry.models"),
                    f"{deployment}/{version}",
                    entry.model_version(version),
                    envelope,
                )
            )
        if entry.route is not None and any(isinstance(fact, RouteChanged) for fact in facts):
            envelope = caused_by(
                cause, id=derived_id("route", deployment, entry.route.revision), source=SERVICE, time_s=time_s
            )
            outs.append(out(self._topics.name("registry.routes"), deployment, entry.route, envelope))
        return outs


class Instances:
    """What inference instances say of themselves: `ops.health` and `inference.facts`."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, HealthReported]] = {}
        self._unloadable: dict[tuple[str, int], str] = {}

    def take(self, message: Message) -> None:
        """A heartbeat, or a fact of inference."""
        event = message.event
        if isinstance(event, HealthReported) and event.service == "inference":
            self._reports[event.instance] = (message.record.timestamp_ms / 1000, event)
        elif type(event).__name__ == "VersionUnloadable":
            self._unloadable[event.deployment, event.version] = event.reason

    def warmed(self, name: str, now_s: float) -> dict[str, bool]:
        """Per live instance whether it has version `deployment/version` warm; one that is not ready has not."""
        live = {i: r for i, (seen_s, r) in self._reports.items() if now_s - seen_s <= FRESH_S and not r.stopping}
        return {instance: report.ready and name in report.warmed for instance, report in live.items()}

    def unloadable(self, deployment: str, version: int) -> str | None:
        """Why an instance refused a version; None when none did."""
        return self._unloadable.get((deployment, version))
