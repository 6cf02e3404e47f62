"""The sources and views of all applied projects, as they were when the service was wired."""

import asyncio

from headrace.errors import Restart
from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.project.applied import Projects


class Definitions:
    """What the service folds. When it changes the service ends to be restarted, since all of it is wired from it."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects
        self._built_from = ""

    async def wait(self, stop: asyncio.Event) -> bool:
        """Wait until a project has sources, and watch for changes from then on; False when stopped before."""
        if not await self._projects.wait(stop, lambda projects: bool(projects.sources)):
            return False
        self._built_from = self._digest()
        self._projects.listen(self._compare)
        return True

    async def learn(self) -> None:
        """Know all that is applied by now. Raises `Restart` when sources or views changed.

        NB: the contract of an event that breaks it may have been changed a moment ago.
        """
        await self._projects.learn()
        if self._digest() != self._built_from:
            raise Restart("sources or views changed: restarting")

    def _digest(self) -> str:
        return digest_of([(project.sources, project.views) for project in self._projects.definitions])

    def _compare(self, applied: ProjectApplied) -> None:
        if self._digest() != self._built_from:
            raise Restart(f"sources or views of project {applied.name} changed: restarting")
