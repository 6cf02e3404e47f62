"""Decisions, late scores and outcomes on a log, as inference and users write them."""

from collections.abc import Sequence

import msgspec

from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served, ShadowScored
from headrace.log.codec import out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Ack, Log, Out
from headrace.log.topics import Topics

TOPICS = Topics.load()


def decision(
    request_id: str, unit: str, deployment: str = "d", at_s: float = 1_000.0, **changes: object
) -> DecisionMade:
    """A decision that version 1 answered."""
    made = DecisionMade(request_id, deployment, unit, at_s, Served(Score(1, "m", 0.5)), 0, assigned=1)
    return msgspec.structs.replace(made, **changes)


def decision_out(made: DecisionMade | ShadowScored, partition: int = 0, topics: Topics = TOPICS) -> Out:
    """The record of a decision, or of a late score."""
    ident = derived_id(type(made).__name__, made.deployment, made.request_id)
    envelope = Envelope(ident, "", "inference", made.at_s, made.request_id, made.request_id)
    return out(topics.name("inference.decisions"), made.unit, made, envelope, partition)


def outcome_out(
    unit: str, label: float, known_s: float, deployment: str = "d", partition: int = 0, topics: Topics = TOPICS
) -> Out:
    """The record of an outcome."""
    event = OutcomeObserved(deployment, unit, label)
    envelope = Envelope(f"{unit}-{known_s}", "", "test", known_s)
    return out(topics.name("inference.outcomes"), unit, event, envelope, partition)


async def with_topics(log: Log) -> None:
    """Create the topics of the platform."""
    await log.create_topics(TOPICS.specs())


async def sent(log: Log, outs: Sequence[Out]) -> list[Ack]:
    """Write records."""
    producer = await log.producer()
    try:
        return await producer.send(outs)
    finally:
        await producer.close()
