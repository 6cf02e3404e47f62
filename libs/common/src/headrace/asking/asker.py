"""Request and reply over the log: questions are sent in batches, answers come to the asker's own partition.

The gateway and the Python client share this. Several askers may read the same partition: each takes only the replies to
its own questions, whose ids no other asker makes.

Nothing piles up while the broker is away: a question that nobody waits for leaves the queue, and a send ends when the
last of its questions expires. Acknowledgements and answers show that both directions work. When nothing is asked, a
probe shows it; `trouble` is set after two probes in a row without an answer, or when a topic is gone.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence

from headrace.asking.headers import REPLY_ID, REPLY_PARTITION, TENANT, VERSION
from headrace.asking.pending import Pending, Question
from headrace.asking.reply_partition import reply_partition
from headrace.clock import Clock
from headrace.errors import HeadraceError, Misconfigured, Retryable
from headrace.events.inference import PredictionAnswered, PredictionRequested
from headrace.hosting.health import Health
from headrace.log.codec import Codec, header, out
from headrace.log.envelope import Envelope, format_instant
from headrace.log.port import Headers, Log, Out, Producer, Reader, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.trace import child_of

_log = logging.getLogger("headrace.asking")

TICK_S = 0.02
RETRY_S = 0.2
PROBE_EVERY_S = 1.5
PROBE_WITHIN_S = 3.0
PROBES_FAILED = 2
# The memory of one open question besides its bytes: future, headers, entries by id.
QUESTION_BYTES = 2048
LIMIT_BYTES = 32 * 1024 * 1024


class Asker:
    """Sends questions to inference and waits for the answers. Call `start` first, so that no answer is missed.

    `instance`: chooses the reply partition and is the source of the records. `on_answer`: called for every answer.
    `health`: gets the bytes held, and a failure while questions cannot be asked.
    """

    def __init__(
        self,
        log: Log,
        codec: Codec,
        topics: Topics,
        clock: Clock,
        instance: str,
        on_answer: Callable[[], None] = lambda: None,
        health: Health | None = None,
    ) -> None:
        self._log, self._codec, self._clock = log, codec, clock
        self._instance, self._on_answer, self._health = instance, on_answer, health
        self._requests, self._replies = topics.name("inference.requests"), topics.name("inference.replies")
        self._pending = Pending()
        self._waiting: dict[str, asyncio.Future[PredictionAnswered | None]] = {}
        self._queue: dict[str, Out] = {}
        self._queued = asyncio.Event()
        # NB: unlike the instance's name it is unique, so that replies to an earlier process are not taken.
        self._life, self._numbers = secrets.token_hex(6), itertools.count()
        self._reader: Reader | None = None
        self._place = TopicPartition(self._replies, 0)
        self._ids: dict[str, str] = {}
        self._is_outdated = False
        self._headers: Headers = ()
        self._failed_probes = 0
        self.trouble: str | None = None
        self.passed_over = 0

    @property
    def waiting(self) -> int:
        """The number of rows that wait for an answer."""
        return len(self._pending)

    @property
    def held_bytes(self) -> int:
        """The estimated size of the waiting rows, at most `LIMIT_BYTES`."""
        return self._pending.held_bytes

    @property
    def is_ready(self) -> bool:
        """Whether questions can be sent and answers received."""
        return self._reader is not None and self.trouble is None

    async def start(self) -> None:
        """Start reading the reply partition from its end. Waits for the broker; raises `Retryable` or
        `Misconfigured`.
        """
        self._ids = await self._log.topic_ids((self._requests, self._replies))
        partition = reply_partition(self._instance, len(await self._log.partitions(self._replies)))
        shared = out(self._requests, None, PredictionRequested(""), Envelope("", "", self._instance, 0.0)).headers
        place = (REPLY_PARTITION, str(partition).encode())
        self._headers = (*(pair for pair in shared if pair[0] not in ("ce_id", "ce_time")), place)
        self._place = TopicPartition(self._replies, partition)
        self._reader = await self._log.reader([self._place], "end", committed=False)

    async def ask(self, questions: Sequence[Question], deadline_ms: int) -> list[PredictionAnswered | None]:
        """The answers in the questions' order, None for those that did not come within `deadline_ms`.

        Raises `Retryable` when the waiting questions would exceed `LIMIT_BYTES`.
        """
        deadline_s = self._clock.monotonic_s() + deadline_ms / 1000
        # NB: all records are made before any question is open, so that one that cannot be encoded leaves nothing
        # behind.
        made = [self._made(question) for question in questions]
        wanted = sum(QUESTION_BYTES + len(written.value or b"") for _, written in made)
        if self.held_bytes + wanted > LIMIT_BYTES:
            raise Retryable(f"{self.waiting} rows of {self.held_bytes} bytes are waiting already")
        make_future = asyncio.get_running_loop().create_future
        for reply_id, written in made:
            self._waiting[reply_id] = make_future()
            self._pending.open(reply_id, deadline_s, QUESTION_BYTES + len(written.value or b""))
            self._queue[reply_id] = written
        self._queued.set()
        try:
            return [await self._waiting[reply_id] for reply_id, _ in made]
        finally:
            for reply_id, _ in made:
                self._waiting.pop(reply_id, None)
                if reply_id in self._pending:
                    self._close(reply_id)

    async def run(self, stop: asyncio.Event) -> None:
        """Send, receive and watch deadlines until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(stop))
            group.create_task(self._receive(stop))
            group.create_task(self._watch(stop))
            group.create_task(self._probe(stop))

    def _made(self, question: Question) -> tuple[str, Out]:
        reply_id = f"{self._life}-{next(self._numbers)}"
        return reply_id, self._request_out(question, reply_id)

    def _close(self, reply_id: str) -> None:
        self._pending.close(reply_id)
        self._queue.pop(reply_id, None)

    def _request_out(self, question: Question, reply_id: str) -> Out:
        ident, request = question.request_id.encode(), question.request
        headers = [
            ("ce_id", ident),
            ("ce_time", format_instant(question.at_s).encode()),
            *self._headers,
            ("ce_correlationid", ident),
            (REPLY_ID, reply_id.encode()),
            *_optional_headers(question),
        ]
        return Out(self._requests, (request.unit or "").encode(), self._codec.encode(request), tuple(headers))

    async def _send(self, stop: asyncio.Event) -> None:
        """Everything that is queued while a batch is being acknowledged is sent as the next batch."""
        producer: Producer | None = None
        try:
            while not stop.is_set():
                if self._is_outdated and producer is not None:
                    self._is_outdated, outdated, producer = False, producer, None
                    await outdated.close()
                producer = producer or await self._producer()
                await _until(self._queued, TICK_S * 10)
                self._queued.clear()
                if producer is not None:
                    await self._flush(producer)
        finally:
            if producer is not None:
                await producer.close()

    async def _producer(self) -> Producer | None:
        try:
            return await self._log.producer()
        except Retryable as error:
            await self._hold_back({}, error)
            return None

    async def _flush(self, producer: Producer) -> None:
        batch, self._queue = self._queue, {}
        deadlines = [due_s for due_s in map(self._pending.deadline_s, batch) if due_s is not None]
        if not deadlines:
            return
        try:
            async with asyncio.timeout(max(deadlines) - self._clock.monotonic_s() + TICK_S):
                await producer.send(list(batch.values()))
        except (Retryable, Misconfigured) as error:
            await self._hold_back(batch, error)
        except TimeoutError:
            _log.warning("%s questions were not acknowledged before their deadlines", len(batch))
        else:
            self._note_success()

    async def _hold_back(self, batch: dict[str, Out], error: HeadraceError) -> None:
        """Queue the batch again under the same ids, without expired questions. Inference answers a repeated request
        once.
        """
        _log.warning("questions cannot be sent yet: %s", error)
        self._queue = {reply_id: made for reply_id, made in batch.items() if reply_id in self._pending} | self._queue
        self._queued.set()
        await asyncio.sleep(RETRY_S)

    async def _receive(self, stop: asyncio.Event) -> None:
        reader = self._reader
        while reader is not None and not stop.is_set():
            try:
                records = await reader.fetch(0.2, 2000)
            except (Retryable, Misconfigured) as error:
                _log.warning("answers cannot be read: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            received = [record for record in records if self._take(record)]
            if received:
                self._note_success()
        if reader is not None:
            self._reader = None
            await reader.close()

    def _take(self, record: Record) -> bool:
        """Whether a record answers an open question. Any other record is skipped, whatever it holds."""
        try:
            reply_id = header(record.headers, REPLY_ID) or ""
            if reply_id not in self._pending:
                return False
            answered = self._codec.decode(record).event
            if not isinstance(answered, PredictionAnswered):
                raise TypeError(f"it holds {type(answered).__name__}")
        except Exception as error:
            self.passed_over += 1
            _log.warning("a reply at %s/%s cannot be read: %s", record.partition, record.offset, error)
            return False
        self._settle(reply_id, answered)
        return True

    def _settle(self, reply_id: str, answered: PredictionAnswered | None) -> None:
        self._close(reply_id)
        future = self._waiting.get(reply_id)
        if future is not None and not future.done():
            future.set_result(answered)
            if answered is not None:
                self._on_answer()

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for reply_id in self._pending.expire(self._clock.monotonic_s()):
                self._settle(reply_id, None)
            if self._health is not None:
                self._health.holds("questions", self.held_bytes, LIMIT_BYTES)
            await _until(stop, TICK_S)

    async def _probe(self, stop: asyncio.Event) -> None:
        """Query the broker now and then: whether it answers, and whether our partitions exist."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(PROBE_WITHIN_S):
                    await self._look()
            except Misconfigured as error:
                self._note_failure(str(error), PROBES_FAILED)
            except TimeoutError:
                self._note_failure(f"the broker gave no answer within {PROBE_WITHIN_S:g} s", 1)
            except Exception as error:  # the client's own errors: the broker could not be queried
                text, name = str(error), type(error).__name__
                self._note_failure(f"the broker cannot be queried: {text if name in text else f'{name}: {text}'}", 1)
            else:
                self._note_success()
            await _until(stop, PROBE_EVERY_S if self._failed_probes == 0 else RETRY_S)

    async def _look(self) -> None:
        await self._log.partitions(self._requests)
        places = await self._log.partitions(self._replies)
        if self._place not in places:
            raise Misconfigured(
                f"{self._replies} has no partition {self._place.partition} any more: restart this process"
            )
        ids = self._ids | await self._log.topic_ids((self._requests, self._replies))
        if ids[self._requests] != self._ids.get(self._requests):
            _log.warning("%s was created again: writing with another producer", self._requests)
            self._is_outdated = True
        reader, end = self._reader, (await self._log.end_offsets([self._place]))[self._place]
        is_another = ids[self._replies] != self._ids.get(self._replies)
        if reader is not None and (is_another or await reader.position(self._place) > end):
            _log.warning("%s was created again: reading from its beginning", self._replies)
            await reader.seek({self._place: 0})
        self._ids = ids

    def _note_failure(self, reason: str, count: int) -> None:
        self._failed_probes += count
        if self._failed_probes >= PROBES_FAILED and self.trouble != reason:
            self.trouble = reason
            _log.warning("questions cannot be asked: %s", reason)
            if self._health is not None:
                self._health.fail("asking", reason)

    def _note_success(self) -> None:
        self._failed_probes = 0
        if self.trouble is not None:
            self.trouble = None
            _log.warning("questions can be asked again")
            if self._health is not None:
                self._health.clear("asking")


def _optional_headers(question: Question) -> Iterable[tuple[str, bytes]]:
    """The headers that only some questions have."""
    if question.version is not None:
        yield VERSION, str(question.version).encode()
    if question.tenant is not None:
        yield TENANT, question.tenant.encode()
    if question.traceparent is not None:
        yield "traceparent", child_of(question.traceparent, question.request_id).encode()


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
