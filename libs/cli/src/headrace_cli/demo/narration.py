"""Shows the facts on the log as they come, in the sentences of the timeline. `headrace.registry.under_way` decides when the replay must wait."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from rich.markup import escape

from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.events.registry import (
    AliasMoved,
    ApprovalAwaited,
    CommandRefused,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    RolloutStarted,
    VersionRegistered,
)
from headrace.events.training import (
    GateJudged,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.events.verdicts import Evidence, evidence_text
from headrace.evidence.steps import sentence, state_of
from headrace.log.codec import Message
from headrace.registry.under_way import Holding
from headrace_cli.terminal.render import instant

Report = Callable[[str], None]
TOPICS = ("monitor.windows", "monitor.findings", "training.requests", "training.facts", "registry.facts")


class Narration:
    """The narration of one run, fed message by message.

    `begun`, `ended`: versions whose rollout has taken its first step, or has ended. `refusals`: why a requested version will
    not come; `fact_count`: how many facts there were.
    """

    def __init__(self, deployment: str, report: Report) -> None:
        self._report, self._holding, self._moved = report, Holding(deployment), asyncio.Event()
        self.windows: list[WindowClosed] = []
        self.stage = ""
        self.fact_count = 0
        self.refusals: list[str] = []
        self.begun: set[int] = set()
        self.ended: set[int] = set()
        self._step: tuple[int, str, float] | None = None

    async def hold(self) -> None:
        """Wait while a version is trained, registered or warmed; return when the replay may continue."""
        while self._holding.waits_for:
            self._moved.clear()
            await self._moved.wait()

    def take(self, message: Message) -> None:
        """Take one fact."""
        self.fact_count += 1
        self._holding.take(message.event, message.envelope.id)
        self._moved.set()
        line = self._line(message.event)
        if line:
            self._report(f"[dim]{instant(message.envelope.time_s)[:16]}[/]  {line}")

    def _line(self, event: Any) -> str | None:
        self._note(event)
        if not self._is_new(event):
            return None
        # NB: the evidence of a rollout has lines of its own here; that of a finding is shown by `headrace finding show`.
        evidence = () if isinstance(event, FindingOpened) else getattr(event, "evidence", ())
        words = sentence(msgspec.structs.replace(event, evidence=()) if evidence else event)
        colour = "bold green" if isinstance(event, AliasMoved) else _COLOURS[state_of(event)]
        line = f"[{colour}]{escape(words)}[/]{_why(evidence)}"
        return f"{line} - [dim]the replay waits[/]" if isinstance(event, RetrainRequested) else line

    def _note(self, event: Any) -> None:
        """Keep what the acts of the demo ask for."""
        match event:
            case WindowClosed():
                self.windows.append(event)
            case RetrainRefused():
                self.refusals.append(f"the trainer refused: {event.reason}")
            case CommandRefused():
                self.refusals.append(f"the registry refused: {event.reason}")
            case TrainingFinished():
                self.stage = ""
                if event.outcome != "registered":
                    self.refusals.append(f"training ended, {event.outcome}: {event.reason}")
                elif not event.is_released:
                    self.refusals.append(f"the version was registered and {event.reason}")
            case RolloutAdvanced(step=step) if step != "switched":
                # From here on traffic moves it.
                self.begun.add(event.version)
            case RolloutCompleted() | RolloutAborted() | RolledBack():
                self.ended.add(event.version)

    def _is_new(self, event: Any) -> bool:
        """Whether an event has a line, and remember it: of a switch only the new champion, each step of a rollout or run once."""
        match event:
            case TrainingProgressed():
                is_new = event.stage != self.stage.partition(" ")[0]
                self.stage = f"{event.stage} {event.share:.0%} {event.detail}"
                return bool(event.detail) and is_new
            case AliasMoved():
                return event.alias == "champion"
            case RolloutStarted():
                return event.policy != "blue_green"
            case RolloutAdvanced(step="switched"):
                return False
            case RolloutAdvanced():
                # NB: a step is published again when its clock is known.
                before, self._step = self._step, (event.version, event.step, event.share)
                return before != self._step
            case RolloutCompleted():
                return bool(event.evidence)
        return isinstance(event, _TOLD)


_TOLD = (
    FindingOpened, FindingResolved, RetrainRequested, RetrainAccepted, RetrainCoalesced, RetrainRefused, GateJudged,
    TrainingFinished, VersionRegistered, RolloutQueued, RolloutPaused, RolloutResumed, ApprovalAwaited, RolloutAborted,
    RolledBack, CommandRefused,
)  # fmt: skip
_COLOURS = {"ok": "default", "unknown": "yellow", "attention": "bold yellow", "page": "bold red"}


def _why(evidence: Iterable[Evidence]) -> str:
    """The evidence behind a decision, one line each; guardrails that passed share a line."""
    passed = [one.metric for one in evidence if one.kind == "guardrail" and one.verdict == "PASS"]
    lines = [_measured(one) for one in evidence if one.metric not in passed]
    if passed:
        lines.append(f"guardrails PASS: {', '.join(passed)}")
    return "".join(f"\n                  [dim]{escape(line)}[/]" for line in lines)


def _measured(one: Evidence) -> str:
    return f"{one.verdict}: {evidence_text(one)}"
