"""Everything that the monitor knows, and what each record that it reads changes in it.

Each subject is decided in a module of its own; here a record is given to those that it concerns. What follows comes back as
facts, in the order in which they are to be published.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from headrace.errors import HeadraceError
from headrace.events.alerts import AlertChanged
from headrace.events.definition import ProjectDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved, ShadowScored
from headrace.events.monitor import FindingOpened, MonitorState, RolloutJudged, WindowEstimated
from headrace.events.registry import AliasMoved, ModelVersion, Route, VersionRegistered
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.step import Step
from headrace_monitor.core import findings, source_silence
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.clock import Clocks, InputPlaces, Reading
from headrace_monitor.core.deployments import Changed, Deployments, Watched
from headrace_monitor.core.evaluation import WindowInputs, unmeasured
from headrace_monitor.core.facts import Fact, FindingFact, FindingOver, MonitoringFailed, WindowReported
from headrace_monitor.core.findings import Findings, FindingStep
from headrace_monitor.core.held_rows import InMemory, Keep
from headrace_monitor.core.intake import Intake
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.monitoring_failures import ESTIMATES, WINDOWS
from headrace_monitor.core.now import Now
from headrace_monitor.core.references import References
from headrace_monitor.core.replay import Replay
from headrace_monitor.core.retrain_reasons import TrainingFact
from headrace_monitor.core.rollouts import ClockOf, Rollouts
from headrace_monitor.core.serving_alarms import InferenceFact
from headrace_monitor.core.signatures import Signatures
from headrace_monitor.core.silences import Silences, refuse
from headrace_monitor.core.usual_gain import gain_of
from headrace_monitor.core.windows import Rows

Facts = Sequence[Fact]
Handler = Callable[[Any, Record, Envelope, Now], Facts]


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The full names of the topics that decide what a record is.

    `silences`: where people set them. `dead_letters`: per topic of dead letters the service that wrote them. `of_source`: the full topic name of a source.
    `base`: a full name without the namespace.
    """

    decisions: str
    outcomes: str
    registry_facts: str
    silences: str
    dead_letters: Mapping[str, str]
    of_source: Callable[[str], str]
    base: Callable[[str], str]


class Monitoring:
    """The parts of the core, as one. It changes in place: copies per record would be slow."""

    def __init__(
        self,
        names: TopicNames,
        projects: Sequence[ProjectDefinition],
        liveness: Liveness,
        silences: Silences | None = None,
        runbook_url: str = "",
        keep: Keep = InMemory,
    ) -> None:
        self._names, self._liveness = names, liveness
        self._clocks, self._signatures, self._references = Clocks(), Signatures(), References()
        self.deployments = Deployments(keep, self._references, names.decisions)
        self.alerting = Alerting(liveness, silences, runbook_url)
        self.rollouts = Rollouts(self.deployments.declared, self._usual_gain)
        self.replay = Replay(self.deployments, self.rollouts)
        self.intake = Intake(self.deployments, self._clocks, self.rollouts, self.replay, names.of_source)
        self._by_type: dict[type, Handler] = {
            DecisionMade: self._on_decision,
            OutcomeObserved: self._on_outcome,
            ShadowScored: self._on_late_score,
            AliasMoved: self._on_alias,
            Route: self._on_route,
            **dict.fromkeys(get_args(TrainingFact), self._on_training),
            **dict.fromkeys(get_args(InferenceFact), self._on_inference_fact),
        }
        self._by_topic: dict[str, Handler] = {
            names.registry_facts: self._on_registry_fact,
            names.silences: self._on_silence,
            **dict.fromkeys(names.dead_letters, self._on_dead_letter),
        }
        self.deployments.declare(projects)
        self.intake.follow_sources()

    # the start, and what is declared

    def _usual_gain(self, name: str) -> float | None:
        """What a deployment's champion usually gains over a constant; None where that is not known."""
        watched = self.deployments.watched.get(name)
        return None if watched is None else gain_of(watched.findings.record, watched.deployment.label)

    def on_history(self, event: Any, now: Now) -> None:
        """A record of what was remembered, alerted or registered before this start."""
        match event:
            case MonitorState():
                self.deployments.memories[event.deployment] = event
            case RolloutJudged():
                self.rollouts.on_history(event)
            case ModelVersion():
                self._on_version(event.registered)
            case AlertChanged():
                self.alerting.on_history(event, now)

    def start_offsets(
        self, committed: Mapping[TopicPartition, int], read_once: Sequence[str]
    ) -> Mapping[TopicPartition, int]:
        """The history is read. Returns from which offset each partition is read, so that open windows are rebuilt.

        `committed`: the next offset of each partition. `read_once`: the topics that are never read again, beside dead letters.
        """
        self.intake.begin(committed)
        self._note_changed(self.deployments.set_up_all())
        watched = self.deployments.watched.values()
        self.alerting.on_start(opened for found in watched for opened in found.findings.open.values())
        starts = self.replay.starts(committed, {*read_once, *self._names.dead_letters})
        self.intake.begin_at(starts)
        return starts

    def on_applied(self, projects: Sequence[ProjectDefinition], now: Now) -> tuple[list[str], Facts]:
        """These projects are declared now. Of deployments that did not change nothing is touched.

        Returns the source topics of which nothing is held yet, and the facts.
        """
        changed = self.deployments.redeclare(projects)
        begun = self.intake.follow_sources()
        self._note_changed(changed)
        return begun, self.alerting.on_gone(changed.gone, now).facts

    def _note_changed(self, changed: Changed) -> None:
        """What was set up is well again. What could not be set up raises its alarm with the next look at services."""
        failures = self.alerting.failures
        for name in changed.set_up:
            failures.note_well(name)
        for name, why in changed.refused.items():
            failures.refuse(name, why)
        for name in changed.gone:
            failures.forget(name)
            self._clocks.forget(name)

    # records

    def on_record(self, event: Any, record: Record, envelope: Envelope, now: Now) -> Facts:
        """A record of an input. Raises `Poison` for a source event that breaks its contract.

        Any other error is of the monitoring of one deployment.
        """
        handler = self._by_type.get(type(event)) or self._by_topic.get(record.topic, self._on_source_event)
        return handler(event, record, envelope, now)

    def _on_decision(self, event: DecisionMade, record: Record, envelope: Envelope, now: Now) -> Facts:
        step = self.intake.on_decision(event, record, now)
        return () if step is None else step.facts

    def _on_outcome(self, event: OutcomeObserved, record: Record, envelope: Envelope, now: Now) -> Facts:
        step = self.intake.on_outcome(event, record, envelope, now.monotonic_s)
        return () if step is None else step.facts

    def _on_late_score(self, event: ShadowScored, record: Record, envelope: Envelope, now: Now) -> Facts:
        self.intake.on_late_score(event, record)
        return ()

    def _on_source_event(self, event: Any, record: Record, envelope: Envelope, now: Now) -> Facts:
        self.intake.on_source_event(event, record, envelope, now.monotonic_s)
        return ()

    def _on_alias(self, event: AliasMoved, record: Record, envelope: Envelope, now: Now) -> Facts:
        watched = self.deployments.watched.get(event.deployment)
        if watched is None or event.alias != "champion":
            return ()
        return self._moved(watched, findings.on_champion(watched.findings, event.version))

    def _on_training(self, event: TrainingFact, record: Record, envelope: Envelope, now: Now) -> Facts:
        watched = self.deployments.watched.get(event.deployment)
        if watched is None:
            return ()
        asked = {ask.request_id for ask in watched.findings.requests.by_key.values() if ask.request_id}
        moved = self._moved(watched, findings.on_training(watched.findings, event))
        return (*moved, *self.alerting.on_training(event, asked, now).facts)

    def _moved(self, watched: Watched, step: FindingStep) -> Facts:
        watched.findings = step.state
        return (*step.facts, self.replay.remember(watched.deployment.name))

    def _on_route(self, event: Route, record: Record, envelope: Envelope, now: Now) -> Facts:
        self.rollouts.on_route(event, record.offset)
        self.alerting.on_route(event)
        return ()

    def _on_registry_fact(self, event: Any, record: Record, envelope: Envelope, now: Now) -> Facts:
        if isinstance(event, VersionRegistered):
            self._on_version(event)
        step = self.rollouts.on_registry_fact(event, envelope.correlation_id or envelope.id)
        return (*step.facts, *self.alerting.on_registry_fact(event, now).facts)

    def _on_version(self, registered: VersionRegistered) -> None:
        self._signatures.add(registered)
        self._references.add(registered)

    def _on_silence(self, event: Any, record: Record, envelope: Envelope, now: Now) -> Facts:
        # What is sound is taken by the view of silences, which is read to its end before any alert is written.
        refused = refuse(event, (record.key or b"").decode("utf-8", "replace"), record.timestamp_ms / 1000)
        return () if refused is None else (refused,)

    def _on_inference_fact(self, event: InferenceFact, record: Record, envelope: Envelope, now: Now) -> Facts:
        return self.alerting.on_inference_fact(event, now).facts

    def _on_dead_letter(self, event: Any, record: Record, envelope: Envelope, now: Now) -> Facts:
        came_from = self._names.base(_header(record, "__connect.errors.topic") or "?")
        service = self._names.dead_letters[record.topic]
        return self.alerting.on_dead_letter(service, _header(record, "headrace.field"), came_from, now).facts

    # windows

    def clock_of(self, places: InputPlaces, reading: Reading) -> ClockOf:
        """The clock of a deployment at one look, computed when it is first asked for; -inf before it runs."""

        def time_s(name: str) -> float:
            deployment = self.deployments.declared.get(name)
            if deployment is None:
                return float("-inf")
            topics = map(self._names.of_source, self.deployments.sources_of(name))
            inputs = places.of_deployment(topics, has_label=deployment.label is not None)
            return self._clocks.time_s(name, *inputs, reading)

        return cache(time_s)

    def due(self, now_s: float) -> list[str]:
        """The deployments of which a window may have come to an hour at which it closes, or whose inputs are to be looked at.

        `now_s`: of the monotonic clock.
        """
        if self.intake.sources.is_loose:
            self.intake.sources.tidy(self.replay.needed_from_s)
        return self.deployments.due(now_s)

    def look_at_inputs(self, name: str, clock_s: float, now_s: float) -> Facts:
        """What the inputs of a deployment show by its clock, and its sources. `now_s`: of the monotonic clock."""
        try:
            return self._looked_at_inputs(self.deployments.watched[name], clock_s, now_s)
        except HeadraceError:
            raise
        except Exception as error:
            return (MonitoringFailed(name, WINDOWS, error),)

    def _looked_at_inputs(self, watched: Watched, clock_s: float, now_s: float) -> Facts:
        facts = self._on_inputs(watched, source_silence.look(watched, self.intake.sources, clock_s))
        highest_s, unjudged = watched.windows.highest_s, source_silence.silent_columns(watched)
        seen = watched.inputs.look(clock_s, highest_s, now_s, watched.findings.open, unjudged)
        return (*facts, *self._on_inputs(watched, seen.changes))

    def _on_inputs(self, watched: Watched, changes: Sequence[FindingOpened | FindingOver]) -> Facts:
        return self._moved(watched, findings.on_inputs(watched.findings, changes)) if changes else ()

    def window_inputs(self, watched: Watched, rows: Rows, sample: Sequence[DecisionMade]) -> WindowInputs:
        """What a window of these rows is judged by. `sample`: decisions of it, read again."""
        sources = watched.sources
        champion = watched.findings.champion
        frame = None if champion is None else self._references.of(watched.deployment.name, champion)
        return WindowInputs(
            watched.project,
            watched.deployment,
            rows,
            sample,
            self.intake.sources.tables(sources),
            {source: self._names.of_source(source) for source in sources},
            self.intake.sources.whole_from_s(sources),
            self._signatures.comparable(watched.project, watched.deployment),
            self._signatures.columns(watched.deployment.name),
            self._names.decisions,
            watched.inputs.columns_of(watched.windows.start_of(float(rows.table["at_s"][0]))) if len(rows) else (),
            None if frame is None else frame.reference,
        )

    def on_window_closed(
        self, watched: Watched, from_s: float, closes_s: float, step: Step[Findings, WindowReported | FindingFact]
    ) -> Facts:
        """A window was evaluated: `step` is what `closing.close` returned."""
        watched.findings = step.state
        self.alerting.failures.note_well(watched.deployment.name)
        return self._dropped(watched, from_s, closes_s, step.facts)

    def on_window_failed(self, watched: Watched, from_s: float, closes_s: float, error: Exception) -> Facts:
        """A window could not be evaluated: it is reported as UNMEASURED, and all others go on."""
        report = unmeasured(watched.deployment, watched.findings.champion, from_s, watched.windows.rows_in(from_s))
        failed = MonitoringFailed(watched.deployment.name, WINDOWS, error)
        return self._dropped(watched, from_s, closes_s, (report, failed))

    def on_window_estimated(self, watched: Watched, from_s: float, step: Step[Findings, WindowEstimated]) -> Facts:
        """A window was estimated: `step` is what `evaluation.estimate` returned."""
        watched.findings = step.state
        watched.windows.estimated_to_s = from_s + watched.deployment.evaluation_window_s
        return (*step.facts, self.replay.remember(watched.deployment.name))

    def on_estimate_failed(self, watched: Watched, from_s: float, error: Exception) -> Facts:
        """A window could not be estimated: it is judged all the same when its labels are there."""
        watched.windows.estimated_to_s = from_s + watched.deployment.evaluation_window_s
        return (MonitoringFailed(watched.deployment.name, ESTIMATES, error),)

    def _dropped(self, watched: Watched, from_s: float, closes_s: float, facts: Facts) -> Facts:
        watched.windows.drop(from_s, closes_s)
        watched.inputs.drop_window(from_s)
        return (*facts, self.replay.remember(watched.deployment.name))

    # what it holds

    def holds(self) -> dict[str, tuple[int, int]]:
        """How many bytes each state that grows holds now, by estimate, and its bound."""
        sources, replay = self.intake.sources, self.replay
        return {
            **self.deployments.holds(),
            "events": (sources.held_bytes, sources.limit_bytes),
            **self.rollouts.holds(),
            **replay.holds(),
        }


def _header(record: Record, name: str) -> str | None:
    """The text of a header of a record; None when it has none of that name."""
    return next(((value or b"").decode("utf-8", "replace") for found, value in record.headers if found == name), None)
