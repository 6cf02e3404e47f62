"""Replies beside transactions: when they are sent, and what a transaction waits for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.hosting.logic import Outputs
from headrace.log.codec import Message
from headrace.log.memory import MemoryLog, MemoryProducer
from headrace.log.port import Ack, Out, TopicPartition
from headrace.testing.shards import Bench, Counter, total


class HeldProducer(MemoryProducer):
    """A producer to a broker that acknowledges nothing until `gate` is open."""

    def __init__(self, log: "HeldLog") -> None:
        super().__init__(log)
        self._log, self._gate = log, log.gate

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        if not self._gate.is_set():
            self._log.has_waiting.set()
        await self._gate.wait()
        return await super().send(outs)


class HeldLog(MemoryLog):
    """Its plain producers wait at `gate`, its transactions do not."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.has_waiting = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def producer(self) -> HeldProducer:
        return HeldProducer(self)


class Answering(Counter):
    """Counts, and replies to everything; `when`: `before` or `after` the commit."""

    when = "after"
    is_deferred = False

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        counted = await super().on_batch(batch)
        replies = [Out(self.topics.name("inference.replies"), None, m.envelope.id.encode(), (), 0) for m in batch]
        outputs = msgspec.structs.replace(counted, **{self.when: replies})
        if self.is_deferred:
            outputs.outs, outputs.deferred = [], lambda: counted.outs
        return outputs


async def set_up(**about: Any) -> tuple[HeldLog, Bench, Any]:
    log = HeldLog()
    bench = await Bench(log).set_up()
    kind = type("Chosen", (Answering,), about)
    return log, bench, bench.host(lambda shard: kind(bench.topics, shard))


async def replies(bench: Bench) -> int:
    ends = await bench.log.end_offsets([TopicPartition(bench.topics.name("inference.replies"), 0)])
    return sum(ends.values())


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)


async def test_work_without_replies_gathers_and_work_with_replies_is_committed_at_once() -> None:
    _, bench, host = await set_up()
    host.linger_s = 60.0
    async with bench.running(host):
        await bench.ask(20)
        assert total(await bench.until(lambda counts: total(counts) >= 20)) == 20


async def test_a_transaction_without_replies_is_committed_after_its_linger() -> None:
    _, bench, host = await set_up(when="before")
    host.linger_s = 0.1
    async with bench.running(host):
        await bench.ask(20)
        await bench.until(lambda counts: total(counts) >= 20)


async def test_replies_sent_before_the_commit_are_acknowledged_before_it() -> None:
    log, bench, host = await set_up(when="before")
    async with bench.running(host):
        await bench.ask(10)
        await bench.until(lambda counts: total(counts) >= 10)
        log.gate.clear()
        held = asyncio.create_task(_ask_past(log, bench))
        await until(lambda: _is_handled(host, 20))
        async with asyncio.timeout(20):
            await log.has_waiting.wait()
        for _ in range(100):  # a commit that did not wait for them would be done by then
            await asyncio.sleep(0)
        assert total(await bench.counts()) == 10
        log.gate.set()
        await held
        await bench.until(lambda counts: total(counts) >= 20)
        assert await replies(bench) == 20


async def test_records_made_at_the_commit_are_written_with_it() -> None:
    _, bench, host = await set_up(is_deferred=True)
    async with bench.running(host):
        await bench.ask(10)
        await bench.until(lambda counts: total(counts) >= 10)


async def _is_handled(host: Any, count: int) -> bool:
    return host.health.handled >= count


async def _ask_past(log: HeldLog, bench: Bench) -> None:
    """Ask through a log with the same content whose producers do not wait."""
    gate, log.gate = log.gate, asyncio.Event()
    log.gate.set()
    await bench.ask(10, start=10)
    log.gate = gate
