"""Hosting: adds an agent for every pipeline of every applied project, runs them, and reports what is read, stopped and kept."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from headrace.errors import Misconfigured, NoTopic, Restart, Retryable
from headrace.events.definition import PipelineDefinition
from headrace.events.project import ProjectApplied
from headrace.hosting.stops import Stops
from headrace.log.admin import require_topics
from headrace.log.port import Record, TopicPartition
from headrace.project.service import Context
from headrace_pipeline.adapters.agents import Agents
from headrace_pipeline.adapters.in_flight import InFlight
from headrace_pipeline.adapters.references import References
from headrace_pipeline.core.hosting import why_restart
from headrace_pipeline.core.lookback import FAILED_BYTES, MOST_FAILED, Place
from headrace_pipeline.settings import LOOK_AT_TOPICS_S, LOOK_EVERY_S, NOT_YET

_log = logging.getLogger("headrace.pipeline")


class Handler(Protocol):
    """What handles the batches of one pipeline: see `PipelineShell`."""

    stopped: set[Place]

    async def handle(self, records: Sequence[Record]) -> Mapping[Place, int]:
        """Returns when the records are done: per stopped partition the first offset that is not. It never raises for a record."""
        ...

    @property
    def hung_count(self) -> int:
        """Threads that hang and could not be ended."""
        ...

    @property
    def held_bytes(self) -> int:
        """What is kept of records on which the transform failed, by estimate."""
        ...


# Imports and wires a pipeline. Raises `Misconfigured` when it cannot.
MakeHandler = Callable[[ProjectApplied, PipelineDefinition], Awaitable[Handler]]


class Host:
    """The pipelines of all applied projects. A project that cannot be hosted is reported in health, and harms no other."""

    def __init__(
        self, context: Context, stops: Stops, references: References, in_flight: InFlight, make: MakeHandler
    ) -> None:
        self._context, self._stops, self._references = context, stops, references
        self._in_flight, self._make = in_flight, make
        self._agents = Agents(context.topics.group("pipeline"), context.settings)
        self._handlers: list[Handler] = []
        self._raw: set[str] = set()
        # Projects whose topics are not as they must be, and partitions that are to be read.
        self._left_out: list[ProjectApplied] = []
        self._wanted = 0
        self._looked_s = context.clock.monotonic_s()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises `Restart` when what is hosted must be wired anew."""
        context = self._context
        await self._stops.start()
        await context.look_at_topics()
        await self._stops.forget_gone()
        for applied in list(context.projects.applied.values()):
            await self._add_project(applied)
        context.health.fail("assignment", NOT_YET)
        following = asyncio.gather(self._references.run(stop), self._stops.run(stop))
        if self._handlers:
            await self._agents.start()
        try:
            self._wanted = await self._count_partitions()
            while not stop.is_set() and not following.done():
                self._look()
                await self._look_at_topics()
                await asyncio.wait({following}, timeout=LOOK_EVERY_S)
            if not stop.is_set():
                following.result()
        finally:
            following.cancel()
            self._in_flight.end()
            if self._handlers:
                await self._agents.stop()
            await self._references.stop()
            await self._stops.close()

    # adding

    async def _add_project(self, applied: ProjectApplied) -> None:
        if applied.definition.pipelines and not await self._has_topics(applied):
            self._left_out.append(applied)
            return
        for compiled in applied.definition.pipelines:
            try:
                handler = await self._make(applied, compiled)
            except Misconfigured as error:
                _log.error("project %s, pipeline %s: %s", applied.name, compiled.name, error)
                what = f"pipeline:{applied.name}.{compiled.name}"
                self._context.health.fail(what, f"project {applied.name}, pipeline {compiled.name}: {error}")
                continue
            topic = self._context.topics.of_raw(compiled.raw)
            self._agents.add(f"{applied.name}.{compiled.name}", topic, handler.handle)
            self._handlers.append(handler)
            self._raw.add(topic)

    async def _has_topics(self, applied: ProjectApplied) -> bool:
        try:
            await require_topics(self._context.log, self._context.topics.specs(applied.definition))
        except Misconfigured as error:
            _log.error("project %s: %s", applied.name, error)
            self._context.health.fail(f"project:{applied.name}", f"project {applied.name}: {error}")
            return False
        return True

    # looking

    async def _count_partitions(self) -> int:
        return sum([len(await self._context.log.partitions(topic)) for topic in sorted(self._raw)])

    async def _look_at_topics(self) -> None:
        """Now and then: begin anew when there is more to read, or when the topics that a project lacked are there."""
        now_s = self._context.clock.monotonic_s()
        if now_s - self._looked_s < LOOK_AT_TOPICS_S:
            return
        self._looked_s = now_s
        try:
            if await self._count_partitions() > self._wanted:
                raise Restart("a raw topic has more partitions: restarting, to read them")
            for applied in self._left_out:
                with contextlib.suppress(Misconfigured):
                    await require_topics(self._context.log, self._context.topics.specs(applied.definition))
                    raise Restart(f"the topics of project {applied.name} are there: restarting, to host its pipelines")
        except (Retryable, NoTopic) as error:  # reported by what watches the broker and the topics
            _log.info("raw topics could not be looked at: %s", error)

    def _look(self) -> None:
        """Report what is read, stopped and kept. Raises `Restart` when what is hosted must be wired anew."""
        health = self._context.health
        assigned = self._agents.assigned() if self._handlers else set()
        # NB: ready only when this group reads everything: a topic missing at the start would be ignored for ever.
        if len(assigned) >= self._wanted:
            health.clear("assignment")
        self._stops.report_to(health, [TopicPartition(*place) for place in assigned])
        resumed = [place for found in self._handlers for place in found.stopped if self._stops.at(*place) is None]
        reason = why_restart(resumed, sum(found.hung_count for found in self._handlers))
        if reason is not None:
            raise Restart(reason)
        self._report_references()
        held_bytes = sum(found.held_bytes for found in self._handlers)
        health.holds("failed records", held_bytes, len(self._handlers) * MOST_FAILED * FAILED_BYTES)

    def _report_references(self) -> None:
        health, references = self._context.health, self._references
        if references.left_out:
            limit = f"{references.limit_bytes // 1_048_576} MiB"
            health.fail(
                "references", f"{references.left_out} messages of references were left out: the limit is {limit}"
            )
        health.holds("references", references.held_bytes, references.limit_bytes)
