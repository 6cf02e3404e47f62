"""The monitor's one shard: gather decisions, outcomes and events; close cohorts; publish what follows in one transaction."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

from headrace.bus.port import Out, Record, TopicPartition
from headrace.bus.shards import Outputs, Rebuild
from headrace.clock import Clock
from headrace.codec import Message, caused_by, out
from headrace.envelope import Envelope, derived_id
from headrace.events.alerts import AlertChanged
from headrace.events.inference import DecisionMade, OutcomeObserved, ShadowScored
from headrace.events.monitor import FindingOpened, FindingResolved, MonitorState, RolloutJudged, WindowClosed
from headrace.events.registry import AliasMoved, Route
from headrace.events.training import RetrainRequested
from headrace.features.events import EventTable
from headrace.features.parity import parity
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.topics import Topics
from headrace_monitor.core.alarm import Alarm, fire, resolve
from headrace_monitor.core.cohorts import Cohorts
from headrace_monitor.core.places import Places
from headrace_monitor.core.profiles import profile_sources
from headrace_monitor.core.quality import qualities, served_version
from headrace_monitor.core.releases import alarms_of
from headrace_monitor.core.serving import InferenceFact, Serving
from headrace_monitor.core.watch import Said, Watch, watch_of
from headrace_monitor.core.watermark import Watermark
from headrace_monitor.rollouts import Rollouts

SERVICE = "monitor"
# What the monitor itself says next follows from an event that has no place on the log yet.
_NOWHERE = Record("", 0, 0, None, None)
DEAD_LETTERS_QUIET_S = 60.0
_SLACK_S = 86_400.0

# Per input partition how many records are not read yet.
Behind = Callable[[], Awaitable[Mapping[TopicPartition, int]]]


class MonitorShard:
    """All partitions of all inputs; one active instance."""

    def __init__(
        self,
        topics: Topics,
        projects: Sequence[ProjectDefinition],
        clock: Clock,
        services: "Services",
        behind: Behind,
    ) -> None:
        self._topics, self._clock, self._services, self._behind = topics, clock, services, behind
        self._deployments = {d.name: (project, d) for project in projects for d in project.deployments}
        self._tables = {topics.of_source(s.name): EventTable(s) for project in projects for s in project.sources}
        self._states: dict[str, MonitorState] = {}
        self._alerts: dict[str, AlertChanged] = {}
        self._cohorts: dict[str, Cohorts] = {}
        self._watches: dict[str, Watch] = {}
        self._places = Places()
        self._watermark = Watermark()
        self._dead: dict[str, float] = {}
        self._looked_s = -math.inf
        self._serving = Serving()
        self._rollouts = Rollouts(topics, {name: found for name, (_, found) in self._deployments.items()}, SERVICE)

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
            if event.labels.get("alertname") == "DeadLettered" and event.status == "firing":
                self._dead[event.labels["service"]] = self._clock.monotonic_s()

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Open cohorts are rebuilt from the log; what was closed and said before is not said again."""
        for name, (_, deployment) in self._deployments.items():
            state = self._states.get(name)
            self._watches[name] = watch_of(deployment, state)
            self._cohorts[name] = Cohorts(deployment, state.closed_to_s if state else -math.inf)
        self._watermark.expect(
            f"{tp.topic}/{tp.partition}" for tp in await self._behind() if self._carries_time(tp.topic)
        )
        again: dict[str, int] = {}
        for name in self._deployments:
            wanted = self._states[name].replay_from if name in self._states else {}
            for tp in committed:
                place = f"{tp.topic}/{tp.partition}"
                again[place] = min(again.get(place, committed[tp]), wanted.get(place, 0))
        for wanted in self._rollouts.replay_from():
            again |= {place: min(again.get(place, offset), offset) for place, offset in wanted.items()}
        nouns = ("registry.facts", "registry.routes", "inference.facts")
        once = (*map(self._topics.name, nouns), *self._dlqs())
        return {
            tp: offset if tp.topic in once else again.get(f"{tp.topic}/{tp.partition}", 0)
            for tp, offset in committed.items()
        }

    def _carries_time(self, topic: str) -> bool:
        return topic in self._tables or topic in (
            self._topics.name("inference.decisions"),
            self._topics.name("inference.outcomes"),
        )

    def _dlqs(self) -> list[str]:
        return [self._topics.dlq(service) for service in self._topics.services]

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outs: list[Out] = []
        for message in batch:
            outs += self._take(message)
        return Outputs(outs=outs + await self._look_at_data(is_idle=False))

    async def on_tick(self) -> Outputs:
        return Outputs(outs=await self._look_at_data(is_idle=True) + self._look_around())

    def _take(self, message: Message) -> list[Out]:
        event, record = message.event, message.record
        place = f"{record.topic}/{record.partition}"
        if isinstance(event, DecisionMade):
            self._note(place, event.at_s, record.offset)
            if event.deployment in self._cohorts:
                self._cohorts[event.deployment].decide(event, record.partition)
            self._rollouts.take(place, record.offset, event)
        elif isinstance(event, ShadowScored):
            self._rollouts.take_shadow(place, record.offset, event)
        elif isinstance(event, OutcomeObserved):
            self._note(place, message.envelope.time_s, record.offset)
            if event.deployment in self._cohorts:
                self._cohorts[event.deployment].observe(event.unit, event.label, message.envelope.time_s)
            self._rollouts.observe(event.deployment, event.unit, event.label, message.envelope.time_s)
        elif record.topic in self._tables:
            at_s = self._tables[record.topic].take(message)
            if at_s is not None:
                self._note(place, at_s, record.offset)
        elif isinstance(event, AliasMoved):
            return self._on_alias(message, event)
        elif record.topic == self._topics.name("registry.facts"):
            return self._on_release(message)
        elif isinstance(event, Route):
            self._rollouts.on_route(event, record.offset)
        elif isinstance(event, InferenceFact):
            return self._on_inference(event)
        elif self._topics.base(record.topic).startswith("dlq."):
            return self._on_dead_letter(message)
        return []

    def _note(self, place: str, time_s: float, offset: int) -> None:
        self._places.note(place, time_s, offset)
        self._watermark.note(place, time_s)

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
        self._dead[service] = self._clock.monotonic_s()
        summary = f"records that {service} cannot read are in dlq.{service}"
        return self._raise(
            Alarm("DeadLettered", {"service": service}, "warning", summary, f"headrace dlq list --service {service}")
        )

    async def _look_at_data(self, *, is_idle: bool) -> list[Out]:
        """Close what all inputs have been read past; only an idle shard knows which of them are read to their end."""
        self._rollouts.fold()
        now_s = self._clock.monotonic_s()
        closes = any(cohorts.may_close_by(cohorts.highest_s) for cohorts in self._cohorts.values())
        if not closes and not self._rollouts.is_waiting(now_s):
            return []
        at_end = await self._read_to_end() if is_idle else frozenset()
        time_s = self._watermark.time_s(at_end)
        clocks = {name: min(cohorts.highest_s, time_s) for name, cohorts in self._cohorts.items()}
        outs: list[Out] = []
        for name, clock_s in clocks.items():
            for start_s, closes_s in self._cohorts[name].closable(clock_s):
                outs += await asyncio.to_thread(self._close, name, start_s, closes_s)
        return outs + self._rollouts.look(clocks, now_s, self._places.since, is_idle=is_idle)

    async def _read_to_end(self) -> frozenset[str]:
        return frozenset(f"{tp.topic}/{tp.partition}" for tp, records in (await self._behind()).items() if records <= 0)

    def _close(self, name: str, start_s: float, clock_s: float) -> list[Out]:
        project, deployment = self._deployments[name]
        cohorts, watch = self._cohorts[name], self._watches[name]
        rows = cohorts.close(start_s)
        window = self._window(project, deployment, cohorts, rows, start_s, clock_s)
        said = watch.on_window(window, served_version(rows), clock_s)
        cohorts.forget(rows)
        self._forget_events()
        envelope = Envelope(derived_id(name, start_s, "window"), "", SERVICE, window.to_s, correlation_id=name)
        cause = Message(_NOWHERE, envelope, window)
        closed = out(self._topics.name("monitor.windows"), f"{name}/{watch.champion or 0}", window, envelope)
        return [closed, *self._say(said, cause), self._keep(name)]

    def _window(
        self,
        project: ProjectDefinition,
        deployment: DeploymentDefinition,
        cohorts: Cohorts,
        rows: list[DecisionMade],
        start_s: float,
        clock_s: float,
    ) -> WindowClosed:
        labels = [cohorts.label_of(row, clock_s) for row in rows]
        known = [(row, label) for row, label in zip(rows, labels, strict=True) if label is not None]
        is_binary = deployment.label is not None and deployment.label.kind == "binary"
        found = qualities([row for row, _ in known], [label for _, label in known]) if known and is_binary else ()
        tables = {s.name: self._tables[self._topics.of_source(s.name)] for s in project.sources}
        skew = parity(
            project, deployment, tables, {s.name: self._topics.of_source(s.name) for s in project.sources}, rows
        )
        answers: dict[str, int] = {}
        for row in rows:
            kind = type(row.answer).__struct_config__.tag
            answers[str(kind)] = answers.get(str(kind), 0) + 1
        watch = self._watches[deployment.name]
        return WindowClosed(
            deployment=deployment.name,
            from_s=start_s,
            to_s=start_s + deployment.cohort_s,
            requests=len(rows),
            labelled=len(known),
            positive_share=sum(label for _, label in known) / len(known) if known and is_binary else None,
            verdict="PASS" if len(known) >= deployment.coverage * len(rows) else "UNMEASURED",
            qualities=found,
            answers=answers,
            parity_rows=skew.rows,
            parity_tiles=skew.tiles,
            parity_as_of=skew.as_of,
            missing_share=skew.missing_share,
            max_feature_lag_s=skew.max_lag_s,
            drift_statistic=watch.detectors[0].statistic if watch.detectors else None,
            skew=skew.skew,
            sources=profile_sources(project, deployment, tables, start_s, start_s + deployment.cohort_s),
        )

    def _needed_from_s(self) -> float:
        """The oldest instant that an open cohort of any deployment may still look at."""
        starts = [cohorts.open_from_s for cohorts in self._cohorts.values() if math.isfinite(cohorts.open_from_s)]
        return min([*starts, *self._rollouts.open_from_s], default=0.0) - self._lookback_s()

    def _forget_events(self) -> None:
        oldest_s = self._needed_from_s()
        for table in self._tables.values():
            if len(table) > 1000 and table.available[0] < oldest_s - _SLACK_S:
                table.drop_before(oldest_s)

    def _lookback_s(self) -> float:
        """How far back a row of an open cohort may look."""
        windows = [
            f.window_s for project, _ in self._deployments.values() for view in project.views for f in view.features
        ]
        settles = [deployment.settle_s for _, deployment in self._deployments.values()]
        return max(windows, default=0) + max(settles, default=0.0) + 3600.0

    def _keep(self, name: str) -> Out:
        closed_to_s = self._cohorts[name].closed_to_s
        replay_from = self._places.from_day(self._needed_from_s())
        state = self._watches[name].state(replay_from, closed_to_s if math.isfinite(closed_to_s) else 0.0)
        envelope = Envelope(derived_id(name, "state", closed_to_s, state.champion), "", SERVICE, max(closed_to_s, 0.0))
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

    def _look_around(self) -> list[Out]:
        """Once a second of the monotonic clock: which services are away, which dead letters have gone quiet."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < 1.0:
            return []
        self._looked_s = now_s
        outs: list[Out] = []
        for service, is_down in self._services.down(self._clock.now_s()).items():
            alarm = Alarm(
                "ServiceDown",
                {"service": service},
                "critical",
                f"no instance of {service} has reported for 10 s",
                "headrace status",
            )
            outs += self._raise(alarm) if is_down else self._lower(alarm.fingerprint)
        for service, last_s in list(self._dead.items()):
            if now_s - last_s > DEAD_LETTERS_QUIET_S:
                del self._dead[service]
                outs += self._lower(Alarm("DeadLettered", {"service": service}, "", "", "").fingerprint)
        return outs

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


class Services:
    """Who reported when, by `ops.health`."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, tuple[float, bool]]] = {}

    def take(self, message: Message) -> None:
        """A heartbeat."""
        event = message.event
        if event is not None:
            self._seen.setdefault(event.service, {})[event.instance] = (
                message.record.timestamp_ms / 1000,
                event.stopping,
            )

    def down(self, now_s: float) -> dict[str, bool]:
        """Per service that ever reported whether no instance of it does; one that stopped by design is not down."""
        return {service: not _is_up(list(instances.values()), now_s) for service, instances in self._seen.items()}


def _is_up(instances: list[tuple[float, bool]], now_s: float) -> bool:
    newest_s, is_stopping = max(instances)
    return is_stopping or now_s - newest_s <= 10.0


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
