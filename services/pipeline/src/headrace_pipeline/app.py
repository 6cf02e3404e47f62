"""The one place where the pipeline service is wired."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import Misconfigured, NoTopic, Retryable
from headrace.events.definition import PipelineDefinition
from headrace.events.project import ProjectApplied
from headrace.hosting.runs import runs_folder
from headrace.hosting.runtime import Restart, Runnable
from headrace.hosting.stops import Stops
from headrace.log.admin import require_topics
from headrace.log.port import Producer, TopicPartition
from headrace.project.contract import Contract
from headrace.project.hosting import TransformRunner, targets_of
from headrace.project.load import Allowed, load_allowed
from headrace.project.pipelines import Pipeline
from headrace.project.service import Context
from headrace.project.threads import beside
from headrace_pipeline.adapters.agents import Agents, add_agent, make_app
from headrace_pipeline.adapters.in_hand import InHand
from headrace_pipeline.adapters.references import References
from headrace_pipeline.adapters.rewind import Rewind
from headrace_pipeline.core.memory import BAD_BYTES, MOST_BAD
from headrace_pipeline.settings import IMPORT_WITHIN_S, LOOK_AT_TOPICS_S, LOOK_EVERY_S, MOST_HUNG, NOT_YET
from headrace_pipeline.shell import SERVICE, PipelineShell

_log = logging.getLogger("headrace.pipeline")


@dataclass
class _Hosted:
    """What runs here: the shells, and the raw topics that they read."""

    shells: list[PipelineShell] = field(default_factory=list)
    raw: set[str] = field(default_factory=set)
    # Partitions that are to be read, and projects whose topics are not as they must be.
    wanted: int = 0
    left_out: list[ProjectApplied] = field(default_factory=list)


class Pipelines:
    """Waits for a project with pipelines, hosts them, and ends to be restarted when one changes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stops = Stops(context.log, context.codec, context.topics, SERVICE, context.same)
        self._references = References(context.log, context.topics)
        self._in_hand = InHand(_beside(runs_folder(context.settings)))
        self._looked_s = context.clock.monotonic_s()
        # What is hosted, by project, with its digest.
        self._running: dict[str, str] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        context = self._context
        if not await context.projects.wait(stop, lambda projects: any(p.pipelines for p in projects.definitions)):
            return
        self._running = {name: a.digest for name, a in context.projects.applied.items() if a.definition.pipelines}
        context.projects.listen(lambda applied: _compare(self._running, applied))
        # NB: while something is imported too: an end that we were asked for is nobody's fault.
        ending = asyncio.create_task(stop.wait())
        ending.add_done_callback(lambda _: self._in_hand.end())
        try:
            await self._host(stop, await context.log.producer())
        finally:
            ending.cancel()

    async def _host(self, stop: asyncio.Event, producer: Producer) -> None:
        context = self._context
        app = make_app(context.topics.group(SERVICE), context.settings)
        await self._stops.start()
        await context.look_at_topics()
        await self._stops.forget_gone()
        hosted = _Hosted()
        for applied in list(context.projects.applied.values()):
            await self._add_project(app, applied, producer, hosted)
        agents = Agents(app)
        context.health.fail("assignment", NOT_YET)
        following = asyncio.gather(self._references.run(stop), self._stops.run(stop))
        if hosted.shells:
            await agents.start()
        try:
            hosted.wanted = await self._count_partitions(hosted.raw)
            while not stop.is_set() and not following.done():
                self._look(agents, hosted)
                await self._look_at_topics(hosted)
                await asyncio.wait({following}, timeout=LOOK_EVERY_S)
            if not stop.is_set():
                following.result()
        finally:
            following.cancel()
            self._in_hand.end()
            if hosted.shells:
                await agents.stop()
            await self._references.stop()
            await self._stops.close()
            await producer.close()

    async def _count_partitions(self, topics: set[str]) -> int:
        return sum([len(await self._context.log.partitions(topic)) for topic in sorted(topics)])

    async def _look_at_topics(self, hosted: _Hosted) -> None:
        """Now and then: begin anew when there is more to read, or what a project lacked is there."""
        now_s = self._context.clock.monotonic_s()
        if now_s - self._looked_s < LOOK_AT_TOPICS_S:
            return
        self._looked_s = now_s
        try:
            if await self._count_partitions(hosted.raw) > hosted.wanted:
                raise Restart("a raw topic has more partitions: restarting, to read them")
            for applied in hosted.left_out:
                with contextlib.suppress(Misconfigured):
                    await require_topics(self._context.log, self._context.topics.specs(applied.definition))
                    raise Restart(f"the topics of project {applied.name} are there: restarting, to host its pipelines")
        except (Retryable, NoTopic) as error:  # told by who looks after the broker and the topics
            _log.info("raw topics could not be looked at: %s", error)

    def _look(self, agents: Agents, hosted: _Hosted) -> None:
        """Tell what is read, stopped and kept; end to be restarted when a partition goes on, or too many threads hang."""
        health = self._context.health
        assigned = agents.assigned() if hosted.shells else set()
        # NB: ready only when this group reads everything: a topic missing at the start would be ignored for ever.
        if len(assigned) >= hosted.wanted:
            health.clear("assignment")
        self._stops.tell(health, [TopicPartition(*place) for place in assigned])
        gone_on = [place for shell in hosted.shells for place in shell.stopped if self._stops.at(*place) is None]
        if gone_on:
            topic, partition = gone_on[0]
            raise Restart(f"{topic}/{partition} goes on: restarting, to read it from there")
        hung = sum(shell.hung_count for shell in hosted.shells)
        if hung >= MOST_HUNG:
            raise Restart(f"{hung} transforms hang on threads that cannot be ended: restarting")
        if self._references.left_out:
            limit = f"{self._references.limit_bytes // 1_048_576} MiB"
            health.fail(
                "references", f"{self._references.left_out} messages of references were left out: the limit is {limit}"
            )
        health.holds("references", self._references.held_bytes, self._references.limit_bytes)
        held_bytes = sum(shell.held_bytes for shell in hosted.shells)
        health.holds("failed records", held_bytes, len(hosted.shells) * MOST_BAD * BAD_BYTES)

    async def _add_project(self, app, applied: ProjectApplied, producer: Producer, hosted: _Hosted) -> None:
        """Host a project's pipelines. What cannot be imported or wired of it, or lacks its topics, is told, and harms no other."""
        if applied.definition.pipelines and not await self._has_topics(applied):
            hosted.left_out.append(applied)
            return
        for compiled in applied.definition.pipelines:
            what = f"pipeline:{applied.name}.{compiled.name}"
            try:
                found = await self._imported(applied, compiled)
                shell = await self._shell(applied, found, compiled, producer)
            except Misconfigured as error:
                _log.error("project %s, pipeline %s: %s", applied.name, compiled.name, error)
                self._context.health.fail(what, f"project {applied.name}, pipeline {compiled.name}: {error}")
                continue
            topic = self._context.topics.of_raw(compiled.raw)
            add_agent(app, f"{applied.name}.{compiled.name}", topic, shell.handle)
            hosted.shells.append(shell)
            hosted.raw.add(topic)

    async def _has_topics(self, applied: ProjectApplied) -> bool:
        try:
            await require_topics(self._context.log, self._context.topics.specs(applied.definition))
        except Misconfigured as error:
            _log.error("project %s: %s", applied.name, error)
            self._context.health.fail(f"project:{applied.name}", f"project {applied.name}: {error}")
            return False
        return True

    async def _imported(self, applied: ProjectApplied, compiled: PipelineDefinition) -> Pipeline:
        settings = self._context.settings
        allowed = Allowed(settings.allowed_projects, settings.applied_file)
        with self._in_hand.importing(applied.name, applied.digest):
            project = await beside(lambda: load_allowed(applied.name, applied.reference, allowed), IMPORT_WITHIN_S)
        for found in project.pipelines:
            if found.name == compiled.name:
                return found
        raise Misconfigured("it is not in the project's code any more: apply the project again")

    async def _shell(
        self, applied: ProjectApplied, found: Pipeline, compiled: PipelineDefinition, producer: Producer
    ) -> PipelineShell:
        context, definition = self._context, applied.definition
        raw = context.topics.of_raw(compiled.raw)
        contract = Contract(context.topics, definition, compiled, targets_of(found))
        marks = [(context.topics.of_source(name), definition.source(name).partitions) for name in compiled.sources]
        mappings = [await self._references.mapping(name) for name in compiled.enrich]
        runner = TransformRunner(found.name, found.transform, compiled.limit_s, mappings, contract.measure)
        rewind = Rewind(context.log, int(compiled.remembers_s * 1000)) if compiled.remembers_s else None
        return PipelineShell(
            context.topics,
            producer,
            context.health,
            found.name,
            runner,
            contract,
            marks,
            self._stops,
            context.clock,
            self._in_hand,
            raw,
            rewind,
            context.same.ids.get(raw, ""),
            self._learn,
        )

    async def _learn(self) -> None:
        """Returns where what is hosted is what is applied; else never: this process is about to be restarted."""
        await self._context.projects.learn()
        if any(_is_changed(self._running, applied) for applied in self._context.projects.applied.values()):
            await asyncio.Event().wait()


def _beside(runs: Path) -> Path:
    """Where this service keeps what outlives its process, beside the trainer's runs."""
    return runs.with_name(f"{runs.name}.{SERVICE}")


def _compare(running: dict[str, str], applied: ProjectApplied) -> None:
    if _is_changed(running, applied):
        raise Restart(f"project {applied.name} changed: restarting")


def _is_changed(running: dict[str, str], applied: ProjectApplied) -> bool:
    was_running = applied.name in running
    return (bool(applied.definition.pipelines) or was_running) and running.get(applied.name) != applied.digest


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return [Pipelines(context)]
