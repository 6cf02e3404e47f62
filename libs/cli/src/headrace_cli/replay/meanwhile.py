"""The versions during a replay: how each training run ended, and which versions could not be loaded or were stopped.

They are read from the facts of the deployment since the replay began. The replay waited for these versions, and nothing else in its report
explains why no other version answered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import Poison
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.registry import CommandRefused, RolledBack, RolloutAborted, VersionRegistered
from headrace.events.training import RetrainAccepted, TrainingFinished, TrainingProgressed
from headrace.features.own import is_foreign
from headrace.log.codec import Message
from headrace.log.envelope import derived_id
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import pin_offsets, read_up_to
from headrace_cli.session import Session

NOUNS = ("training.facts", "registry.facts", "inference.facts")
# An outcome that the trainer does not know: the registry decides last.
REFUSED = "refused by the registry"
# The text for each `state` of a version that is not loaded.
NOT_LOADED = {
    "rejected": "could not be loaded",
    "failing": "could not be loaded so far",
    "loading": "is still being loaded",
}


@dataclass
class _Run:
    accepted: RetrainAccepted
    stage: str = ""
    detail: str = ""
    finished: TrainingFinished | None = None
    is_since: bool = False


@dataclass
class Meanwhile:
    """The facts of one deployment; `deployment`: its name."""

    deployment: str
    _runs: dict[str, _Run] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _failed: dict[tuple[int, str], VersionUnloadable | VersionLoadFailed] = field(default_factory=dict)
    _stopped: list[RolloutAborted | RolledBack] = field(default_factory=list)

    def take(self, message: Message, is_since: bool) -> None:
        """Take one fact of `NOUNS`; `is_since`: it was published since the replay began."""
        event = message.event
        if getattr(event, "deployment", None) != self.deployment:
            return
        match event:
            case RetrainAccepted():
                self._runs.setdefault(event.run, _Run(event)).is_since |= is_since
            case TrainingProgressed() | TrainingFinished() if event.run in self._runs:
                self._move(self._runs[event.run], event, is_since)
            case VersionRegistered():
                self._versions[event.command_id] = event.version
            case CommandRefused():
                self._refused[event.command_id] = event.reason
            case RolloutAborted() | RolledBack() if is_since:
                self._stopped.append(event)
            case VersionUnloadable() | VersionLoadFailed() if is_since:
                self._failed[event.version, event.instance] = event
            case VersionWarmed():
                self._failed.pop((event.version, event.instance), None)

    def _move(self, run: _Run, event: TrainingProgressed | TrainingFinished, is_since: bool) -> None:
        run.is_since |= is_since
        if isinstance(event, TrainingFinished):
            run.finished = event
        else:
            run.stage, run.detail = event.stage, event.detail

    def report(self) -> dict[str, Any]:
        """Plain values: the lists `training`, `not_loaded` and `stopped`, which may be empty."""
        failed = list(self._failed.values())
        unloaded = {found.version for found in failed}
        return {
            "training": [self._run_row(run) for run in self._runs.values() if run.is_since],
            "not_loaded": [
                {
                    "version": found.version,
                    "instance": found.instance,
                    "reason": found.reason,
                    "state": _state(found),
                }
                for found in failed
            ],
            "stopped": [
                {"version": found.version, "rolled_back": isinstance(found, RolledBack), "reason": found.reason}
                for found in self._stopped
                if found.version not in unloaded
            ],
        }

    def _run_row(self, run: _Run) -> dict[str, Any]:
        row = {"run": run.accepted.run, "cause": run.accepted.cause}
        if run.finished is None:
            stage = run.stage or "waits"
            return row | {"outcome": "under way", "version": None, "switched": None, "reason": run.detail or stage}
        command, ended = derived_id("register", run.accepted.run), run.finished
        outcome, reason = ended.outcome, ended.reason
        if command in self._refused:
            outcome, reason = REFUSED, self._refused[command]
        version = self._versions.get(command)
        is_released = ended.is_released if outcome == "registered" else None
        return row | {"outcome": outcome, "version": version, "switched": is_released, "reason": reason}


async def meanwhile_of(
    session: Session, deployment: str, starts: Mapping[TopicPartition, int], since_ms: int
) -> Meanwhile:
    """Read the current facts; those since the replay began lie at or after `starts` and were appended at `since_ms` or later."""
    found = Meanwhile(deployment)

    def take(record: Record) -> None:
        if is_foreign(record, deployment):
            return
        try:
            message = session.codec.decode(record)
        except Poison:  # dead-lettered by its owner
            return
        is_behind = record.offset >= starts.get(TopicPartition(record.topic, record.partition), 0)
        found.take(message, is_behind and record.timestamp_ms >= since_ms)

    # NB: from the beginning, because a run that was active then may end during the replay.
    ends = await pin_offsets(session.log, [session.topics.name(noun) for noun in NOUNS])
    await read_up_to(session.log, ends, take)
    return found


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as lines for people."""
    for run in report["training"]:
        yield _line(f"training run {run['run']} ({run['cause']}): {_ended(run)}", run["reason"])
    for found in report["not_loaded"]:
        how = NOT_LOADED[found["state"]]
        yield _line(f"version {found['version']} {how} on {found['instance']}", found["reason"])
    for found in report["stopped"]:
        how = "was rolled back" if found["rolled_back"] else "was stopped before it took traffic"
        yield _line(f"version {found['version']} {how}", found["reason"])


def _state(fact: VersionUnloadable | VersionLoadFailed) -> str:
    """A key of `NOT_LOADED`: rejected permanently, tried again, or still being tried."""
    if isinstance(fact, VersionUnloadable):
        return "rejected"
    return "loading" if fact.goes_on else "failing"


def _ended(run: Mapping[str, Any]) -> str:
    if run["version"] is None:
        return run["outcome"]
    return f"registered as version {run['version']}{'' if run['switched'] else ', not switched to'}"


def _line(head: str, reason: str) -> str:
    text = " ".join(reason.split())
    return f"{head}: {text}" if text else head
