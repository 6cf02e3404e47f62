"""The links of a chain of causes. Every record names the one that caused it (`ce_causationid`)."""

from typing import Any

import msgspec

from headrace.events import type_name
from headrace.events.monitor import WindowClosed
from headrace.events.registry import Route, RouteChanged
from headrace.events.verdicts import VerdictGiven
from headrace.evidence.steps import State, found_by, sentence, state_of
from headrace.log.codec import Message
from headrace.log.envelope import format_instant

# The topics of causes: those of the control plane, and of the monitor.
CAUSES = (
    "registry.routes", "registry.facts", "registry.commands", "training.requests", "training.facts", "monitor.findings",
    "monitor.verdicts", "monitor.windows",
)  # fmt: skip


class Cause(msgspec.Struct, frozen=True):
    """One link of a chain of causes: a record in one line. `at_s`: its domain time; `place`: topic/partition/offset.
    `wall_s`: when it was appended. `state`: how it is marked, `unknown` for a type that is not known.
    """

    at_s: float
    what: str
    summary: str
    place: str
    wall_s: float
    state: State


def cause_of(message: Message) -> Cause:
    """One record as a link of a chain."""
    event = message.event
    kind = type_name(type(event)) if event is not None else message.envelope.type
    state: State = "unknown" if event is None else state_of(event)
    wall_s = message.record.timestamp_ms / 1000.0
    return Cause(message.envelope.time_s, kind, _words(message), message.record.place, wall_s, state)


def _words(message: Message) -> str:
    """A record of a chain in one line: a route by its shares, a verdict with its evidence."""
    event = message.event
    match event:
        case Route() | RouteChanged():
            return plain_words(event)
        case VerdictGiven():
            return f"{plain_words(event)}, by {message.envelope.source}{found_by(event.evidence)}"
        case WindowClosed():
            counts = f"{event.requests:,} requests, {event.labelled:,} with their outcome"
            return f"window to {format_instant(int(event.to_s))}: {event.verdict}, {counts}"
    return sentence(event) or plain_words(event)


def plain_words(event: Any) -> str:
    """An event in one line by its fields alone: for those that `headrace.evidence.steps` has no sentence for."""
    if isinstance(event, RouteChanged):
        event = event.route
    if isinstance(event, Route):
        shares = ", ".join(f"version {version} {share:.0%}" for version, share in event.shares.items())
        return f"{shares or 'no version'}: {event.reason}"
    parts = [f"version {event.version}"] if getattr(event, "version", None) else []
    for name in ("summary", "reason", "detail", "step", "outcome"):
        if text := getattr(event, name, ""):
            parts.append(str(text))
            break
    if by := getattr(event, "by", ""):
        parts.append(f"by {by}")
    return ", ".join(parts)
