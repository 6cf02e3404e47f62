"""Importing the users' code, as far as this host allows it."""

from headrace.errors import Misconfigured
from headrace.events.definition import PipelineDefinition
from headrace.events.project import ProjectApplied
from headrace.hosting.settings import Settings
from headrace.project.load import Allowed, load_allowed
from headrace.project.pipelines import Pipeline
from headrace_pipeline.adapters.in_flight import InFlight
from headrace_pipeline.adapters.threads import on_own_thread
from headrace_pipeline.settings import IMPORT_WITHIN_S


class Imports:
    """Imports projects, each on a thread of its own, noted as in flight meanwhile."""

    def __init__(self, settings: Settings, in_flight: InFlight) -> None:
        self._allowed, self._in_flight = Allowed(settings.allowed_projects, settings.applied_file), in_flight

    async def pipeline(self, applied: ProjectApplied, compiled: PipelineDefinition) -> Pipeline:
        """The user's pipeline behind its definition. It may take `IMPORT_WITHIN_S`.

        Raises `Misconfigured` when the project may not be imported, or fails, or has no such pipeline any more.
        """
        with self._in_flight.importing(applied.name, applied.digest):
            project = await on_own_thread(
                lambda: load_allowed(applied.name, applied.reference, self._allowed), IMPORT_WITHIN_S
            )
        for found in project.pipelines:
            if found.name == compiled.name:
                return found
        raise Misconfigured("it is not in the project's code any more: apply the project again")
