"""Replays the history of raw streams and sources in step with requests: each record once, and none too late.

A request for instant t is sent only after inference has applied what was available at t - feature_delay. Records may
run ahead of requests. That hides the lag and leaks nothing, because a feature never reads panes after t -
feature_delay.
"""

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.asking.playback import RESEND_S, STUCK_S
from headrace.errors import Retryable
from headrace.events.ops import HealthReported
from headrace.log.codec import Message
from headrace.log.port import Ack, Log, Out, Producer, Record, TopicPartition

# How far a live replay runs ahead of its requests.
AHEAD_S = 45 * 60.0
SILENT_S = 5.0
_LOOK_S = 0.005


@dataclass
class Applied:
    """What inference reports as applied: per raw or source `topic/partition` the offset of the slowest instance."""

    by_instance: dict[str, dict[str, int]] = field(default_factory=dict)
    _seen_ms: dict[str, int] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Take a record of `ops.health`. An instance without a report for `SILENT_S` is dropped, so that it blocks
        nobody.
        """
        report = message.event
        newest_ms = message.record.timestamp_ms
        for instance in [i for i, seen_ms in self._seen_ms.items() if newest_ms - seen_ms > SILENT_S * 1000]:
            self._seen_ms.pop(instance)
            self.by_instance.pop(instance, None)
        if not isinstance(report, HealthReported) or report.service != "inference":
            return
        if report.stopping:
            self.by_instance.pop(report.instance, None)
            self._seen_ms.pop(report.instance, None)
        else:
            self.by_instance[report.instance] = report.applied
            self._seen_ms[report.instance] = newest_ms

    def reached(self, place: str) -> int:
        """The highest offset of a partition that every instance has applied; -1 for none."""
        return min((applied.get(place, -1) for applied in self.by_instance.values()), default=-1)


class Due(NamedTuple):
    """A record to be sent at `at_s`, with its partition chosen. Records of equal content need different `ce_id`s."""

    at_s: float
    out: Out


@dataclass
class _Sent:
    """The records of one partition: ascending instants, and the offset of each."""

    instants: array = field(default_factory=lambda: array("d"))
    offsets: array = field(default_factory=lambda: array("q"))

    def last_by(self, at_s: float) -> int:
        """The offset of the newest record that was available at `at_s`; -1 for none."""
        place = bisect_right(self.instants, at_s)
        return self.offsets[place - 1] if place else -1


class Feed:
    """Sends the records of raw streams and sources. `sent`: how many; `newest_s`: the newest instant on the log."""

    def __init__(self, log: Log, applied: Applied) -> None:
        self._log, self.applied = log, applied
        self._sent: dict[str, _Sent] = {}
        self._ends: dict[str, dict[TopicPartition, int]] = {}
        self._producer: Producer | None = None
        self.sent = 0
        self.newest_s = float("-inf")

    def note(self, topic: str, partition: int, at_s: float, offset: int) -> None:
        """Note that a record of this history is on the log. Call it in the order of offsets within a partition."""
        sent = self._sent.setdefault(f"{topic}/{partition}", _Sent())
        sent.instants.append(max(at_s, sent.instants[-1]) if sent.instants else at_s)
        sent.offsets.append(offset)
        self.newest_s = max(self.newest_s, at_s)

    def ends(self) -> dict[TopicPartition, int]:
        """The offset after the newest record of this history, per partition."""
        places = {place.rpartition("/"): sent for place, sent in self._sent.items()}
        return {TopicPartition(topic, int(p)): sent.offsets[-1] + 1 for (topic, _, p), sent in places.items()}

    async def send(self, topic: str, due: Sequence[Due]) -> None:
        """Write records of one topic in order, each once. Waits while the broker is away."""
        if not due:
            return
        acks = await self._send_once(topic, [found.out for found in due])
        for found, ack in zip(due, acks, strict=True):
            self.note(topic, ack.partition, found.at_s, ack.offset)
        self.sent += len(due)

    async def await_applied(self, at_s: float, topics: Sequence[str] | None = None) -> None:
        """Wait until inference has applied what was available at `at_s` of these topics (None: of all).

        Raises `Retryable` when it has made no progress for `STUCK_S`.
        """
        wanted = {
            place: sent.last_by(at_s)
            for place, sent in self._sent.items()
            if topics is None or place.rpartition("/")[0] in topics
        }
        clock = asyncio.get_running_loop().time
        stands, since_s = None, clock()
        while missing := {p: offset for p, offset in wanted.items() if self.applied.reached(p) < offset}:
            reached = {place: self.applied.reached(place) for place in missing}
            if reached != stands:
                stands, since_s = reached, clock()
            elif clock() - since_s > STUCK_S:
                place, offset = next(iter(missing.items()))
                raise Retryable(
                    f"for {STUCK_S:.0f} s inference has applied {place} only up to {reached[place]}, the replay needs {offset}: "
                    "see `headrace status`"
                )
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Close the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    async def _send_once(self, topic: str, outs: Sequence[Out]) -> list[Ack]:
        """Send without ever writing a record twice: a copy would be a new origin, and would count again.

        When the outcome of a send is unknown, the partitions are read from their former ends, and only what is missing
        is sent.
        """
        producer = self._producer = self._producer or await self._log.producer()
        partitions = await self._log.partitions(topic)
        before = self._ends.get(topic) or await self._log.end_offsets(partitions)
        found: dict[tuple[int, bytes], Ack] = {}
        while missing := [out for out in outs if _identity(out) not in found]:
            try:
                for written, ack in zip(missing, await producer.send(missing), strict=True):
                    found[_identity(written)] = ack
            except Retryable:
                await asyncio.sleep(RESEND_S)
                found |= await self._written_since(before)
        acks = [found[_identity(out)] for out in outs]
        self._ends[topic] = {**before, **{TopicPartition(topic, ack.partition): ack.offset + 1 for ack in sorted(acks)}}
        return acks

    async def _written_since(self, before: Mapping[TopicPartition, int]) -> dict[tuple[int, bytes], Ack]:
        ends = await self._log.end_offsets(before)
        reader = await self._log.reader(list(before), before)
        found: dict[tuple[int, bytes], Ack] = {}
        try:
            while any([await reader.position(tp) < ends[tp] for tp in ends]):
                for record in await reader.fetch(0.5):
                    found[_identity(record)] = Ack(record.topic, record.partition, record.offset)
        finally:
            await reader.close()
        return found


def _identity(record: Out | Record) -> tuple[int, bytes]:
    """Identifies a record by its partition, and its `ce_id` or else its value."""
    return record.partition or 0, dict(record.headers).get("ce_id") or record.value or b""
