"""One batch of raw records: read, transform, write, mark, and only then done."""

import asyncio
import logging
from collections.abc import Sequence

from headrace.bus.dlq import dead_letter
from headrace.bus.poison import PoisonLedger
from headrace.bus.port import Out, Producer, Record
from headrace.codec import out
from headrace.envelope import Envelope, Origin
from headrace.errors import Poison, Retryable
from headrace.events.features import PipelineAdvanced
from headrace.obs.health import Health
from headrace.policy.backoff import delays_s
from headrace.project.contract import Contract, read_raw
from headrace.project.hosting import Handled, TransformRunner
from headrace.topics import Topics
from headrace_pipeline.adapters.rewind import Rewind
from headrace_pipeline.core.memory import Memory

_log = logging.getLogger("headrace.pipeline")

SERVICE = "pipeline"


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
        rewind: Rewind | None = None,
    ) -> None:
        self._topics, self._producer, self._health = topics, producer, health
        self._name, self._runner, self._contract = name, runner, contract
        self._marks, self._rewind = marks, rewind
        self._memory = Memory()
        self._ledger = PoisonLedger()

    async def handle(self, records: Sequence[Record]) -> None:
        """Returns when all outputs and markers are acknowledged; waits for ever when too much is poison."""
        read = [self._read(record) for record in records]
        handled = await (self._transform(read) if self._rewind is None else self._transform_remembering(records, read))
        outs = [
            written for record, found in zip(records, handled, strict=True) for written in self._write(record, found)
        ]
        if any(self._is_over(record, found) for record, found in zip(records, handled, strict=True)):
            await self._stop(records[0])
        await self._send(outs)
        await self._send(self._markers(records))
        self._health.handled += len(records)

    def _read(self, record: Record) -> dict | Poison:
        try:
            return read_raw(record)
        except Poison as poison:
            return poison

    async def _transform(self, read: list) -> list[Handled]:
        results = iter(await self._runner.run([message for message in read if not isinstance(message, Poison)]))
        return [Handled(poison=message) if isinstance(message, Poison) else next(results) for message in read]

    async def _transform_remembering(self, records: Sequence[Record], read: list) -> list[Handled]:
        """The same for a transform with a memory: it is whole again before every message."""
        handled: list[Handled] = []
        while len(handled) < len(records):
            rest = range(len(handled), len(records))
            for first in self._memory.firsts(records, rest):
                await self._remember(first)
            handled += await self._until_failure(records, read, rest)
        return handled

    async def _until_failure(self, records: Sequence[Record], read: list, places: range) -> list[Handled]:
        good = [n for n in places if not isinstance(read[n], Poison)]
        results = dict(zip(good, await self._runner.run_to_failure([read[n] for n in good]), strict=False))
        handled: list[Handled] = []
        for n in places:
            if n not in results and not isinstance(read[n], Poison):
                break
            found = results.get(n) or Handled(poison=read[n])
            handled.append(found)
            self._memory.handled(records[n])
            if n in results and found.poison is not None:
                self._memory.lost(records[n])
                break
        return handled

    async def _remember(self, first: Record) -> None:
        """Feed what lies before `first`, and throw away what comes of it: it was written when it was new."""
        assert self._rewind is not None
        async for chunk in self._rewind.before(first, self._memory.known_to(first)):
            wanted = [
                (r, m) for r in chunk if not self._memory.is_bad(r) and not isinstance(m := self._read(r), Poison)
            ]
            found = await self._runner.run_to_failure([message for _, message in wanted])
            if found and found[-1].poison is not None:
                self._memory.lost(wanted[len(found) - 1][0])
                return await self._remember(first)
            for record in chunk:
                self._memory.handled(record)
        self._memory.caught_up(first)
        return None

    def _write(self, record: Record, handled: Handled) -> list[Out]:
        try:
            if handled.poison is not None:
                raise handled.poison
            return self._outputs(record, handled)
        except Poison as poison:
            handled.poison = poison
            self._health.dead_lettered += 1
            _log.warning("dead-lettered %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
            return [dead_letter(self._topics.dlq(SERVICE), record, poison, SERVICE)]

    def _outputs(self, record: Record, handled: Handled) -> list[Out]:
        cause = f"{record.topic}/{record.partition}/{record.offset}"
        return [
            written
            for index, yielded in enumerate(handled.yielded)
            for written in self._contract.write(
                yielded, Origin(record.topic, record.partition, record.offset, index), cause
            )
        ]

    def _is_over(self, record: Record, handled: Handled) -> bool:
        if handled.poison is None:
            self._ledger.good(record.topic)
            return False
        return self._ledger.bad(record.topic)

    async def _stop(self, record: Record) -> None:
        """Never returns: a batch that is never done is never acknowledged."""
        reason = f"pipeline {self._name} is stopped at {record.topic}/{record.partition}/{record.offset}: too many messages are poison"
        _log.error(reason)
        self._health.fail(f"poison:{self._name}", reason)
        await asyncio.Event().wait()

    def _markers(self, records: Sequence[Record]) -> list[Out]:
        reached: dict[tuple[str, int], int] = {}
        for record in records:
            place = (record.topic, record.partition)
            reached[place] = max(reached.get(place, -1), record.offset)
        return [
            self._marker(topic, partition, raw, number, offset)
            for (raw, number), offset in reached.items()
            for topic, count in self._marks
            for partition in range(count)
        ]

    def _marker(self, topic: str, partition: int, raw: str, number: int, offset: int) -> Out:
        event = PipelineAdvanced(self._name, raw, number, offset)
        envelope = Envelope(f"{self._name}/{raw}/{number}/{offset}/{partition}", "", self._name, 0.0)
        return out(topic, None, event, envelope, partition)

    async def _send(self, outs: list[Out]) -> None:
        """Until acknowledged; a repeat after an unknown outcome is dropped downstream by its origin."""
        for delay_s in delays_s(0.2, 3.0):
            try:
                await self._producer.send(outs)
            except Retryable as error:
                _log.warning("%s; trying again in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                return
