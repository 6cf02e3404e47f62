"""What happens, as sentences, from the facts on the log; and when the replay must wait."""

import asyncio
from collections.abc import Callable
from typing import Any

from headrace.codec import Message
from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.events.registry import (
    AliasMoved,
    CommandRefused,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutQueued,
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
from headrace_cli.render import instant

Tell = Callable[[str], None]
TOPICS = ("monitor.windows", "monitor.findings", "training.requests", "training.facts", "registry.facts")


class Story:
    """Told message by message. `go` is set while the replay may go on: a retrain that it triggered holds it."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.go = asyncio.Event()
        self.go.set()
        self.windows: list[WindowClosed] = []
        self.stage = ""

    def take(self, message: Message) -> None:
        """One fact."""
        line = self._line(message.event)
        if line:
            self._tell(f"[dim]{instant(message.envelope.time_s)[:16]}[/]  {line}")

    def _line(self, event: Any) -> str | None:
        match event:
            case WindowClosed():
                self.windows.append(event)
                return None
            case RetrainRequested():
                self.go.clear()
                who = "the system asks" if event.by == "monitor" else f"{event.by} asks"
                return f"[yellow]{who} for a new version[/] ({event.cause}): {event.reason} - [dim]the replay waits[/]"
            case RetrainAccepted():
                return "trainer: accepted"
            case RetrainCoalesced():
                return "trainer: joined to the run under way"
            case RetrainRefused():
                self.go.set()
                return f"[red]trainer: refused[/]: {event.reason}"
            case TrainingProgressed():
                self.stage = f"{event.stage} {event.share:.0%} {event.detail}"
                return f"trainer: {event.stage}, {event.detail}" if event.detail else None
            case GateJudged(result=result):
                colour = "green" if result.verdict == "PASS" else "yellow"
                return f"gate {result.gate}: [{colour}]{result.verdict}[/], {result.detail}"
            case TrainingFinished():
                return self._finished(event)
            case _:
                return self._of_registry(event)

    def _finished(self, event: TrainingFinished) -> str:
        self.stage = ""
        if event.outcome == "registered":
            return f"trainer: trained on {event.trained_rows:,} rows in {event.took_s:.1f} s, digest {event.model_digest[:12]}"
        self.go.set()
        return f"[red]trainer: {event.outcome}[/]: {event.reason}"

    def _of_registry(self, event: Any) -> str | None:
        match event:
            case VersionRegistered():
                return f"registry: version {event.version} registered, being warmed on every inference instance"
            case AliasMoved(alias="champion"):
                was = "the prior" if event.was is None else f"version {event.was}"
                return f"[bold green]version {event.version} is champion[/] in place of {was}"
            case RolloutCompleted():
                self.go.set()
                return None
            case RolloutAdvanced(step="shadowing" | "canary" | "testing"):
                self.go.set()  # what moves it now is traffic
                return f"rollout: version {event.version} is {event.step}, share {event.share:.3g}"
            case RolloutQueued():
                self.go.set()
                return f"registry: version {event.version} waits: {event.reason}"
            case RolledBack():
                return f"[bold red]rolled back[/] to version {event.to}: {event.reason}"
            case RolloutAborted() | CommandRefused():
                self.go.set()
                return f"[red]registry: {type(event).__name__}[/]: {event.reason}"
            case FindingOpened():
                return f"[bold red]finding[/] ({event.kind}): {event.summary}"
            case FindingResolved():
                return f"[green]resolved[/] ({event.kind}): {event.reason}"
            case _:
                return None
