"""One batch of raw records: read, transform, write, mark, and only then done."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.clock import Clock
from headrace.errors import Misconfigured, Poison, Retryable
from headrace.events.features import PipelineAdvanced
from headrace.hosting.health import Health
from headrace.hosting.stops import Stops, way_on
from headrace.hosting.triage import Learn
from headrace.log.backoff import delays_s
from headrace.log.codec import out
from headrace.log.dead_letters import dead_letter
from headrace.log.envelope import Envelope, Origin
from headrace.log.poison import IN_A_ROW, PoisonLedger
from headrace.log.port import Out, Producer, Record
from headrace.log.topics import Topics
from headrace.project.contract import Contract, read_raw
from headrace.project.hosting import Handled, TransformRunner
from headrace.project.threads import MOST_HELD_BYTES
from headrace_pipeline.adapters.in_hand import InHand
from headrace_pipeline.adapters.rewind import Rewind
from headrace_pipeline.core.memory import Memory, Place, place_of
from headrace_pipeline.recall import Read, Recall

_log = logging.getLogger("headrace.pipeline")

SERVICE = "pipeline"
# So many records are on their way at once.
_SEND_AT_ONCE = 2000
# What a batch has become is written at the latest when its next message is handled after so long.
_WRITE_AFTER_S = 1.0


@dataclass
class _Written:
    """What a batch amounts to: records to send, so many of them dead letters; where a partition stops, by place, with the reason."""

    outs: list[Out] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    stops: dict[Place, tuple[int, str]] = field(default_factory=dict)
    letters: int = 0


class PipelineShell:
    """Handles the batches of one pipeline. Never raises for a record: what cannot pass is dead-lettered."""

    def __init__(
        self,
        topics: Topics,
        producer: Producer,
        health: Health,
        name: str,
        runner: TransformRunner,
        contract: Contract,
        marks: list[tuple[str, int]],
        stops: Stops,
        clock: Clock,
        in_hand: InHand,
        raw: str,
        rewind: Rewind | None = None,
        topic_id: str = "",
        learn: Learn | None = None,
    ) -> None:
        self._topics, self._producer, self._health = topics, producer, health
        self._name, self._runner, self._contract = name, runner, contract
        self._marks, self._stops, self._clock = marks, stops, clock
        self._in_hand, self._slot = in_hand, in_hand.slot(name, raw)
        self._topic_id, self._learn = topic_id, learn
        # Partitions of which what lies before their first record here is marked.
        self._begun: set[Place] = set()
        self._memory = Memory()
        self._recall = Recall(name, self._memory, rewind, self._read, self._run, runner.close) if rewind else None
        self._ledger = PoisonLedger()
        # Stopped partitions of which records are held back here.
        self.stopped: set[Place] = set()

    async def handle(self, records: Sequence[Record]) -> Mapping[Place, int]:
        """Returns when all outputs and markers are acknowledged: per stopped partition the first offset that is not done."""
        records = [record for record in records if not self._is_held(record)]
        await self._begin(records)
        while records:
            written = await self._some(records)
            if written.letters or written.stops:
                await self._know_what_is_applied()
            await self._send(written.outs)
            await self._send(self._markers(_reached(written.done)))
            self._health.handled += len(written.done)
            for (topic, partition), (offset, reason) in written.stops.items():
                await self._stop(topic, partition, offset, reason)
            done = {(r.topic, r.partition, r.offset) for r in written.done}
            records = [r for r in records if (r.topic, r.partition, r.offset) not in done and not self._is_held(r)]
        return {(s.topic, s.partition): s.offset for s in self._stops.stopped}

    async def _know_what_is_applied(self) -> None:
        """NB: what could not be handled may be meant for what was applied a moment ago: then this process ends, and the next one does it."""
        learn = self._learn
        if learn is None:
            return
        for delay_s in delays_s(0.2, 3.0):
            try:
                await learn()
            except Retryable as error:
                _log.warning("%s; trying again in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                return

    async def _begin(self, records: Sequence[Record]) -> None:
        """Say of which topic a partition's records are, before any of them: of one that was made again they are no repeats."""
        if not self._topic_id:  # the broker gives none
            return
        before: dict[Place, int] = {}
        for record in records:
            if (place := place_of(record)) not in self._begun:
                before.setdefault(place, record.offset - 1)
        await self._send(self._markers(before))
        self._begun |= before.keys()

    @property
    def hung_count(self) -> int:
        """Threads that hang and could not be ended."""
        return self._runner.left_count

    @property
    def held_bytes(self) -> int:
        """What is kept of records on which the transform failed, by estimate."""
        return self._memory.held_bytes

    def _is_held(self, record: Record) -> bool:
        """Whether it lies past its partition's stop, or before the place where an operator let it go on."""
        stopped_at = self._stops.at(record.topic, record.partition)
        if stopped_at is not None and record.offset >= stopped_at:
            self.stopped.add(place_of(record))
            return True
        return record.offset < self._stops.goes_on_at(record.topic, record.partition)

    async def _some(self, records: Sequence[Record]) -> _Written:
        """Handle records up to a failure, or as many as should be held at once; at least one."""
        read = [self._read(record) for record in records]
        handled = await self._transformed(records, read)
        self._health.clear(f"pipeline:{self._name}")
        written = _Written()
        for record, found in zip(records, handled, strict=False):
            place = place_of(record)
            if place not in written.stops:
                self._write(record, found, written)
        return written

    async def _transformed(self, records: Sequence[Record], read: list[Read]) -> list[Handled]:
        """NB: a transform that cannot start is no record's fault: it is told, and tried again for ever."""
        for delay_s in delays_s(1.0, 60.0):
            try:
                if self._recall is None:
                    return await self._forgetful(records, read)
                return await self._remembering(self._recall, records, read)
            except Misconfigured as error:
                _log.error("%s; trying again in %.0f s", error, delay_s)
                self._health.fail(f"pipeline:{self._name}", str(error))
                await asyncio.sleep(delay_s)
        raise AssertionError("delays never end")

    def _read(self, record: Record) -> Read:
        if (poison := self._in_hand.why_not(self._name, record)) is not None:
            return poison
        try:
            return read_raw(record)
        except Exception as error:
            # NB: whatever is raised while one record is read is that record's.
            return error if isinstance(error, Poison) else Poison(str(Poison.of(error)))

    async def _forgetful(self, records: Sequence[Record], read: list[Read]) -> list[Handled]:
        """A transform without memory starts anew after each failure; what is done is written once it took a while."""
        begun_s, handled = self._clock.monotonic_s(), list[Handled]()
        while len(handled) < len(read):
            handled += await self._until_failure(records[len(handled) :], read[len(handled) :])
            failed = sum(found.poison is not None for found in handled)
            held_bytes = sum(found.held_bytes for found in handled)
            if (
                failed > IN_A_ROW
                or held_bytes > MOST_HELD_BYTES
                or self._clock.monotonic_s() - begun_s > _WRITE_AFTER_S
            ):
                break
        return handled

    async def _remembering(self, recall: Recall, records: Sequence[Record], read: list[Read]) -> list[Handled]:
        """The same for a transform with a memory: it is whole again before every message."""
        await recall.before(records)
        handled = await self._until_failure(records, read)
        for record, found, got in zip(records, handled, read, strict=False):
            self._memory.handled(record)
            if found.poison is not None and not isinstance(got, Poison):
                self._memory.lost(record)
        return handled

    async def _until_failure(self, records: Sequence[Record], read: list[Read]) -> list[Handled]:
        """What became of the first records: up to the first on which the transform failed, or as many as it took."""
        results = await self._run([pair for pair in zip(records, read, strict=True) if not isinstance(pair[1], Poison)])
        taken = iter(results)
        handled: list[Handled] = []
        for message in read:
            if isinstance(message, Poison):
                handled.append(Handled(poison=message))
                continue
            found = next(taken, None)
            if found is None:
                break
            handled.append(found)
        return handled

    async def _run(self, pairs: Sequence[tuple[Record, Any]]) -> list[Handled]:
        """Let the transform run on these, the one that it is at noted where it outlives the process."""
        async with self._in_hand.turn():
            try:
                found = await self._runner.run_to_failure(
                    [message for _, message in pairs], lambda at: self._slot.take(pairs[at][0])
                )
            finally:
                self._slot.done()
        for record, _ in pairs[: len(found)]:
            self._in_hand.survived(self._name, record)
        return found

    def _write(self, record: Record, handled: Handled, written: _Written) -> None:
        """Add a record's outputs, or its dead letter; or stop its partition before it, when that is one too many."""
        place = place_of(record)
        try:
            if handled.poison is not None:
                raise handled.poison
            outs = self._outputs(record, handled)
        except Poison as poison:
            if self._ledger.bad(place):
                reason = f"pipeline {self._name} cannot handle too many of its messages: {poison}"
                written.stops[place] = (record.offset, reason)
                return
            self._health.dead_lettered += 1
            _log.warning("dead-lettered %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
            written.letters += 1
            outs = [dead_letter(self._topics.dlq(SERVICE), record, poison, SERVICE)]
        else:
            self._ledger.good(place)
        written.outs += outs
        written.done.append(record)

    def _outputs(self, record: Record, handled: Handled) -> list[Out]:
        cause = f"{record.topic}/{record.partition}/{record.offset}"
        append_ms = int(self._clock.now_s() * 1000)
        return [
            written
            for index, yielded in enumerate(handled.yielded)
            for written in self._contract.write(
                yielded, Origin(record.topic, record.partition, record.offset, index), cause, append_ms
            )
        ]

    async def _stop(self, topic: str, partition: int, offset: int, reason: str) -> None:
        on = way_on(self._topics.base(topic))
        _log.error("%s/%s is stopped at offset %s: %s; %s", topic, partition, offset, reason, on)
        self._ledger.forget((topic, partition))
        # NB: the transform has seen what lies past the stop, and nothing of that was written: it must forget it.
        await self._runner.close()
        self._memory.forget()
        await self._stops.stop(topic, partition, offset, reason)

    def _markers(self, reached: Mapping[Place, int]) -> list[Out]:
        return [
            self._marker(topic, partition, raw, number, offset)
            for (raw, number), offset in reached.items()
            for topic, count in self._marks
            for partition in range(count)
        ]

    def _marker(self, topic: str, partition: int, raw: str, number: int, offset: int) -> Out:
        event = PipelineAdvanced(self._name, raw, number, offset, self._topic_id)
        envelope = Envelope(f"{self._name}/{raw}/{number}/{offset}/{partition}", "", self._name, 0.0)
        return out(topic, None, event, envelope, partition)

    async def _send(self, outs: list[Out]) -> None:
        """Until acknowledged; a repeat after an unknown outcome is dropped downstream by its origin."""
        for begin in range(0, len(outs), _SEND_AT_ONCE):
            await self._send_all(outs[begin : begin + _SEND_AT_ONCE])

    async def _send_all(self, outs: list[Out]) -> None:
        for delay_s in delays_s(0.2, 3.0):
            try:
                await self._producer.send(outs)
            except Retryable as error:
                _log.warning("%s; trying again in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                return


def _reached(records: Sequence[Record]) -> dict[Place, int]:
    """Per partition the highest offset."""
    reached: dict[Place, int] = {}
    for record in records:
        place = place_of(record)
        reached[place] = max(reached.get(place, -1), record.offset)
    return reached
