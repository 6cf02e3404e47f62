"""The one place where the gateway is wired."""

import asyncio
import logging
from collections.abc import Sequence

from headrace.asking.asker import Asker
from headrace.asking.outcome_writer import Observer
from headrace.clock import Clock
from headrace.hosting.health import Health
from headrace.hosting.runtime import Runnable
from headrace.log.codec import Codec
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.project.service import Context
from headrace_edge.keys import load_callers
from headrace_edge.rules.callers import Caller
from headrace_edge.server import HttpServer
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.http import make_app
from headrace_gateway.settings import Limits
from headrace_gateway.shell import Api

_log = logging.getLogger("headrace.gateway")


class Gateway:
    """HTTP and the asker behind it. At the end HTTP closes first, while answers are still received."""

    def __init__(self, asker: Asker, observer: Observer, server: HttpServer, catalogue: Catalogue) -> None:
        self._asker, self._observer, self._server, self._catalogue = asker, observer, server, catalogue

    @property
    def port(self) -> int:
        """Where HTTP is served."""
        return self._server.port

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; every call that was taken by then is answered."""
        is_closed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._asker.run(is_closed))
            group.create_task(self._catalogue.run(is_closed))
            await self._server.run(stop)
            is_closed.set()
        await self._observer.close()


async def build(context: Context) -> Sequence[Runnable]:
    """The gateway of a process, started on its log. Raises `Misconfigured` for an address or keys that cannot be used."""
    settings = context.settings
    callers = load_callers(settings)
    if not callers:
        where = f"{settings.http_host}:{settings.gateway_port}"
        _log.warning("API keys are off: whoever reaches %s may ask; HEADRACE_API_KEYS_FILE sets them", where)
    gateway = await wire(
        context.log,
        context.codec,
        context.topics,
        context.projects,
        context.health,
        context.clock,
        (settings.http_host, settings.gateway_port),
        Limits(body_bytes=settings.gateway_body_bytes, connections=settings.gateway_connections),
        callers,
    )
    return [gateway]


async def wire(
    log: Log,
    codec: Codec,
    topics: Topics,
    projects: Projects,
    health: Health,
    clock: Clock,
    address: tuple[str, int],
    limits: Limits = Limits(),  # noqa: B008 - frozen
    callers: Sequence[Caller] = (),
) -> Gateway:
    """The parts of the service on any log; `projects` must have been started. `address`: host and port, 0 for a free one."""

    def on_answer() -> None:
        health.handled += 1

    asker = Asker(log, codec, topics, clock, f"gateway/{health.instance}", on_answer, health)
    observer = Observer(log, topics, f"gateway/{health.instance}")
    catalogue = Catalogue(log, codec, topics, projects, clock)
    api = Api(asker, observer, catalogue, health, clock, limits, callers)
    app = make_app(api, catalogue, limits, has_keys=bool(callers), health=health)
    server = HttpServer(app, *address, limits, "HEADRACE_GATEWAY_PORT")
    await catalogue.start()
    await asker.start()
    return Gateway(asker, observer, server, catalogue)
