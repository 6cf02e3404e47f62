"""The records of answered requests: the decision, the reply to the client that waits, late scores of shadows.

All of them carry the same causes, correlation and trace. What is the same in all of them is encoded once.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from headrace.asking.headers import REPLY_ID, REPLY_PARTITION
from headrace.events import type_name
from headrace.events.inference import DecisionMade, FallbackChanged, PredictionAnswered, ShadowScored
from headrace.log.codec import Message, caused_by, out
from headrace.log.envelope import MSGPACK, derived_id, format_instant
from headrace.log.port import Headers, Out
from headrace.log.topics import Topics
from headrace.log.trace import child_of
from headrace_inference.core.answering import StepChanged
from headrace_inference.core.batch import Decision, Repeat
from headrace_inference.core.request import MAX_TEXT_CHARS, Request, short_id
from headrace_inference.core.shadows import Shadowed

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
    """Makes the records of one shard. Nothing here waits."""

    def __init__(self, topics: Topics, instance: str) -> None:
        self._decisions, self._replies = topics.name("inference.decisions"), topics.name("inference.replies")
        self._facts, self._reply_partitions = topics.name("inference.facts"), topics.count("replies")
        self._instance = instance

    def decisions(self, made: Sequence[tuple[Decision, Headers]], shadowed: Mapping[int, Shadowed]) -> list[Out]:
        """The records of decisions, each with its causes: keyed by unit, in the same partition as their requests, at their instants.

        `shadowed`: those that shadows are to score, by place: from now on their scores are late.
        """
        outs: list[Out] = []
        for place, (one, causes) in enumerate(made):
            decision = shadowed[place].with_scores(one.made) if place in shadowed else one.made
            identity = derived_id("decision", decision.deployment, decision.request_id)
            headers = (("ce_id", identity.encode()), _DECISION, *causes)
            partition = one.request.record.partition
            outs.append(Out(self._decisions, decision.unit.encode(), _ENCODE(decision), headers, partition))
        return outs

    def reply(self, one: Decision, answer: bytes, causes: Headers) -> Out | None:
        """The reply to a decision, None when none is asked for. `answer`: its value; that of a fast answer is marked as provisional."""
        sent = answer_to(one.made, provisional=True) if one.is_fast else answer
        return self._reply(one.request, one.headers, sent, causes)

    def repeated(self, repeat: Repeat, answer: bytes) -> Out | None:
        """The reply to a request that was answered before; None when none is asked for."""
        return self._reply(repeat.request, repeat.headers, answer, causes_of(repeat.request, repeat.headers))

    def shadow(self, scored: ShadowScored, causes: Headers, partition: int) -> Out:
        """The record of a shadow's late score: beside the decision that it belongs to."""
        identity = derived_id("shadow", scored.deployment, scored.request_id, scored.version)
        headers = (("ce_id", identity.encode()), _SHADOW, *causes)
        return Out(self._decisions, scored.unit.encode(), _ENCODE(scored), headers, partition)

    def step_changed(self, change: StepChanged) -> Out:
        """The fact that another step of a fallback chain answers."""
        request, deployment = change.case.request, change.case.chain.deployment
        fact = FallbackChanged(deployment, change.step, change.version, change.reason, self._instance)
        identity = derived_id("step", deployment, short_id(request.envelope.id), change.step, change.version)
        envelope = caused_by(cast(Message, request), id=identity, source=SOURCE, time_s=request.envelope.time_s)
        return out(self._facts, deployment, fact, envelope)

    def _reply(self, request: Request, headers: Mapping[str, bytes], answer: bytes, causes: Headers) -> Out | None:
        partition = reply_partition(headers, self._reply_partitions)
        if partition is None:
            return None
        name = short_id(request.envelope.id)
        identity = f"reply-{request.record.partition}-{request.record.offset}-{name}".encode()
        correlation = _short(headers.get(REPLY_ID)) or name.encode()
        return Out(
            self._replies, None, answer, (("ce_id", identity), _REPLY, *causes, (REPLY_ID, correlation)), partition
        )


def _short(value: bytes | None) -> bytes | None:
    """What a sender chose and we echo, as long as it is short; None when it is not."""
    return value if value is not None and len(value) <= MAX_TEXT_CHARS else None


def kept_causes(headers: Headers) -> Headers:
    """The causes among the headers of a decision that was written before, for what still follows from it."""
    return tuple(pair for pair in headers if pair[0] in _CAUSES)


def causes_of(request: Request, found: Mapping[str, bytes], at_s: float | None = None) -> Headers:
    """The headers that everything which follows from a request shares. `found`: the request's own headers; `at_s`: the instant that
    replaces its own, None to keep that.
    """
    envelope, ident = request.envelope, short_id(request.envelope.id)
    own = _short(found.get("ce_time")) if at_s is None else None
    causes = (
        ("ce_time", own or format_instant(envelope.time_s if at_s is None else at_s).encode()),
        *_SAME,
        ("ce_causationid", ident.encode()),
        ("ce_correlationid", _short(found.get("ce_correlationid")) or ident.encode()),
    )
    if not envelope.traceparent:
        return causes
    return (*causes, ("traceparent", child_of(envelope.traceparent, ident).encode()))


def reply_partition(found: Mapping[str, bytes], partitions: int) -> int | None:
    """The partition of `inference.replies` that the client listens on; None for none, or one that does not exist.

    >>> reply_partition({REPLY_PARTITION: b"3"}, 8)
    3
    """
    named = found.get(REPLY_PARTITION)
    if named is None or not named.isdigit() or len(named) > 6 or int(named) >= partitions:
        return None
    return int(named)


def answer_to(decision: DecisionMade, provisional: bool = False) -> bytes:
    """The reply that a waiting client gets, encoded."""
    answered = PredictionAnswered(
        decision.request_id, decision.deployment, decision.answer, decision.missing, provisional, decision.stale
    )
    return _ENCODE(answered)
