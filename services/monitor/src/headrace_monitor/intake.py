"""Takes the records that carry time: decisions, what shadows say late, outcomes and events of sources.

Each goes into the open windows of its deployment, into the analysis of its rollout, and into the clock that both wait for.
"""

from collections.abc import Mapping, Sequence

from headrace.errors import Poison
from headrace.events.definition import SourceDefinition
from headrace.events.inference import DecisionMade, Invalid, OutcomeObserved, ShadowScored
from headrace.features.outcomes import Told
from headrace.instants import EARLIEST_S, LATEST_S, MAX_AHEAD_S, why_not
from headrace.log.codec import Message
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project.labels import value_of, why_not_outcome
from headrace_monitor.core.clock import Clocks
from headrace_monitor.core.dead import INSTANT_FIELDS
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.sources import Sources
from headrace_monitor.keeping import Keeping
from headrace_monitor.letters import Letters
from headrace_monitor.rollouts import Rollouts


class Intake:
    """`now_s` is of the monotonic clock."""

    def __init__(
        self,
        topics: Topics,
        deployments: Deployments,
        clocks: Clocks,
        rollouts: Rollouts,
        keeping: Keeping,
        letters: Letters,
    ) -> None:
        self.sources = Sources()
        self._topics, self._watched, self._declared = topics, deployments.watched, deployments.declared
        self._clocks, self._rollouts, self._keeping, self._letters = clocks, rollouts, keeping, letters
        self._places = keeping.places
        self._requests = topics.name("inference.requests")
        self._source_topics: dict[str, str] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._read_before: dict[str, int] = {}

    def begin(self, committed: Mapping[TopicPartition, int]) -> None:
        """`committed`: how far the owner before this one has read."""
        self._read_before = {f"{tp.topic}/{tp.partition}": offset for tp, offset in committed.items()}

    def follow(self, sources: Mapping[str, SourceDefinition]) -> list[str]:
        """Take the events of these sources and no others; returns the topics of those of which nothing is held."""
        begun = [self._topics.of_source(name) for name in self.sources.keep(sources)]
        self._source_topics = {self._topics.of_source(name): name for name in sources}
        for topic in begun:
            self._clocks.forget_source(topic)
        return begun

    @property
    def source_topics(self) -> list[str]:
        """The topics whose events are taken, sorted."""
        return sorted(self._source_topics)

    def is_strange(self, event: object) -> bool:
        """Whether what is declared, as far as it is known here, has no place for a message."""
        if type(event) is OutcomeObserved:
            return why_not_outcome(event.deployment, self._declared.get(event.deployment), event.label) is not None
        return getattr(event, "deployment", None) not in (None, *self._declared)

    def read_again(self, starts: Mapping[TopicPartition, int], whole_from_s: float) -> None:
        """A start goes on from these offsets: of sources that it does not read from their beginning, what lies before is not there."""
        begun = {tp.topic for tp, offset in starts.items() if offset > 0}
        self.sources.begin([name for topic, name in self._source_topics.items() if topic in begun], whole_from_s)

    def begin_anew(self, topics: Sequence[str], whole_from_s: float) -> None:
        """Of these topics, amid the work, all is read that may be used from this instant on."""
        self.sources.begin([self._source_topics[topic] for topic in topics], whole_from_s)

    def is_event(self, topic: str) -> bool:
        """Whether a topic is that of a source."""
        return topic in self._source_topics

    def is_again(self, record: Record) -> bool:
        """Whether a record was read before, by the owner before this one, and is read to rebuild open windows only."""
        return record.offset < self._read_before.get(self._place(record), 0)

    def take_decision(self, event: DecisionMade, record: Record, now_s: float) -> Sequence[Out]:
        """How a request was answered."""
        place, name, at_s = self._place(record), event.deployment, event.at_s
        append_s, answer = record.timestamp_ms / 1000, event.answer
        # NB: a request that was refused for its instant opens no window and moves no clock.
        if (type(answer) is Invalid and answer.field in INSTANT_FIELDS) or not _may_be(at_s, append_s):
            self._places.skip(place, record.offset)
            return () if self.is_again(record) else self._letters.take_skewed(self._requests)
        self._places.note(place, at_s, record.offset)
        self._rollouts.take(place, record.offset, event)
        watched = self._watched.get(name)
        if watched is None:
            return ()
        self._clocks.note(name, place, at_s, hash(event.unit), append_s, now_s)
        is_new = record.offset >= self._read_before.get(place, 0)
        watched.windows.decide(event, record.partition, record.offset, is_new=is_new)
        # NB: with the first decision of a deployment it is kept from where to read again.
        return () if self._keeping.is_kept(name) else (self._keeping.keep(name),)

    def take_shadow(self, event: ShadowScored, record: Record) -> None:
        """What a shadow said after its request was answered."""
        place = self._place(record)
        self._places.skip(place, record.offset)
        watched = self._watched.get(event.deployment)
        if watched is not None:
            watched.windows.score_late(event, record.partition, record.offset)
        self._rollouts.take_shadow(place, record.offset, event)

    def take_outcome(self, message: Message, event: OutcomeObserved, now_s: float) -> None:
        """A label. Raises `Poison` where it is none of its deployment's kind, or of no deployment, or lies too far ahead."""
        record, name, known_s = message.record, event.deployment, message.envelope.time_s
        place, append_s = self._place(record), record.timestamp_ms / 1000
        deployment = self._declared.get(name)
        refused = why_not_outcome(name, deployment, event.label)
        if not _may_be(known_s, append_s):
            refused = "ce_time", why_not(known_s, record.timestamp_ms) or "ce_time is no instant"
        if refused is not None or deployment is None or deployment.label is None:
            self._places.skip(place, record.offset)
            field, why = refused or ("label", "it is no outcome")
            raise Poison(why, field)
        value = value_of(deployment.label, event.label)
        told = Told(event.unit, value, known_s, message.envelope.id, event.request_id, event.corrects)
        self._places.note(place, known_s, record.offset)
        watched = self._watched.get(name)
        if watched is not None:
            self._clocks.note(name, place, known_s, hash(event.unit), append_s, now_s)
            is_new = record.offset >= self._read_before.get(place, 0)
            watched.windows.observe(told, is_new=is_new)
        self._rollouts.observe(name, told)

    def take_event(self, message: Message, now_s: float) -> None:
        """An event of a source."""
        record = message.record
        place, append_s = self._place(record), record.timestamp_ms / 1000
        self._places.skip(place, record.offset)
        at_s = self.sources.take(self._source_topics[record.topic], message)
        if at_s is not None:
            self._places.note(place, at_s, record.offset)
            if _may_be(at_s, append_s):
                self._clocks.note_source(place, at_s, record.offset, append_s, now_s)

    def _place(self, record: Record) -> str:
        key = (record.topic, record.partition)
        found = self._names.get(key)
        if found is None:
            found = self._names[key] = f"{record.topic}/{record.partition}"
        return found


def _may_be(at_s: float, append_s: float) -> bool:
    """Whether an instant may stand, cheaply; `why_not` says why not. Without an append time only what no calendar knows is refused."""
    return EARLIEST_S <= at_s <= (append_s + MAX_AHEAD_S if append_s else LATEST_S)
