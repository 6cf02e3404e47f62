"""One service process: settings, logs, connection, health, heartbeats, signals, and an orderly end.

Exit codes: 0 stopped on request, 1 a `Fatal` or a bug (restart it), 2 misconfigured (a restart does not help), 75 a
project or topic that the process was built from changed (restart it at once), 130 a second signal.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Generic, Protocol, TypeVar

from headrace.clock import Clock, SystemClock
from headrace.errors import Fatal, HeadraceError, Misconfigured, Restart
from headrace.hosting.definitions import Definitions
from headrace.hosting.forks import tie_children
from headrace.hosting.health import FAILED, Health
from headrace.hosting.heartbeats import Heartbeats, Vitals
from headrace.hosting.http import HealthServer
from headrace.hosting.logs import set_up_logs
from headrace.hosting.loop_guard import LoopGuard
from headrace.hosting.naming import topics_of
from headrace.hosting.needs import needed, tended
from headrace.hosting.settings import Settings, strangers
from headrace.hosting.stopping import STOPPING
from headrace.log.admin import require_topics
from headrace.log.codec import Codec
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.log.kafka_errors import is_cancelled
from headrace.log.port import Log
from headrace.log.same_topics import SameTopics
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.runtime")

T = TypeVar("T")
# Services that work on one record for minutes, so that waiting records are no sign of a fault.
_PATIENT = ("trainer",)
LARGE_BYTES = 256 * 1024
_M_MMAP_THRESHOLD = -3  # <malloc.h>


class Runnable(Protocol):
    """A part of a service that works until `stop` is set."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. What it raises ends the process: a `HeadraceError` by its meaning, anything else as
        a bug.
        """
        ...


D = TypeVar("D", bound=Definitions)
# Makes the view of the applied projects; services use `headrace.project.applied.Projects`.
Follow = Callable[[Log, Codec, Topics], D]


@dataclass(frozen=True)
class Context(Generic[D]):
    """The arguments of a service's wiring. `projects`: the applied projects, read before the service is built."""

    name: str
    instance: str
    settings: Settings
    log: Log
    topics: Topics
    codec: Codec
    projects: D
    health: Health
    clock: Clock
    stop: asyncio.Event
    # The topics that the service needs, as they were when it first looked.
    same: SameTopics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "same", SameTopics(self.log))

    async def look_at_topics(self) -> None:
        """Remember the ids of the topics that the service needs by now, before it opens them.

        Raises `Restart` when one was created again since it was first seen.
        """
        names = needed(self.topics, self.name, self.projects.definitions)
        await self.same.look(names - tended(self.topics, self.name))


Build = Callable[[Context[D]], Awaitable[Sequence[Runnable]]]


def main(
    name: str, build: Build[D], follow: Follow[D], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> int:
    """The body of every service's `__main__`. Returns the exit code. `loop_factory`: another event loop than asyncio's
    own.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    STOPPING.begin(name)
    tie_children()
    collect_rarely()
    give_back_buffers()
    try:
        settings = Settings.load()
        set_up_logs(name, settings.log_level)
        if ignored := strangers():
            _log.warning("%s", ignored)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(run_service(name, build, follow, settings))
    except Misconfigured as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def collect_rarely() -> None:
    """Collect garbage rarely. A batch makes tens of thousands of short-lived values, and they have no cycles."""
    gc.set_threshold(50_000, 20, 50)


def give_back_buffers() -> bool:
    """Return free blocks above `LARGE_BYTES` to the system at once. False where that cannot be set.

    NB: glibc raises this limit itself when the first large block is freed (up to 32 MiB, the size of a fetch), and
    later blocks below it stay. The monitor grew by 60 MB for good with the first window that it read again. See
    mallopt(3).
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
    except (OSError, AttributeError):  # another libc
        return False


async def run_service(name: str, build: Build[D], follow: Follow[D], settings: Settings, log: Log | None = None) -> int:
    """Run until a signal or a failure. Returns the exit code."""
    context = _context(name, follow, settings, log or KafkaLog(settings))
    loop = asyncio.get_running_loop()
    STOPPING.begin(name)
    STOPPING.hand_over(lambda: loop.call_soon_threadsafe(context.stop.set))
    server = HealthServer(context.health, settings.http_host, settings.http_port)
    server.start()
    try:
        if await _or_stop(context.stop, _started(context)) is None:
            _log.info("ended while starting, on request")
            return 0
        return await _run(context, build)
    except Exception as error:
        return _end(name, error)
    finally:
        server.stop()
        with contextlib.suppress(HeadraceError, TimeoutError):
            async with asyncio.timeout(3.0):
                await context.log.stop()
        STOPPING.end()


async def _started(context: Context[D]) -> bool:
    """Connect, check the topics, and read the projects."""
    await connect(context.log, context.settings.connect_timeout_s, context.settings)
    await context.look_at_topics()
    mine = needed(context.topics, context.name)
    await require_topics(context.log, [spec for spec in context.topics.specs() if spec.name in mine])
    await context.projects.start()
    await context.look_at_topics()
    return True


async def _or_stop(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None when `stop` was set first."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            # NB: with a limit, since a connecting client may ignore the cancellation.
            await asyncio.wait({working}, timeout=2.0)


def _context(name: str, follow: Follow[D], settings: Settings, log: Log) -> Context[D]:
    topics = topics_of(settings)
    codec = Codec(topics)
    clock = SystemClock()
    instance = settings.instance_id(name)
    health = Health(name, instance, pid=os.getpid(), started_s=clock.now_s(), code_version=version("headrace"))
    return Context(
        name, instance, settings, log, topics, codec, follow(log, codec, topics), health, clock, asyncio.Event()
    )


async def _run(context: Context[D], build: Build[D]) -> int:
    beats = Heartbeats(context.log, context.topics, context.health, context.clock)
    guard = LoopGuard(context.name, context.settings.watchdog_s)
    where, watches = context.settings.bootstrap_servers, context.name not in _PATIENT
    vitals = Vitals(
        context.log,
        context.topics,
        context.projects,
        context.health,
        beats,
        where,
        watches_work=watches,
        same=context.same,
    )
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for part in (beats, guard, vitals, context.projects):
                group.create_task(_or_end(context.stop, _whole(part, context.stop)))
            for part in await _or_end(context.stop, _or_stop(context.stop, _built(context, build))) or ():
                group.create_task(_or_end(context.stop, _whole(part, context.stop)))
            context.health.clear("start")
            await context.stop.wait()
    except* Exception as errors:
        failure = _worst(errors)
        if not isinstance(failure, Restart):
            context.health.fail(FAILED, f"it ends: {failure}")
    await beats.close()
    return 0 if failure is None else _end(context.name, failure)


async def _or_end(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. When it fails, the process ends, whatever the other parts do when they are cancelled.

    NB: a loop may lose its cancellation (`asyncio.wait_for` of Python 3.11 does when both come at once); `stop` stays
    set.
    """
    try:
        return await work
    except Exception as error:
        stop.set()
        STOPPING.fail(error)
        raise


async def _whole(part: Runnable, stop: asyncio.Event) -> None:
    """Run a part. Raises `Fatal` when it ends by a cancellation that nobody requested.

    Its task group would ignore that, and the process would report that it is ready without this part.
    """
    try:
        await part.run(stop)
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise Fatal(f"{type(part).__name__} was cancelled, and nobody had requested it") from error


async def _built(context: Context[D], build: Build[D]) -> Sequence[Runnable]:
    return await build(context)


def _worst(errors: BaseExceptionGroup) -> BaseException:
    """The error that decides the exit code: a bug, a wrong setting, a `Fatal`, and only then a restart."""
    return min(_leaves(errors), key=_rank)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


def _rank(error: BaseException) -> int:
    match error:
        case Restart():
            return 4
        case Misconfigured():
            return 1
        case Fatal():
            return 2
        case HeadraceError():
            return 3
        case _:
            return 0


def _end(name: str, error: BaseException) -> int:
    """Log why the process ends, in one line. Returns the exit code."""
    match error:
        case Restart():
            _log.info("%s", error)
            return 75
        case Misconfigured():
            _log.error("%s", error)
            return 2
        case HeadraceError():
            _log.error("%s: ending, to be restarted", error)
            return 1
        case _:
            text = f"{name} failed with an unexpected error, which is a bug: {type(error).__name__}: {error}; ending, to be restarted"
            _log.critical(text, exc_info=error)
            return 1
