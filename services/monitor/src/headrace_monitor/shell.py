"""The monitor's one shard: gather decisions, outcomes and events; close windows; publish what follows in one transaction.

What one deployment does to its own monitoring stays its own: an error while its records are taken, its window is closed or
its rollout is judged raises `MonitoringFailed` for it, and all others go on.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from headrace.clock import Clock
from headrace.errors import HeadraceError, Poison
from headrace.events.alerts import AlertChanged
from headrace.events.definition import ProjectDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved, ShadowScored
from headrace.events.monitor import MonitorState, RolloutJudged
from headrace.events.registry import AliasMoved, ModelVersion, Route, VersionRegistered
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.hosting.triage import Learn
from headrace.instants import MAX_AHEAD_S
from headrace.log.codec import Message
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.alerts import Alerts
from headrace_monitor.around import Around, tell_held
from headrace_monitor.closing import Closing
from headrace_monitor.core.asking import TrainingFact
from headrace_monitor.core.clock import Clocks
from headrace_monitor.core.deployments import Changed, Deployments
from headrace_monitor.core.failing import ROLLOUT, WINDOWS, Failing, monitoring_failed
from headrace_monitor.core.releases import alarms_of
from headrace_monitor.core.services import Services
from headrace_monitor.core.serving import OF_INSTANCES, InferenceFact, Serving
from headrace_monitor.core.signatures import Signatures
from headrace_monitor.core.sources import SLACK_S
from headrace_monitor.intake import Intake
from headrace_monitor.keeping import Keeping
from headrace_monitor.letters import Letters
from headrace_monitor.looking import Behind, Looks, Undecided
from headrace_monitor.rereading import Reread
from headrace_monitor.rollouts import Rollouts
from headrace_monitor.telling import Telling

SERVICE = "monitor"
# The topics to read, those of them to be read anew, and from which instant on.
ReadSources = Callable[[Sequence[str], Sequence[str], float], Awaitable[None]]
_log = logging.getLogger("headrace.monitor")


class MonitorShard:
    """All partitions of all inputs; one active instance.

    `learn`: asked, before anything is taken that nobody declares, what is applied by now. `undecided`: requests without a
    decision, per partition (none when None). `reread`: decisions from the log again (without it windows close without parity).
    `read_sources`: has the topics of these sources read from now on, and some of them from an instant on; `sources_read`: which
    are read now. `progress`: told that work goes on.
    """

    def __init__(
        self,
        topics: Topics,
        projects: Sequence[ProjectDefinition],
        clock: Clock,
        services: Services,
        behind: Behind,
        *,
        undecided: Undecided | None = None,
        reread: Reread | None = None,
        read_sources: ReadSources | None = None,
        sources_read: Sequence[str] = (),
        health: Health | None = None,
        progress: Callable[[], None] = lambda: None,
        learn: Learn | None = None,
    ) -> None:
        self._topics, self._clock, self._health = topics, clock, health or Health(SERVICE, "")
        self._learn = learn
        self._applied: Sequence[ProjectDefinition] | None = None
        self._read_sources, self._sources_read, self._anew = read_sources, sorted(sources_read), set[str]()
        self.deployments, self._failing, self._serving, self._clocks = Deployments(), Failing(), Serving(), Clocks()
        self._alerts, self._signatures = Alerts(topics, clock, SERVICE), Signatures()
        self._letters = Letters(topics, clock, services, self._alerts)
        self._telling = Telling(topics, self._alerts, SERVICE)
        self._around = Around(clock, services, self._alerts, self._letters, self._failing, self._serving)
        on_failed = partial(self._failed, about=ROLLOUT)
        self._rollouts = Rollouts(topics, self.deployments.declared, SERVICE, on_failed)
        self._keeping = Keeping(self.deployments, self._rollouts, self._telling)
        self._intake = Intake(topics, self.deployments, self._clocks, self._rollouts, self._keeping, self._letters)
        self._looks = Looks(topics, self.deployments, self._clocks, services, behind, undecided)
        self._closing = Closing(
            topics, self.deployments, self._intake.sources, self._signatures, self._telling, self._keeping, self._failing,
            self._failed, reread, progress,
        )  # fmt: skip
        self.deployments.declare(projects)
        self._intake.follow(self.deployments.sources())

    # history, start, and what is applied meanwhile

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name(noun), whole=True) for noun in ("monitor.state", "alerts", "registry.models")]

    async def on_history(self, message: Message) -> None:
        event = message.event
        if isinstance(event, MonitorState):
            self.deployments.states[event.deployment] = event
        elif isinstance(event, RolloutJudged):
            self._rollouts.restore(event)
        elif isinstance(event, ModelVersion):
            self._signatures.take(event.registered)
        elif isinstance(event, AlertChanged):
            self._alerts.restore(event)
            self._letters.restore(event)
            if event.status == "firing" and event.labels.get("alertname") in OF_INSTANCES:
                self._serving.remember(event.fingerprint)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Open windows are rebuilt from the log, from where each deployment's state says; what was closed and said is not said again."""
        self._intake.begin(committed)
        await self._looks.begin()
        self._tell_changed(self.deployments.set_up_all())
        nouns = ("registry.facts", "registry.routes", "inference.facts", "training.facts", "alerts.silences")
        starts = self._keeping.starts(committed, {*map(self._topics.name, nouns), *self._letters.topics})
        self._intake.read_again(starts, self._keeping.whole_from_s)
        return starts

    def apply(self, projects: Sequence[ProjectDefinition]) -> None:
        """Projects changed: taken up in place with the next step (not now: a window may be closing in a thread)."""
        self._applied = projects

    async def _take_up(self) -> list[Out]:
        """Deployments that were added, removed or changed; of the others nothing is touched, and nothing of theirs is read again."""
        projects, self._applied = self._applied, None
        changed, begun = Changed((), (), {}), list[str]()
        if projects is not None:
            changed = self.deployments.apply(projects)
            begun = self._intake.follow(self.deployments.sources())
        await self._read_others(begun)
        return self._tell_changed(changed)

    async def _read_others(self, begun: Sequence[str]) -> None:
        """Read the sources that are wanted now. `begun`: topics of which nothing is held: from where open windows may look back."""
        wanted, read = self._intake.source_topics, self._sources_read
        if self._read_sources is None or (wanted == read and not begun):
            return
        anew = [topic for topic in wanted if topic in begun or topic not in read]
        after_s = max((source.available_after_s for source in self.deployments.sources().values()), default=0.0)
        whole_from_s = self._keeping.needed_from_s - SLACK_S
        await self._read_sources(wanted, anew, whole_from_s - after_s - MAX_AHEAD_S)
        self._intake.begin_anew(anew, whole_from_s)
        self._anew.update(anew)
        self._sources_read = wanted
        await self._looks.begin()

    def _tell_changed(self, changed: Changed) -> list[Out]:
        """What could be set up is well; what could not is told with the next look around; of what is gone all alerts end."""
        for name in changed.set_up:
            self._failing.is_well(name)
        for name, why in changed.refused.items():
            self._failing.refuse(name, why)
        for name in changed.gone:
            self._failing.forget(name)
            self._clocks.forget(name)
            for counted in (self._health.late_requests, self._health.late_outcomes):
                counted.pop(name, None)
        over = [found.fingerprint for found in self._alerts.firing if found.labels.get("deployment") in changed.gone]
        return [written for fingerprint in over for written in self._alerts.end(fingerprint)]

    # what is read

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        self._anew.clear()
        outputs = Outputs(outs=await self._take_up())
        if self._learn is not None and any(self._intake.is_strange(message.event) for message in batch):
            await self._learn()
            outputs.outs += await self._take_up()
        self._looks.note(len(batch))
        now_s = self._clock.monotonic_s()
        for message in batch:
            try:
                outputs.outs += self._take(message, now_s)
            except HeadraceError as error:
                if not isinstance(error, Poison):
                    raise
                if not self._intake.is_again(message.record):
                    outputs.dead.append((message, error))
            except Exception as error:
                outputs.outs += self._failed(getattr(message.event, "deployment", ""), error)
        outputs.outs += await self._look_at_data(is_idle=False)
        outputs.outs += self._look_around()
        return outputs

    async def on_tick(self) -> Outputs:
        outs = await self._take_up()
        return Outputs(outs=outs + await self._look_at_data(is_idle=True) + self._look_around())

    def _take(self, message: Message, now_s: float) -> Sequence[Out]:
        event, record = message.event, message.record
        kind = type(event)
        if kind is DecisionMade:
            return self._intake.take_decision(event, record, now_s)
        if kind is OutcomeObserved:
            self._intake.take_outcome(message, event, now_s)
        elif kind is ShadowScored:
            self._intake.take_shadow(event, record)
        elif self._intake.is_event(record.topic):
            # NB: what was fetched before its source was to be read anew comes again.
            if record.topic not in self._anew:
                self._intake.take_event(message, now_s)
        elif kind is AliasMoved:
            return self._on_alias(message, event)
        elif isinstance(event, TrainingFact):
            return self._on_training(message, event)
        elif record.topic == self._topics.name("registry.facts"):
            if kind is VersionRegistered:
                self._signatures.take(event)
            return [*self._rollouts.on_fact(message), *self._alerts.change(*alarms_of(event))]
        elif kind is Route:
            self._rollouts.on_route(event, record.offset)
            self._serving.on_route(event)
        elif isinstance(event, InferenceFact):
            return self._alerts.change(*self._serving.take(event))
        elif self._topics.base(record.topic).startswith("dlq."):
            return self._letters.take(message)
        return ()

    def _on_alias(self, message: Message, event: AliasMoved) -> list[Out]:
        watched = self.deployments.watched.get(event.deployment)
        if watched is None or event.alias != "champion":
            return []
        said = watched.watch.on_champion(event.version, message.envelope.time_s)
        return [*self._telling.say(said, message), self._keeping.keep(event.deployment)]

    def _on_training(self, message: Message, event: TrainingFact) -> list[Out]:
        watched = self.deployments.watched.get(event.deployment)
        if watched is None:
            return []
        said = watched.watch.on_training(event)
        return [*self._telling.say(said, message), self._keeping.keep(event.deployment)]

    # what follows

    async def _look_at_data(self, *, is_idle: bool) -> list[Out]:
        """Close what all inputs have been read past; only an idle shard knows which of them are read to their end."""
        outs = self._rollouts.fold()
        now_s = self._clock.monotonic_s()
        is_waiting = self._rollouts.is_waiting(now_s)
        due = self._closing.due() if self._looks.is_time(now_s, is_idle=is_idle) else []
        if not due and not is_waiting:
            return outs
        clocks = await self._looks.clocks(now_s, is_idle=is_idle)
        for name in due:
            outs += await self._closing.close_by(name, clocks[name])
        if is_waiting:
            outs += self._rollouts.look(clocks, now_s, self._keeping.places.since, is_idle=is_idle)
        return outs

    def _look_around(self) -> list[Out]:
        if not self._around.is_time():
            return []
        tell_held(self._health, self.deployments, self._intake.sources, self._rollouts, self._keeping.places)
        return self._around.look(self.deployments)

    def _failed(self, name: str, error: Exception, about: str = WINDOWS) -> list[Out]:
        """Monitoring of one deployment failed: an alert, and its trace once."""
        why = f"{type(error).__name__}: {error}"
        if self._failing.note(name, about, why, self._clock.monotonic_s()):
            _log.error("monitoring of %s failed", name or "a deployment", exc_info=error)
        return self._alerts.begin(monitoring_failed(name, about, why))
