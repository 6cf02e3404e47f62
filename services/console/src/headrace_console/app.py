"""The one place where the console is wired."""

import asyncio
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from headrace.clock import Clock
from headrace.evidence.index import DecisionIndex, index_path
from headrace.evidence.reading import Evidence
from headrace.hosting.health import Health
from headrace.hosting.runs import runs_folder
from headrace.hosting.runtime import Runnable
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.project.service import Context
from headrace_console.adapters.acting import Acts
from headrace_console.adapters.bundle import Bundle
from headrace_console.adapters.following import Following
from headrace_console.adapters.history import History
from headrace_console.adapters.http import Pages, make_app
from headrace_console.adapters.persons import Persons
from headrace_console.adapters.records import Records
from headrace_console.core.feed import Feed
from headrace_console.core.world import World
from headrace_console.settings import Limits
from headrace_console.shell import Console
from headrace_edge.server import HttpServer
from headrace_edge.session_file import Sessions

_log = logging.getLogger("headrace.console")


class ConsoleService:
    """What is followed, what is made of it, and HTTP. At the end HTTP closes first."""

    def __init__(
        self,
        following: Following,
        console: Console,
        records: Records,
        acts: Acts,
        server: HttpServer,
        closing: asyncio.Event,
    ) -> None:
        self._following, self._console, self._records, self._acts = following, console, records, acts
        self._server, self._closing = server, closing

    @property
    def port(self) -> int:
        """Where HTTP is served."""
        return self._server.port

    async def run(self, stop: asyncio.Event) -> None:
        """Follow and serve until `stop`. Streams end at once, since a page connects again by itself."""
        is_closed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._following.run(is_closed))
            group.create_task(self._console.run(is_closed))
            group.create_task(self._records.run(is_closed))
            group.create_task(self._end_streams(stop))
            await self._server.run(stop)
            is_closed.set()
        await self._acts.close()

    async def _end_streams(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._closing.set()


async def build(context: Context) -> Sequence[Runnable]:
    """The console of a process. Raises `Misconfigured` for an address or keys that cannot be used."""
    settings, health_topic = context.settings, context.topics.name("ops.health")
    found = wire(
        context.log,
        context.codec,
        context.topics,
        context.projects,
        context.health,
        context.clock,
        settings,
        folder_of(settings),
        source=(await context.log.topic_ids([health_topic])).get(health_topic, ""),
    )
    _log.info("the console is served on http://%s:%s", settings.http_host, found.port)
    return [found]


def folder_of(settings: Settings) -> Path:
    """Where disposable files lie: the installation's home, else beside the folder of training runs."""
    home = os.environ.get("HEADRACE_HOME")
    return Path(home).absolute() if home else runs_folder(settings).parent


def wire(
    log: Log,
    codec: Codec,
    topics: Topics,
    projects: Projects,
    health: Health,
    clock: Clock,
    settings: Settings,
    folder: Path,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    source: str = "",
) -> ConsoleService:
    """The parts of the service on any log; `projects` must have been started. `folder`: for disposable files.

    `source`: the id of the topic of health reports, of which traffic is kept.
    """
    world, closing = World(topics.namespace), asyncio.Event()
    following = Following(log, codec, topics, projects, world, clock)
    own, suffix = folder / "console", f"-{settings.namespace}" if settings.namespace else ""
    history = History(own / f"traffic{suffix}.sqlite", source)
    console = Console(world, Feed(secrets.token_hex(4)), following, history, health, clock, limits)
    index = DecisionIndex.open(index_path(folder, settings.namespace), settings.decision_index_bytes)
    records = Records(Evidence(log, topics, codec, projects, index), limits.reads, limits.read_s)
    persons = Persons(settings, clock, Sessions(own / f"sessions{suffix}.json"))
    acts = Acts(log, topics, world, clock, limits.answer_s)
    following.listen(acts.take)
    pages = Pages(console, Bundle(), records, persons, acts)
    app = make_app(console, pages, persons, limits, health, closing)
    server = HttpServer(app, settings.http_host, settings.console_port, limits, "HEADRACE_CONSOLE_PORT")
    return ConsoleService(following, console, records, acts, server, closing)
