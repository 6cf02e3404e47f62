"""One record of the log for a person: read at its place, decoded with limits, without any of our types."""

import asyncio

from headrace.errors import HeadraceError, Misconfigured
from headrace.log.envelope import parse_instant
from headrace.log.port import Log, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.untyped import untyped
from headrace_console.core.documents import RecordView
from headrace_console.core.places import Place, bare
from headrace_edge.rules.replies import Reply, error_reply

# Longer values are shown as text that is cut.
_DECODED_BYTES, _SHOWN_CHARS, _HEADER_CHARS = 262_144, 4_000, 500
_LATEST_VERSION = "v1"


class Records:
    """Reads single records. `reads`: how many at once, `within_s`: how long one may take."""

    def __init__(self, log: Log, topics: Topics, reads: int, within_s: float) -> None:
        self._log, self._topics, self._within_s = log, topics, within_s
        self._free = asyncio.Semaphore(reads)

    async def read(self, place: Place) -> RecordView | Reply:
        """The record of a place, or why it is not shown."""
        name = self._full(place.topic)
        if name is None:
            return error_reply(404, f"there is no topic {place.topic} of Headrace")
        try:
            async with asyncio.timeout(self._within_s), self._free:
                found = await self._fetch(TopicPartition(name, place.partition), place.offset)
        except TimeoutError:
            return error_reply(503, f"the log did not answer within {self._within_s:g} s", 1.0)
        except HeadraceError as error:
            return error_reply(404, str(error))
        if found is None:
            return error_reply(404, f"{place.topic}/{place.partition} holds no record at {place.offset} (any more)")
        return _view(found, self._topics)

    def _full(self, topic: str) -> str | None:
        """The full name of a topic that people name without namespace and version; None for one that is not ours."""
        base = bare(self._topics.base(topic))
        name = self._topics.prefixed(f"{base}.{_LATEST_VERSION}")
        try:
            self._topics.rule(name)
        except Misconfigured:
            return None
        return name

    async def _fetch(self, tp: TopicPartition, offset: int) -> Record | None:
        if tp not in await self._log.partitions(tp.topic):
            return None
        begins, ends = await self._log.begin_offsets([tp]), await self._log.end_offsets([tp])
        if not begins[tp] <= offset < ends[tp]:
            return None
        reader = await self._log.reader([tp], {tp: offset}, committed=False)
        try:
            while await reader.position(tp) <= offset:
                records = await reader.fetch(0.5, max_records=1)
                if records:
                    return records[0] if records[0].offset == offset else None
            return None
        finally:
            await reader.close()


def _view(record: Record, topics: Topics) -> RecordView:
    headers = {name: (value or b"").decode("utf-8", "replace")[:_HEADER_CHARS] for name, value in record.headers}
    topic = bare(topics.base(record.topic))
    value = record.value
    if value is not None and len(value) > _DECODED_BYTES:
        shown = f"{value[:_SHOWN_CHARS].decode('utf-8', 'replace')}... ({len(value):,} bytes)"
    else:
        shown = untyped(value, headers.get("content-type", ""))
    return RecordView(
        f"{topic}/{record.partition}/{record.offset}",
        headers.get("ce_type", ""),
        headers.get("ce_id", ""),
        (record.key or b"").decode("utf-8", "replace")[:_HEADER_CHARS],
        _instant(headers.get("ce_time", ""), record.timestamp_ms / 1000),
        record.timestamp_ms / 1000,
        shown,
        headers,
    )


def _instant(text: str, otherwise_s: float) -> float:
    try:
        return parse_instant(text) if text else otherwise_s
    except HeadraceError:
        return otherwise_s
