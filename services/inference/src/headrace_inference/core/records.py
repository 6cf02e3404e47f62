"""What is written about one answered request: the decision, and the reply to whoever waits.

Both carry the same causes, story and trace; what is the same in all of them is encoded once.
"""

from collections.abc import Mapping

import msgspec

from headrace.bus.port import Headers, Out
from headrace.codec import Message
from headrace.envelope import MSGPACK, derived_id, format_instant
from headrace.events import type_name
from headrace.events.inference import DecisionMade, PredictionAnswered
from headrace.obs.trace import child_of

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

    def reply(self, request: Message, found: Mapping[str, bytes], answer: bytes, causes: Headers) -> Out | None:
        """The reply's record, None when none is asked for. `found`: the request's headers; `answer`: its value."""
        partition = reply_partition(found, self._reply_partitions)
        if partition is None:
            return None
        name = request.envelope.id
        identity = f"reply-{request.record.partition}-{request.record.offset}-{name}".encode()
        correlation = found.get(REPLY_ID) or name.encode()
        headers = (("ce_id", identity), _REPLY, *causes, (REPLY_ID, correlation))
        return Out(self._replies, None, answer, headers, partition)


def causes_of(request: Message, found: Mapping[str, bytes]) -> Headers:
    """The headers that everything which follows from a request shares. `found`: the request's own headers."""
    envelope = request.envelope
    name = envelope.id.encode()
    causes = (
        ("ce_time", found.get("ce_time") or format_instant(envelope.time_s).encode()),
        *_SAME,
        ("ce_causationid", name),
        ("ce_correlationid", found.get("ce_correlationid") or name),
    )
    return (*causes, ("traceparent", child_of(envelope.traceparent).encode())) if envelope.traceparent else causes


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
