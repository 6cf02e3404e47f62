"""The one place where the monitor is wired."""

import asyncio
from collections.abc import Mapping, Sequence

from headrace.hosting.group import ShardGroup
from headrace.hosting.runtime import Runnable
from headrace.log.port import TopicPartition
from headrace.log.views import View
from headrace.project.service import Context
from headrace_monitor.core.evaluation import sources_of
from headrace_monitor.core.services import Services
from headrace_monitor.rereading import Rereader
from headrace_monitor.settings import LINGER_S, MAX_BATCH
from headrace_monitor.shell import SERVICE, MonitorShard
from headrace_monitor.undecided import Undecided


class Monitor:
    """Waits for a project, then watches its deployments. What is applied is taken up in place, other sources are read beside
    what is read already."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = Services()
        self._shard: MonitorShard | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        context = self._context
        if not await context.projects.wait(stop):
            return
        context.projects.listen(lambda _: self._on_applied())
        topics = context.topics
        health = View(context.log, context.codec, [topics.name("ops.health")], self._services.take, committed=False)
        stops = View(context.log, context.codec, [topics.name("ops.stops")], self._services.take)
        await health.start()
        await stops.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(health.run(stop))
            group.create_task(stops.run(stop))
            group.create_task(self._host(self._sources()).run(stop))

    def _on_applied(self) -> None:
        if self._shard is not None:
            self._shard.apply(self._context.projects.definitions)

    def _sources(self) -> list[str]:
        """Topics of the sources that deployments' views read."""
        found = {
            name
            for project, deployment in self._context.projects.deployments()
            for name in sources_of(project, deployment)
        }
        return sorted(map(self._context.topics.of_source, found))

    def _host(self, sources: list[str]) -> ShardGroup:
        context, topics = self._context, self._context.topics
        nouns = (
            "inference.decisions", "inference.outcomes", "inference.facts", "registry.facts", "registry.routes", "training.facts", "alerts.silences",
        )  # fmt: skip
        fixed = [*map(topics.name, nouns), *(topics.dlq(service) for service in topics.services)]
        hosts: list[ShardGroup] = []

        async def behind() -> Mapping[TopicPartition, int]:
            return await hosts[0].behind()

        async def read_sources(wanted: Sequence[str], anew: Sequence[str], since_s: float) -> None:
            """NB: an event may be dated a little after it was appended, and long before."""
            partitions = [tp for topic in anew for tp in await context.log.partitions(topic)]
            since_ms = int(max(since_s, 0.0) * 1000)
            starts = await context.log.offsets_at(partitions, since_ms) if since_ms else dict.fromkeys(partitions, 0)
            await hosts[0].read_others([*fixed, *wanted], starts)

        def make(_: int) -> MonitorShard:
            self._shard = MonitorShard(
                topics,
                context.projects.definitions,
                context.clock,
                self._services,
                behind,
                undecided=Undecided(context.log, topics, self._services, context.clock).count,
                reread=Rereader(context.log, context.codec, lambda: hosts[0].note_progress(0)).read,
                read_sources=read_sources,
                sources_read=[topic for topic in hosts[0].inputs if topic not in fixed],
                health=context.health,
                progress=lambda: hosts[0].note_progress(0),
                learn=context.projects.learn,
            )
            return self._shard

        host = ShardGroup(
            context.log,
            context.codec,
            topics,
            service=SERVICE,
            inputs=[*fixed, *sources],
            make=make,
            health=context.health,
            lock=topics.name("monitor.findings"),
            max_batch=MAX_BATCH,
            linger_s=LINGER_S,
            watchdog_s=context.settings.watchdog_s,
        )
        hosts.append(host)
        return host


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Monitor(context)]
