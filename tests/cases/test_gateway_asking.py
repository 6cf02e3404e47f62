"""The client side of the gateway survives a broker that accepts nothing, garbage among the replies, and topics that are deleted and created again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from headrace.asking import asker as asking
from headrace.asking.asker import Asker
from headrace.asking.pending import Pending, Question
from headrace.clock import SystemClock
from headrace.errors import Misconfigured, Retryable
from headrace.events.inference import PredictionRequested, Score, Served
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog, MemoryProducer
from headrace.log.port import Ack, Log, Out, TopicPartition
from headrace.log.topics import Topics
from headrace.testing.answering import reply_to

ANSWER = Served(Score(3, "d", 0.5))


class Gate(MemoryLog):
    """A log that acknowledges nothing while it is shut. `gone`: topics that are not found."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.gone: set[str] = set()
        self.is_frozen = False

    async def producer(self) -> MemoryProducer:
        return Gated(self)

    async def partitions(self, topic: str) -> list[TopicPartition]:
        if self.is_frozen:
            await asyncio.Event().wait()
        if topic in self.gone:
            raise Misconfigured(f"topic {topic} does not exist")
        return await super().partitions(topic)


class Gated(MemoryProducer):
    """A producer that waits while the log is shut."""

    def __init__(self, log: Gate) -> None:
        super().__init__(log)
        self._gate = log

    async def send(self, outs: Sequence[Out]) -> list[Ack]:
        await self._gate.is_open.wait()
        return await super().send(outs)


class Bench:
    """An asker on a log, and a task that answers."""

    def __init__(self, log: Log, namespace: str = "") -> None:
        self.log, self.topics, self.health = log, Topics.load(namespace), Health("gateway", "g", failures={})
        self.codec = Codec(self.topics)
        self.asker = Asker(log, self.codec, self.topics, SystemClock(), "g", health=self.health)
        self.answers = True

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Asker]:
        await ensure_topics(self.log, self.topics.specs())
        await self.asker.start()
        stop, listening = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(self.asker.run(stop)), asyncio.create_task(self.respond(stop, listening))]
        await listening.wait()
        yield self.asker
        stop.set()
        await asyncio.gather(*tasks)

    async def respond(self, stop: asyncio.Event, listening: asyncio.Event) -> None:
        reader = await self.log.reader(await self.log.partitions(self.topics.name("inference.requests")), "end")
        producer = await self.log.producer()
        listening.set()
        while not stop.is_set():
            for record in await reader.fetch(0.05):
                if self.answers:
                    await producer.send([self.reply(record.headers)])
        await producer.close()
        await reader.close()

    def reply(self, asked: Sequence[tuple[str, bytes]]) -> Out:
        return reply_to(self.topics, asked, "delay", ANSWER)


def question(ident: str = "r", text: str = "AA") -> Question:
    return Question(ident, PredictionRequested("delay", {"carrier": text}, "u", 100), 1.7e9)


async def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_questions_of_a_blocked_send_are_dropped_at_their_deadline_and_the_next_ones_are_answered() -> None:
    log = Gate()
    bench = Bench(log)
    async with bench.asking() as asker:
        assert (await asker.ask([question()], 5000))[0] is not None
        log.is_open.clear()
        for wave in range(20):
            asked = [question(f"{wave}/{n}", "x" * 500) for n in range(200)]
            assert await asker.ask(asked, 30) == [None] * 200
        assert (asker.waiting, asker.held_bytes, len(asker._queue)) == (0, 0, 0)
        log.is_open.set()
        (answered,) = await asker.ask([question("after")], 10_000)
        assert answered is not None
        assert answered.request_id == "after"
    assert bench.health.state_limits["questions"] == asking.LIMIT_BYTES


async def test_more_bytes_than_may_wait_are_refused_and_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LIMIT_BYTES", 10 * asking.QUESTION_BYTES)
    bench = Bench(Gate())
    async with bench.asking() as asker:
        with pytest.raises(Retryable, match="waiting already"):
            await asker.ask([question(str(n)) for n in range(10)], 1000)
        assert (asker.waiting, asker.held_bytes, len(asker._queue)) == (0, 0, 0)
        assert (await asker.ask([question()], 5000))[0] is not None


async def test_a_question_that_cannot_be_written_leaves_no_other_one_open() -> None:
    bench = Bench(Gate())
    async with bench.asking() as asker:
        with pytest.raises(UnicodeEncodeError):
            await asker.ask([question(), question("b", "\ud800")], 1000)
        assert (asker.waiting, len(asker._queue), len(asker._waiting)) == (0, 0, 0)


GARBAGE = [
    (b"\xc1", (("headrace_reply_id", None),)),
    (None, ()),
    (b"", (("headrace_reply_id", b"\xff\xfe"),)),
    (b"{}", (("ce_origin", b"a/b/c/d"), ("ce_time", b"never"))),
    (b"\x80" * 1000, (("ce_type", b"no.such"),)),
]


async def test_garbage_late_and_repeated_replies_are_passed_over_and_the_answer_is_received() -> None:
    log = Gate()
    bench = Bench(log)
    bench.answers = False
    async with bench.asking() as asker:
        waiting = asyncio.create_task(asker.ask([question(), question("other")], 10_000))
        await until(lambda: len(asker._waiting) == 2)
        place = asker._place
        ours = [reply_id.encode() for reply_id in asker._waiting]
        for value, headers in GARBAGE:
            for reply_id in (*ours, b"somebody-else"):
                given = {"headrace_reply_id": reply_id} | dict(headers)
                log.append(Out(place.topic, None, value, tuple(given.items()), place.partition))
        asked = [
            (("ce_id", b"r"), ("headrace_reply_id", ident), ("headrace_reply_partition", b"%d" % place.partition))
            for ident in ours
        ]
        for headers in (*asked, *asked, *asked):
            log.append(bench.reply(headers))
        assert all(answered is not None for answered in await waiting)
        assert asker.passed_over >= 2
        bench.answers = True
        assert (await asker.ask([question("after")], 10_000))[0] is not None


async def test_a_topic_that_is_gone_or_a_broker_that_is_silent_is_reported_and_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "PROBE_EVERY_S", 0.05)
    monkeypatch.setattr(asking, "PROBE_WITHIN_S", 0.1)
    log = Gate()
    bench = Bench(log)
    async with bench.asking() as asker:
        assert asker.is_ready
        log.gone = {bench.topics.name("inference.requests")}
        await until(lambda: not asker.is_ready)
        assert "does not exist" in bench.health.failures["asking"]
        log.gone = set()
        await until(lambda: asker.is_ready)
        log.is_frozen = True
        await until(lambda: not asker.is_ready)
        assert "no answer within" in bench.health.failures["asking"]
        log.is_frozen = False
        await until(lambda: asker.is_ready)
        assert not bench.health.failures


async def test_a_reply_at_the_beginning_of_a_topic_made_again_is_received_though_that_is_longer_than_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "PROBE_EVERY_S", 0.05)
    log = Gate()
    bench = Bench(log)
    async with bench.asking() as asker:
        for n in range(5):
            assert (await asker.ask([question(str(n))], 5000))[0] is not None
        bench.answers = False
        waiting = asyncio.create_task(asker.ask([question("first")], 20_000))
        await until(lambda: len(asker._waiting) == 1)
        place, (ident,) = asker._place, [reply_id.encode() for reply_id in asker._waiting]
        spec = log._topics[place.topic]
        log.delete_topic(place.topic)
        await log.create_topics([spec])
        headers = (("ce_id", b"r"), ("headrace_reply_id", ident), ("headrace_reply_partition", b"%d" % place.partition))
        log.append(bench.reply(headers))
        for _ in range(20):
            log.append(Out(place.topic, None, b"", (), place.partition))
        (answered,) = await waiting
        assert answered is not None


async def test_requests_made_again_are_written_by_another_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PROBE_EVERY_S", 0.05)
    log = Gate()
    made: list[MemoryProducer] = []

    async def producer() -> MemoryProducer:
        made.append(Gated(log))
        return made[-1]

    bench = Bench(log)
    async with bench.asking() as asker:
        assert (await asker.ask([question()], 5000))[0] is not None
        monkeypatch.setattr(log, "producer", producer)
        requests = bench.topics.name("inference.requests")
        spec = log._topics[requests]
        log.delete_topic(requests)
        await log.create_topics([spec])
        await until(lambda: len(made) == 1)
        assert (await asker.ask([question("after")], 10_000))[0] is not None


def test_answered_questions_do_not_pile_up_until_their_deadline() -> None:
    pending = Pending()
    for n in range(100_000):
        pending.open(str(n), n + 30_000.0, 10)
        pending.close(str(n))
    assert (len(pending), pending.held_bytes) == (0, 0)
    assert len(pending._queue) < 5_000


@pytest.mark.slow
@pytest.mark.kafka
async def test_topics_that_are_deleted_and_made_again_are_written_and_read_again(
    settings: Settings, kafka_log: KafkaLog
) -> None:
    bench = Bench(kafka_log, settings.namespace)
    names = [bench.topics.name(name) for name in ("inference.requests", "inference.replies")]
    async with bench.asking() as asker:
        for n in range(50):
            assert (await asker.ask([question(str(n))], 20_000))[0] is not None
        await kafka_log.admin.delete_topics(names)
        await until(lambda: not asker.is_ready, 30)
        assert "does not exist" in bench.health.failures["asking"]
        await ensure_topics(kafka_log, bench.topics.specs())
        await until(lambda: asker.is_ready, 30)
        answering = asyncio.create_task(bench.respond(stop := asyncio.Event(), asyncio.Event()))
        async with asyncio.timeout(60):
            while (await asker.ask([question("after")], 2000))[0] is None:
                pass
        stop.set()
        with contextlib.suppress(Retryable):
            await answering
