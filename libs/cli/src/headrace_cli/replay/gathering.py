"""Reads a replay back from the log: every decision on one of its requests, the scores of each version, and the label.

Arrays instead of events: about 60 bytes a row, and 16 per row and version that scored it (more for several classes).
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Poison
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import (
    DecisionMade,
    FellBack,
    OutcomeObserved,
    PredictionRequested,
    Score,
    Served,
    ShadowScored,
)
from headrace.events.registry import AliasMoved
from headrace.features.outcomes import Asked, key_of, labels_of, packed, table_of
from headrace.features.own import is_foreign
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import pin_offsets, read_up_to
from headrace.project.labels import value_of, why_not_label
from headrace_cli.replay import meanwhile
from headrace_cli.replay.ids import Ids, Rows
from headrace_cli.session import Session

Floats = NDArray[np.float64]
NOUNS = ("inference.requests", "inference.outcomes", "inference.decisions")


@dataclass
class Scores:
    """The scores of one version: their rows (positions in the order of decisions), and `width` numbers per row."""

    width: int
    rows: array = field(default_factory=lambda: array("q"))
    values: array = field(default_factory=lambda: array("d"))
    _seen: Rows = field(default_factory=Rows)

    def add(self, row: int, score: Score) -> None:
        """Add a score; the first one of a row counts."""
        scores = score.probabilities if self.width > 1 else (score.value,)
        if scores is None or None in scores or len(scores) != self.width or not self._seen.add(0, row):
            return
        self.rows.append(row)
        self.values.extend(scores)  # type: ignore[arg-type]  # no None among them

    def table(self) -> tuple[NDArray[np.int64], Floats]:
        """Rows, and scores of shape (n,) or (n, width)."""
        values = np.frombuffer(self.values, dtype=np.float64) if len(self.values) else np.empty(0)
        rows = np.frombuffer(self.rows, dtype=np.int64) if len(self.rows) else np.empty(0, dtype=np.int64)
        return rows, values.reshape(-1, self.width) if self.width > 1 else values


@dataclass(frozen=True, slots=True)
class Switch:
    """Another version became champion. `was`: the one before, None for the prior; `appended_ms`: when it was published."""

    version: int
    was: int | None
    reason: str
    appended_ms: int


class Gathered:
    """The records of one replay, as they are read. `began_ms`: when its first request was appended, 0 if there is none."""

    def __init__(self, deployment: DeploymentDefinition, ids: Ids) -> None:
        self.deployment, self.ids = deployment, ids
        self.requests, self.decided, self.outcomes = Rows(), Rows(), Rows()
        self.repeats = 0
        self.began_ms = 0
        self.answers: Counter[str] = Counter()
        self.at_s, self.appended_ms = array("d"), array("q")
        self.answered_by, self.scores = array("q"), {}
        self.switches: list[Switch] = []
        self._place: dict[tuple[int, int], int] = {}
        self._units, self._ids, self._outcome_rows = array("Q"), array("Q"), bytearray()

    def take(self, message: Message) -> None:
        """Take one message of requests, outcomes, decisions or the registry's facts."""
        event = message.event
        if isinstance(event, AliasMoved):
            if event.deployment == self.deployment.name and event.alias == "champion":
                moved = Switch(event.version, event.was, event.reason, message.record.timestamp_ms)
                self.switches.append(moved)
        elif isinstance(event, DecisionMade):
            self._decide(event, message.record.timestamp_ms)
        elif isinstance(event, ShadowScored):
            self._shadow(event)
        elif isinstance(event, OutcomeObserved):
            self._observe(event, message.envelope)
        elif isinstance(event, PredictionRequested):
            self._ask(message.envelope.id, message.record.timestamp_ms)

    def _ask(self, ident: str, appended_ms: int) -> None:
        place = self.ids.place(ident)
        if place is not None and not place[2]:
            self.began_ms = min(self.began_ms or appended_ms, appended_ms)
            self.repeats += not self.requests.add(*place[:2])

    def _decide(self, event: DecisionMade, appended_ms: int) -> None:
        place = self.ids.place(event.request_id)
        if place is None:
            return
        if not self.decided.add(*place[:2]):
            self.repeats += 1
            return
        row = self._place[place[:2]] = len(self.at_s)
        answer = event.answer
        self.answers[str(type(answer).__struct_config__.tag)] += 1
        self.at_s.append(event.at_s)
        self._units.append(key_of(event.unit))
        self._ids.append(key_of(event.request_id))
        self.appended_ms.append(appended_ms)
        has_score = isinstance(answer, Served | FellBack)
        self.answered_by.append(answer.score.version if has_score else -1)
        for score in ([answer.score] if has_score else []) + list(event.shadows):
            self._score(row, score)

    def _shadow(self, event: ShadowScored) -> None:
        place = self.ids.place(event.request_id)
        row = None if place is None else self._place.get(place[:2])
        if row is not None and event.score is not None:
            self._score(row, event.score)

    def _score(self, row: int, score: Score) -> None:
        if score.version not in self.scores:
            label = self.deployment.label
            width = len(label.classes) or 2 if label is not None and label.kind == "classes" else 1
            self.scores[score.version] = Scores(width)
        self.scores[score.version].add(row, score)

    def _observe(self, event: OutcomeObserved, envelope: Envelope) -> None:
        label, found = self.deployment.label, self.ids.place(envelope.id)
        if found is not None and not self.outcomes.add(*found[:2]):
            self.repeats += 1
        if label is not None and why_not_label(label, event.label) is None:
            value = value_of(label, event.label)
            self._outcome_rows += packed(
                event.unit, value, envelope.time_s, envelope.id, event.request_id, event.corrects
            )

    def labels(self) -> Floats:
        """The label of the request per decision, by `headrace.features.outcomes`; NaN for none."""
        if self.deployment.label is None:
            return np.full(len(self.at_s), np.nan)
        units, ids = (np.array(found, dtype=np.uint64) for found in (self._units, self._ids))
        requests = Asked(units, np.array(self.at_s, dtype=np.float64), ids)
        return labels_of(self.deployment.label, requests, table_of(self._outcome_rows)).labels


async def gather(
    session: Session, deployment: DeploymentDefinition, ids: Ids, starts: dict[TopicPartition, int]
) -> Gathered:
    """Read the topics from `starts` (by default the beginning) to their current ends."""
    gathered = Gathered(deployment, ids)

    def take(record: Record) -> None:
        if is_foreign(record, deployment.name):
            return
        try:
            message = session.codec.decode(record)
        except Poison:  # dead-lettered by its owner
            return
        if getattr(message.event, "deployment", None) == deployment.name:
            gathered.take(message)

    # NB: decisions come before their late shadow scores, and outcomes need no decision.
    for nouns in (NOUNS, ("registry.facts",)):
        ends = await pin_offsets(session.log, _names(session, nouns))
        await read_up_to(session.log, ends, take, starts=starts)
    return gathered


async def ends_now(session: Session) -> dict[TopicPartition, int]:
    """The current ends of requests, decisions and facts: all results of a replay come later. Outcomes of its units may come before."""
    return await pin_offsets(
        session.log, _names(session, ("inference.requests", "inference.decisions", *meanwhile.NOUNS))
    )


async def ends_of_dead_letters(session: Session) -> dict[TopicPartition, int]:
    """The current ends of the dead letters of all services."""
    return await pin_offsets(session.log, [session.topics.dlq(service) for service in session.topics.services])


async def dead_letters_since(session: Session, starts: dict[TopicPartition, int]) -> dict[str, int]:
    """How many records each service has dead-lettered since; services without any are left out."""
    found: Counter[str] = Counter()
    names = {session.topics.dlq(service): service for service in session.topics.services}
    ends = await ends_of_dead_letters(session)
    await read_up_to(session.log, ends, lambda record: found.update([names[record.topic]]), starts=starts)
    return dict(found)


def _names(session: Session, nouns: Iterable[str]) -> list[str]:
    return [session.topics.name(noun) for noun in nouns]
