"""What is written about one answered request: the decision, and the reply to whoever waits.

Both carry the same causes, story and trace; what is the same in all of them is encoded once.
"""

from collections.abc import Mapping

import msgspec

from headrace.events import type_name
from headrace.events.inference import DecisionMade, PredictionAnswered, ShadowScored
from headrace.log.codec import Message
from headrace.log.envelope import MSGPACK, derived_id, format_instant
from headrace.log.port import Headers, Out
from headrace.log.trace import child_of
from headrace_inference.core.admission import MAX_TEXT_CHARS, short_id

REPLY_PARTITION = "headrace_reply_partition"
REPLY_ID = "headrace_reply_id"
SOURCE = "inference"
_ENCODE = msgspec.msgpack.Encoder().encode
_SAME: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("content-type", MSGPACK.encode()),
)
_DECISION = ("ce_type", type_name(DecisionMade).encode())
_SHADOW = ("ce_type", type_name(ShadowScored).encode())
_CAUSES = frozenset(
    {"ce_time", "ce_specversion", "ce_source", "content-type", "ce_causationid", "ce_correlationid", "traceparent"}
)
_REPLY = ("ce_type", type_name(PredictionAnswered).encode())


class Records:
    """Writes decisions and replies. Topics are full names; `reply_partitions`: how many the replies' topic has."""

    def __init__(self, decisions: str, replies: str, reply_partitions: int) -> None:
        self._decisions, self._replies, self._reply_partitions = decisions, replies, reply_partitions

    def decision(self, request: Message, decision: DecisionMade, causes: Headers) -> Out:
        """The decision's record: keyed by unit, in the same partition as its request, at the request's instant."""
        identity = derived_id("decision", decision.deployment, decision.request_id)
        headers = (("ce_id", identity.encode()), _DECISION, *causes)
        return Out(self._decisions, decision.unit.encode(), _ENCODE(decision), headers, request.record.partition)

    def shadow(self, scored: ShadowScored, causes: Headers, partition: int) -> Out:
        """The record of a shadow's late score: beside the decision that it belongs to."""
        identity = derived_id("shadow", scored.deployment, scored.request_id, scored.version)
        headers = (("ce_id", identity.encode()), _SHADOW, *causes)
        return Out(self._decisions, scored.unit.encode(), _ENCODE(scored), headers, partition)

    def reply(self, request: Message, found: Mapping[str, bytes], answer: bytes, causes: Headers) -> Out | None:
        """The reply's record, None when none is asked for. `found`: the request's headers; `answer`: its value."""
        partition = reply_partition(found, self._reply_partitions)
        if partition is None:
            return None
        name = short_id(request.envelope.id)
        identity = f"reply-{request.record.partition}-{request.record.offset}-{name}".encode()
        correlation = _short(found.get(REPLY_ID)) or name.encode()
        headers = (("ce_id", identity), _REPLY, *causes, (REPLY_ID, correlation))
        return Out(self._replies, None, answer, headers, partition)


def _short(value: bytes | None) -> bytes | None:
    """What a sender chose and we echo, as long as it is short."""
    return value if value is not None and len(value) <= MAX_TEXT_CHARS else None


def kept_causes(headers: Headers) -> Headers:
    """The causes of a decision that was written before, for what still follows from it."""
    return tuple(pair for pair in headers if pair[0] in _CAUSES)


def causes_of(request: Message, found: Mapping[str, bytes], at_s: float | None = None) -> Headers:
    """The headers that everything which follows from a request shares. `found`: the request's own headers; `at_s`: the instant to
    write in place of its own.
    """
    envelope = request.envelope
    name = short_id(envelope.id).encode()
    own = _short(found.get("ce_time")) if at_s is None else None
    causes = (
        ("ce_time", own or format_instant(envelope.time_s if at_s is None else at_s).encode()),
        *_SAME,
        ("ce_causationid", name),
        ("ce_correlationid", _short(found.get("ce_correlationid")) or name),
    )
    return (
        (*causes, ("traceparent", child_of(envelope.traceparent, name.decode()).encode()))
        if envelope.traceparent
        else causes
    )


def reply_partition(found: Mapping[str, bytes], partitions: int) -> int | None:
    """The partition of `inference.replies` that the asker listens on; None for none, or one that does not exist.

    >>> reply_partition({REPLY_PARTITION: b"3"}, 8)
    3
    """
    named = found.get(REPLY_PARTITION)
    if named is None or not named.isdigit() or len(named) > 6 or int(named) >= partitions:
        return None
    return int(named)


def answered_by(decision: DecisionMade, provisional: bool = False) -> bytes:
    """What a waiting client is told of a decision."""
    answered = PredictionAnswered(
        decision.request_id, decision.deployment, decision.answer, decision.missing, provisional, decision.stale
    )
    return _ENCODE(answered)
