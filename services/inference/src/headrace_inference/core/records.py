"""What is written about one answered request: the decision, and the reply to whoever waits."""

from dataclasses import dataclass, field
from typing import Any

from headrace.bus.port import Headers, Out
from headrace.codec import Message, caused_by, header, out
from headrace.envelope import derived_id
from headrace.events.inference import Answer, DecisionMade, PredictionAnswered
from headrace_inference.core.admission import MAX_TEXT_CHARS

REPLY_PARTITION = "headrace_reply_partition"
REPLY_ID = "headrace_reply_id"
SOURCE = "inference"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the answer was made from; empty for requests that were turned away."""

    row: bytes = b""
    signature: str = ""
    entities: dict[str, str] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


NOTHING = Evidence()


def decision_out(topic: str, request: Message, decision: DecisionMade) -> Out:
    """The decision's record: keyed by unit, in the same partition as its request, at the request's instant."""
    identity = derived_id("decision", decision.deployment, decision.request_id)
    envelope = caused_by(request, id=identity, source=SOURCE, time_s=decision.at_s)
    return out(topic, decision.unit, decision, envelope, request.record.partition)


def reply_out(topic: str, partitions: int, request: Message, answered: PredictionAnswered) -> Out | None:
    """The reply's record; None when the request's headers ask for none, or for a partition that does not exist."""
    partition = reply_partition(request.record.headers, partitions)
    if partition is None:
        return None
    identity = derived_id("reply", answered.request_id, answered.provisional, request.record.offset)
    envelope = caused_by(request, id=identity, source=SOURCE, time_s=request.envelope.time_s)
    made = out(topic, None, answered, envelope, partition)
    correlation = (header(request.record.headers, REPLY_ID) or answered.request_id).encode()
    return Out(made.topic, None, made.value, (*made.headers, (REPLY_ID, correlation)), partition)


def reply_partition(headers: Headers, partitions: int) -> int | None:
    """The partition of `inference.replies` that the asker listens on, None for none.

    >>> reply_partition(((REPLY_PARTITION, b"3"),), 8)
    3
    """
    named = header(headers, REPLY_PARTITION)
    if named is None or not named.isdecimal() or len(named) > 6 or int(named) >= partitions:
        return None
    return int(named)


def answered_by(decision: DecisionMade, provisional: bool = False) -> PredictionAnswered:
    """What a waiting client is told of a decision."""
    return PredictionAnswered(
        decision.request_id, decision.deployment, decision.answer, decision.missing, provisional, decision.stale
    )


def decided(request: Message, unit: str, answer: Answer, evidence: Evidence, **more: Any) -> DecisionMade:
    """The decision on one request; `more`: the remaining fields of `DecisionMade`."""
    return DecisionMade(
        request_id=request.envelope.id,
        deployment=request.event.deployment[:MAX_TEXT_CHARS],
        unit=unit[:MAX_TEXT_CHARS],
        at_s=request.envelope.time_s,
        answer=answer,
        request_offset=request.record.offset,
        row=evidence.row,
        signature=evidence.signature,
        entities=evidence.entities,
        applied=evidence.applied,
        missing=evidence.missing,
        stale=evidence.stale,
        **more,
    )
