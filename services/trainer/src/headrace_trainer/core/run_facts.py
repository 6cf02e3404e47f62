"""Which facts of requests and runs are published: each once, whichever process ends in between.

A run's journal is read from its start by whoever owns the run's request, and again after every takeover. The id of a fact follows from
the run and from what the fact says, so that a repeat has the same id and is dropped. The command to register a version leaves
together with the run's last fact.
"""

from dataclasses import dataclass, field
from typing import Any

from headrace.events.registry import RegisterVersion
from headrace.events.training import (
    GateJudged,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.log.envelope import derived_id
from headrace.step import Step

# Facts of one run that are published. No run of ours has so many; users' code may write anything into a journal.
MAX_FACTS = 2_000


@dataclass(frozen=True, slots=True)
class Fact:
    """An event to publish under an id. `at_s`: its instant, None for that of what caused it."""

    id: str
    event: Any
    at_s: float | None = None


@dataclass
class RunFacts:
    """Of each run under way, the ids of the facts that were published, and the command that waits for the run's end.

    The state is mutable: a copy of 2,000 ids for every fact of a long history would be slow.
    """

    published: dict[str, set[str]] = field(default_factory=dict)
    commands: dict[str, RegisterVersion] = field(default_factory=dict)

    def apply(self, event: Any, ident: str) -> None:
        """Fold a published fact."""
        run = getattr(event, "run", "")
        if isinstance(event, RetrainAccepted):
            self.published[run] = set()
        elif isinstance(event, TrainingFinished):
            self.published.pop(run, None)
            self.commands.pop(run, None)
        if run in self.published:
            self.published[run].add(ident)

    def on_answer(self, answer: RetrainAccepted | RetrainCoalesced | RetrainRefused) -> "Step[RunFacts, Fact]":
        """The answer to a retrain request becomes a fact."""
        return self._step(Fact(derived_id(type(answer).__name__, answer.request_id), answer))

    def on_entry(self, accepted: RetrainAccepted, entry: Any) -> "Step[RunFacts, Fact]":
        """What an entry in the journal of a run publishes. Attempts concern the machine only, and publish nothing."""
        run = accepted.run
        match entry:
            case RegisterVersion():
                self.commands[run] = entry
                return Step(self)
            case TrainingFinished():
                command = self.commands.get(run)
                first = [] if command is None else [Fact(derived_id("register", run), command, accepted.clock_s)]
                return Step(self, (*first, *self._step(Fact(derived_id("finished", run), entry)).facts))
            case GateJudged(result=result):
                return self._step(Fact(derived_id("gate", run, result.gate), entry))
            case TrainingProgressed():
                # NB: written again by a second attempt it is the same fact: the published share does not go back.
                return self._step(Fact(derived_id("progress", run, entry.stage, entry.share, entry.detail), entry))
            case _:
                return Step(self)

    def _step(self, fact: Fact) -> "Step[RunFacts, Fact]":
        """The fact, unless it was published before, or its run has published too many; the last fact always counts."""
        published = self.published.get(getattr(fact.event, "run", ""), set())
        is_last = isinstance(fact.event, TrainingFinished)
        if fact.id in published or (len(published) > MAX_FACTS and not is_last):
            return Step(self)
        self.apply(fact.event, fact.id)
        return Step(self, (fact,))
