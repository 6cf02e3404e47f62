"""The one place where the feature service is wired."""

import asyncio
from collections.abc import Sequence

from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.hosting.group import ShardGroup
from headrace.hosting.runtime import Restart, Runnable
from headrace.project.service import Context
from headrace_feature.adapters.admission import Admission
from headrace_feature.adapters.history import History
from headrace_feature.settings import LINGER_S, MAX_BATCH
from headrace_feature.shell import SERVICE, FeatureShard


class Feature:
    """Waits for a project with sources, then folds them; ends to be restarted when sources or views change."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        context = self._context
        if not await context.projects.wait(stop, lambda projects: bool(projects.sources)):
            return
        built_from = self._digest()
        context.projects.listen(lambda applied: self._compare(built_from, applied))
        admission = Admission(context.codec, context.topics, context.projects.sources)
        host = ShardGroup(
            context.log,
            context.codec,
            context.topics,
            service=SERVICE,
            inputs=[context.topics.of_source(source.name) for source in context.projects.sources],
            make=lambda shard: FeatureShard(
                context.topics,
                context.projects.definitions,
                shard,
                lambda partition: History(context.log, admission, partition),
                context.health,
            ),
            health=context.health,
            max_batch=MAX_BATCH,
            linger_s=LINGER_S,
            decode=admission.decode,
            learn=lambda: self._learn(built_from),
            watchdog_s=context.settings.watchdog_s,
        )
        await host.run(stop)

    async def _learn(self, built_from: str) -> None:
        """NB: the contract of an event that breaks it may have been changed a moment ago."""
        await self._context.projects.learn()
        if self._digest() != built_from:
            raise Restart("sources or views changed: restarting")

    def _digest(self) -> str:
        return digest_of([(project.sources, project.views) for project in self._context.projects.definitions])

    def _compare(self, built_from: str, applied: ProjectApplied) -> None:
        if self._digest() != built_from:
            raise Restart(f"sources or views of project {applied.name} changed: restarting")


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Feature(context)]
