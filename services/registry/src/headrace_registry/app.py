"""The one place where the registry is wired."""

import asyncio
from collections.abc import Sequence

from headrace.events.registry import ArtifactPlace
from headrace.hosting.group import ShardGroup
from headrace.hosting.runtime import Runnable
from headrace.log.codec import Message
from headrace.log.views import View
from headrace.models import artifacts
from headrace.project.service import Context
from headrace_registry.core.instances import Instances
from headrace_registry.settings import TICK_S
from headrace_registry.shell import SERVICE, RegistryShard


class RegistryService:
    """Follows what instances report, carries out commands, and acts on verdicts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        context, topics = self._context, self._context.topics
        instances = Instances()

        def follow(message: Message) -> None:
            instances.take(message.event, message.record.timestamp_ms / 1000)

        view = View(context.log, context.codec, [topics.name("ops.health")], follow, committed=False)
        await view.start()

        async def has_artifact(place: ArtifactPlace) -> bool:
            return await artifacts.is_there(context.log, topics, place)

        host = ShardGroup(
            context.log,
            context.codec,
            topics,
            service=SERVICE,
            inputs=[topics.name(noun) for noun in ("registry.commands", "monitor.verdicts", "monitor.findings")],
            make=lambda _: RegistryShard(
                topics, context.projects, instances, has_artifact, context.clock, context.health
            ),
            health=context.health,
            lock=topics.name("registry.commands"),
            tick_s=TICK_S,
            watchdog_s=context.settings.watchdog_s,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(view.run(stop))
            group.create_task(host.run(stop))


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [RegistryService(context)]
