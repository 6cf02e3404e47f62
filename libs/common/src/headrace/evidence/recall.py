"""Every decision that a version made, and what another version says for the same requests.

Decisions are read in the order of the log and handled in batches: per batch the outcomes are read from its first record
on, and, where the other version has another signature, the sources are folded for its rows.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec

from headrace.asking.output_kinds import named_by
from headrace.asking.prediction import OutputKind, label_of
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved, Score
from headrace.events.registry import ModelVersion, Route, VersionRegistered
from headrace.evidence.definitions import Then
from headrace.evidence.explain import version_of
from headrace.evidence.labelled import label_by_name, labels_by_request
from headrace.evidence.places import DECISIONS, OUTCOMES, Place
from headrace.evidence.reading import Evidence
from headrace.evidence.recalled import Recalled
from headrace.evidence.rows_again import Asked, values_for
from headrace.evidence.scores_again import Scorer, scorer_of
from headrace.features.own import is_foreign
from headrace.instants import MAX_AHEAD_S
from headrace.log.codec import Message
from headrace.log.envelope import format_instant
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import read_up_to

BATCH = 20_000
_FETCH = 5_000
Say = Callable[[str], None]


async def other_version(evidence: Evidence, deployment: str, version: int, named: int | None = None) -> int:
    """The version to decide again with: the one that is named; by default the champion, or the one before where that is
    the bad one itself. Raises `Misconfigured` where the deployment or a version is not known, or both are the same.
    """
    evidence.projects.declared(deployment)
    for wanted in (version, named):
        if wanted is not None:
            await _known(evidence, deployment, wanted)
    if named == version:
        raise Misconfigured(f"version {version} cannot be compared with itself: name another, --with VERSION")
    if named is not None:
        return named
    found = await evidence.newest("registry.routes", deployment)
    route = found.event if found is not None and isinstance(found.event, Route) else None
    for other in (route.champion, route.previous, route.baseline) if route is not None else ():
        if other is not None and other != version:
            return other
    raise Misconfigured(f"{deployment} has no other version that it routes to: name one, --with VERSION")


async def _known(evidence: Evidence, deployment: str, version: int) -> ModelVersion:
    found = await evidence.version(deployment, version)
    if found is None:
        raise Misconfigured(f"{deployment} has no version {version}: `headrace model list {deployment}`")
    return found


async def recalled(
    evidence: Evidence, deployment: str, version: int, other: int, say: Say = lambda line: None
) -> AsyncIterator[list[Recalled]]:
    """The decisions of a version in batches. Raises `Misconfigured` where the deployment or a version is not known."""
    found, bad = evidence.projects.declared(deployment), await _known(evidence, deployment, version)
    scorer = await scorer_of(evidence, deployment, other)
    if isinstance(scorer, str):
        raise Misconfigured(f"it cannot be decided again: {scorer}")
    recall = _Recall(evidence, *found, bad.registered, scorer, say)
    async for batch in _batches(evidence, deployment, version, say):
        yield await recall.of(batch)


async def _batches(evidence: Evidence, deployment: str, version: int, say: Say) -> AsyncIterator[list[Message]]:
    """The decisions that a version made, as many at once as are handled together."""
    topic = evidence.topics.name(DECISIONS)
    parts = await evidence.log.partitions(topic)
    ends, begins = await evidence.log.end_offsets(parts), await evidence.log.begin_offsets(parts)
    reader = await evidence.log.reader(parts, begins)
    found: list[Message] = []
    try:
        waiting = {tp for tp in parts if begins[tp] < ends[tp]}
        while waiting:
            for record in await reader.fetch(0.5, _FETCH):
                if record.offset < ends[TopicPartition(topic, record.partition)]:
                    message = _made_by(evidence, record, deployment, version)
                    found += [message] if message is not None else []
            done = {tp: await reader.position(tp) for tp in waiting}
            say(f"reading decisions: {sum(done.values()):,} of {sum(ends.values()):,}")
            waiting = {tp for tp in waiting if done[tp] < ends[tp]}
            while len(found) >= BATCH:
                yield found[:BATCH]
                found = found[BATCH:]
    finally:
        await reader.close()
    if found:
        yield found


def _made_by(evidence: Evidence, record: Record, deployment: str, version: int) -> Message | None:
    """A record as a decision of this version; None for any other."""
    if is_foreign(record, deployment):
        return None
    message = evidence.decoded(record)
    event = None if message is None else message.event
    if isinstance(event, DecisionMade) and event.deployment == deployment and version_of(event.answer) == version:
        return message
    return None


@dataclass(frozen=True)
class _Recall:
    evidence: Evidence
    project: ProjectDefinition
    deployment: DeploymentDefinition
    made_by: VersionRegistered
    scorer: Scorer
    say: Say

    async def of(self, batch: Sequence[Message]) -> list[Recalled]:
        """One batch with its labels, decided again."""
        decisions = [message.event for message in batch]
        labels = labels_by_request(self.deployment, decisions, await self._outcomes(batch))
        rows = await self._rows(batch)
        made = [n for n, row in enumerate(rows) if isinstance(row, bytes)]
        scores = self.scorer.scores([row for row in rows if isinstance(row, bytes)])
        now: dict[int, list[float]] = dict(zip(made, scores, strict=True))
        found = []
        for n, message in enumerate(batch):
            row, label = rows[n], labels.get(decisions[n].request_id)
            known = label_by_name(self.deployment, label)
            why = row if isinstance(row, str) else ""
            found.append(self._recalled(message, None if known is None else str(known), now.get(n), why))
        return found

    def _recalled(self, message: Message, outcome: str | None, now: list[float] | None, why: str) -> Recalled:
        decision, record = message.event, message.record
        score: Score = decision.answer.score
        label = label_of(score, self._kind(self.made_by))
        row = Recalled(
            decision.request_id, decision.unit, format_instant(decision.at_s), type(decision.answer).__name__,
            _value(score), None if label is None else str(label), outcome, record.topic, record.partition,
            record.offset, self.scorer.registered.version, why_not=why,
        )  # fmt: skip
        if now is None:
            return row
        registered = self.scorer.registered
        is_many = registered.output == "classes"
        again = Score(registered.version, "", None if is_many else now[0], tuple(now) if is_many else None)
        new = label_of(again, self._kind(registered))
        return msgspec.structs.replace(
            row,
            new_value=_value(again),
            new_label=None if new is None else str(new),
            flips=None if new is None or label is None else str(new) != str(label),
        )

    def _kind(self, registered: VersionRegistered) -> OutputKind:
        return named_by(OutputKind(registered.output, registered.classes), self.deployment.label)

    async def _rows(self, batch: Sequence[Message]) -> list[bytes | str]:
        """The row of each request for the other version: the logged one where the signatures are the same."""
        signature = self.scorer.registered.signature
        rows: list[bytes | str] = [
            m.event.row if m.event.signature == signature.digest else "its request is not on the log any more"
            for m in batch
        ]
        others = [n for n, m in enumerate(batch) if m.event.signature != signature.digest]
        places = {
            n: Place("inference.requests", batch[n].record.partition, batch[n].event.request_offset) for n in others
        }
        requests = {m.record.partition: {} for m in batch}
        for m in await self.evidence.messages([places[n] for n in others]):
            requests[m.record.partition][m.record.offset] = m.event
        there = [n for n in others if places[n].offset in requests[places[n].partition]]
        then = Then(self.project, self.deployment)
        asked = [Asked(batch[n].event, requests[places[n].partition][places[n].offset], then, signature) for n in there]
        if asked:
            made = await values_for(self.evidence, asked, signature, lambda done, total: self._fold(done, total))
            for n, row in zip(there, made, strict=True):
                rows[n] = row
        return rows

    def _fold(self, done: int, total: int) -> None:
        self.say(f"folding the sources' events: {done:,} of {total:,}")

    async def _outcomes(self, batch: Sequence[Message]) -> list[Message]:
        """The outcomes of the batch's units, from shortly before its first record on."""
        if self.deployment.label is None:
            return []
        units = {message.event.unit for message in batch}
        parts = await self.evidence.log.partitions(self.evidence.topics.name(OUTCOMES))
        since_ms = min(message.record.timestamp_ms for message in batch) - int(MAX_AHEAD_S * 1000)
        starts = await self.evidence.log.offsets_at(parts, since_ms)
        found: list[Message] = []

        def take(record: Record) -> None:
            if is_foreign(record, self.deployment.name):
                return
            message = self.evidence.decoded(record)
            if message is not None and isinstance(message.event, OutcomeObserved) and message.event.unit in units:
                found.append(message)

        ends = await self.evidence.log.end_offsets(parts)
        await read_up_to(self.evidence.log, ends, take, self._labels, starts)
        return found

    def _labels(self, done: int, total: int) -> None:
        self.say(f"reading outcomes: {done:,} of {total:,}")


def _value(score: Score) -> float | None:
    return max(score.probabilities) if score.probabilities else score.value
