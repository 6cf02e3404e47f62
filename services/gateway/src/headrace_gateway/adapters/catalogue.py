"""What is known of deployments: definitions, routes, registered versions and the reports of inference instances, off the log."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from headrace.asking.output_kinds import OutputKinds
from headrace.asking.prediction import OutputKind
from headrace.clock import Clock
from headrace.errors import HeadraceError
from headrace.events.definition import DeploymentDefinition
from headrace.events.ops import HealthReported
from headrace.events.registry import Route
from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.applied import Projects
from headrace_gateway.adapters.reports import Reports

CATCH_UP_S = 1.0


class Catalogue:
    """Deployments by name, as of the newest records that `run` has read."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, projects: Projects, clock: Clock) -> None:
        self._projects, self._clock = projects, clock
        self._routes: dict[str, Route] = {}
        self._view = View(log, codec, [topics.name("registry.routes")], self._take)
        self._kinds = OutputKinds(log, codec, topics)
        self._reports = Reports(log, codec, topics, clock)
        self._catching_up: asyncio.Task[None] | None = None
        self._until_s = 0.0

    async def start(self) -> None:
        """Read what is on the log now. Waits for the broker, and raises what it raises."""
        await self._view.start()
        await self._kinds.start()
        await self._reports.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the log until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._view.run(stop))
            group.create_task(self._kinds.run(stop))
            group.create_task(self._reports.run(stop))

    async def find(self, name: str) -> DeploymentDefinition | None:
        """A deployment by name, None where no applied project declares it. For one that is not known yet this waits, a second at most."""
        found = self._projects.deployment(name)
        if found is None:
            await self._catch_up()
            found = self._projects.deployment(name)
        return None if found is None else found[1]

    async def _catch_up(self) -> None:
        """Read the definitions up to their end, once for all callers that wait.

        A call that comes when this has taken longer than a second (the broker is away) does not wait at all.
        """
        now_s = self._clock.monotonic_s()
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(_quietly(self._projects.catch_up))
            self._until_s = now_s + CATCH_UP_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._until_s - now_s):
                await asyncio.shield(self._catching_up)

    @property
    def deployments(self) -> list[DeploymentDefinition]:
        """All declared deployments."""
        return [deployment for _, deployment in self._projects.deployments()]

    def kind(self, deployment: DeploymentDefinition, version: int | None = None) -> OutputKind:
        """What a version's scores mean; the champion's when `version` is None."""
        route = self._routes.get(deployment.name)
        return self._kinds.of(deployment, version or (route.champion if route else None))

    def route(self, deployment: str) -> Route | None:
        """The route of a deployment; None where no version takes traffic yet."""
        return self._routes.get(deployment)

    def routed(self, deployment: str) -> list[int]:
        """The versions that the route of a deployment names, ascending. They are loaded, so that a preview may name them."""
        route = self._routes.get(deployment)
        if route is None:
            return []
        named = {*route.shares, *route.shadows, *route.warm, route.champion, route.previous, route.baseline}
        return sorted(version for version in named if version is not None)

    def registered(self, deployment: str) -> Sequence[int]:
        """The versions of a deployment that the registry knows."""
        return self._kinds.versions(deployment)

    def living(self) -> list[HealthReported]:
        """The reports of the inference instances that live now."""
        return self._reports.living()

    def _take(self, message: Message) -> None:
        if isinstance(message.event, Route):
            self._routes[message.event.deployment] = message.event
        elif message.event is None:
            self._routes.pop((message.record.key or b"").decode(), None)


async def _quietly(catch_up: Callable[[], Awaitable[None]]) -> None:
    """Ignore that the broker is away: what is known already has to do."""
    with contextlib.suppress(HeadraceError, OSError):
        await catch_up()
