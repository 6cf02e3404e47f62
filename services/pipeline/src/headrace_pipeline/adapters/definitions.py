"""The applied projects, as they were when this process wired their pipelines."""

import asyncio

from headrace.errors import Restart
from headrace.events.project import ProjectApplied
from headrace.project.applied import Projects
from headrace_pipeline.core.hosting import hosted, is_changed


class Definitions:
    """What is hosted. When it changes the process ends to be restarted."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects
        self._running: dict[str, str] = {}

    async def wait(self, stop: asyncio.Event) -> bool:
        """Wait until a project has pipelines, and watch for changes from then on; False when stopped before."""
        if not await self._projects.wait(stop, lambda projects: any(p.pipelines for p in projects.definitions)):
            return False
        self._running = hosted(self._projects.applied)
        self._projects.listen(self._compare)
        return True

    async def learn(self) -> None:
        """Returns when what is hosted is all that is applied by now; else never: this process is about to be restarted.

        Raises `Retryable` when the log cannot be read to its end in time.
        """
        await self._projects.learn()
        if any(is_changed(self._running, applied) for applied in self._projects.applied.values()):
            await asyncio.Event().wait()

    def _compare(self, applied: ProjectApplied) -> None:
        if is_changed(self._running, applied):
            raise Restart(f"project {applied.name} changed: restarting")
