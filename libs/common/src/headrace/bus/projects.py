"""The applied projects, as every service sees them: a view of `project.definitions` that is always current."""

import asyncio
from collections.abc import Callable, Iterator

from headrace.bus.port import Log
from headrace.bus.views import View
from headrace.codec import Codec, Message
from headrace.events.project import ProjectApplied
from headrace.project.compile import event_struct
from headrace.project.definition import DeploymentDefinition, ProjectDefinition, SourceDefinition
from headrace.topics import Topics


class Projects:
    """All applied projects by name."""

    def __init__(self, log: Log, codec: Codec, topics: Topics) -> None:
        self.applied: dict[str, ProjectApplied] = {}
        self._codec, self._topics = codec, topics
        self._view = View(log, codec, [topics.name("project.definitions")], self._take)
        self._listeners: list[Callable[[ProjectApplied], None]] = []

    async def start(self) -> None:
        """Read what is applied now."""
        await self._view.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow."""
        await self._view.run(stop)

    async def catch_up(self) -> None:
        """Wait (a second at most) until all that is applied by now is known here."""
        await self._view.catch_up()

    async def stop(self) -> None:
        """Give the connection back."""
        await self._view.stop()

    async def wait(
        self, stop: asyncio.Event, has: Callable[["Projects"], bool] = lambda projects: bool(projects.applied)
    ) -> bool:
        """Wait until `has` holds (a project is applied); False when stopped before."""
        while not has(self) and not stop.is_set():
            await asyncio.sleep(0.1)
        return has(self)

    def listen(self, listener: Callable[[ProjectApplied], None]) -> None:
        """Call `listener` with every project applied from now on."""
        self._listeners.append(listener)

    @property
    def definitions(self) -> list[ProjectDefinition]:
        """All definitions, by project name."""
        return [self.applied[name].definition for name in sorted(self.applied)]

    @property
    def sources(self) -> list[SourceDefinition]:
        """All sources of all projects."""
        return [source for project in self.definitions for source in project.sources]

    def deployments(self) -> Iterator[tuple[ProjectDefinition, DeploymentDefinition]]:
        """Each deployment with the project that it belongs to."""
        for project in self.definitions:
            for deployment in project.deployments:
                yield project, deployment

    def deployment(self, name: str) -> tuple[ProjectDefinition, DeploymentDefinition] | None:
        """A deployment by name, with its project."""
        return next(((project, found) for project, found in self.deployments() if found.name == name), None)

    def project_of(self, deployment: str) -> ProjectApplied | None:
        """The applied project that declares a deployment."""
        return next(
            (a for a in self.applied.values() if any(d.name == deployment for d in a.definition.deployments)), None
        )

    def _take(self, message: Message) -> None:
        applied: ProjectApplied = message.event
        if applied is None:
            return
        self.applied[applied.name] = applied
        self._codec.add_sources({self._topics.of_source(s.name): event_struct(s) for s in applied.definition.sources})
        for listener in self._listeners:
            listener(applied)
