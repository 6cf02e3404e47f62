"""One service process: settings, logs, connection, health, heartbeats, signals, and an end in order.

Exit codes: 0 stopped as asked, 1 a `Fatal` (be restarted), 2 wrongly configured (restarting does not help),
75 the project changed (be restarted at once), 130 a second signal.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import msgspec

from headrace.bus.admin import require_topics
from headrace.bus.connect import connect
from headrace.bus.kafka import KafkaLog
from headrace.bus.port import Log, Producer
from headrace.bus.projects import Projects
from headrace.clock import Clock, SystemClock
from headrace.codec import Codec, out
from headrace.envelope import Envelope
from headrace.errors import Fatal, HeadraceError, Misconfigured, Retryable
from headrace.obs.health import Health
from headrace.obs.http import HealthServer
from headrace.obs.logs import set_up_logs
from headrace.settings import Settings
from headrace.topics import Topics

_log = logging.getLogger("headrace.runtime")

STOP_WITHIN_S = 10.0
BEAT_S = 1.0
SHORTEST_BEAT_S = 0.05


class Restart(Fatal):
    """What this process was built from has changed: end, and be started anew."""


class Runnable(Protocol):
    """A part of a service that works until told to stop."""

    async def run(self, stop: asyncio.Event) -> None: ...


@dataclass(frozen=True)
class Context:
    """What a service's wiring is given."""

    name: str
    instance: str
    settings: Settings
    log: Log
    topics: Topics
    codec: Codec
    projects: Projects
    health: Health
    clock: Clock
    stop: asyncio.Event


Build = Callable[[Context], Awaitable[Sequence[Runnable]]]


def main(name: str, build: Build, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> int:
    """The body of every service's `__main__`: returns the exit code. `loop_factory`: another event loop than asyncio's own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    collect_rarely()
    try:
        settings = Settings.load()
        set_up_logs(name, settings.log_level)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(run_service(name, build, settings))
    except Misconfigured as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def collect_rarely() -> None:
    """A batch makes tens of thousands of short-lived values; hunting for cycles after every 700 of them is wasted."""
    gc.set_threshold(50_000, 20, 50)


async def run_service(name: str, build: Build, settings: Settings, log: Log | None = None) -> int:
    """Run until a signal or a failure; returns the exit code."""
    context = _context(name, settings, log or KafkaLog(settings))
    _on_signals(context.stop)
    server = HealthServer(context.health, settings.http_host, settings.http_port)
    server.start()
    try:
        await connect(context.log, settings.connect_timeout_s)
        await require_topics(context.log, context.topics.specs())
        await context.projects.start()
        return await _run(context, build)
    except HeadraceError as error:
        return _end(name, error)
    finally:
        server.stop()
        await context.log.stop()


def _context(name: str, settings: Settings, log: Log) -> Context:
    topics = topics_of(settings)
    codec = Codec(topics)
    clock = SystemClock()
    instance = settings.instance_id(name)
    health = Health(name, instance, pid=os.getpid(), started_s=clock.now_s(), code_version=version("headrace"))
    return Context(
        name, instance, settings, log, topics, codec, Projects(log, codec, topics), health, clock, asyncio.Event()
    )


def topics_of(settings: Settings) -> Topics:
    """The topics of these settings: namespace and partition counts."""
    return Topics.load(settings.namespace, requests=settings.partitions_requests, replies=settings.partitions_replies)


async def _run(context: Context, build: Build) -> int:
    beats = Heartbeats(context)
    guard = _LoopGuard(context.settings.watchdog_s)
    failure: HeadraceError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(beats.run(context.stop))
            group.create_task(guard.run(context.stop))
            group.create_task(context.projects.run(context.stop))
            parts = await build(context)
            for part in parts:
                group.create_task(part.run(context.stop))
            context.health.clear("start")
            await context.stop.wait()
    except* HeadraceError as errors:
        failure = _worst(errors)
    await beats.close()
    return 0 if failure is None else _end(context.name, failure)


def _worst(errors: BaseExceptionGroup) -> HeadraceError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, HeadraceError) else Fatal(repr(found))


def _end(name: str, error: HeadraceError) -> int:
    _log.error("%s", error)
    if isinstance(error, Restart):
        return 75
    return 2 if isinstance(error, Misconfigured) else 1


def _on_signals(stop: asyncio.Event) -> None:
    """The first signal stops in order, within ten seconds; the second at once."""

    def ask() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()
        watch = threading.Timer(STOP_WITHIN_S - 1, lambda: os._exit(1))
        watch.daemon = True
        watch.start()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)


class Heartbeats:
    """Publishes the health record each second, and on change at most every 50 ms; that work goes on is no change."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._producer: Producer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop`."""
        loop = asyncio.get_running_loop()
        said, said_s = None, 0.0
        while not stop.is_set():
            news = msgspec.structs.replace(self._context.health.report(), lag={}, handled_total=0)
            if news != said or loop.time() - said_s >= BEAT_S:
                said, said_s = news, loop.time()
                await self._publish()
            await asyncio.sleep(SHORTEST_BEAT_S)

    async def close(self) -> None:
        """Say that the end is by design."""
        self._context.health.stopping = True
        await self._publish()
        if self._producer is not None:
            await self._producer.close()

    async def _publish(self) -> None:
        context = self._context
        envelope = Envelope(f"{context.instance}-{context.clock.now_s():.3f}", "", context.name, context.clock.now_s())
        beat = out(
            context.topics.name("ops.health"), f"{context.name}/{context.instance}", context.health.report(), envelope
        )
        try:
            self._producer = self._producer or await context.log.producer()
            await asyncio.wait_for(self._producer.send([beat]), 5.0)
        except (Retryable, TimeoutError) as error:
            _log.warning("heartbeat not sent: %s", error)


class _LoopGuard:
    """Ends the process when its event loop hangs: a thread watches a beat that only the loop can make."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._beats = threading.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop`."""
        threading.Thread(target=self._watch, daemon=True).start()
        while not stop.is_set():
            self._beats.set()
            await asyncio.sleep(0.5)

    def _watch(self) -> None:
        while self._beats.wait(self._limit_s):
            self._beats.clear()
            threading.Event().wait(1.0)
        print(f"the event loop hung for {self._limit_s:.0f} s: ending", file=sys.stderr)
        os._exit(1)
