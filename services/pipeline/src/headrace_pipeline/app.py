"""The one place where the pipeline service is wired."""

import asyncio
from collections.abc import Sequence

from headrace.events.definition import PipelineDefinition
from headrace.events.project import ProjectApplied
from headrace.hosting.runs import runs_folder
from headrace.hosting.runtime import Runnable
from headrace.hosting.stops import Stops
from headrace.log.port import Producer
from headrace.project.service import Context
from headrace_pipeline.adapters.definitions import Definitions
from headrace_pipeline.adapters.feed import Feed
from headrace_pipeline.adapters.host import Host
from headrace_pipeline.adapters.imports import Imports
from headrace_pipeline.adapters.in_flight import InFlight
from headrace_pipeline.adapters.raw_history import RawHistory
from headrace_pipeline.adapters.references import References
from headrace_pipeline.adapters.runner import TransformRunner
from headrace_pipeline.adapters.transform import HostedTransform
from headrace_pipeline.core.contract import Contract, targets_of
from headrace_pipeline.core.progress import Progress
from headrace_pipeline.shell import SERVICE, PipelineShell


class Pipelines:
    """Waits for a project with pipelines, hosts them, and ends to be restarted when one changes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._definitions = Definitions(context.projects)
        self._stops = Stops(context.log, context.codec, context.topics, SERVICE, context.same)
        self._references = References(context.log, context.topics)
        runs = runs_folder(context.settings)
        # What outlives the process lies beside the trainer's runs.
        self._in_flight = InFlight(runs.with_name(f"{runs.name}.{SERVICE}"))
        self._imports = Imports(context.settings, self._in_flight)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises `Restart` when what is hosted must be wired anew."""
        if not await self._definitions.wait(stop):
            return
        # NB: while something is imported too: an end that we were asked for is nobody's fault.
        ending = asyncio.create_task(stop.wait())
        ending.add_done_callback(lambda _: self._in_flight.end())
        producer = await self._context.log.producer()
        try:
            await Host(
                self._context,
                self._stops,
                self._references,
                self._in_flight,
                lambda applied, compiled: self._shell(applied, compiled, producer),
            ).run(stop)
        finally:
            ending.cancel()
            await producer.close()

    async def _shell(self, applied: ProjectApplied, compiled: PipelineDefinition, producer: Producer) -> PipelineShell:
        context, topics, definition = self._context, self._context.topics, applied.definition
        found = await self._imports.pipeline(applied, compiled)
        raw = topics.of_raw(compiled.raw)
        contract = Contract(topics, definition, compiled, targets_of(found))
        targets = [(topics.of_source(name), definition.source(name).partitions) for name in compiled.sources]
        mappings = [await self._references.mapping(name) for name in compiled.enrich]
        runner = TransformRunner(found.name, found.transform, compiled.limit_s, mappings, contract.measure)
        history = RawHistory(context.log, int(compiled.remembers_s * 1000)) if compiled.remembers_s else None
        feed = Feed(found.name, runner, self._in_flight, raw)
        return PipelineShell(
            topics,
            producer,
            context.health,
            HostedTransform(feed, context.clock, context.health, history),
            contract,
            Progress(found.name, tuple(targets), context.same.ids.get(raw, "")),
            self._stops,
            context.clock,
            self._definitions.learn,
        )


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Pipelines(context)]
