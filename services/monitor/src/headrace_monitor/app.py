"""The one place where the monitor is wired."""

import asyncio
import contextlib
from collections.abc import Sequence

from headrace.hosting.group import ShardGroup
from headrace.hosting.runtime import Runnable
from headrace.project.load import Allowed
from headrace.project.service import Context
from headrace_monitor.adapters.custom_metrics import CustomMetrics
from headrace_monitor.adapters.decision_reader import DecisionReader
from headrace_monitor.adapters.inputs import Inputs
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.adapters.service_views import service_views, silences_view
from headrace_monitor.adapters.spill import Spill, folder_of
from headrace_monitor.adapters.undecided_requests import UndecidedRequests
from headrace_monitor.core.evaluation import sources_of
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.silences import Silences
from headrace_monitor.settings import LINGER_S, MAX_BATCH
from headrace_monitor.shell import SERVICE, MonitorShard


class Monitor:
    """Waits for a project, then watches its deployments.

    What is applied later is taken up in place: other sources are read beside what is read already.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._liveness, self._silences = Liveness(), Silences()
        self._inputs = Inputs(context.log, context.topics)
        self._shard: MonitorShard | None = None
        allowed = Allowed(context.settings.allowed_projects, context.settings.applied_file)
        self._custom = CustomMetrics(context.projects.project_of, allowed)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Raises what ends the host of the shard, or a view."""
        context = self._context
        if not await context.projects.wait(stop):
            return
        context.projects.listen(lambda _: self._on_applied())
        reading = (context.log, context.codec, context.topics)
        views = (*service_views(*reading, self._liveness), silences_view(*reading, self._silences))
        for view in views:
            await view.start()
        self._inputs.follow(self._host())
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            stack.callback(self._custom.close)
            for running in (*views, self._inputs.host):
                group.create_task(running.run(stop))

    def _on_applied(self) -> None:
        if self._shard is not None:
            self._shard.apply(self._context.projects.definitions)

    def _source_topics(self) -> list[str]:
        """The topics of the sources that views of deployments read."""
        found = {
            name
            for project, deployment in self._context.projects.deployments()
            for name in sources_of(project, deployment)
        }
        return sorted(map(self._context.topics.of_source, found))

    def _host(self) -> ShardGroup:
        context = self._context
        return ShardGroup(
            context.log,
            context.codec,
            context.topics,
            service=SERVICE,
            inputs=[*self._inputs.fixed, *self._source_topics()],
            make=self._make_shard,
            health=context.health,
            lock=context.topics.name("monitor.findings"),
            max_batch=MAX_BATCH,
            linger_s=LINGER_S,
            watchdog_s=context.settings.watchdog_s,
        )

    def _make_shard(self, _: int) -> MonitorShard:
        context, inputs = self._context, self._inputs
        spill = Spill(folder_of(context.settings))
        outside = Outside(
            behind=inputs.behind,
            undecided=UndecidedRequests(context.log, context.topics, self._liveness, context.clock).count,
            reread=DecisionReader(context.log, context.codec, inputs.note_progress).read,
            read_sources=inputs.read_sources,
            sources_read=inputs.sources_read,
            learn=context.projects.learn,
            progress=inputs.note_progress,
            silences=self._silences,
            custom=self._custom.of,
            runbook_url=context.settings.runbook_url,
            keep=spill.keep,
            spilled=lambda: (spill.held_bytes, spill.limit_bytes),
        )
        self._shard = MonitorShard(
            context.topics, context.projects.definitions, context.clock, self._liveness, outside, context.health
        )
        return self._shard


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Monitor(context)]
