"""The connection of one command to the log, and the operations that most commands need."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from headrace.clock import SystemClock
from headrace.errors import Retryable
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, Message, out
from headrace.log.connecting import connect
from headrace.log.diagnosis import is_listening
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project.applied import Projects
from headrace_cli.installation.local import Local, settings_here

CONNECT_WITHIN_S = 3.0

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """A connected log with names, codec and the applied projects."""

    log: KafkaLog
    topics: Topics
    codec: Codec
    projects: Projects
    clock: SystemClock

    async def all_of(self, base: str) -> list[Message]:
        """All messages that a topic holds now."""
        return await read_all(self.log, self.codec, [self.topics.name(base)])

    async def current_of(self, base: str) -> dict[str, Message]:
        """The newest message per key of a compacted topic; deleted keys are left out."""
        newest = {(message.record.key or b"").decode(): message for message in await self.all_of(base)}
        return {key: message for key, message in newest.items() if message.event is not None}

    async def send(self, base: str, key: str, event: msgspec.Struct, ident: str, time_s: float | None = None) -> None:
        """Write one event."""
        envelope = Envelope(ident, "", "cli", self.clock.now_s() if time_s is None else time_s, correlation_id=ident)
        producer = await self.log.producer()
        try:
            await producer.send([out(self.topics.name(base), key, event, envelope)])
        finally:
            await producer.close()


@asynccontextmanager
async def session(connect_within_s: float = CONNECT_WITHIN_S) -> AsyncIterator[Session]:
    """Connect, and disconnect at the end."""
    settings = settings_here()
    log = KafkaLog(settings)
    try:
        await connect(log, connect_within_s, settings)
    except Retryable as error:
        raise Retryable(await _why_away(settings)) from error
    topics = topics_of(settings)
    codec = Codec(topics)
    projects = Projects(log, codec, topics)
    try:
        if topics.name("project.definitions") in await log.list_topics():
            await projects.start()
        yield Session(log, topics, codec, projects, SystemClock())
    finally:
        await projects.stop()
        await log.stop()


async def _why_away(settings: Settings) -> str:
    """Why no broker answers, with the way out."""
    where = settings.bootstrap_servers
    if await is_listening(settings):
        return f"the broker at {where} accepts the connection but does not answer: it is frozen, overloaded or still starting (`headrace status`)"
    if Local.here().supervisor() is not None:
        return f"no Kafka broker answers at {where}, though `headrace up` runs here: it is starting or being restarted (`headrace status`)"
    return f"no Kafka broker answers at {where}: start one with `headrace up`, or set KAFKA_BOOTSTRAP_SERVERS"


def run(work: Callable[[Session], Awaitable[T]], connect_within_s: float = CONNECT_WITHIN_S) -> T:
    """Run a command's work in a session."""

    async def connected() -> T:
        async with session(connect_within_s) as opened:
            return await work(opened)

    return asyncio.run(connected())


def plain(value: Any) -> Any:
    """JSON-ready values of Structs, bytes as hex."""
    return msgspec.to_builtins(value, enc_hook=repr, str_keys=True)
