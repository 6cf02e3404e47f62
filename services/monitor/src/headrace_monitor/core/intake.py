"""Intake: what is taken of each record that carries an instant, which are decisions, late scores, outcomes and source events.

Each record goes into the open windows of its deployment, into the analysis of its rollout, and into the clock that both wait
for. Its place is noted for a restart. A record whose instant lies too far ahead of the log is refused: it opens no window and
moves no clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.events.inference import DecisionMade, Invalid, OutcomeObserved, ShadowScored
from headrace.features.outcomes import KnownOutcome
from headrace.instants import EARLIEST_S, LATEST_S, MAX_AHEAD_S, why_not
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.project.labels import value_of, why_not_outcome
from headrace.step import Step
from headrace_monitor.core.clock import Clocks
from headrace_monitor.core.dead_letters import INSTANT_FIELDS
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.facts import Fact, InstantRefused, Refused
from headrace_monitor.core.input_watch import LIVE_S
from headrace_monitor.core.now import Now
from headrace_monitor.core.replay import Replay, place_of
from headrace_monitor.core.rollouts import Rollouts
from headrace_monitor.core.sources import SLACK_S, Sources

# The topic whose senders wrote the instant of a decision, without the namespace.
_REQUESTS = "inference.requests.v1"

IntakeStep = Step["Intake", Fact]


@dataclass(frozen=True, slots=True)
class SourcesToRead:
    """Which source topics are read from now on.

    `topics`: all of them, sorted. `anew`: those that are read again from where the events of `since_s` were appended. Of these
    everything is there that may be used from `whole_from_s` on.
    """

    topics: list[str]
    anew: list[str]
    since_s: float
    whole_from_s: float


class Intake:
    """Takes records. `sources`: the events of sources, which windows look back at. It changes in place, as the windows do.

    `topic_of`: the full topic name of a source.
    """

    def __init__(
        self,
        deployments: Deployments,
        clocks: Clocks,
        rollouts: Rollouts,
        replay: Replay,
        topic_of: Callable[[str], str],
    ) -> None:
        self.sources = Sources()
        self._topic_of = topic_of
        self._deployments, self._clocks, self._rollouts, self._replay = deployments, clocks, rollouts, replay
        # NB: looked up for every record; these dictionaries change in place.
        self._watched, self._declared = deployments.watched, deployments.declared
        self._source_of: dict[str, str] = {}
        self._places: dict[tuple[str, int], str] = {}
        self._read_before: dict[str, int] = {}

    # which inputs there are

    def begin(self, committed: Mapping[TopicPartition, int]) -> None:
        """Note how far the owner before this one has read: the next offset of each partition."""
        self._read_before = {place_of(tp): offset for tp, offset in committed.items()}

    def begin_at(self, starts: Mapping[TopicPartition, int]) -> None:
        """Note from which offsets this start reads: of a source that is not read from its beginning the older events are missing."""
        begun = {tp.topic for tp, offset in starts.items() if offset > 0}
        names = [name for topic, name in self._source_of.items() if topic in begun]
        self.sources.begin(names, self._replay.whole_from_s)

    def follow_sources(self) -> list[str]:
        """Take the events of the sources that deployments read now, and of no others.

        Returns the topics of which nothing is held yet.
        """
        wanted = self._deployments.sources()
        begun = [self._topic_of(name) for name in self.sources.keep(wanted)]
        self._source_of = {self._topic_of(name): name for name in wanted}
        for topic in begun:
            self._clocks.forget_source(topic)
        return begun

    def sources_to_read(self, read: Sequence[str], begun: Sequence[str]) -> SourcesToRead | None:
        """Which source topics must be read; None when nothing changes.

        `read`: the topics that are read now, sorted; `begun`: those of which nothing is held, which are read from where open
        windows may look back to.
        """
        wanted = sorted(self._source_of)
        if wanted == read and not begun:
            return None
        anew = [topic for topic in wanted if topic in begun or topic not in read]
        after_s = max((source.available_after_s for source in self._deployments.sources().values()), default=0.0)
        whole_from_s = self._replay.needed_from_s - SLACK_S
        return SourcesToRead(wanted, anew, whole_from_s - after_s - MAX_AHEAD_S, whole_from_s)

    def begin_anew(self, plan: SourcesToRead) -> None:
        """Note that these topics are read again from now on."""
        self.sources.begin([self._source_of[topic] for topic in plan.anew], plan.whole_from_s)

    # records

    def is_undeclared(self, event: object) -> bool:
        """Whether nothing that is declared, as far as it is known here, has a place for a record."""
        if type(event) is OutcomeObserved:
            return why_not_outcome(event.deployment, self._declared.get(event.deployment), event.label) is not None
        return getattr(event, "deployment", None) not in (None, *self._declared)

    def is_replayed(self, record: Record) -> bool:
        """Whether the owner before this one read the record: it is read again only to rebuild open windows."""
        return record.offset < self._read_before.get(self._place(record), 0)

    def on_decision(self, event: DecisionMade, record: Record, now: Now) -> IntakeStep | None:
        """How a request was answered.

        None when nothing is to be published; else a fact is the memory of the deployment, or that the instant is refused.
        """
        place, name, at_s = self._place(record), event.deployment, event.at_s
        append_s, answer = record.timestamp_ms / 1000, event.answer
        if (type(answer) is Invalid and answer.field in INSTANT_FIELDS) or not _may_stand(at_s, append_s):
            self._replay.offsets.skip(place, record.offset)
            return None if self.is_replayed(record) else Step(self, (InstantRefused(_REQUESTS),))
        self._replay.offsets.note(place, at_s, record.offset)
        self._rollouts.on_record(place, record.offset, event)
        watched = self._watched.get(name)
        if watched is None:
            return None
        self._clocks.note(name, place, at_s, hash(event.unit), append_s, now.monotonic_s)
        is_new = record.offset >= self._read_before.get(place, 0)
        window_s = watched.windows.add_decision(event, record.partition, record.offset, is_new=is_new)
        is_live = now.wall_s - append_s <= LIVE_S
        watched.inputs.add(event, window_s, record.partition, record.offset, is_live=is_live)
        if self._replay.is_remembered(name):
            return None
        # NB: from the first decision of a deployment on, a restart must know from where to read again.
        return Step(self, (self._replay.remember(name),))

    def on_late_score(self, event: ShadowScored, record: Record) -> None:
        """A shadow scored a request after it was answered."""
        place = self._place(record)
        self._replay.offsets.skip(place, record.offset)
        watched = self._watched.get(event.deployment)
        if watched is not None:
            watched.windows.add_late_score(event, record.partition, record.offset)
        self._rollouts.on_record(place, record.offset, event)

    def on_outcome(self, event: OutcomeObserved, record: Record, envelope: Envelope, now_s: float) -> IntakeStep | None:
        """An outcome became known. `now_s`: of the monotonic clock.

        The fact is that it is refused: it is of no declared deployment, none of its deployment's kind, or dated too far ahead.
        """
        name, known_s = event.deployment, envelope.time_s
        place, append_s = self._place(record), record.timestamp_ms / 1000
        deployment = self._declared.get(name)
        refused = why_not_outcome(name, deployment, event.label)
        if not _may_stand(known_s, append_s):
            refused = "ce_time", why_not(known_s, record.timestamp_ms) or "ce_time is no instant"
        if refused is not None or deployment is None or deployment.label is None:
            self._replay.offsets.skip(place, record.offset)
            field, why = refused or ("label", "it is no outcome")
            return Step(self, (Refused(why, field),))
        value = value_of(deployment.label, event.label)
        outcome = KnownOutcome(event.unit, value, known_s, envelope.id, event.request_id, event.corrects)
        self._replay.offsets.note(place, known_s, record.offset)
        watched = self._watched.get(name)
        if watched is not None:
            self._clocks.note(name, place, known_s, hash(event.unit), append_s, now_s)
            is_new = record.offset >= self._read_before.get(place, 0)
            watched.windows.add_outcome(outcome, is_new=is_new)
        self._rollouts.on_outcome(name, outcome)
        return None

    def on_source_event(self, event: Any, record: Record, envelope: Envelope, now_s: float) -> None:
        """An event of a source, or a record of a topic that is none: that changes nothing. `now_s`: of the monotonic clock.

        Raises `Poison` for an event that breaks the contract of its source.
        """
        source = self._source_of.get(record.topic)
        if source is None:
            return
        place, append_s = self._place(record), record.timestamp_ms / 1000
        self._replay.offsets.skip(place, record.offset)
        at_s = self.sources.add(source, event, envelope.origin, record)
        if at_s is not None:
            self._replay.offsets.note(place, at_s, record.offset)
            if _may_stand(at_s, append_s):
                self._clocks.note_source(place, at_s, record.offset, append_s, now_s)

    def _place(self, record: Record) -> str:
        key = (record.topic, record.partition)
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = f"{record.topic}/{record.partition}"
        return found


def _may_stand(at_s: float, append_s: float) -> bool:
    """Whether an instant may stand, cheaply; `why_not` gives the reason.

    Without an append time only an instant is refused that no calendar has.
    """
    return EARLIEST_S <= at_s <= (append_s + MAX_AHEAD_S if append_s else LATEST_S)
