"""When a replay must wait: while a version of its deployment is requested, trained, registered or warmed.

In real time the new version is there within minutes of event time; a replay that did not wait would give days of
requests to the old one. Facts come from three topics in any order, so each pair is kept as two sets:

| waits for                            | from                              | to                                                      |
|--------------------------------------|-----------------------------------|---------------------------------------------------------|
| the trainer's answer                 | `RetrainRequested`                | `RetrainAccepted`, `RetrainCoalesced`, `RetrainRefused` |
| the run                              | `RetrainAccepted`                 | `TrainingFinished`                                      |
| the registry's answer                | `TrainingFinished` (`registered`) | `VersionRegistered`, `CommandRefused`                   |
| the first step of the rollout        | `RolloutStarted`                  | any later fact of that rollout                          |

A rollout past its first step is moved by traffic, and a run that ended as `waiting` (for rows) is requested again when
the rows are there: a replay waits for neither.
"""

from dataclasses import dataclass, field
from typing import Any

from headrace.events.registry import (
    ApprovalAwaited,
    CommandRefused,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutStarted,
    VersionRegistered,
)
from headrace.events.training import (
    REQUEST_ID_CHARS,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.log.envelope import derived_id

TOPICS = ("training.requests", "training.facts", "registry.facts")

_MOVED = (RolloutAdvanced, ApprovalAwaited, RolloutPaused, RolloutCompleted, RolloutAborted, RolledBack)


@dataclass
class Holding:
    """What is under way for one deployment, according to the facts taken so far."""

    deployment: str
    _asked: set[str] = field(default_factory=set)
    _answered: set[str] = field(default_factory=set)
    _runs: dict[str, str] = field(default_factory=dict)
    _finished: set[str] = field(default_factory=set)
    _commands: set[str] = field(default_factory=set)
    _settled: set[str] = field(default_factory=set)
    _beginning: set[int] = field(default_factory=set)

    def take(self, event: Any, ident: str) -> None:
        """Take one fact or request, with its id. Those of other deployments are skipped."""
        if getattr(event, "deployment", None) != self.deployment:
            return
        match event:
            case RetrainRequested():
                self._asked.add(ident[:REQUEST_ID_CHARS])
            case RetrainAccepted():
                self._answered.add(event.request_id[:REQUEST_ID_CHARS])
                self._runs.setdefault(event.run, "")
            case RetrainCoalesced() | RetrainRefused():
                self._answered.add(event.request_id[:REQUEST_ID_CHARS])
            case TrainingProgressed():
                self._runs[event.run] = event.stage
            case TrainingFinished():
                self._finish(event)
            case VersionRegistered() | CommandRefused():
                self._settled.add(event.command_id)
            case RolloutStarted():
                self._beginning.add(event.version)
            case _ if isinstance(event, _MOVED):
                self._beginning.discard(event.version)

    def _finish(self, event: TrainingFinished) -> None:
        self._finished.add(event.run)
        if event.outcome == "registered":
            self._commands.add(derived_id("register", event.run))

    @property
    def waits_for(self) -> str:
        """What a replay must wait for, as text; "" for nothing."""
        if self._asked - self._answered:
            return "the trainer to answer a retrain request"
        runs = {run: stage for run, stage in self._runs.items() if run not in self._finished}
        if runs:
            run, stage = next(iter(runs.items()))
            return f"training run {run}{f' ({stage})' if stage else ''}"
        if self._commands - self._settled:
            return "the registry to register a trained version"
        if self._beginning:
            return f"version {min(self._beginning)} to be warmed"
        return ""
