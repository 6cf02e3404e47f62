"""The trainer's one shard: requests are answered at once, training goes on beside, and its facts leave as they come.

A run that was accepted and not finished is started again after a restart, with the same id; what it registers is
known by the command's id, so one version comes of it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.bus.port import Out, TopicPartition
from headrace.bus.runtime import Context
from headrace.bus.shards import Outputs, Rebuild
from headrace.codec import Message, caused_by, out
from headrace.envelope import derived_id
from headrace.events.training import RetrainAccepted, RetrainRequested
from headrace_trainer.core.triggers import Runs, apply, on_request
from headrace_trainer.run import TrainingRun

SERVICE = "trainer"


class TrainerShard:
    """All retrain requests; one active instance."""

    def __init__(self, context: Context) -> None:
        self._context, self._topics = context, context.topics
        self._runs = Runs()
        self._causes: dict[str, Message] = {}
        self._active: dict[str, tuple[TrainingRun, asyncio.Task[None]]] = {}
        self._said: list[tuple[str, Any]] = []

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("training.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        self._runs = apply(self._runs, message.event)
        if isinstance(message.event, RetrainAccepted):
            self._causes[message.event.run] = message

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outs: list[Out] = []
        for message in batch:
            if isinstance(message.event, RetrainRequested):
                outs += self._on_request(message, message.event)
        return Outputs(outs=outs)

    async def on_tick(self) -> Outputs:
        self._start_accepted()
        said, self._said = self._said, []
        outs = [self._fact(fact, self._causes.get(run)) for run, fact in said]
        for deployment, (run, task) in list(self._active.items()):
            if task.done() and not self._said:
                outs += self._end(deployment, run)
        return Outputs(outs=outs)

    def _on_request(self, message: Message, request: RetrainRequested) -> list[Out]:
        found = self._context.projects.deployment(request.deployment)
        clock_s = request.clock_s if request.clock_s is not None else message.envelope.time_s
        fact = on_request(self._runs, request, message.envelope.id, found and found[1], clock_s)
        if fact is None:
            return []
        if isinstance(fact, RetrainAccepted):
            self._causes[fact.run] = message
        return [self._fact(fact, message)]

    def _start_accepted(self) -> None:
        for deployment, accepted in self._runs.running.items():
            if deployment not in self._active and self._context.projects.deployment(deployment) is not None:
                run = TrainingRun(
                    self._context, accepted, lambda fact, run=accepted.run: self._said.append((run, fact))
                )
                self._active[deployment] = (run, asyncio.create_task(run.run()))

    def _end(self, deployment: str, run: TrainingRun) -> list[Out]:
        del self._active[deployment]
        if run.command is None:
            return []
        cause = self._causes.get(run.accepted.run)
        time_s = run.accepted.clock_s
        envelope = caused_by(cause, id=derived_id("register", run.accepted.run), source=SERVICE, time_s=time_s)
        return [out(self._topics.name("registry.commands"), deployment, run.command, envelope)]

    def _fact(self, fact: Any, cause: Message | None) -> Out:
        self._runs = apply(self._runs, fact)
        part = (
            getattr(fact, "stage", ""),
            getattr(fact, "share", ""),
            getattr(getattr(fact, "result", None), "gate", ""),
        )
        ident = derived_id(
            type(fact).__name__, fact.deployment, getattr(fact, "run", ""), getattr(fact, "request_id", ""), *part
        )
        time_s = cause.envelope.time_s if cause else self._context.clock.now_s()
        envelope = caused_by(cause, id=ident, source=SERVICE, time_s=time_s)
        return out(self._topics.name("training.facts"), fact.deployment, fact, envelope)
