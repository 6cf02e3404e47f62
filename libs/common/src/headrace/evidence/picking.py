"""Which decisions are meant: by request id, the newest ones, or a random sample of all that are on the log."""

import random
from collections.abc import Iterable, Sequence

from headrace.errors import Misconfigured
from headrace.events.inference import DecisionMade
from headrace.evidence.places import DECISIONS, Place
from headrace.evidence.reading import Evidence
from headrace.log.codec import Message
from headrace.log.port import TopicPartition

# The newest decisions are looked for in so many records per wanted one, and a sample in so many rounds.
_STRIDE, _ROUNDS = 4, 20


async def by_ids(
    evidence: Evidence, ids: Sequence[str], deployment: str | None = None, at_s: float | None = None
) -> list[Message]:
    """The decisions on these requests. `at_s`: about when they were written, if they are older than the index.

    Raises `Misconfigured` with the first one that has none, and the way out.
    """
    found: list[Message] = []
    for ident in ids:
        about = await evidence.about(ident, at_s)
        mine = [m for m in _made(about, deployment) if m.event.request_id == ident]
        if not mine:
            if deployment is not None:
                evidence.projects.declared(deployment)
            raise Misconfigured(await evidence.why_none(deployment, ident, at_s))
        found += mine
    return found


async def last(evidence: Evidence, count: int, deployment: str | None = None) -> list[Message]:
    """The newest decisions, at most `count`, oldest first."""
    begins, ends = await _bounds(evidence)
    found: list[Message] = []
    below = dict(ends)
    while len(found) < count and any(below[tp] > begins[tp] for tp in below):
        step = max(count * _STRIDE // max(len(below), 1), 200)
        lows = {tp: max(end - step, begins[tp]) for tp, end in below.items()}
        places = [Place(DECISIONS, tp.partition, n) for tp in below for n in range(lows[tp], below[tp])]
        found += _made(await evidence.messages(places), deployment)
        below = lows
    found.sort(key=lambda m: (m.record.timestamp_ms, m.record.offset, m.record.partition))
    return found[-count:]


async def sample(evidence: Evidence, count: int, seed: int, deployment: str | None = None) -> list[Message]:
    """Random decisions, at most `count`, each at most once, in the order of the log. The same seed on the same log gives
    the same ones.
    """
    begins, ends = await _bounds(evidence)
    parts = sorted(begins)
    total = sum(ends[tp] - begins[tp] for tp in parts)
    drawn: random.Random = random.Random(seed)
    found: dict[Place, Message] = {}
    tried: set[int] = set()
    for _ in range(_ROUNDS):
        lacking = min(count - len(found), total - len(tried))
        if lacking <= 0:
            break
        fresh = set(drawn.sample(range(total), min(total, 2 * lacking + 10))) - tried
        tried |= fresh
        places = [_place(n, parts, begins, ends) for n in sorted(fresh)]
        for message in _made(await evidence.messages(places), deployment):
            found[Place(DECISIONS, message.record.partition, message.record.offset)] = message
    chosen = sorted(found) if len(found) <= count else sorted(drawn.sample(sorted(found), count))
    return [found[place] for place in chosen]


def _made(messages: Iterable[Message], deployment: str | None) -> list[Message]:
    return [m for m in messages if isinstance(m.event, DecisionMade) and deployment in (None, m.event.deployment)]


async def _bounds(evidence: Evidence) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    parts = await evidence.log.partitions(evidence.topics.name(DECISIONS))
    return await evidence.log.begin_offsets(parts), await evidence.log.end_offsets(parts)


def _place(
    number: int,
    parts: Sequence[TopicPartition],
    begins: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> Place:
    """The n-th record of all partitions."""
    for tp in parts:
        size = ends[tp] - begins[tp]
        if number < size:
            return Place(DECISIONS, tp.partition, begins[tp] + number)
        number -= size
    raise IndexError(number)
