"""The one place where the feature service is wired."""

import asyncio
from collections.abc import Sequence

from headrace.hosting.group import ShardGroup
from headrace.hosting.runtime import Runnable
from headrace.project.service import Context
from headrace_feature.adapters.admission import Admission
from headrace_feature.adapters.definitions import Definitions
from headrace_feature.adapters.history import History
from headrace_feature.settings import LINGER_S, MAX_BATCH
from headrace_feature.shell import SERVICE, FeatureShard


class Feature:
    """Waits for a project with sources, then folds them; ends to be restarted when sources or views change."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises `Restart` when sources or views change."""
        context = self._context
        definitions = Definitions(context.projects)
        if not await definitions.wait(stop):
            return
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
            learn=definitions.learn,
            watchdog_s=context.settings.watchdog_s,
        )
        await host.run(stop)


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Feature(context)]
