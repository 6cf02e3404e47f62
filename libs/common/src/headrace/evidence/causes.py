"""Chains of causes. Every record names the one that caused it (`ce_causationid`); a chain is followed back to its first
record.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.events import type_name
from headrace.events.registry import Route, RouteChanged
from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import read_all

# The topics of causes: those of the control plane, and of the monitor.
CAUSES = (
    "registry.routes", "registry.facts", "registry.commands", "training.requests", "training.facts", "monitor.findings",
    "monitor.verdicts", "monitor.windows",
)  # fmt: skip


class Step(msgspec.Struct, frozen=True):
    """One link of a chain of causes: a record in one line. `at_s`: its domain time; `place`: topic/partition/offset."""

    at_s: float
    what: str
    summary: str
    place: str


async def read_causes(log: Log, codec: Codec, topics: Topics) -> list[Message]:
    """Every record that the topics of causes hold now, topic by topic."""
    return [message for base in CAUSES for message in await read_all(log, codec, [topics.name(base)])]


def by_id_of(messages: list[Message]) -> dict[str, Message]:
    """Facts by their ids, the first of several. Routes are left out: they are the state that a fact describes."""
    found: dict[str, Message] = {}
    for message in messages:
        if not isinstance(message.event, Route):
            found.setdefault(message.envelope.id, message)
    return found


def chain_of_route(messages: list[Message], deployment: str, offset: int | None = None) -> list[Step]:
    """The causes of a deployment's route, newest first; `offset`: of its record, the newest one if None."""
    by_id = by_id_of(messages)
    routes = [m for m in messages if isinstance(m.event, Route) and m.event.deployment == deployment]
    exact = [message for message in routes if offset is None or message.record.offset == offset]
    if exact:
        return walk(exact[-1], by_id)
    # NB: routes are compacted: an old one no longer exists, but its fact does.
    changed = [m for m in by_id.values() if isinstance(m.event, RouteChanged) and m.event.deployment == deployment]
    return walk(changed[-1], by_id) if changed else []


def walk(message: Message, by_id: Mapping[str, Message]) -> list[Step]:
    """Follow `ce_causationid` back from a record, each record once."""
    steps: list[Step] = []
    seen: set[str] = set()
    following: Message | None = message
    while following is not None and following.envelope.id not in seen:
        seen.add(following.envelope.id)
        steps.append(step_of(following))
        following = by_id.get(following.envelope.causation_id or "")
    return steps


def step_of(message: Message) -> Step:
    """One record as a step."""
    event = message.event
    kind = type_name(type(event)) if event is not None else message.envelope.type
    return Step(message.envelope.time_s, kind, sentence(event), place_of(message))


def place_of(message: Message) -> str:
    """Where a record is: topic/partition/offset."""
    record = message.record
    return f"{record.topic}/{record.partition}/{record.offset}"


def sentence(event: Any) -> str:
    """An event in one line."""
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
