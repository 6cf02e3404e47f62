"""What a record changes in its story: what it is about, what it opens and what it closes, and how the story ends by it.

An episode is running while anything that was opened in it is not closed:

| opened by                                 | closed by                                          |
|-------------------------------------------|----------------------------------------------------|
| a finding                                 | its resolution                                     |
| a retrain request                         | accepted, coalesced, refused                       |
| a run that was accepted                   | finished                                           |
| a run that finished as `registered`       | the version registered, or its command refused     |
| a version that waits for its rollout      | its rollout, or a newer version that waits         |
| a rollout                                 | completed, aborted                                 |
| a person's command                        | the facts that answer it                           |
"""

from typing import Any

import msgspec

from headrace.events import type_name
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import (
    AliasMoved,
    ApprovalAwaited,
    CommandRefused,
    RegisterVersion,
    RollbackWindowBegun,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    RolloutStarted,
    RouteChanged,
    VersionApproved,
    VersionArchived,
    VersionDeleted,
    VersionRegistered,
)
from headrace.events.training import (
    REQUEST_ID_CHARS,
    GateJudged,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.evidence.steps import COMMANDS, command_key, words
from headrace.log.envelope import derived_id

PROMOTED, ROLLED_BACK, ABORTED, COMPLETED = "promoted", "rolled back", "aborted", "completed"
REJECTED, FAILED, REGISTERED = "rejected", "failed", "registered"
REFUSED, WAITING, RESOLVED, DONE = "refused", "waiting", "resolved", "done"
# Ends that only count where nothing more was reached.
WEAK = (REFUSED, WAITING, RESOLVED, DONE)
# Words of a title that do not matter once a version was promoted.
BY_THE_WAY = ("waits for rows", "retrain refused", RESOLVED)
_OF_ROLLOUT = (
    RolloutStarted, RolloutAdvanced, RolloutPaused, RolloutResumed, ApprovalAwaited, RolloutCompleted, RolloutAborted,
    RollbackWindowBegun,
)  # fmt: skip
# The commands that a fact may answer, by their `ce_type`.
_ANSWERS: dict[type, tuple[str, ...]] = {
    RolloutStarted: ("start.rollout", "retry.rollout"),
    RolloutQueued: ("start.rollout", "retry.rollout"),
    RolloutPaused: ("pause.rollout",),
    RolloutResumed: ("resume.rollout",),
    RolloutAborted: ("abort.rollout",),
    RolloutAdvanced: ("promote.rollout",),
    RolloutCompleted: ("promote.rollout",),
    AliasMoved: ("promote.rollout", "roll.back", "set.alias"),
    RolledBack: ("roll.back",),
    VersionApproved: ("approve.version",),
    VersionArchived: ("archive.version",),
    VersionDeleted: ("delete.version",),
    RouteChanged: ("set.override",),
}
_POLICIES = {"canary": "canary", "ab_test": "A/B test", "shadow": "shadow"}


class Turn(msgspec.Struct, frozen=True):
    """What one record changes. `refs`: the keys that it is about and `answers`: of the commands that it may answer;
    `opens`, `closes`: keys of what begins and ends with it. `how`: how the episode ends if this was the last; `word`: its
    part of the title. `switched`: a version took all traffic. `since_s`: since when a finding is so, and `since`, by what.
    """

    refs: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    opens: tuple[str, ...] = ()
    closes: tuple[str, ...] = ()
    how: str = ""
    word: str = ""
    switched: bool = False
    since_s: float | None = None
    since: str = ""


def turn_of(event: Any, ident: str, cause: str) -> Turn | None:
    """What a record changes; None for one that belongs to no story. `ident`, `cause`: its `ce_id` and `ce_causationid`."""
    for of in (_of_finding, _of_training, _of_rollout, _of_version, _of_command):
        turn = of(event, ident, cause)
        if turn is not None:
            answers = tuple(command_key(kind, cause) for kind in _ANSWERS.get(type(event), ()) if cause)
            return msgspec.structs.replace(turn, answers=(*turn.answers, *answers), closes=(*turn.closes, *answers))
    return None


def finding_key(ident: str) -> str:
    """The key of a finding."""
    return f"finding:{ident}"


def version_key(version: int) -> str:
    """The key of a version."""
    return f"version:{version}"


def switch_key(version: int) -> str:
    """The key of a version's last switch: it became champion."""
    return f"switch:{version}"


def newest_alone(event: Any) -> str:
    """Of what only the newest report is a step: of a run, or of what a switch brought; "" for others."""
    match event:
        case TrainingProgressed():
            return f"run:{event.run}"
        case EfficacyReported():
            return f"gain:{event.version}:{event.previous}"
    return ""


def _of_finding(event: Any, ident: str, cause: str) -> Turn | None:
    match event:
        case FindingOpened():
            key = finding_key(event.finding)
            is_known = event.changed_at_s is not None
            since_s = event.changed_at_s if is_known else event.window_from_s
            since = "" if since_s is None else "the change" if is_known else "the start of its window"
            return Turn((key, f"id:{ident}"), opens=(key,), word=words(event.kind), since_s=since_s, since=since)
        case FindingResolved():
            key = finding_key(event.finding)
            return Turn((key, f"id:{ident}"), closes=(key,), how=RESOLVED, word=RESOLVED)
    return None


def _of_training(event: Any, ident: str, cause: str) -> Turn | None:
    match event:
        case RetrainRequested():
            return _requested(event, f"request:{ident[:REQUEST_ID_CHARS]}")
        case RetrainAccepted():
            keys = (f"run:{event.run}", f"request:{event.request_id[:REQUEST_ID_CHARS]}")
            registers = f"register:{derived_id('register', event.run)}"
            return Turn((*keys, registers), opens=keys[:1], closes=keys[1:], word="retrain")
        case RetrainCoalesced():
            keys = (f"run:{event.run}", f"request:{event.request_id[:REQUEST_ID_CHARS]}")
            return Turn(keys, closes=keys[1:])
        case RetrainRefused():
            key = f"request:{event.request_id[:REQUEST_ID_CHARS]}"
            return Turn((key,), closes=(key,), how=REFUSED, word="retrain refused")
        case TrainingProgressed():
            return Turn((f"run:{event.run}",))
        case GateJudged():
            return Turn((f"run:{event.run}",), word="gates")
        case TrainingFinished():
            return _finished(event, f"run:{event.run}")
    return None


def _requested(event: RetrainRequested, key: str) -> Turn:
    """A request belongs to its finding; all requests for the first version are one story."""
    if event.finding is not None:
        return Turn((key, finding_key(event.finding)), opens=(key,))
    if event.cause == "first":
        return Turn((key, "first"), opens=(key,), word="first version")
    word = f"asked by {event.by}" if event.cause == "manual" else words(event.cause)
    return Turn((key,), opens=(key,), word=word)


def _finished(event: TrainingFinished, key: str) -> Turn:
    if event.outcome == "registered":
        registers = f"register:{derived_id('register', event.run)}"
        how = "" if event.is_released else REGISTERED
        return Turn(
            (key, registers), opens=(registers,), closes=(key,), how=how, word="" if not how else "not released"
        )
    how = event.outcome if event.outcome in (REJECTED, WAITING) else FAILED
    return Turn((key,), closes=(key,), how=how, word="waits for rows" if how == WAITING else how)


def _of_rollout(event: Any, ident: str, cause: str) -> Turn | None:
    if isinstance(event, RolledBack):
        return Turn(how=ROLLED_BACK, word=ROLLED_BACK)
    if not isinstance(event, _OF_ROLLOUT):
        return None
    key = f"rollout:{event.rollout}"
    match event:
        case RolloutStarted():
            waits = f"waiting:{event.version}"
            return Turn((key,), opens=(key,), closes=(waits,), word=_POLICIES.get(event.policy, ""))
        case ApprovalAwaited():
            return Turn((key,), word="approval")
        case RolloutCompleted():
            how = PROMOTED if event.promoted else COMPLETED
            word = PROMOTED if event.promoted else "no switch"
            return Turn((key,), closes=(key,), how=how, word=word, switched=event.promoted)
        case RolloutAborted():
            how = ROLLED_BACK if event.harmful else ABORTED
            return Turn((key,), closes=(key,), how=how, word=how)
    return Turn((key,))


def _of_version(event: Any, ident: str, cause: str) -> Turn | None:
    match event:
        case VersionRegistered():
            registers = f"register:{event.command_id}"
            return Turn((registers, version_key(event.version)), closes=(registers,), how=DONE)
        case RolloutQueued():
            return Turn((version_key(event.version),), opens=(f"waiting:{event.version}",), word="waits")
        case VersionApproved():
            return Turn(word="approved", how=DONE)
        case VersionArchived() | VersionDeleted() | RouteChanged():
            return Turn(how=DONE)
        case AliasMoved():
            return Turn(how=DONE, switched=event.alias == "champion")
        case CommandRefused():
            is_registration = event.command == "register.version"
            own = f"register:{event.command_id}" if is_registration else command_key(event.command, event.command_id)
            return Turn((own,), closes=(own,), how=REFUSED)
    return None


def _of_command(event: Any, ident: str, cause: str) -> Turn | None:
    """A person's command opens a story of its own, until a fact that answers it joins it to another. A trainer's
    registration is a link between its run and its version.
    """
    if isinstance(event, RegisterVersion):
        key = f"register:{ident}"
        return Turn((key,), opens=(key,), word=f"registered by {event.by}") if not cause else Turn((key,))
    if isinstance(event, COMMANDS):
        kind = type_name(type(event))
        key = command_key(kind, ident)
        return Turn((key,), opens=(key,), word=f"{words(kind)} by {event.by}")
    return None
