"""The one place where the monitor is wired."""

import asyncio
from collections.abc import Mapping, Sequence

from headrace.bus.port import TopicPartition
from headrace.bus.runtime import Context, Runnable
from headrace.bus.shards import ShardHost
from headrace.bus.views import View
from headrace_monitor.core.evaluation import sources_of
from headrace_monitor.core.services import Services
from headrace_monitor.rereading import Rereader
from headrace_monitor.settings import LINGER_S, MAX_BATCH
from headrace_monitor.shell import SERVICE, MonitorShard
from headrace_monitor.undecided import Undecided


class Monitor:
    """Waits for a project, then watches its deployments. What is applied is taken up in place; only where other sources are to be
    read the shard begins again, from the places that its state names."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = Services()
        self._shard: MonitorShard | None = None
        self._changed = asyncio.Event()

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
            group.create_task(self._host_until(stop))

    def _on_applied(self) -> None:
        self._changed.set()
        if self._shard is not None:
            self._shard.apply(self._context.projects.definitions)

    async def _host_until(self, stop: asyncio.Event) -> None:
        """One host after the other, each for the sources that are to be read meanwhile."""
        while not stop.is_set():
            ended = asyncio.Event()
            hosting = asyncio.create_task(self._host(sources := self._sources()).run(ended))
            waiting = asyncio.create_task(self._until_others(sources, stop))
            try:
                await asyncio.wait({hosting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended.set()
                waiting.cancel()
                await hosting

    async def _until_others(self, sources: list[str], stop: asyncio.Event) -> None:
        while not stop.is_set() and self._sources() == sources:
            try:
                async with asyncio.timeout(0.5):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()

    def _sources(self) -> list[str]:
        """Topics of the sources that deployments' views read."""
        found = {
            name
            for project, deployment in self._context.projects.deployments()
            for name in sources_of(project, deployment)
        }
        return sorted(map(self._context.topics.of_source, found))

    def _host(self, sources: list[str]) -> ShardHost:
        context, topics = self._context, self._context.topics
        nouns = (
            "inference.decisions", "inference.outcomes", "inference.facts", "registry.facts", "registry.routes", "training.facts", "alerts.silences",
        )  # fmt: skip
        hosts: list[ShardHost] = []

        async def behind() -> Mapping[TopicPartition, int]:
            return await hosts[0].behind()

        def make(_: int) -> MonitorShard:
            self._shard = MonitorShard(
                topics,
                context.projects.definitions,
                context.clock,
                self._services,
                behind,
                undecided=Undecided(context.log, topics, self._services, context.clock).count,
                reread=Rereader(context.log, context.codec, lambda: hosts[0].note_progress(0)).read,
                health=context.health,
                progress=lambda: hosts[0].note_progress(0),
                learn=context.projects.learn,
            )
            return self._shard

        host = ShardHost(
            context.log,
            context.codec,
            topics,
            service=SERVICE,
            inputs=[*map(topics.name, nouns), *sources, *(topics.dlq(service) for service in topics.services)],
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
