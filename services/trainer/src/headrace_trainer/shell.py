"""The trainer's one shard: retrain requests are answered at once; the facts of runs, which are processes of their own, are published here.

A run writes a journal. What it holds and `training.facts` does not is published in this shard's transaction, under ids that a
repeat has too. So it matters neither when this process ends nor how often it reads a journal.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from headrace.events.registry import RegisterVersion
from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished
from headrace.hosting.catalogue import RUN, RUNS
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message, caused_by, out
from headrace.log.port import Out, TopicPartition
from headrace.project.service import Context
from headrace_trainer.core.run_facts import Fact, RunFacts
from headrace_trainer.core.triggers import ANSWERED_BYTES, GROUP, GROUPS, Runs, apply, on_request

SERVICE = "trainer"
OUTCOMES = ("registered", "rejected", "waiting", "failed")


class TrainingProcesses(Protocol):
    """Where runs are done."""

    async def tend(self, wanted: Sequence[RetrainAccepted]) -> None:
        """See to it that the wanted runs are done, and no others. Begins processes in a thread; a run that cannot be begun raises nothing."""
        ...

    def read(self, run: str, position: int) -> tuple[list[Any], int]:
        """The entries of a run's journal from a position on, and the next position. Blocks while it reads a file; none is no error."""
        ...


class TrainerShard:
    """All retrain requests; one active instance."""

    def __init__(self, context: Context, processes: TrainingProcesses) -> None:
        self._context, self._topics, self._processes = context, context.topics, processes
        self._runs, self._facts = Runs(), RunFacts()
        # Per run under way, the message that caused it, and up to where its journal was read.
        self._causes: dict[str, Message] = {}
        self._read: dict[str, int] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        """The topic that holds this shard's history, read from its start."""
        return [Rebuild(self._topics.name("training.facts"), whole=True)]

    async def on_history(self, message: Message) -> None:
        """Fold a fact that was published before this instance became active."""
        self._runs = apply(self._runs, message.event)
        self._facts.apply(message.event, message.envelope.id)
        self._note(message.event, message)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Requests are read from the committed offsets on."""
        return committed

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        """Answer requests. Waits for the definitions that were applied by now."""
        outs: list[Out] = []
        for message in batch:
            if isinstance(message.event, RetrainRequested):
                # NB: a request right after an apply is judged by what was applied.
                await self._context.projects.learn()
                outs += self._on_request(message, message.event)
        return Outputs(outs=outs)

    async def on_tick(self) -> Outputs:
        """Look after the runs under way, and publish what is new in their journals."""
        under_way = list(self._runs.running.values())
        await self._processes.tend(under_way)
        outs: list[Out] = []
        for accepted in under_way:
            entries, position = self._processes.read(accepted.run, self._read.get(accepted.run, 0))
            self._read[accepted.run] = position
            for entry in entries:
                outs += self._on_entry(accepted, entry)
        groups, health = self._runs.answered, self._context.health
        health.measured.replace(RUNS, {(): len(self._runs.running)})
        health.holds("answered", ANSWERED_BYTES * sum(map(len, groups)), ANSWERED_BYTES * GROUP * GROUPS)
        return Outputs(outs=outs)

    def _on_request(self, message: Message, request: RetrainRequested) -> list[Out]:
        found = self._context.projects.deployment(request.deployment)
        clock_s = request.clock_s if request.clock_s is not None else message.envelope.time_s
        step = on_request(
            self._runs, request, message.envelope.id, found and found[1], clock_s, message.record.timestamp_ms
        )
        self._runs = step.state
        facts = [fact for answer in step.facts for fact in self._facts.on_answer(answer).facts]
        return self._publish(facts, message)

    def _on_entry(self, accepted: RetrainAccepted, entry: Any) -> list[Out]:
        facts, cause = self._facts.on_entry(accepted, entry).facts, self._causes.get(accepted.run)
        for fact in facts:
            self._runs = apply(self._runs, fact.event)
            if isinstance(fact.event, TrainingFinished):
                self._context.health.measured.observe(RUN, _known(fact.event.outcome), value=fact.event.took_s)
        return self._publish(facts, cause)

    def _publish(self, facts: Iterable[Fact], cause: Message | None) -> list[Out]:
        outs = []
        for fact in facts:
            self._note(fact.event, cause)
            outs.append(self._out(fact, cause))
        return outs

    def _out(self, fact: Fact, cause: Message | None) -> Out:
        topic = "registry.commands" if isinstance(fact.event, RegisterVersion) else "training.facts"
        time_s = fact.at_s
        if time_s is None:
            time_s = self._context.clock.now_s() if cause is None else cause.envelope.time_s
        envelope = caused_by(cause, id=fact.id, source=SERVICE, time_s=time_s)
        return out(self._topics.name(topic), fact.event.deployment, fact.event, envelope)

    def _note(self, event: Any, cause: Message | None) -> None:
        """Keep what later facts of a run need; forget it with the run."""
        if isinstance(event, RetrainAccepted) and cause is not None:
            self._causes[event.run] = cause
        elif isinstance(event, TrainingFinished):
            self._causes.pop(event.run, None)
            self._read.pop(event.run, None)


def _known(outcome: str) -> str:
    """The outcome of a run; users' code may write anything into a journal."""
    return outcome if outcome in OUTCOMES else "failed"
