"""What the log tells, read by its index: decisions, outcomes, versions, routes and what caused them."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from headrace.asking.decisions import joined
from headrace.errors import Misconfigured, Poison
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.registry import ModelVersion, Route, RouteChanged
from headrace.evidence.fetching import records_at
from headrace.evidence.index import DecisionIndex
from headrace.evidence.places import DECISIONS, OUTCOMES, Place
from headrace.log.codec import Codec, Message, header
from headrace.log.envelope import format_instant
from headrace.log.port import Log, Record, TopicPartition
from headrace.log.reading import read_up_to
from headrace.log.topics import Topics
from headrace.project.applied import Projects

# Of the decisions on a unit, and of its outcomes, so many are read.
MOST_DECISIONS, MOST_OUTCOMES, MOST_FACTS = 1024, 256, 4096
_AT_ONCE = 64
_LONGEST_CHAIN = 50
# Around an instant that a person names: so long before it and after it a decision may have been written.
_BEFORE_S, _AFTER_S = 60.0, 600.0


@dataclass(frozen=True)
class Evidence:
    """A connected log with its names, codec, applied projects and index."""

    log: Log
    topics: Topics
    codec: Codec
    projects: Projects
    index: DecisionIndex

    async def messages(self, places: Sequence[Place]) -> list[Message]:
        """What can be read at these places, in their order."""
        found = await records_at(self.log, self.topics, places)
        return [message for place in places if place in found and (message := self.decoded(found[place])) is not None]

    async def newest(self, topic: str, key: str) -> Message | None:
        """The newest record with a key; None for none."""
        places = await self.index.find("key", key, topic)
        found = await self.messages(places[-1:])
        return found[-1] if found and (found[-1].record.key or b"") == key.encode() else None

    async def version(self, deployment: str, version: int) -> ModelVersion | None:
        """The current state of a version; None where there is none, or not any more."""
        found = await self.newest("registry.models", f"{deployment}/{version}")
        return found.event if found is not None and isinstance(found.event, ModelVersion) else None

    async def decision(self, deployment: str, wanted: str, at_s: float | None = None) -> Message:
        """The newest decision on a request id or unit, with the late scores of its shadows.

        `at_s`: about when it was written, for one that is older than the index. Raises `Misconfigured` with the way
        out.
        """
        if at_s is not None:
            about = await self._around(wanted, at_s)
        else:
            about = await self.messages(await self.index.find("request", wanted))
            about += await self._of_unit(deployment, wanted)
        mine = [m for m in about if _is_about(m, deployment, wanted)]
        made = [m for m in mine if isinstance(m.event, DecisionMade)]
        if not made:
            raise Misconfigured(await self.why_none(deployment, wanted, at_s))
        newest = max(made, key=lambda m: (m.record.timestamp_ms, m.record.offset))
        if newest.event.shadows_due:
            mine += await self.messages(await self.index.find("request", newest.event.request_id))
        late = [m.event for m in mine if isinstance(m.event, ShadowScored)]
        return replace(newest, event=joined([newest.event, *late])[0])

    async def about(self, request: str, at_s: float | None = None) -> list[Message]:
        """What was written about a request id; `at_s`: about when, for one that is older than the index."""
        if at_s is not None:
            return await self._around(request, at_s)
        return await self.messages(await self.index.find("request", request))

    async def outcomes(self, decision: Message) -> list[Message]:
        """The outcomes of a decision's unit; of more than `MOST_OUTCOMES` so many per partition from the decision on, by
        append time.
        """
        unit = decision.event.unit
        places = await self.index.find("outcome", unit, most=MOST_OUTCOMES + 1)
        if len(places) > MOST_OUTCOMES:
            parts = await self.log.partitions(self.topics.name(OUTCOMES))
            since = await self.log.offsets_at(parts, decision.record.timestamp_ms)
            firsts = [Place(OUTCOMES, tp.partition, offset) for tp, offset in since.items()]
            found = [await self.index.find_from("outcome", unit, first, MOST_OUTCOMES) for first in firsts]
            places = [place for of_partition in found for place in of_partition]
        return await self.messages(places)

    async def chain(self, message: Message) -> list[Message]:
        """A record and what caused it, newest first, each record once."""
        found = [message]
        seen = {message.envelope.id}
        while len(found) < _LONGEST_CHAIN and (cause := found[-1].envelope.causation_id) and cause not in seen:
            seen.add(cause)
            places = [
                p for p in await self.index.find("id", cause) if p.topic not in ("registry.routes", "registry.models")
            ]
            causes = [m for m in await self.messages(places[:1]) if m.envelope.id == cause]
            if not causes:
                break
            found += causes
        return found

    async def route(self, deployment: str, offset: int | None, before_ms: int | None = None) -> Message | None:
        """A route's record, or the `RouteChanged` that describes it; None where there is none. `offset`: of its record,
        the newest one if None; `before_ms`: when the decision was written that followed it.
        """
        if offset is None:
            found = await self.newest("registry.routes", deployment)
        else:
            found = (
                next(iter(await self.messages([Place("registry.routes", 0, offset)])), None) if offset >= 0 else None
            )
        if found is not None and isinstance(found.event, Route) and found.event.deployment == deployment:
            return found
        # NB: routes are compacted: an old one no longer exists, but its fact does.
        return next(iter(await self.routes_before(deployment, before_ms)), None)

    async def routes_before(self, deployment: str, before_ms: int | None) -> list[Message]:
        """The newest `RouteChanged` facts of a deployment that were written up to an instant, newest first."""
        places = await self.index.find("key", deployment, "registry.facts")
        if before_ms is not None:
            tp = TopicPartition(self.topics.name("registry.facts"), 0)
            end = (await self.log.offsets_at([tp], before_ms + 1))[tp]
            places = [place for place in places if place.offset < end]
        for last in range(len(places), max(len(places) - MOST_FACTS, 0), -_AT_ONCE):
            facts = await self.messages(places[max(last - _AT_ONCE, 0) : last])
            changed = [m for m in facts if isinstance(m.event, RouteChanged) and m.event.deployment == deployment]
            if changed:
                return changed[::-1]
        return []

    async def all_routes(self, deployment: str) -> list[Message]:
        """Every `RouteChanged` fact of a deployment, oldest first."""
        return [m for m in await self.facts(deployment) if isinstance(m.event, RouteChanged)]

    async def facts(self, deployment: str) -> list[Message]:
        """The registry's facts of a deployment, oldest first: the newest ones that the index finds."""
        facts = await self.messages(await self.index.find("key", deployment, "registry.facts"))
        return [m for m in facts if getattr(m.event, "deployment", "") == deployment]

    async def _of_unit(self, deployment: str, unit: str) -> list[Message]:
        places = await self.index.find("unit", unit, most=MOST_DECISIONS)
        for last in range(len(places), max(len(places) - MOST_DECISIONS, 0), -_AT_ONCE):
            found = await self.messages(places[max(last - _AT_ONCE, 0) : last])
            if mine := [m for m in found if _is_about(m, deployment, unit)]:
                return mine
        return []

    async def _around(self, wanted: str, at_s: float) -> list[Message]:
        """The decisions and late scores with a request id or unit that were written around an instant."""
        parts = await self.log.partitions(self.topics.name(DECISIONS))
        starts = await self.log.offsets_at(parts, int((at_s - _BEFORE_S) * 1000))
        ends = await self.log.offsets_at(parts, int((at_s + _AFTER_S) * 1000))
        found: list[Record] = []
        text = wanted.encode()

        def take(record: Record) -> None:
            if record.key == text or header(record.headers, "ce_causationid") == wanted:
                found.append(record)

        await read_up_to(self.log, ends, take, starts=starts)
        return [message for record in found if (message := self.decoded(record)) is not None]

    async def why_none(self, deployment: str | None, wanted: str, at_s: float | None) -> str:
        """Why a deployment, or the log, has no decision on a request id or unit, with the way out."""
        if at_s is not None:
            return f"{deployment or 'the log'} has no decision on {wanted!r} that was written around {format_instant(at_s)}"
        of = f" of {deployment}" if deployment else ""
        name = self.topics.name(DECISIONS)
        first, _ = await self.index.positions()
        begins = await self.log.begin_offsets(await self.log.partitions(name))
        if any(first.get(tp, begin) > begin for tp, begin in begins.items()):
            return (
                f"the index of decisions holds none{of} on {wanted!r}, and the log has older ones: name about"
                " when it was answered, `--at 2013-04-24T06:00Z`"
            )
        return (
            f"{deployment or 'the log'} has no decision on {wanted!r}: give a request id or a unit, as shown by"
            " `headrace topic tail inference.decisions`"
        )

    def decoded(self, record: Record) -> Message | None:
        """A record as a message; None for one that cannot be read, which services leave out too."""
        try:
            return self.codec.decode(record)
        except Poison:
            return None


def _is_about(message: Message, deployment: str, wanted: str) -> bool:
    event = message.event
    if not isinstance(event, DecisionMade | ShadowScored) or event.deployment != deployment:
        return False
    return wanted in (event.request_id, event.unit)
