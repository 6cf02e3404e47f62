"""The monitor's one shard: gathers what the log and the projects hold, has the core decide, and returns what is published.

All that a step publishes is written in one transaction with the offsets that it read. What one deployment does to its own
monitoring stays its own: an error while its records are taken, its window is closed or its rollout is judged raises the alarm
`MonitoringFailed` for it, and all others go on.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from headrace.clock import Clock
from headrace.errors import HeadraceError, Poison
from headrace.events.definition import ProjectDefinition
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.adapters.health_gauges import WINDOWS_READ, HealthGauges
from headrace_monitor.adapters.input_ends import InputEnds
from headrace_monitor.adapters.inputs import names_of, read_once
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.adapters.records import Records
from headrace_monitor.adapters.window_evaluation import WindowEvaluation
from headrace_monitor.core.cadence import Cadence
from headrace_monitor.core.facts import Fact, MonitoringFailed, Refused
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.monitoring import Monitoring
from headrace_monitor.core.monitoring_failures import WINDOWS
from headrace_monitor.core.now import Now

SERVICE = "monitor"
_log = logging.getLogger("headrace.monitor")


class MonitorShard:
    """All partitions of all inputs; one active instance. `core`: everything that it knows and decides."""

    def __init__(
        self,
        topics: Topics,
        projects: Sequence[ProjectDefinition],
        clock: Clock,
        liveness: Liveness,
        outside: Outside,
        health: Health | None = None,
    ) -> None:
        self._topics, self._clock, self._outside = topics, clock, outside
        names = names_of(topics)
        self.core = Monitoring(names, projects, liveness, outside.silences, outside.runbook_url, outside.keep)
        self._gauges = HealthGauges(health or Health(SERVICE, ""), self.core, outside.spilled)
        self._records, self._cadence = Records(topics, SERVICE), Cadence()
        self._ends = InputEnds(names.decisions, names.outcomes, liveness, outside.behind, outside.undecided)
        self._evaluation = WindowEvaluation(self.core, names.decisions, outside.reread, outside.custom)
        self._applied: Sequence[ProjectDefinition] | None = None
        self._sources_read = outside.sources_read
        # The source topics that this step began to read again.
        self._anew = set[str]()

    # the start, and what is applied meanwhile

    def rebuild(self) -> Sequence[Rebuild]:
        """See `ShardLogic`."""
        whole = [
            Rebuild(self._topics.name(noun), whole=True) for noun in ("monitor.state", "alerts", "registry.models")
        ]
        return [*whole, Rebuild(self._topics.name("monitor.windows"), tail_records=WINDOWS_READ)]

    async def on_history(self, message: Message) -> None:
        """See `ShardLogic`."""
        self._gauges.on_history(message)
        self.core.on_history(message.event, self._now())

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Open windows are rebuilt from the log. What was closed and published is not published again. See `ShardLogic`."""
        await self._ends.refresh()
        return self.core.start_offsets(committed, read_once(self._topics))

    def apply(self, projects: Sequence[ProjectDefinition]) -> None:
        """Projects changed. The next step takes that up, and not this call: a window may be closing in a thread."""
        self._applied = projects

    async def _take_up(self) -> list[Out]:
        """Take up what was applied, and have other sources read where deployments want that."""
        projects, self._applied = self._applied, None
        begun, facts = ([], ()) if projects is None else self.core.on_applied(projects, self._now())
        await self._read_sources(begun)
        return self._published(facts)

    async def _read_sources(self, begun: Sequence[str]) -> None:
        """`begun`: the source topics of which nothing is held."""
        if (read_sources := self._outside.read_sources) is None:
            return
        if (plan := self.core.intake.sources_to_read(self._sources_read, begun)) is None:
            return
        await read_sources(plan)
        self.core.intake.begin_anew(plan)
        self._anew.update(plan.anew)
        self._sources_read = plan.topics
        await self._ends.refresh()

    # steps

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        """See `ShardLogic`."""
        self._anew.clear()
        outputs = Outputs(outs=await self._take_up())
        if self._outside.learn is not None and any(self.core.intake.is_undeclared(message.event) for message in batch):
            await self._outside.learn()
            outputs.outs += await self._take_up()
        self._cadence.note_records(len(batch))
        now = self._now()
        for message in batch:
            facts = self._taken(message, now)
            if facts:
                outputs.outs += self._published(facts, message)
                outputs.dead += self._refused(facts, message)
        outputs.outs += await self._look_at_windows(is_idle=False)
        outputs.outs += self._look_at_services()
        return outputs

    async def on_tick(self) -> Outputs:
        """See `ShardLogic`."""
        outs = await self._take_up()
        return Outputs(outs=outs + await self._look_at_windows(is_idle=True) + self._look_at_services())

    def _taken(self, message: Message, now: Now) -> Sequence[Fact]:
        """What follows from one record; what is raised over it becomes a fact."""
        if message.record.topic in self._anew:
            # NB: it was fetched before its source was to be read again, and comes again.
            return ()
        try:
            return self.core.on_record(message.event, message.record, message.envelope, now)
        except Poison as poison:
            return (Refused(poison.reason, poison.field),)
        except HeadraceError:
            raise
        except Exception as error:
            return (MonitoringFailed(getattr(message.event, "deployment", ""), WINDOWS, error),)

    async def _look_at_windows(self, *, is_idle: bool) -> list[Out]:
        """Close the windows and judge the rollouts for which the clocks have come far enough."""
        core, now_s = self.core, self._clock.monotonic_s()
        outs = self._published(core.rollouts.fold().facts)
        due = core.due(now_s) if self._cadence.is_time_for_windows(now_s, is_idle=is_idle) else []
        is_waiting = core.rollouts.is_waiting(now_s)
        if not due and not is_waiting:
            return outs
        clock_of = core.clock_of(self._ends.places, await self._ends.reading(now_s, is_idle=is_idle))
        for name in due:
            outs += self._published(core.look_at_inputs(name, clock_of(name), now_s))
            async for facts in self._evaluation.due(name, clock_of(name)):
                outs += self._published(facts)
                self._outside.progress()
        if is_waiting:
            looked = core.rollouts.look(clock_of, now_s, core.replay.offsets.since, is_idle=is_idle)
            outs += self._published(looked.facts)
        return outs

    def _look_at_services(self) -> list[Out]:
        now = self._now()
        if not self._cadence.is_time_for_services(now.monotonic_s):
            return []
        self._gauges.report(now.wall_s)
        return self._published(self.core.alerting.due(self.core.deployments.watched, now))

    # what is published

    def _published(self, facts: Iterable[Fact], cause: Message | None = None) -> list[Out]:
        """The records of these facts, and of the alerts that follow from them. A failure that is news is logged."""
        facts, now = list(facts), self._now()
        self._gauges.note(facts)
        for fact in facts:
            if isinstance(fact, MonitoringFailed) and self.core.alerting.is_news(fact):
                _log.error("The monitoring of %s failed.", fact.deployment or "a deployment", exc_info=fact.error)
        return self._records.of(self.core.alerting.published(facts, now), cause, now.wall_s)

    def _refused(self, facts: Iterable[Fact], message: Message) -> list[tuple[Message, Poison]]:
        """What is dead-lettered: not again what the owner before this one has read."""
        if self.core.intake.is_replayed(message.record):
            return []
        return [(message, Poison(fact.reason, fact.field)) for fact in facts if isinstance(fact, Refused)]

    def _now(self) -> Now:
        return Now(self._clock.now_s(), self._clock.monotonic_s())
