"""The one place where the pipeline service is wired."""

import asyncio
from collections.abc import Sequence

from headrace.bus.admin import require_topics
from headrace.bus.port import Producer
from headrace.bus.runtime import Context, Restart, Runnable
from headrace.events.project import ProjectApplied
from headrace.project.contract import Contract
from headrace.project.hosting import TransformRunner, targets_of
from headrace.project.load import load_project
from headrace.project.pipelines import Pipeline
from headrace_pipeline.adapters.agents import Agents, add_agent, make_app
from headrace_pipeline.adapters.references import References
from headrace_pipeline.adapters.rewind import Rewind
from headrace_pipeline.settings import NOT_YET
from headrace_pipeline.shell import SERVICE, PipelineShell


class Pipelines:
    """Waits for a project with pipelines, hosts them, and ends to be restarted when one changes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        context = self._context
        if not await context.projects.wait(stop, lambda projects: any(p.pipelines for p in projects.definitions)):
            return
        running = {name: a.digest for name, a in context.projects.applied.items() if a.definition.pipelines}
        context.projects.listen(lambda applied: _compare(running, applied))
        await require_topics(
            context.log, [spec for p in context.projects.definitions for spec in context.topics.specs(p)]
        )
        await self._host(stop, await context.log.producer())

    async def _host(self, stop: asyncio.Event, producer: Producer) -> None:
        context = self._context
        app = make_app(context.topics.group(SERVICE), context.settings)
        references = References(context.log, context.topics)
        raw = [
            await self._add_pipeline(app, applied, found, producer, references)
            for applied in context.projects.applied.values()
            if applied.definition.pipelines
            for found in load_project(applied.reference)[0].pipelines
        ]
        following = asyncio.create_task(references.run(stop))
        agents = Agents(app)
        context.health.fail("assignment", NOT_YET)
        await agents.start()
        try:
            await self._await_assignment(stop, agents, raw)
            await asyncio.wait({following, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                following.result()
        finally:
            await agents.stop()
            await references.stop()
            await producer.close()

    async def _add_pipeline(
        self, app, applied: ProjectApplied, found: Pipeline, producer: Producer, references: References
    ) -> str:
        context, definition = self._context, applied.definition
        compiled = next(p for p in definition.pipelines if p.name == found.name)
        contract = Contract(context.topics, definition, compiled, targets_of(found))
        marks = [(context.topics.of_source(name), definition.source(name).partitions) for name in compiled.sources]
        mappings = [await references.mapping(name) for name in compiled.enrich]
        runner = TransformRunner(found.name, found.transform, references=mappings)
        rewind = Rewind(context.log, int(compiled.remembers_s * 1000)) if compiled.remembers_s else None
        shell = PipelineShell(context.topics, producer, context.health, found.name, runner, contract, marks, rewind)
        topic = context.topics.of_raw(compiled.raw)
        add_agent(app, found.name, topic, shell.handle)
        return topic

    async def _await_assignment(self, stop: asyncio.Event, agents: Agents, topics: list[str]) -> None:
        """Ready only when this group reads everything: a topic missing at the start would be ignored for ever."""
        wanted = sum([len(await self._context.log.partitions(topic)) for topic in sorted(set(topics))])
        while agents.assigned() < wanted and not stop.is_set():
            await asyncio.sleep(0.1)
        self._context.health.clear("assignment")


def _compare(running: dict[str, str], applied: ProjectApplied) -> None:
    was_running = applied.name in running
    if (applied.definition.pipelines or was_running) and running.get(applied.name) != applied.digest:
        raise Restart(f"project {applied.name} changed: restarting")


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Pipelines(context)]
