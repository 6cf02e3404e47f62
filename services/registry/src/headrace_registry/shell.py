"""The registry's one shard: a command, a verdict or an observation in, facts and current state out, in one transaction."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headrace.clock import Clock
from headrace.errors import Fatal, Poison, Retryable
from headrace.events.registry import ArtifactPlace, RegisterVersion, RolloutStarted
from headrace.events.verdicts import VerdictGiven
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.registry.state import Fold, Registry, Rollout
from headrace_registry.adapters.records import SERVICE, Records
from headrace_registry.adapters.reporting import Report
from headrace_registry.core import admission, intake, versions
from headrace_registry.core.instances import Instances
from headrace_registry.core.intake import Known
from headrace_registry.core.publication import fact_id, timed_out_id
from headrace_registry.core.registration import places_of
from headrace_registry.core.timeouts import Timeouts
from headrace_registry.core.warming import observed

__all__ = ["SERVICE", "RegistryShard"]

_log = logging.getLogger("headrace.registry")

HasArtifact = Callable[[ArtifactPlace], Awaitable[bool]]


class RegistryShard:
    """All commands and verdicts; one active instance. `has_artifact`: whether an artifact is complete on the log."""

    def __init__(
        self,
        topics: Topics,
        projects: Projects,
        instances: Instances,
        has_artifact: HasArtifact,
        clock: Clock,
        health: Health | None = None,
    ) -> None:
        self._topics, self._projects, self._instances = topics, projects, instances
        self._has_artifact, self._clock = has_artifact, clock
        self._records, self._report = Records(topics, clock), Report(clock, health)
        self._fold, self._timeouts = Fold(), Timeouts()
        # Per deployment what was done about it last: the cause of what follows from observations and waits.
        self._causes: dict[str, Message] = {}
        # Per deployment the id of the wait that was recorded last.
        self._recorded: dict[str, str] = {}

    @property
    def _state(self) -> Registry:
        return self._fold.state

    def rebuild(self) -> Sequence[Rebuild]:
        """All facts."""
        return [Rebuild(self._topics.name("registry.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        """Fold a fact that was published before."""
        self._fold.take(message.event, message.envelope.id)
        self._remember_cause(getattr(message.event, "deployment", None), message)
        if isinstance(message.event, RolloutStarted):
            self._timeouts.on_started(message.event.deployment, message.record.timestamp_ms / 1000)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Reading goes on where it was committed."""
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        """Carry out commands and act on verdicts and findings, one after the other."""
        outputs = Outputs([], [], [], [])
        for message in batch:
            before = self._fold.mark()
            try:
                outputs.outs += await self._take(message)
            except (Retryable, Fatal):
                raise
            except Exception as error:
                # NB: whatever one command raises is that command's fault, and the state is as it was before it.
                self._fold.back(before)
                outputs.dead.append((message, _poison(error)))
        return outputs

    async def on_tick(self) -> Outputs:
        """Rollouts that wait for instances, or for which a wait has run out."""
        outs: list[Out] = []
        for deployment, entry in list(self._state.entries.items()):
            if entry.rollout is not None:
                outs += self._observe(deployment, entry.rollout)
            else:
                self._timeouts.on_idle(deployment)
        self._report.make(self._fold, self._instances)
        return Outputs(outs=outs)

    def _observe(self, deployment: str, rollout: Rollout) -> list[Out]:
        """What instances have made of a running rollout's version; where that changes nothing, a wait that has run out."""
        cause, outs = self._causes.get(deployment), list[Out]()
        for message in observed(self._instances, deployment, rollout.version, self._clock.now_s()):
            step = intake.on_message(self._state, deployment, message, "", self._known(deployment))
            outs += self._publish(step.facts, cause)
        return outs or self._record_wait(deployment, rollout, cause)

    def _record_wait(self, deployment: str, rollout: Rollout, cause: Message | None) -> list[Out]:
        """A wait that ran out goes through the log, once, and is acted on when it is read."""
        clocks = (self._clock.monotonic_s(), self._clock.now_s())
        outs = []
        for event in self._timeouts.on_look(deployment, rollout, self._instances, *clocks).facts:
            ident = timed_out_id(self._state, event)
            if self._recorded.get(deployment) != ident:
                self._recorded[deployment] = ident
                outs.append(self._records.timed_out(event, ident, cause))
        return outs

    async def _take(self, message: Message) -> list[Out]:
        """Raises `Poison` for a command that nobody could be answered about."""
        event, ident = message.event, message.envelope.id
        if isinstance(event, VerdictGiven):
            self._timeouts.on_verdict(event.deployment)
        if intake.is_command(event):
            # NB: what is asked for right after an apply is judged by what was applied.
            await self._projects.learn()
            declared = (found.name for _, found in self._projects.deployments())
            refused = admission.refusal(self._state, declared, event, ident)
            if refused is not None:
                return self._publish((refused,), message)
        return await self._carry_out(message)

    async def _carry_out(self, message: Message) -> list[Out]:
        event, ident, before = message.event, message.envelope.id, self._state
        deployment = getattr(event, "deployment", "")
        known = self._known(deployment, message.envelope.time_s, await self._has_artifacts(event))
        facts = intake.on_message(before, deployment, event, ident, known).facts
        outs = self._publish(facts, message) + self._records.deleted(versions.freed(before, facts), message)
        for following in intake.follow_ups(event, facts, known):
            step = intake.on_message(self._state, deployment, following, ident, known)
            outs += self._publish(step.facts, message)
        return outs

    def _known(self, deployment: str, time_s: float = 0.0, has_artifact: bool = False) -> Known:
        found = self._projects.deployment(deployment)
        return Known(None if found is None else found[1], time_s, has_artifact)

    async def _has_artifacts(self, event: Any) -> bool:
        """Whether all artifacts that a registration names are complete; False for any other message."""
        places = places_of(event) if isinstance(event, RegisterVersion) else ()
        return bool(places) and all([await self._has_artifact(place) for place in places])

    def _publish(self, facts: tuple[Any, ...], cause: Message | None) -> list[Out]:
        """Facts, and whatever of the current state they changed."""
        if not facts:
            return []
        deployment = facts[0].deployment
        before = self._state.entry(deployment)
        outs = []
        for fact in facts:
            ident = fact_id(self._state, fact)
            self._fold.take(fact, ident)
            outs.append(self._records.fact(fact, ident, cause))
            if isinstance(fact, RolloutStarted):
                self._timeouts.on_started(deployment, self._clock.now_s())
        outs += self._records.current(deployment, before, self._state.entry(deployment), facts, cause)
        if cause is not None:
            self._remember_cause(deployment, cause)
        return outs

    def _remember_cause(self, deployment: str | None, message: Message) -> None:
        """Of the message only its envelope is kept."""
        if deployment is not None and deployment in self._state.entries:
            record = message.record
            place = Record(record.topic, record.partition, record.offset, None, None)
            self._causes[deployment] = Message(place, message.envelope, None)


def _poison(error: Exception) -> Poison:
    if isinstance(error, Poison):
        return error
    _log.error("a command could not be carried out", exc_info=error)
    return Poison(f"{type(error).__name__}: {error}"[:500])
