"""Alerts on a log in memory, the process that forwards them, and a receiver of webhooks."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headrace.clock import SystemClock
from headrace.events.alerts import AlertChanged, SilenceSet
from headrace.hosting.alerts import WATCHDOG, Alarm, fire
from headrace.hosting.health import Health
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace_cli.forwarding.forwarder import Forwarder, Pace, Source
from headrace_cli.forwarding.receivers import Kind, Receiver

FAST = Pace(0.02, 0.05, 0.2)
TOPICS = Topics.load()
SECRET = "T0-SECRET"


class Hook:
    """A receiver of webhooks: what it was sent, and how it answers (`status`)."""

    def __init__(self) -> None:
        self.status: Callable[[dict], int] = lambda body: 200
        self.bodies, self.asked = list[dict](), 0
        self.authorization: str | None = None

    def answer(self, body: dict) -> int:
        self.asked += 1
        status = self.status(body)
        if status == 200:
            self.bodies.append(body)
        return status

    @property
    def alerts(self) -> list[tuple[str, str]]:
        return [
            (one["status"], one["labels"].get("about", one["labels"]["alertname"]))
            for body in self.bodies
            for one in body["alerts"]
        ]


@contextmanager
def serving(hook: Hook) -> Iterator[str]:
    """The address of a hook."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.authorization = self.headers.get("Authorization")
            status = hook.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class World:
    """Alerts on a log in memory, and what forwards them."""

    def __init__(self, log: Log | None = None, topics: Topics = TOPICS) -> None:
        self.log, self.topics, self.codec = log or MemoryLog(SystemClock()), topics, Codec(topics)
        self.health = Health("forwarder", "f")
        self.silences: dict[str, SilenceSet] = {}

    async def begin(self) -> None:
        await ensure_topics(self.log, self.topics.specs())

    async def send(self, *alerts: AlertChanged) -> None:
        outs = [
            out(
                self.topics.name("alerts"),
                one.fingerprint,
                one,
                Envelope(f"{n}-{one.fingerprint}-{one.status}", "", "t", 0.0),
            )
            for n, one in enumerate(alerts)
        ]
        producer = await self.log.producer()
        await producer.send(outs)
        await producer.close()

    @asynccontextmanager
    async def forwarding(
        self, url: str, kind: Kind = "webhook", name: str = "webhook", others: Sequence[str] = ()
    ) -> AsyncIterator[None]:
        source = Source(self.log, self.codec, self.topics, SystemClock(), self.health, lambda: self.silences)
        stop = asyncio.Event()
        forwarder = Forwarder(source, Receiver(name, kind, url, "Bearer key"), FAST, others)
        task = asyncio.create_task(forwarder.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.01)


def beat() -> AlertChanged:
    """The dead-man record."""
    return fire(Alarm(WATCHDOG, {"service": "monitor"}, "none", "", ""), 10.0)


def on(n: int, at_s: float = 10.0) -> AlertChanged:
    return fire(Alarm("SourceChanged", {"deployment": "d", "about": f"c{n}"}, "warning", "it is so", "c"), at_s)
