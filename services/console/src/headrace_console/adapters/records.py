"""One record of the log for a person, and one decision explained: what `headrace explain` prints, as documents."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from headrace.errors import Misconfigured, Retryable
from headrace.evidence.causes import Cause
from headrace.evidence.explain import explain_decision
from headrace.evidence.reading import Evidence
from headrace.evidence.records import read_record
from headrace_console.core.documents import DecisionView, Found, RecordView, TimelineStep
from headrace_console.core.places import Place, base_place
from headrace_console.core.search import MOST_CHARS, decision
from headrace_edge.rules.replies import Reply, error_reply

T = TypeVar("T")


class Records:
    """Reads single records. `reads`: how many at once, `within_s`: how long one may take."""

    def __init__(self, evidence: Evidence, reads: int, within_s: float) -> None:
        self._evidence, self._within_s = evidence, within_s
        self._free = asyncio.Semaphore(reads)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the index of decisions at the end of the log until `stop`."""
        try:
            await self._evidence.index.follow(self._evidence.log, self._evidence.topics, stop)
        finally:
            self._evidence.index.close()

    async def read(self, place: Place) -> RecordView | Reply:
        """The record of a place, or why it is not shown."""
        return await self._within(self._read(f"{place.topic}/{place.partition}/{place.offset}"))

    async def explain(self, deployment: str, wanted: str) -> DecisionView | Reply:
        """The newest decision on a request id or unit, or why there is none."""
        return await self._within(self._explain(deployment, wanted))

    async def find(self, text: str, deployments: list[str]) -> list[Found]:
        """The newest decision on a request id or unit, where there is one."""
        wanted = text.strip()
        if not wanted or len(wanted) > MOST_CHARS:
            return []
        found = await self._within(self._decisions(wanted, deployments))
        return [] if isinstance(found, Reply) else found

    async def _read(self, place: str) -> RecordView:
        evidence = self._evidence
        found = await read_record(evidence.log, evidence.codec, evidence.topics, place)
        causes = await evidence.index.find("id", found.cause) if found.cause else []
        cause = f"{causes[0].topic}/{causes[0].partition}/{causes[0].offset}" if causes else ""
        named = {
            "ce_source": found.source, "ce_causationid": found.cause, "ce_correlationid": found.correlation,
            "ce_origin": found.origin, "sentence": found.sentence, "unread": found.unread,
        }  # fmt: skip
        headers = {name: text for name, text in named.items() if text}
        place = self._base(found.place)
        return RecordView(
            place, found.kind, found.id, found.key, found.event_s, found.wall_s, found.value, headers, self._base(cause)
        )

    async def _explain(self, deployment: str, wanted: str) -> DecisionView:
        found = await explain_decision(self._evidence, deployment, wanted)
        steps = tuple(self._step(cause, order) for order, cause in enumerate(found.why))
        places = {"place": self._base(found.place), "request_place": self._base(found.request_place), "why": steps}
        return msgspec.convert(msgspec.structs.asdict(found) | places, DecisionView)

    async def _decisions(self, wanted: str, deployments: list[str]) -> list[Found]:
        by_request = await self._evidence.index.find("request", wanted)
        by_unit = [] if by_request else await self._evidence.index.find("unit", wanted)
        found = {
            (event.deployment, wanted if by_unit else event.request_id)
            for message in await self._evidence.messages((by_request or by_unit)[-8:])
            if (event := message.event) is not None and wanted in (event.request_id, event.unit)
        }
        return [decision(name, ident, is_unit=bool(by_unit)) for name, ident in sorted(found) if name in deployments]

    def _step(self, cause: Cause, order: int) -> TimelineStep:
        place = self._base(cause.place)
        return TimelineStep(order, cause.what, cause.summary, cause.state, cause.at_s, cause.wall_s, place)

    def _base(self, place: str) -> str:
        return base_place(place, self._evidence.topics.namespace)

    async def _within(self, work: Awaitable[T]) -> T | Reply:
        """The result, or why there is none now."""
        try:
            async with asyncio.timeout(self._within_s), self._free:
                return await work
        except TimeoutError:
            return error_reply(503, f"the log did not answer within {self._within_s:g} s", 1.0)
        except Misconfigured as error:
            return error_reply(404, str(error))
        except Retryable as error:
            return error_reply(503, str(error), 1.0)
