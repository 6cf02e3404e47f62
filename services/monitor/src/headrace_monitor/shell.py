"""The monitor's one shard: gather decisions, outcomes and events; close windows; publish what follows in one transaction.

What one deployment does to its own monitoring stays its own: an error while its records are taken or its window is closed
raises `MonitoringFailed` for it, and all others go on.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from headrace.bus.port import Out, Record, TopicPartition
from headrace.bus.shards import Outputs, Rebuild
from headrace.clock import Clock
from headrace.codec import Message, caused_by, header, out
from headrace.envelope import Envelope, derived_id, parse_instant
from headrace.errors import HeadraceError, Poison
from headrace.events.alerts import AlertChanged
from headrace.events.inference import DecisionMade, Invalid, OutcomeObserved, ShadowScored
from headrace.events.monitor import FindingOpened, FindingResolved, MonitorState, RolloutJudged, WindowClosed
from headrace.events.registry import AliasMoved, Route
from headrace.events.training import RetrainRequested
from headrace.instants import EARLIEST_S, LATEST_S, MAX_AHEAD_S, why_not
from headrace.obs.health import Health
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.topics import Topics
from headrace_monitor.core.alarm import Alarm, fire, resolve
from headrace_monitor.core.clock import Clocks, Reading
from headrace_monitor.core.dead import INSTANT_FIELDS, DeadLetters, dead_lettered
from headrace_monitor.core.evaluation import PARITY_ROWS, Seen, evaluate, lookback_s, sources_of
from headrace_monitor.core.labels import why_not_label
from headrace_monitor.core.places import Places
from headrace_monitor.core.releases import alarms_of
from headrace_monitor.core.services import OF_STATE, Services
from headrace_monitor.core.serving import OF_INSTANCES, InferenceFact, Serving
from headrace_monitor.core.sources import Sources
from headrace_monitor.core.watch import Said, Watch, watch_of
from headrace_monitor.core.windows import Rows, Windows
from headrace_monitor.rereading import Reread
from headrace_monitor.rollouts import Rollouts

__all__ = ["MonitorShard", "Services"]

SERVICE = "monitor"
_log = logging.getLogger("headrace.monitor")
# What the monitor itself says next follows from an event that has no place on the log yet.
_NOWHERE = Record("", 0, 0, None, None)
# A partition that was written to so lately holds the clock back although it is read to its end: a plain producer that
# replays fills one partition before the next.
QUIET_S = 2.0
# While there is a backlog, windows are looked at after so many records: when they close does not depend on it.
LOOK_EVERY = 500
LOOK_IDLE_S = 0.5
# An alert of instances is only ended by what instances report when it is older than this: reports come each second.
_SETTLED_S = 15.0
# A failure of what has no window that could close well is told for so long.
_FAILING_S = 600.0
_PLACES_LIMIT_BYTES = 64 * 1024 * 1024
_PLACE_BYTES = 100

# Per input partition how many records are not read yet; per request partition how many requests are not decided.
Behind = Callable[[], Awaitable[Mapping[TopicPartition, int]]]
Undecided = Callable[[], Awaitable[Mapping[int, int]]]


class MonitorShard:
    """All partitions of all inputs; one active instance.

    `undecided`: requests without a decision, per partition (none when None). `reread`: decisions from the log again
    (without it windows close without parity). `progress`: told that work goes on.
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
        health: Health | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._topics, self._clock, self._services, self._behind = topics, clock, services, behind
        self._undecided, self._reread, self._progress = undecided, reread, progress
        self._health = health or Health(SERVICE, "")
        self._decisions, self._outcomes = topics.name("inference.decisions"), topics.name("inference.outcomes")
        self._deployments: dict[str, tuple[ProjectDefinition, DeploymentDefinition]] = {}
        self._definitions: dict[str, DeploymentDefinition] = {}
        self._applied: Sequence[ProjectDefinition] | None = None
        self._projects = list(projects)
        self._sources = Sources()
        self._source_topics: dict[str, str] = {}
        self._states: dict[str, MonitorState] = {}
        self._alerts: dict[str, AlertChanged] = {}
        self._windows: dict[str, Windows] = {}
        self._watches: dict[str, Watch] = {}
        self._told_late: dict[str, tuple[int, int]] = {}
        self._failing: dict[str, tuple[str, float]] = {}
        self._clocks = Clocks()
        self._places = Places()
        self._names: dict[tuple[str, int], str] = {}
        self._inputs: dict[str, list[str]] = {}
        self._read_before: dict[str, int] = {}
        self._unlooked = 0
        self._looked_idle_s = -math.inf
        self._dead = DeadLetters()
        self._looked_s = -math.inf
        self._serving = Serving()
        self._define(projects)
        self._rollouts = Rollouts(topics, self._definitions, SERVICE)

    # history, start, and what is applied meanwhile

    def rebuild(self) -> Sequence[Rebuild]:
        return [
            Rebuild(self._topics.name("monitor.state"), whole=True),
            Rebuild(self._topics.name("alerts"), whole=True),
        ]

    async def on_history(self, message: Message) -> None:
        event = message.event
        if isinstance(event, MonitorState):
            self._states[event.deployment] = event
        elif isinstance(event, RolloutJudged):
            self._rollouts.restore(event)
        elif isinstance(event, AlertChanged):
            self._alerts[event.fingerprint] = event
            if event.status == "firing" and event.labels.get("alertname") in OF_INSTANCES:
                self._serving.remember(event.fingerprint)
            if event.labels.get("alertname") == "DeadLettered" and event.status == "firing":
                self._dead.take(event.labels["service"], self._clock.monotonic_s(), self._services)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Open windows are rebuilt from the log, from where each deployment's state says; what was closed and said is not said again."""
        self._read_before = {f"{tp.topic}/{tp.partition}": offset for tp, offset in committed.items()}
        for tp in await self._behind():
            self._inputs.setdefault(tp.topic, []).append(f"{tp.topic}/{tp.partition}")
        for name in self._deployments:
            self._set_up(name)
        again: dict[str, int] = {}
        for name in self._deployments:
            if name in self._states:
                wanted = self._states[name].replay_from
                for tp in committed:
                    place = f"{tp.topic}/{tp.partition}"
                    again[place] = min(again.get(place, committed[tp]), wanted.get(place, 0))
        for wanted in self._rollouts.replay_from():
            again |= {place: min(again.get(place, offset), offset) for place, offset in wanted.items()}
        nouns = ("registry.facts", "registry.routes", "inference.facts", "alerts.silences")
        once = (*map(self._topics.name, nouns), *self._dlqs())
        return {
            tp: offset if tp.topic in once else min(again.get(f"{tp.topic}/{tp.partition}", offset), offset)
            for tp, offset in committed.items()
        }

    def apply(self, projects: Sequence[ProjectDefinition]) -> None:
        """Projects changed: taken up in place before the next step (not now: a window may be closing in a thread)."""
        self._applied = projects

    def _take_up(self) -> list[Out]:
        """Deployments that were added, removed or changed; of the others nothing is touched."""
        projects, self._applied = self._applied, None
        if projects is None:
            return []
        before = dict(self._deployments)
        self._define(projects)
        outs: list[Out] = []
        for name in before.keys() - self._deployments.keys():
            outs += self._let_go(name)
        for name, (project, deployment) in self._deployments.items():
            if name not in before or before[name][1] != deployment:
                self._change(name)
            elif before[name][0] != project and sources_of(*before[name]) != sources_of(project, deployment):
                self._watches[name].profiles.clear()
        return outs

    def _define(self, projects: Sequence[ProjectDefinition]) -> None:
        self._deployments = {d.name: (project, d) for project in projects for d in project.deployments}
        self._definitions.clear()
        self._definitions.update({name: found for name, (_, found) in self._deployments.items()})
        used = {
            (project.name, name)
            for project, deployment in self._deployments.values()
            for name in sources_of(project, deployment)
        }
        sources = {s.name: s for project in projects for s in project.sources if (project.name, s.name) in used}
        self._sources.keep(sources)
        self._source_topics = {self._topics.of_source(name): name for name in sources}

    def _change(self, name: str) -> None:
        """A deployment is new or another one now: its memory as it was last kept, its open rows by the new windows."""
        if name in self._watches:
            self._states[name] = self._state(name)
        old = self._windows.pop(name, None)
        self._set_up(name)
        new = self._windows.get(name)
        if old is not None and new is not None:
            new.adopt(old)

    def _let_go(self, name: str) -> list[Out]:
        """A deployment that is declared no more: its state stays on the log, its alerts end."""
        if name in self._watches:
            self._states[name] = self._state(name)
        for held in (self._windows, self._watches, self._failing, self._told_late):
            held.pop(name, None)
        for counted in (self._health.late_requests, self._health.late_outcomes):
            counted.pop(name, None)
        self._clocks.forget(name)
        firing = [a.fingerprint for a in self._firing() if a.labels.get("deployment") == name]
        return [written for fingerprint in firing for written in self._lower(fingerprint)]

    def _set_up(self, name: str) -> None:
        _, deployment = self._deployments[name]
        state = self._states.get(name)
        try:
            self._watches[name] = watch_of(deployment, state)
            windows = Windows(deployment)
        except Exception as error:
            self._watches.pop(name, None)
            self._failing[name] = (f"it cannot be monitored: {error}", math.inf)
            return
        self._failing.pop(name, None)
        if state is not None:
            windows.closed_to_s = state.closed_to_s if state.closed_to_s > EARLIEST_S else -math.inf
            windows.late_requests, windows.late_outcomes = state.late_requests, state.late_outcomes
        self._windows[name] = windows
        self._told_late[name] = (windows.late_requests, windows.late_outcomes)

    def _dlqs(self) -> list[str]:
        return [self._topics.dlq(service) for service in self._topics.services]

    # what is read

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outputs = Outputs(outs=self._take_up())
        self._unlooked += len(batch)
        now_s = self._clock.monotonic_s()
        for message in batch:
            try:
                outputs.outs += self._take(message, now_s)
            except HeadraceError as error:
                if not isinstance(error, Poison):
                    raise
                if not self._is_again(message.record):
                    outputs.dead.append((message, error))
            except Exception as error:
                outputs.outs += self._failed(getattr(message.event, "deployment", ""), error)
        outputs.outs += await self._look_at_data(is_idle=False)
        outputs.outs += self._look_around()
        return outputs

    async def on_tick(self) -> Outputs:
        outs = self._take_up()
        return Outputs(outs=outs + await self._look_at_data(is_idle=True) + self._look_around())

    def _is_again(self, record: Record) -> bool:
        """Whether a record was read before, by the owner before this one, and is read to rebuild open windows only."""
        return record.offset < self._read_before.get(self._place(record), 0)

    def _take(self, message: Message, now_s: float) -> Sequence[Out]:
        event, record = message.event, message.record
        kind = type(event)
        if kind is DecisionMade:
            return self._on_decision(event, record, now_s)
        if kind is OutcomeObserved:
            self._on_outcome(message, event, now_s)
        elif kind is ShadowScored:
            self._places.skip(self._place(record), record.offset)
            if event.deployment in self._windows:
                self._windows[event.deployment].score_late(event)
            self._rollouts.take_shadow(self._place(record), record.offset, event)
        elif record.topic in self._source_topics:
            self._on_event(message, now_s)
        elif kind is AliasMoved:
            return self._on_alias(message, event)
        elif record.topic == self._topics.name("registry.facts"):
            return self._on_release(message)
        elif kind is Route:
            self._rollouts.on_route(event, record.offset)
        elif isinstance(event, InferenceFact):
            return self._on_inference(event)
        elif self._topics.base(record.topic).startswith("dlq."):
            return self._on_dead_letter(message)
        return ()

    def _place(self, record: Record) -> str:
        key = (record.topic, record.partition)
        found = self._names.get(key)
        if found is None:
            found = self._names[key] = f"{record.topic}/{record.partition}"
        return found

    def _on_decision(self, event: DecisionMade, record: Record, now_s: float) -> Sequence[Out]:
        place, name, at_s = self._place(record), event.deployment, event.at_s
        append_s = record.timestamp_ms / 1000
        answer = event.answer
        # NB: a request that was refused for its instant opens no window and moves no clock.
        if (type(answer) is Invalid and answer.field in INSTANT_FIELDS) or not _may_be(at_s, append_s):
            self._places.skip(place, record.offset)
            return (
                ()
                if self._is_again(record)
                else self._on_skew(self._topics.base(self._topics.name("inference.requests")))
            )
        self._places.note(place, at_s, record.offset)
        self._rollouts.take(place, record.offset, event)
        windows = self._windows.get(name)
        if windows is None:
            return ()
        self._clocks.note(name, place, at_s, hash(event.unit), append_s, now_s)
        is_new = record.offset >= self._read_before.get(place, 0)
        windows.decide(event, record.partition, record.offset, is_new=is_new)
        # NB: with the first decision of a deployment it is kept from where to read again.
        return () if name in self._states else (self._keep(name),)

    def _on_outcome(self, message: Message, event: OutcomeObserved, now_s: float) -> None:
        record, name, known_s = message.record, event.deployment, message.envelope.time_s
        place = self._place(record)
        append_s = record.timestamp_ms / 1000
        if not _may_be(known_s, append_s):
            self._places.skip(place, record.offset)
            raise Poison(why_not(known_s, record.timestamp_ms) or "ce_time is no instant", "ce_time")
        _, deployment = self._deployments.get(name, (None, None))
        why = None if deployment is None or deployment.label is None else why_not_label(deployment.label, event.label)
        if deployment is None or deployment.label is None or why is not None:
            self._places.skip(place, record.offset)
            if why is not None:
                raise Poison(why, "label")
            return
        self._places.note(place, known_s, record.offset)
        windows = self._windows.get(name)
        if windows is not None:
            self._clocks.note(name, place, known_s, hash(event.unit), append_s, now_s)
            is_new = record.offset >= self._read_before.get(place, 0)
            windows.observe(event.unit, event.label, known_s, is_new=is_new)
        self._rollouts.observe(name, event.unit, event.label, known_s)

    def _on_event(self, message: Message, now_s: float) -> None:
        record = message.record
        place = self._place(record)
        self._places.skip(place, record.offset)
        at_s = self._sources.take(self._source_topics[record.topic], message)
        if at_s is not None:
            self._places.note(place, at_s, record.offset)
            if _may_be(at_s, record.timestamp_ms / 1000):
                self._clocks.note_source(place, at_s, record.offset, record.timestamp_ms / 1000, now_s)

    def _on_alias(self, message: Message, event: AliasMoved) -> list[Out]:
        watch = self._watches.get(event.deployment)
        if watch is None or event.alias != "champion":
            return []
        said = watch.on_champion(event.version, message.envelope.time_s)
        return [*self._say(said, message), self._keep(event.deployment)]

    def _on_inference(self, event: InferenceFact) -> list[Out]:
        raised, lowered = self._serving.take(event)
        return [out for alarm in raised for out in self._raise(alarm)] + [
            out for alarm in lowered for out in self._lower(alarm.fingerprint)
        ]

    def _on_release(self, message: Message) -> list[Out]:
        self._rollouts.on_fact(message)
        raised, lowered = alarms_of(message.event)
        return [
            *[written for alarm in raised for written in self._raise(alarm)],
            *[written for alarm in lowered for written in self._lower(alarm.fingerprint)],
        ]

    def _on_dead_letter(self, message: Message) -> list[Out]:
        service = self._topics.base(message.record.topic).split(".")[1]
        self._dead.take(service, self._clock.monotonic_s(), self._services)
        outs = self._raise(dead_lettered(service))
        if header(message.record.headers, "headrace.field") in INSTANT_FIELDS:
            topic = header(message.record.headers, "__connect.errors.topic") or "?"
            outs += self._on_skew(self._topics.base(topic))
        return outs

    def _on_skew(self, topic: str) -> list[Out]:
        alarm = self._dead.take_skewed(topic, self._clock.monotonic_s())
        return [] if alarm is None else self._raise(alarm)

    # what closes

    async def _look_at_data(self, *, is_idle: bool) -> list[Out]:
        """Close what all inputs have been read past; only an idle shard knows which of them are read to their end."""
        outs: list[Out] = []
        self._of_rollouts(self._rollouts.fold, outs)
        now_s = self._clock.monotonic_s()
        is_waiting = self._rollouts.is_waiting(now_s)
        due = self._due() if self._may_look(now_s, is_idle=is_idle) else []
        if not due and not is_waiting:
            return outs
        reading = await self._reading(now_s) if is_idle else Reading(frozenset(self._all_places()))
        clocks = _Lazily(self._deployments, lambda name: self._clock_of(name, reading))
        for name in due:
            while (closing := self._windows[name].closable(clocks[name])) is not None:
                outs += await self._close(name, *closing)
                self._progress()
        if is_waiting:
            look = partial(self._rollouts.look, clocks, now_s, self._places.since, is_idle=is_idle)
            self._of_rollouts(look, outs)
        return outs

    def _of_rollouts(self, step: Callable[[], list[Out] | None], outs: list[Out]) -> None:
        """A step of the analyses of rollouts; its failure is told, and ends no window."""
        try:
            outs += step() or []
        except HeadraceError:
            raise
        except Exception as error:
            outs += self._failed("rollouts", error)

    def _may_look(self, now_s: float, *, is_idle: bool) -> bool:
        """Whether it is time to look at windows: a look asks the log where it ends."""
        if not is_idle:
            return self._unlooked >= LOOK_EVERY
        if now_s - self._looked_idle_s < LOOK_IDLE_S:
            return False
        self._looked_idle_s = now_s
        return True

    def _due(self) -> list[str]:
        """Deployments of which a window may have come to an hour at which it closes."""
        self._unlooked = 0
        if self._sources.is_loose:
            self._sources.tidy(self._needed_from_s())
        return [name for name, windows in self._windows.items() if windows.may_close_by(windows.highest_s)]

    async def _reading(self, now_s: float) -> Reading:
        """What is read to its end. First which requests are decided, then where decisions end: so none is overlooked."""
        undecided = await self._undecided() if self._undecided is not None else {}
        unread = {f"{tp.topic}/{tp.partition}" for tp, records in (await self._behind()).items() if records > 0}
        unread |= {f"{self._decisions}/{partition}" for partition, count in undecided.items() if count > 0}
        return Reading(frozenset(unread), self._services.stopped, now_s - QUIET_S)

    def _all_places(self) -> Iterator[str]:
        return (place for places in self._inputs.values() for place in places)

    def _clock_of(self, name: str, reading: Reading) -> float:
        project, deployment = self._deployments[name]
        topics = [self._topics.of_source(source) for source in sources_of(project, deployment)]
        others = [place for topic in topics for place in self._inputs.get(topic, ())]
        if deployment.label is not None:
            others += self._inputs.get(self._outcomes, ())
        return self._clocks.time_s(name, self._inputs.get(self._decisions, ()), others, reading)

    async def _close(self, name: str, start_s: float, closes_s: float) -> list[Out]:
        windows = self._windows[name]
        try:
            rows = await asyncio.to_thread(windows.rows_of, start_s, closes_s)
            sample = await self._sample(name, rows)
            outs = await asyncio.to_thread(self._said_of, name, start_s, closes_s, rows, sample)
        except HeadraceError:
            raise
        except Exception as error:
            count = windows.rows_in(start_s)
            windows.drop(start_s, closes_s)
            return [self._unmeasured(name, start_s, count), *self._failed(name, error), self._keep(name)]
        windows.drop(start_s, closes_s)
        self._failing.pop(name, None)
        return [*outs, self._keep(name)]

    async def _sample(self, name: str, rows: Rows) -> list[DecisionMade]:
        _, deployment = self._deployments[name]
        if self._reread is None or not deployment.features:
            return []
        return await self._reread(
            {
                TopicPartition(self._decisions, partition): offsets.tolist()
                for partition, offsets in rows.sample(PARITY_ROWS).items()
            }
        )

    def _said_of(
        self, name: str, start_s: float, closes_s: float, rows: Rows, sample: Sequence[DecisionMade]
    ) -> list[Out]:
        project, deployment = self._deployments[name]
        watch, sources = self._watches[name], sources_of(project, deployment)
        seen = Seen(
            project,
            deployment,
            rows,
            sample,
            self._sources.tables(sources),
            {source: self._topics.of_source(source) for source in sources},
            self._sources.whole_from_s(sources),
        )
        statistic = watch.detectors[0].statistic if watch.detectors else None
        window = evaluate(seen, start_s, self._late_since(name), statistic)
        said = watch.on_window(window, rows.served_version, closes_s)
        written, cause = self._window(window)
        return [written, *self._say(said, cause)]

    def _window(self, window: WindowClosed) -> tuple[Out, Message]:
        name = window.deployment
        time_s = min(max(window.to_s, EARLIEST_S), LATEST_S)
        envelope = Envelope(derived_id(name, window.from_s, "window"), "", SERVICE, time_s, correlation_id=name)
        champion = self._watches[name].champion if name in self._watches else 0
        written = out(self._topics.name("monitor.windows"), f"{name}/{champion or 0}", window, envelope)
        return written, Message(_NOWHERE, envelope, window)

    def _unmeasured(self, name: str, start_s: float, count: int) -> Out:
        """The event of a window that could not be evaluated: that it is over, and nothing else."""
        to_s = start_s + self._deployments[name][1].cohort_s
        return self._window(WindowClosed(name, start_s, to_s, count, 0, None, "UNMEASURED"))[0]

    def _late_since(self, name: str) -> tuple[int, int]:
        """What came too late since the window before was told."""
        windows, told = self._windows[name], self._told_late[name]
        self._told_late[name] = (windows.late_requests, windows.late_outcomes)
        return windows.late_requests - told[0], windows.late_outcomes - told[1]

    def _failed(self, name: str, error: Exception) -> list[Out]:
        """Monitoring of one deployment failed: an alert until a window of it closes well."""
        _log.error("monitoring of %s failed", name or "a deployment", exc_info=error)
        why = f"{type(error).__name__}: {error}"
        self._failing[name] = (why, self._clock.monotonic_s() + _FAILING_S)
        return self._raise(_monitoring_failed(name, why))

    # what is kept

    def _needed_from_s(self) -> float:
        """The oldest instant that an open window of any deployment may still look at; -inf while none has had a window."""
        needs = [
            windows.open_from_s - lookback_s(*self._deployments[name])
            for name, windows in self._windows.items()
            if math.isfinite(windows.open_from_s)
        ]
        back_s = max((lookback_s(*found) for found in self._deployments.values()), default=0.0)
        return min([*needs, *(at_s - back_s for at_s in self._rollouts.open_from_s)], default=-math.inf)

    def _state(self, name: str) -> MonitorState:
        windows = self._windows.get(name)
        if windows is None:
            return self._watches[name].state(self._places.from_day(self._needed_from_s()), EARLIEST_S)
        closed_to_s = windows.closed_to_s if math.isfinite(windows.closed_to_s) else EARLIEST_S
        state = self._watches[name].state(self._places.from_day(self._needed_from_s()), closed_to_s)
        told = self._told_late[name]
        return replace(state, late_requests=told[0], late_outcomes=told[1])

    def _keep(self, name: str) -> Out:
        state = self._states[name] = self._state(name)
        envelope = Envelope(
            derived_id(name, "state", state.closed_to_s, state.champion), "", SERVICE, max(state.closed_to_s, 0.0)
        )
        return out(self._topics.name("monitor.state"), name, state, envelope)

    def _say(self, said: Sequence[Said], cause: Message | None) -> list[Out]:
        outs: list[Out] = []
        for event in said:
            match event:
                case FindingOpened():
                    envelope = caused_by(cause, id=f"{event.finding}-opened", source=SERVICE, time_s=event.at_s)
                    outs.append(out(self._topics.name("monitor.findings"), event.deployment, event, envelope))
                    outs += self._raise(_alarm_of(event))
                    cause = Message(_NOWHERE, envelope, event)
                case FindingResolved():
                    envelope = caused_by(cause, id=f"{event.finding}-resolved", source=SERVICE, time_s=event.at_s)
                    outs.append(out(self._topics.name("monitor.findings"), event.deployment, event, envelope))
                    outs += self._lower(_fingerprint(event.kind, event.deployment, event.about))
                case RetrainRequested():
                    ident = derived_id("retrain", event.deployment, event.cause, event.finding, event.clock_s)
                    envelope = caused_by(cause, id=ident, source=SERVICE, time_s=event.clock_s or 0.0)
                    outs.append(out(self._topics.name("training.requests"), event.deployment, event, envelope))
        return outs

    # what is around

    def _look_around(self) -> list[Out]:
        """Once a second of the monotonic clock: which services are away, which dead letters have gone quiet, what is held."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < 1.0:
            return []
        self._looked_s = now_s
        self._tell_health()
        outs: list[Out] = []
        for service, is_down in self._services.down().items():
            alarm = _service_down(service)
            outs += self._raise(alarm) if is_down else self._lower(alarm.fingerprint)
        for alarm in self._dead.over(now_s, self._services):
            outs += self._lower(alarm.fingerprint)
        self._failing = {
            name: found for name, found in self._failing.items() if name in self._windows or found[1] > now_s
        }
        failing = (_monitoring_failed(name, why) for name, (why, _) in self._failing.items())
        on = [*self._services.alarms(), *failing]
        outs += self._set_to(on, (*OF_STATE, "MonitoringFailed"))
        settled = [a for a in self._firing() if a.labels["alertname"] in OF_INSTANCES and self._is_settled(a)]
        for fingerprint in self._serving.gone(settled, self._services.live("inference")):
            outs += self._lower(fingerprint)
        return outs

    def _set_to(self, on: Sequence[Alarm], names: Sequence[str]) -> list[Out]:
        """Of these alarms exactly those in `on` fire. While no report is known (at the start), none is ended."""
        wanted = {alarm.fingerprint for alarm in on}
        outs = [written for alarm in on for written in self._raise(alarm)]
        if self._services.read_to_s:
            for alert in self._firing():
                if alert.labels["alertname"] in names and alert.fingerprint not in wanted:
                    outs += self._lower(alert.fingerprint)
        return outs

    def _is_settled(self, alert: AlertChanged) -> bool:
        return self._services.read_to_s - parse_instant(alert.starts_at) > _SETTLED_S

    def _tell_health(self) -> None:
        """The gauges of what grows, and what came too late."""
        health, open_windows = self._health, self._windows.items()
        for name, windows in open_windows:
            if windows.late_requests:
                health.late_requests[name] = windows.late_requests
            if windows.late_outcomes:
                health.late_outcomes[name] = windows.late_outcomes
        count = max(len(self._windows), 1)
        limit = max((windows.limit_bytes for windows in self._windows.values()), default=0)
        labels = [windows.labels.held_bytes for windows in self._windows.values() if windows.labels is not None]
        health.holds("windows", sum(windows.held_bytes for _, windows in open_windows), limit * count)
        health.holds("labels", sum(labels), limit * count)
        health.holds("events", self._sources.held_bytes, self._sources.limit_bytes)
        for state, (held, most) in self._rollouts.holds().items():
            health.holds(state, held, most)
        health.holds("places", len(self._places) * _PLACE_BYTES, _PLACES_LIMIT_BYTES)

    def _firing(self) -> list[AlertChanged]:
        return [alert for alert in self._alerts.values() if alert.status == "firing"]

    def _raise(self, alarm: Alarm) -> list[Out]:
        known = self._alerts.get(alarm.fingerprint)
        if known is not None and known.status == "firing":
            return []
        return [self._alert(fire(alarm, self._clock.now_s()))]

    def _lower(self, fingerprint: str) -> list[Out]:
        known = self._alerts.get(fingerprint)
        if known is None or known.status != "firing":
            return []
        return [self._alert(resolve(known, self._clock.now_s()))]

    def _alert(self, alert: AlertChanged) -> Out:
        self._alerts[alert.fingerprint] = alert
        now_s = self._clock.now_s()
        envelope = Envelope(
            derived_id(alert.fingerprint, alert.status, alert.starts_at, alert.ends_at), "", SERVICE, now_s
        )
        return out(self._topics.name("alerts"), alert.fingerprint, alert, envelope)


class _Lazily(Mapping[str, float]):
    """Clocks, each made when it is first asked for."""

    def __init__(self, names: Collection[str], make: Callable[[str], float]) -> None:
        self._names, self._make = names, make
        self._made: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        if name not in self._made:
            self._made[name] = self._make(name) if name in self._names else -math.inf
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _may_be(at_s: float, append_s: float) -> bool:
    """Whether an instant may stand, cheaply; `why_not` says why not. Without an append time only what no calendar knows is refused."""
    return EARLIEST_S <= at_s <= (append_s + MAX_AHEAD_S if append_s else LATEST_S)


def _service_down(service: str) -> Alarm:
    return Alarm(
        "ServiceDown",
        {"service": service},
        "critical",
        f"no instance of {service} has reported for 10 s",
        "headrace status",
    )


def _monitoring_failed(name: str, why: str) -> Alarm:
    summary = f"{name or 'a deployment'} is not monitored as it should be: {why}"
    return Alarm("MonitoringFailed", {"deployment": name}, "critical", summary, "headrace status")


def _alarm_of(found: FindingOpened) -> Alarm:
    name, command = _ALARMS[found.kind]
    return Alarm(name, _labels(found.kind, found.deployment, found.about), "warning", found.summary, command)


def _fingerprint(kind: str, deployment: str, about: str) -> str:
    return Alarm(_ALARMS[kind][0], _labels(kind, deployment, about), "", "", "").fingerprint


def _labels(kind: str, deployment: str, about: str) -> dict[str, str]:
    return {"deployment": deployment} | ({"about": about} if kind in ("traffic", "contract") else {})


_ALARMS = {
    "drift": ("ModelDrift", "headrace topic tail monitor.findings"),
    "skew": ("FeatureSkew", "headrace topic tail monitor.findings"),
    "traffic": ("SourceStopped", "headrace feature list"),
    "contract": ("SourceChanged", "headrace topic tail monitor.findings"),
}
