"""The one wiring place."""

import asyncio
from collections.abc import Sequence

from headrace.bus.port import Log
from headrace.bus.projects import Projects
from headrace.bus.runtime import Context, Runnable
from headrace.bus.views import View
from headrace.clock import Clock
from headrace.codec import Codec
from headrace.obs.health import Health
from headrace.topics import Topics
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.http import Doors, make_app
from headrace_gateway.adapters.server import HttpServer
from headrace_gateway.settings import Limits
from headrace_gateway.shell import Asker


class Gateway:
    """HTTP and the asker behind it; at the end the doors close first, while answers are still heard."""

    def __init__(self, asker: Asker, server: HttpServer, routes: View) -> None:
        self._asker, self._server, self._routes = asker, server, routes

    @property
    def port(self) -> int:
        """Where HTTP is served."""
        return self._server.port

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        quiet = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._asker.run(quiet))
            group.create_task(self._routes.run(quiet))
            await self._server.run(stop)
            quiet.set()


async def build(context: Context) -> Sequence[Runnable]:
    """Everything that runs, ready to be run."""
    settings = context.settings
    gateway = await wire(
        context.log,
        context.codec,
        context.topics,
        context.projects,
        context.health,
        context.clock,
        (settings.http_host, settings.gateway_port),
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
) -> Gateway:
    """The parts of the service on any log; `projects` must have been started."""
    asker, catalogue = Asker(log, codec, topics, clock, health), Catalogue(log, codec, topics, projects)
    doors = Doors(asker, catalogue, health, clock, limits)
    server = HttpServer(make_app(doors, catalogue), *address)
    await catalogue.view.start()
    await asker.start()
    return Gateway(asker, server, catalogue.view)
