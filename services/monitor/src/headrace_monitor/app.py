"""The one place where the monitor is wired."""

import asyncio
from collections.abc import Mapping, Sequence

from headrace.bus.port import TopicPartition
from headrace.bus.runtime import Context, Restart, Runnable
from headrace.bus.shards import ShardHost
from headrace.bus.views import View
from headrace.events.project import ProjectApplied
from headrace_monitor.settings import LINGER_S, MAX_BATCH
from headrace_monitor.shell import SERVICE, MonitorShard, Services


class Monitor:
    """Waits for a project, then watches its deployments; ends to be restarted when a project changes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        context = self._context
        if not await context.projects.wait(stop):
            return
        built_from = {name: applied.digest for name, applied in context.projects.applied.items()}
        context.projects.listen(lambda applied: _compare(built_from, applied))
        services = Services()
        health = View(context.log, context.codec, [context.topics.name("ops.health")], services.take, committed=False)
        await health.start()
        host = self._host(services)
        async with asyncio.TaskGroup() as group:
            group.create_task(health.run(stop))
            group.create_task(host.run(stop))

    def _host(self, services: Services) -> ShardHost:
        context, topics = self._context, self._context.topics
        nouns = ("inference.decisions", "inference.outcomes", "inference.facts", "registry.facts", "registry.routes")
        fixed = [topics.name(noun) for noun in nouns]
        sources = [topics.of_source(source.name) for source in context.projects.sources]
        hosts: list[ShardHost] = []

        async def behind() -> Mapping[TopicPartition, int]:
            return await hosts[0].behind()

        host = ShardHost(
            context.log,
            context.codec,
            topics,
            service=SERVICE,
            inputs=[*fixed, *sources, *(topics.dlq(service) for service in topics.services)],
            make=lambda _: MonitorShard(topics, context.projects.definitions, context.clock, services, behind),
            health=context.health,
            lock=topics.name("monitor.findings"),
            max_batch=MAX_BATCH,
            linger_s=LINGER_S,
            watchdog_s=context.settings.watchdog_s,
        )
        hosts.append(host)
        return host


def _compare(built_from: dict[str, str], applied: ProjectApplied) -> None:
    if built_from.get(applied.name) != applied.digest:
        raise Restart(f"project {applied.name} changed: restarting")


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Monitor(context)]
