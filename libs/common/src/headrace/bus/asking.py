"""Request and reply over the log: questions leave in batches, answers come to the asker's own partition.

What the gateway and the Python client share. Who listens on the same partition as somebody else takes only the replies to
its own questions: each is named by an id that no other asker makes.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence

from headrace.bus.port import Headers, Log, Out, Producer, Reader, Record, TopicPartition
from headrace.clock import Clock
from headrace.codec import Codec, header, out
from headrace.envelope import Envelope, format_instant
from headrace.errors import Poison, Retryable
from headrace.events.inference import PredictionAnswered, PredictionRequested
from headrace.obs.trace import child_of
from headrace.policy.pending import Pending, Question
from headrace.policy.reply_place import reply_partition
from headrace.topics import Topics

_log = logging.getLogger("headrace.asking")

REPLY_PARTITION, REPLY_ID = "headrace_reply_partition", "headrace_reply_id"
VERSION, TENANT = "headrace_version", "headrace_tenant"
TICK_S = 0.02
RETRY_S = 0.2


class Asker:
    """Asks inference and waits. `start` first: answers must be heard before anything is asked.

    `instance` names the reply partition and stands in the records' source; `on_answer` is called for every answer.
    """

    def __init__(
        self,
        log: Log,
        codec: Codec,
        topics: Topics,
        clock: Clock,
        instance: str,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._log, self._codec, self._clock = log, codec, clock
        self._instance, self._on_answer = instance, on_answer
        self._requests, self._replies = topics.name("inference.requests"), topics.name("inference.replies")
        self._pending = Pending()
        self._waiting: dict[str, asyncio.Future[PredictionAnswered | None]] = {}
        self._queue: list[tuple[str, Out]] = []
        self._queued = asyncio.Event()
        # NB: unlike the instance's name, never the same again: replies to an earlier life are not ours.
        self._life, self._numbers = secrets.token_hex(6), itertools.count()
        self._reader: Reader | None = None
        self._headers: Headers = ()

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
        partition = reply_partition(self._instance, len(await self._log.partitions(self._replies)))
        shared = out(self._requests, None, PredictionRequested(""), Envelope("", "", self._instance, 0.0)).headers
        place = (REPLY_PARTITION, str(partition).encode())
        self._headers = (*(pair for pair in shared if pair[0] not in ("ce_id", "ce_time")), place)
        self._reader = await self._log.reader([TopicPartition(self._replies, partition)], "end", committed=False)

    async def ask(self, questions: Sequence[Question], deadline_ms: int) -> list[PredictionAnswered | None]:
        """The answers in the questions' order; None for those that did not come in time."""
        deadline_s = self._clock.monotonic_s() + deadline_ms / 1000
        asked = [self._open(question, deadline_s) for question in questions]
        self._queued.set()
        try:
            return [await self._waiting[reply_id] for reply_id in asked]
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
        ident, request = question.request_id.encode(), question.request
        headers = [
            ("ce_id", ident),
            ("ce_time", format_instant(question.at_s).encode()),
            *self._headers,
            ("ce_correlationid", ident),
            (REPLY_ID, reply_id.encode()),
            *_asides(question),
        ]
        return Out(self._requests, (request.unit or "").encode(), self._codec.encode(request), tuple(headers))

    async def _send(self, stop: asyncio.Event) -> None:
        """Everything that gathered while the last batch was being acknowledged leaves as the next one."""
        producer = await self._log.producer()
        try:
            while not stop.is_set():
                await _until(self._queued, TICK_S * 10)
                self._queued.clear()
                await self._flush(producer)
        finally:
            await producer.close()

    async def _flush(self, producer: Producer) -> None:
        batch, self._queue = [entry for entry in self._queue if entry[0] in self._pending], []
        if not batch:
            return
        try:
            await producer.send([made for _, made in batch])
        except Retryable as error:
            # The same ids again: inference answers a repeated request once.
            _log.warning("questions are held back: %s", error)
            self._queue = batch + self._queue
            self._queued.set()
            await asyncio.sleep(RETRY_S)

    async def _hear(self, stop: asyncio.Event) -> None:
        reader = self._reader
        while reader is not None and not stop.is_set():
            for record in await reader.fetch(0.2, 2000):
                self._take(record)
        if reader is not None:
            self._reader = None
            await reader.close()

    def _take(self, record: Record) -> None:
        reply_id = header(record.headers, REPLY_ID) or ""
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
            self._on_answer()

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for reply_id in self._pending.expire(self._clock.monotonic_s()):
                self._settle(reply_id, None)
            await _until(stop, TICK_S)


def _asides(question: Question) -> Iterable[tuple[str, bytes]]:
    """What only some questions carry."""
    if question.version is not None:
        yield VERSION, str(question.version).encode()
    if question.tenant is not None:
        yield TENANT, question.tenant.encode()
    if question.traceparent is not None:
        yield "traceparent", child_of(question.traceparent).encode()


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
