"""Turns the facts on the log into sentences. `headrace.registry.under_way` decides when the replay must wait."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

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
        match event:
            case WindowClosed():
                self.windows.append(event)
                return None
            case RetrainRequested():
                by = "the system asks" if event.by == "monitor" else f"{event.by} asks"
                return f"[yellow]{by} for a new version[/] ({event.cause}): {event.reason} - [dim]the replay waits[/]"
            case RetrainAccepted():
                return "trainer: accepted"
            case RetrainCoalesced():
                return "trainer: joined to the current run"
            case RetrainRefused():
                self.refusals.append(f"the trainer refused: {event.reason}")
                return f"[red]trainer: refused[/]: {event.reason}"
            case TrainingProgressed():
                is_new = event.stage != self.stage.partition(" ")[0]
                self.stage = f"{event.stage} {event.share:.0%} {event.detail}"
                return f"trainer: {event.stage}, {event.detail}" if event.detail and is_new else None
            case GateJudged(result=result):
                colour = "green" if result.verdict == "PASS" else "yellow"
                return f"gate {result.gate}: [{colour}]{result.verdict}[/], {result.detail}"
            case TrainingFinished():
                return self._finished(event)
            case _:
                return self._of_registry(event)

    def _finished(self, event: TrainingFinished) -> str:
        self.stage = ""
        if event.outcome == "registered" and not event.is_released:
            self.refusals.append(f"the version was registered and {event.reason}")
            return f"[yellow]trainer: registered, and {event.reason}[/]"
        if event.outcome == "registered":
            return f"trainer: trained on {event.trained_rows:,} rows in {event.took_s:.1f} s, digest {event.model_digest[:12]}"
        self.refusals.append(f"training ended, {event.outcome}: {event.reason}")
        return f"[red]trainer: {event.outcome}[/]: {event.reason}"

    def _of_registry(self, event: Any) -> str | None:
        match event:
            case VersionRegistered():
                return f"registry: version {event.version} registered, being warmed on every inference instance"
            case AliasMoved(alias="champion"):
                was = "the prior" if event.was is None else f"version {event.was}"
                return f"[bold green]version {event.version} is champion[/] in place of {was}"
            case RolloutStarted() | RolloutAdvanced() | RolloutPaused() | RolloutResumed() | ApprovalAwaited():
                return self._of_rollout(event)
            case RolloutCompleted() | RolloutAborted() | RolledBack():
                return self._ended(event)
            case RolloutQueued():
                return f"registry: version {event.version} waits: {event.reason}"
            case CommandRefused():
                self.refusals.append(f"the registry refused: {event.reason}")
                return f"[red]registry: {type(event).__name__}[/]: {event.reason}"
            case FindingOpened():
                return f"[bold red]finding[/] ({event.kind}): {event.summary}"
            case FindingResolved():
                return f"[green]resolved[/] ({event.kind}): {event.reason}"
            case _:
                return None

    def _of_rollout(self, event: Any) -> str | None:
        match event:
            case RolloutStarted(policy="blue_green"):
                return None
            case RolloutStarted():
                return f"registry: {event.policy} of version {event.version} begins, version {event.control} is its control"
            case RolloutAdvanced(step="switched"):
                return None
            case RolloutAdvanced():
                # From here on traffic moves it. A step is published again when its clock is known.
                self.begun.add(event.version)
                before, self._step = self._step, (event.version, event.step, event.share)
                if before == self._step:
                    return None
                return f"[bold]version {event.version}: {_STEPS.get(event.step, event.step)}[/]{_share(event)}{_why(event.evidence)}"
            case RolloutPaused():
                return f"[yellow]version {event.version}: paused[/]: {event.reason}"
            case ApprovalAwaited():
                return f"[yellow]version {event.version}: waits for a person[/]: {event.reason}"
            case RolloutResumed():
                return f"version {event.version}: continues, {event.reason}"
            case _:
                return None

    def _ended(self, event: Any) -> str | None:
        self.ended.add(event.version)
        match event:
            case RolloutCompleted():
                return (
                    f"rollout of version {event.version} is complete{_why(event.evidence)}" if event.evidence else None
                )
            case RolledBack():
                return f"[bold red]version {event.version} is rolled back to {event.to}[/]: {event.reason}{_why(event.evidence)}"
            case _:
                what = "rolled back" if event.harmful else "aborted"
                return f"[bold red]version {event.version} is {what}[/]: {event.reason}{_why(event.evidence)}"


_STEPS = {"shadowing": "shadows, scores every request and answers none", "canary": "answers", "testing": "is tested on"}


def _share(event: RolloutAdvanced) -> str:
    return f" {event.share:.0%} of units" if event.share else ""


def _why(evidence: Iterable[Evidence]) -> str:
    """The evidence behind a decision, one line each; guardrails that passed share a line."""
    passed = [one.metric for one in evidence if one.kind == "guardrail" and one.verdict == "PASS"]
    lines = [_measured(one) for one in evidence if one.metric not in passed]
    if passed:
        lines.append(f"guardrails PASS: {', '.join(passed)}")
    return "".join(f"\n                  [dim]{line}[/]" for line in lines)


def _measured(one: Evidence) -> str:
    return f"{one.verdict}: {evidence_text(one)}"
