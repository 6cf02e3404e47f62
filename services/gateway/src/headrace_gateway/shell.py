"""Request and reply over the log: questions leave in batches, answers come to this instance's own partition."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Sequence

from headrace.bus.port import Log, Out, Reader, Record, TopicPartition
from headrace.clock import Clock
from headrace.codec import Codec, header, out
from headrace.envelope import Envelope
from headrace.errors import Poison, Retryable
from headrace.events.inference import PredictionAnswered
from headrace.obs.health import Health
from headrace.topics import Topics
from headrace_gateway.core.pending import Pending
from headrace_gateway.core.questions import Question
from headrace_gateway.core.reply_place import reply_partition

_log = logging.getLogger("headrace.gateway")

TICK_S = 0.02
RETRY_S = 0.2


class Asker:
    """Asks inference and waits. `start` first: answers must be heard before anything is asked."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, clock: Clock, health: Health) -> None:
        self._log, self._codec, self._topics, self._clock, self._health = log, codec, topics, clock, health
        self._pending = Pending()
        self._waiting: dict[str, asyncio.Future[PredictionAnswered | None]] = {}
        self._queue: list[tuple[str, Out]] = []
        self._queued = asyncio.Event()
        # NB: unlike the instance's name, never the same again: replies to an earlier life are not ours.
        self._life, self._numbers = secrets.token_hex(6), itertools.count()
        self._reader: Reader | None = None
        self._partition = 0

    @property
    def waiting(self) -> int:
        """Rows that wait for an answer."""
        return len(self._pending)

    @property
    def is_ready(self) -> bool:
        """Whether answers are heard."""
        return self._reader is not None

    async def start(self) -> None:
        """Listen on the reply partition, from its end."""
        topic = self._topics.name("inference.replies")
        self._partition = reply_partition(self._health.instance, len(await self._log.partitions(topic)))
        self._reader = await self._log.reader([TopicPartition(topic, self._partition)], "end", committed=False)

    async def ask(self, questions: Sequence[Question], deadline_ms: int) -> list[PredictionAnswered | None]:
        """The answers in the questions' order; None for those that did not come in time."""
        deadline_s = self._clock.monotonic_s() + deadline_ms / 1000
        asked = [self._open(question, deadline_s) for question in questions]
        self._queued.set()
        try:
            return list(await asyncio.gather(*(self._waiting[reply_id] for reply_id in asked)))
        finally:
            for reply_id in asked:
                self._pending.close(reply_id)
                self._waiting.pop(reply_id, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Send, hear and watch deadlines until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(stop))
            group.create_task(self._hear(stop))
            group.create_task(self._watch(stop))

    def _open(self, question: Question, deadline_s: float) -> str:
        reply_id = f"{self._life}-{next(self._numbers)}"
        self._waiting[reply_id] = asyncio.get_running_loop().create_future()
        self._pending.open(reply_id, deadline_s)
        self._queue.append((reply_id, self._request_out(question, reply_id)))
        return reply_id

    def _request_out(self, question: Question, reply_id: str) -> Out:
        name = question.request_id
        envelope = Envelope(name, "", f"gateway/{self._health.instance}", question.at_s, correlation_id=name)
        made = out(self._topics.name("inference.requests"), question.request.unit, question.request, envelope)
        place = ("headrace_reply_partition", str(self._partition).encode())
        return Out(made.topic, made.key, made.value, (*made.headers, place, ("headrace_reply_id", reply_id.encode())))

    async def _send(self, stop: asyncio.Event) -> None:
        """Everything that gathered while the last batch was being acknowledged leaves as the next one."""
        producer = await self._log.producer()
        while not stop.is_set():
            await _until(self._queued, TICK_S * 10)
            self._queued.clear()
            batch, self._queue = [entry for entry in self._queue if entry[0] in self._pending], []
            if not batch:
                continue
            try:
                await producer.send([made for _, made in batch])
            except Retryable as error:
                # The same ids again: inference answers a repeated request once.
                _log.warning("questions are held back: %s", error)
                self._queue = batch + self._queue
                self._queued.set()
                await asyncio.sleep(RETRY_S)
        await producer.close()

    async def _hear(self, stop: asyncio.Event) -> None:
        reader = self._reader
        while reader is not None and not stop.is_set():
            for record in await reader.fetch(0.2, 2000):
                self._take(record)
        if reader is not None:
            self._reader = None
            await reader.close()

    def _take(self, record: Record) -> None:
        reply_id = header(record.headers, "headrace_reply_id") or ""
        if reply_id not in self._pending:
            return
        try:
            answered = self._codec.decode(record).event
        except Poison as poison:
            _log.error("a reply at offset %s cannot be read: %s", record.offset, poison)
            return
        self._settle(reply_id, answered)

    def _settle(self, reply_id: str, answered: PredictionAnswered | None) -> None:
        self._pending.close(reply_id)
        future = self._waiting.get(reply_id)
        if future is not None and not future.done():
            future.set_result(answered)
            self._health.handled += 1

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for reply_id in self._pending.expire(self._clock.monotonic_s()):
                self._settle(reply_id, None)
            await _until(stop, TICK_S)


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
