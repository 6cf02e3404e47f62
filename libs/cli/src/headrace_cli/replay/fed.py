"""Sends the records of the streams' files in order of time, before the requests that may see them, and none that is on the log.

An event does not belong to a deployment: its id is derived only from its stream, file and row. So another replay of the
same files finds them on the log, whatever its deployment is.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from headrace.asking.feeding import AHEAD_S, Applied, Due, Feed
from headrace.asking.playback import Pace
from headrace.errors import Misconfigured
from headrace.features.plan import SLACK_S
from headrace.log.envelope import JSON, MSGPACK, Envelope, read_headers, write_headers
from headrace.log.partition import partition_of
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.reading import Progress, pin_offsets, read_up_to
from headrace_cli.replay.history import Counted
from headrace_cli.replay.ids import Ids, Sent
from headrace_cli.replay.spool import Spool, StreamRecord
from headrace_cli.replay.streams import Events, Stream
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant

# The longest step of requests: with the events sent ahead it stays within the day that values are kept beyond their windows.
LONGEST_STEP_S = 6 * 3600.0
_MOST = 5000
_PIPELINE_BEHIND = 20_000


@dataclass
class Source:
    """One file: its stream, its ids, the counts of its rows, and the rows that are on the log."""

    stream: Stream
    ids: Ids
    counted: Counted
    sent: Sent = field(default_factory=Sent)

    def report(self) -> dict[str, Any]:
        """Its row in the report."""
        return {
            "stream": self.stream.name,
            "file": str(self.stream.table.path),
            "rows": self.counted.rows,
            "bad_rows": self.counted.bad,
            "bad": self.counted.reasons,
            "events": self.sent.requests.count,
            "duplicated": self.sent.repeats,
        }


def read_file(
    stream: Stream, shard: int, spool: Spool[StreamRecord], now_s: float, report: Callable[[str], None]
) -> Source:
    """Read a file into `spool`, as number `shard`."""
    counted = Events(stream, shard, now_s).fill(spool, report)
    return Source(stream, Ids.of(stream.topic, stream.table.digest(), "", stream.words), counted)


class Fed:
    """The streams of one replay; false if there are none."""

    def __init__(
        self, session: Session, sources: Sequence[Source], spool: Spool[StreamRecord], applied: Applied
    ) -> None:
        self._session, self.sources, self._spool = session, sources, spool
        self.feed = Feed(session.log, applied)
        self._partitions: dict[str, int] = {}
        self._waiting: StreamRecord | None = None
        self._events: Iterator[StreamRecord] = iter(())
        self._viewed = [source.stream.topic for source in sources if source.stream.is_viewed]
        self._is_whole = True

    def __bool__(self) -> bool:
        return bool(self.sources)

    @property
    def raw_topics(self) -> list[str]:
        """The topics that a pipeline must read."""
        return [source.stream.topic for source in self.sources if source.stream.is_raw]

    @property
    def left(self) -> int:
        """How many events are not sent yet."""
        return self._spool.count - sum(source.sent.requests.count for source in self.sources)

    async def find(self, progress: Progress) -> None:
        """Read the streams from the beginning to their current ends, to find the records of these files."""
        if not self.sources:
            return
        self.feed = Feed(self._session.log, self.feed.applied)
        for source in self.sources:
            source.sent = Sent()
        topics = list(dict.fromkeys(source.stream.topic for source in self.sources))
        ends = await pin_offsets(self._session.log, topics)
        self._partitions = {topic: sum(tp.topic == topic for tp in ends) for topic in topics}
        self._is_whole = not any((await self._session.log.begin_offsets(ends)).values())
        await read_up_to(self._session.log, ends, self._found, progress)

    def _found(self, record: Record) -> None:
        ident = dict(record.headers).get("ce_id") or b""
        for source in self.sources:
            place = source.ids.place(ident.decode("utf-8", "replace"))
            if place is None or record.topic != source.stream.topic:
                continue
            envelope = read_headers(record)
            if envelope.source != source.ids.mapping:
                raise Misconfigured(
                    f"{source.stream.table.path} was replayed to {source.stream.name} with other columns: give the same"
                    " ones, because records on the log cannot be changed"
                )
            source.sent.repeats += not source.sent.requests.add(*place[:2])
            self.feed.note(record.topic, record.partition, envelope.time_s + source.stream.after_s, record.offset)

    def refuse_forgotten(self) -> None:
        """Raise `Misconfigured` if it can no longer be known which records were sent; to be checked when a replay was begun before."""
        if not self._is_whole:
            raise Misconfigured(
                "a stream no longer holds its beginning (raw streams are kept for 7 days): which records of its file were sent"
                " is not known any more, and this replay cannot continue; use another HEADRACE_NAMESPACE"
            )

    def refuse_gone(self, first_s: float) -> None:
        """Raise `Misconfigured` if the next request, at `first_s`, could not see all events that it should."""
        if self._viewed and self.feed.newest_s > first_s + SLACK_S:
            raise Misconfigured(
                f"the events of these files are on the log up to {instant(self.feed.newest_s)[:16]}, and values are kept for a"
                f" day beyond their windows: a request of {instant(first_s)[:16]} would find none of them; replay the files"
                " under another HEADRACE_NAMESPACE, which is empty"
            )

    async def advance(self, at_s: float, feature_delay_s: float, pace: Pace) -> None:
        """Send the events up to `AHEAD_S` past `at_s`, and wait until inference has applied all that a request may see then."""
        await self._send_until(at_s + AHEAD_S, pace)
        await self.feed.await_applied(at_s - feature_delay_s, self._viewed)

    async def finish(self, pace: Pace) -> None:
        """Send the remaining events, and wait until they are read."""
        await self._send_until(float("inf"), pace)
        await pace.follow("pipeline", self._ends(self.raw_topics), 0)
        await self.feed.await_applied(float("inf"), self._viewed)

    async def close(self) -> None:
        """Close the connection."""
        await self.feed.close()

    async def _send_until(self, until_s: float, pace: Pace) -> None:
        due = self._due(until_s)
        while some := list(islice(due, _MOST)):
            for topic, outs in self._by_topic(some).items():
                await self.feed.send(topic, outs)
            await pace.follow("pipeline", self._ends(self.raw_topics), _PIPELINE_BEHIND)
            await asyncio.sleep(0)

    def begin(self) -> None:
        """Begin with the first event that is not on the log."""
        self._events = (event for event in self._spool.events() if not self._is_sent(event))
        self._waiting = next(self._events, None)

    def _due(self, until_s: float) -> Iterator[StreamRecord]:
        while self._waiting is not None and self._waiting.time_s <= until_s:
            yield self._waiting
            self._waiting = next(self._events, None)

    def _is_sent(self, event: StreamRecord) -> bool:
        return (0, event.number) in self.sources[event.shard].sent.requests

    def _by_topic(self, events: Iterable[StreamRecord]) -> dict[str, list[Due]]:
        found: dict[str, list[Due]] = {}
        for event in events:
            source = self.sources[event.shard]
            found.setdefault(source.stream.topic, []).append(Due(event.time_s, self._out(event, source)))
        return found

    def _out(self, event: StreamRecord, source: Source) -> Out:
        stream, ident = source.stream, source.ids.request(0, event.number)
        is_json = stream.is_raw and getattr(stream.declared, "format", "") == "json"
        envelope = Envelope(ident, "", source.ids.mapping, event.at_s, content_type=JSON if is_json else MSGPACK)
        key = None if event.key is None else event.key.encode()
        partition = 0 if key is None else partition_of(key, self._partitions[stream.topic])
        return Out(stream.topic, key, event.value, write_headers(envelope), partition)

    def _ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        return {tp: end for tp, end in self.feed.ends().items() if tp.topic in topics}
