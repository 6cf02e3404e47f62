"""Request and reply over the log: questions leave in batches, answers come to the asker's own partition.

What the gateway and the Python client share. Who listens on the same partition as somebody else takes only the replies to
its own questions: each is named by an id that no other asker makes.

With the broker away nothing piles up: a question that nobody waits for any more leaves the queue, and a send ends when
the last of its questions does. Whether the way there and back works is known by what is acknowledged and heard, and, when
nothing is asked, by a probe: two in a row without an answer, or a topic that is gone, and `trouble` says so.
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
# What one open question costs beside its bytes: future, headers, entries by id.
QUESTION_BYTES = 2048
LIMIT_BYTES = 32 * 1024 * 1024


class Asker:
    """Asks inference and waits. `start` first: answers must be heard before anything is asked.

    `instance` names the reply partition and stands in the records' source; `on_answer` is called for every answer;
    `health` is told what is held, and when asking does not work.
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
        # NB: unlike the instance's name, never the same again: replies to an earlier life are not ours.
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
        """Rows that wait for an answer."""
        return len(self._pending)

    @property
    def held_bytes(self) -> int:
        """What the waiting rows hold, by estimate; bounded by `LIMIT_BYTES`."""
        return self._pending.held_bytes

    @property
    def is_ready(self) -> bool:
        """Whether questions leave and answers are heard."""
        return self._reader is not None and self.trouble is None

    async def start(self) -> None:
        """Listen on the reply partition, from its end."""
        self._ids = await self._log.topic_ids((self._requests, self._replies))
        partition = reply_partition(self._instance, len(await self._log.partitions(self._replies)))
        shared = out(self._requests, None, PredictionRequested(""), Envelope("", "", self._instance, 0.0)).headers
        place = (REPLY_PARTITION, str(partition).encode())
        self._headers = (*(pair for pair in shared if pair[0] not in ("ce_id", "ce_time")), place)
        self._place = TopicPartition(self._replies, partition)
        self._reader = await self._log.reader([self._place], "end", committed=False)

    async def ask(self, questions: Sequence[Question], deadline_ms: int) -> list[PredictionAnswered | None]:
        """The answers in the questions' order; None for those that did not come in time.

        Raises `Retryable` when more would be held than `LIMIT_BYTES`.
        """
        deadline_s = self._clock.monotonic_s() + deadline_ms / 1000
        # NB: all of them are written before any is open: one that cannot be written leaves nothing behind.
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
        """Send, hear and watch deadlines until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(stop))
            group.create_task(self._hear(stop))
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
            *_asides(question),
        ]
        return Out(self._requests, (request.unit or "").encode(), self._codec.encode(request), tuple(headers))

    async def _send(self, stop: asyncio.Event) -> None:
        """Everything that gathered while the last batch was being acknowledged leaves as the next one."""
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
            self._is_well()

    async def _hold_back(self, batch: dict[str, Out], error: HeadraceError) -> None:
        """The same ids again, of those that are still waited for: inference answers a repeated request once."""
        _log.warning("questions are held back: %s", error)
        self._queue = {reply_id: made for reply_id, made in batch.items() if reply_id in self._pending} | self._queue
        self._queued.set()
        await asyncio.sleep(RETRY_S)

    async def _hear(self, stop: asyncio.Event) -> None:
        reader = self._reader
        while reader is not None and not stop.is_set():
            try:
                records = await reader.fetch(0.2, 2000)
            except (Retryable, Misconfigured) as error:
                _log.warning("answers are not heard: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            heard = [record for record in records if self._take(record)]
            if heard:
                self._is_well()
        if reader is not None:
            self._reader = None
            await reader.close()

    def _take(self, record: Record) -> bool:
        """Whether it is an answer to an open question. What is none is passed over, whatever stands in it: nobody's bytes
        end an asker."""
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
        """Ask the broker for our places now and then: whether it answers, and whether they are there."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(PROBE_WITHIN_S):
                    await self._look()
            except Misconfigured as error:
                self._is_ill(str(error), PROBES_FAILED)
            except TimeoutError:
                self._is_ill(f"the broker gave no answer within {PROBE_WITHIN_S:g} s", 1)
            except Exception as error:  # a client's own errors: whatever it is, the broker could not be asked
                text, name = str(error), type(error).__name__
                self._is_ill(f"the broker cannot be asked: {text if name in text else f'{name}: {text}'}", 1)
            else:
                self._is_well()
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
            _log.warning("%s was made again: writing with another producer", self._requests)
            self._is_outdated = True
        reader, end = self._reader, (await self._log.end_offsets([self._place]))[self._place]
        is_another = ids[self._replies] != self._ids.get(self._replies)
        if reader is not None and (is_another or await reader.position(self._place) > end):
            _log.warning("%s was made again: listening from its beginning", self._replies)
            await reader.seek({self._place: 0})
        self._ids = ids

    def _is_ill(self, reason: str, count: int) -> None:
        self._failed_probes += count
        if self._failed_probes >= PROBES_FAILED and self.trouble != reason:
            self.trouble = reason
            _log.warning("questions cannot be asked: %s", reason)
            if self._health is not None:
                self._health.fail("asking", reason)

    def _is_well(self) -> None:
        self._failed_probes = 0
        if self.trouble is not None:
            self.trouble = None
            _log.warning("questions can be asked again")
            if self._health is not None:
                self._health.clear("asking")


def _asides(question: Question) -> Iterable[tuple[str, bytes]]:
    """What only some questions carry."""
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
