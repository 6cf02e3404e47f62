"""The trainer's one shard: requests are answered at once; runs are processes of their own, whose facts are published here.

A run has a journal; what it holds and `training.facts` does not is published in this shard's transaction, with ids that a
repeat repeats. So it matters neither when this process ends nor how often it reads a journal. The command to register
leaves together with the run's last fact.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.events.registry import RegisterVersion
from headrace.events.training import (
    GateJudged,
    RetrainAccepted,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message, caused_by, out
from headrace.log.envelope import derived_id
from headrace.log.port import Out, TopicPartition
from headrace.project.service import Context
from headrace_trainer.core.triggers import ANSWERED_BYTES, GROUP, GROUPS, Runs, apply, on_request

SERVICE = "trainer"
# Facts of one run that are published: no run of ours says so many.
MAX_FACTS = 2_000


class Running(Protocol):
    """Where runs are done."""

    async def tend(self, wanted: Sequence[RetrainAccepted]) -> None:
        """See to it that the wanted runs are done, and no others."""
        ...

    def read(self, run: str, position: int) -> tuple[list[Any], int]:
        """What a run has said from a position on, and the next position."""
        ...


class TrainerShard:
    """All retrain requests; one active instance."""

    def __init__(self, context: Context, running: Running) -> None:
        self._context, self._topics, self._running = context, context.topics, running
        self._runs = Runs()
        self._causes: dict[str, Message] = {}
        self._known: dict[str, set[str]] = {}
        self._read: dict[str, int] = {}
        self._commands: dict[str, RegisterVersion] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("training.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        self._take(message.event, message.envelope.id, message)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        outs: list[Out] = []
        for message in batch:
            if isinstance(message.event, RetrainRequested):
                # NB: what is asked for right after an apply is judged by what was applied.
                await self._context.projects.learn()
                outs += self._on_request(message, message.event)
        return Outputs(outs=outs)

    async def on_tick(self) -> Outputs:
        await self._running.tend(list(self._runs.running.values()))
        outs: list[Out] = []
        for accepted in list(self._runs.running.values()):
            said, self._read[accepted.run] = self._running.read(accepted.run, self._read.get(accepted.run, 0))
            for entry in said:
                outs += self._on_said(accepted, entry)
        groups = self._runs.answered
        self._context.health.holds("answered", ANSWERED_BYTES * sum(map(len, groups)), ANSWERED_BYTES * GROUP * GROUPS)
        return Outputs(outs=outs)

    def _on_request(self, message: Message, request: RetrainRequested) -> list[Out]:
        found = self._context.projects.deployment(request.deployment)
        clock_s = request.clock_s if request.clock_s is not None else message.envelope.time_s
        fact = on_request(
            self._runs, request, message.envelope.id, found and found[1], clock_s, message.record.timestamp_ms
        )
        return [] if fact is None else self._fact(fact, derived_id(type(fact).__name__, fact.request_id), message)

    def _on_said(self, accepted: RetrainAccepted, entry: Any) -> list[Out]:
        """What a run's entry has this service say; an attempt is nobody's business but the run's."""
        cause, run = self._causes.get(accepted.run), accepted.run
        match entry:
            case RegisterVersion():
                self._commands[run] = entry
                return []
            case TrainingFinished():
                return self._register(accepted, cause) + self._fact(entry, derived_id("finished", run), cause)
            case GateJudged(result=result):
                return self._fact(entry, derived_id("gate", run, result.gate), cause)
            case TrainingProgressed():
                # NB: told again by a second attempt it is the same fact; how far it was does not go back.
                return self._fact(entry, derived_id("progress", run, entry.stage, entry.share, entry.detail), cause)
            case _:
                return []

    def _register(self, accepted: RetrainAccepted, cause: Message | None) -> list[Out]:
        command = self._commands.pop(accepted.run, None)
        if command is None:
            return []
        ident = derived_id("register", accepted.run)
        envelope = caused_by(cause, id=ident, source=SERVICE, time_s=accepted.clock_s)
        return [out(self._topics.name("registry.commands"), accepted.deployment, command, envelope)]

    def _fact(self, fact: Any, ident: str, cause: Message | None) -> list[Out]:
        run = getattr(fact, "run", "")
        known = self._known.get(run, set())
        is_last = isinstance(fact, TrainingFinished)
        if ident in known or (len(known) > MAX_FACTS and not is_last):
            return []
        self._take(fact, ident, cause)
        time_s = cause.envelope.time_s if cause else self._context.clock.now_s()
        envelope = caused_by(cause, id=ident, source=SERVICE, time_s=time_s)
        return [out(self._topics.name("training.facts"), fact.deployment, fact, envelope)]

    def _take(self, fact: Any, ident: str, message: Message | None) -> None:
        """Keep what a fact, told by us or by who was here before, says of the runs under way."""
        self._runs = apply(self._runs, fact)
        run = getattr(fact, "run", "")
        if isinstance(fact, RetrainAccepted):
            self._known[run] = set()
            if message is not None:
                self._causes[run] = message
        elif isinstance(fact, TrainingFinished):
            for kept in (self._known, self._causes, self._read, self._commands):
                kept.pop(run, None)
        if run in self._known:
            self._known[run].add(ident)
