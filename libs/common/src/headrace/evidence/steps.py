"""One record of a deployment's history as a step: a kind, one sentence for a person, a state, and what it is about.

What a step is about are keys such as `finding:4f…`, `request:…`, `run:…`, `version:3`, `rollout:…` and
`command:roll.back:ID`. Steps that share one belong to the same story; see `headrace.evidence.timeline`. A record that
has no sentence (a window, a verdict, an alias that moved with its rollout) is no step.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from headrace.events import type_name
from headrace.events.alerts import AlertChanged, AlertSilence
from headrace.events.efficacy import EfficacyReported
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    ApprovalAwaited,
    ApproveVersion,
    ArchiveVersion,
    CommandRefused,
    DeleteVersion,
    GateResult,
    PauseRollout,
    PromoteRollout,
    RegisterVersion,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    RolloutStarted,
    RouteChanged,
    SetAlias,
    SetOverride,
    StartRollout,
    VersionApproved,
    VersionArchived,
    VersionDeleted,
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
from headrace.events.verdicts import FAIL, PASS, UNMEASURED, Evidence, evidence_text

State = Literal["ok", "attention", "page", "unknown"]
COMMANDS = (
    AbortRollout, ApproveVersion, ArchiveVersion, DeleteVersion, PauseRollout, PromoteRollout, RegisterVersion,
    ResumeRollout, RetryRollout, RollBack, SetAlias, SetOverride, StartRollout,
)  # fmt: skip
# The longest part of a sentence that somebody else wrote.
_MOST_CHARS = 300
_ID_CHARS = 8


class Step(msgspec.Struct, frozen=True):
    """One step of an episode, which is one record of the log.

    `kind`: the record's `ce_type`. `event_s`: when it was so by the deployment's clock, None where no clock is known.
    `wall_s`: when the record was appended. `since_event_s`, `since_wall_s`: since the step before, None for the first.
    `place`: `topic/partition/offset` of the record, `id` its `ce_id`. `cause`: the id of the record that caused it, ""
    for none; `cause_place`: where that one is, "" where it is not known here. `by`: the person or service that asked.
    `refs`: what it is about, see this module. `part`: see `part_of`.
    """

    kind: str
    sentence: str
    state: State
    event_s: float | None
    wall_s: float
    place: str
    id: str
    cause: str = ""
    cause_place: str = ""
    by: str = ""
    reason: str = ""
    version: int | None = None
    refs: tuple[str, ...] = ()
    part: str = ""
    since_event_s: float | None = None
    since_wall_s: float | None = None


def state_of(event: Any) -> State:
    """How a step is marked: a finding, a refusal and a failed gate ask for attention, a roll-back for a person at once.

    >>> state_of(RetrainRefused("d", "r", "cool-down")), state_of(RetrainAccepted("d", "39ee", "r", "drift", "", 0.0))
    ('attention', 'ok')
    """
    match event:
        case RolledBack() | RolloutAborted(harmful=True):
            return "page"
        case AlertChanged(status="firing", labels=labels):
            return "page" if labels.get("severity") == "critical" else "attention"
        case GateJudged(result=result):
            return "ok" if result.verdict == PASS else "attention" if result.verdict == FAIL else "unknown"
        case TrainingFinished(outcome="registered"):
            return "ok"
        case TrainingFinished(outcome="waiting") | RolloutPaused(unjudged=True):
            return "unknown"
        case RouteChanged(route=route):
            return "attention" if route.passed_over else "ok"
        case EfficacyReported(low=low, high=high):
            has_lost = high is not None and high < 0
            return "attention" if has_lost else "ok" if low is not None and low > 0 else "unknown"
    return "attention" if isinstance(event, _ATTENTION) else "ok"


_ATTENTION = (
    FindingOpened, RetrainRefused, CommandRefused, RolloutPaused, RolloutAborted, ApprovalAwaited, TrainingFinished,
    VersionUnloadable, VersionLoadFailed,
)  # fmt: skip


def worst(states: Iterable[State]) -> State:
    """What several steps ask for together: what the one asks for that asks for the most.

    >>> worst(["ok", "page", "unknown"])
    'page'
    """
    return max(states, key=_URGENCY.index)


_URGENCY: tuple[State, ...] = ("ok", "unknown", "attention", "page")


def between(from_s: float | None, to_s: float | None) -> float | None:
    """Seconds from one instant to another, at least 0; None where one of them is not known."""
    return None if from_s is None or to_s is None else max(to_s - from_s, 0.0)


def since(before: Step | None, step: Step) -> tuple[float | None, float | None]:
    """Seconds since the step before, by event time and by the wall clock; None for the first."""
    if before is None:
        return None, None
    return between(before.event_s, step.event_s), between(before.wall_s, step.wall_s)


def part_of(event: Any) -> str:
    """The part of an episode that a page may fold: `gates`, `warm`, `alerts`, `switch` (what is published beside the new
    champion), or "" for a step of its own.
    """
    match event:
        case GateJudged():
            return "gates"
        case VersionWarmed():
            return "warm"
        case AlertChanged():
            return "alerts"
        case RolloutAdvanced(step="switched") | RolloutCompleted(promoted=True):
            return "switch"
    return ""


def command_key(kind: str, ident: str) -> str:
    """The key of a command and of the facts that answer it. `kind`: its `ce_type`.

    >>> command_key("roll.back", "cli-1")
    'command:roll.back:cli-1'
    """
    return f"command:{kind}:{ident}"


def sentence(event: Any) -> str:
    """A record in one line, with names and numbers. "" for records that are no step.

    >>> sentence(RetrainCoalesced("d", "39ee41", "r"))
    'joined the run 39ee41, which was under way'
    """
    for of in (_of_monitor, _of_training, _of_version, _of_rollout, _of_command):
        if found := of(event):
            return short(found)
    return ""


def _efficacy(event: EfficacyReported) -> str:
    """What a switch brought, in words."""
    verb = "gains" if event.gain >= 0 else "loses"
    is_known = event.low is not None and event.high is not None
    bounds = f" ({_signed(event.low or 0.0)} to {_signed(event.high or 0.0)})" if is_known else ""
    over = f"over {event.days} day{'s' * (event.days != 1)} and {event.requests:,} requests"
    until = f"{'' if is_known else ', without bounds'}{'' if event.is_final else ', so far'}"
    gain = f"{verb} {number(abs(event.gain))} per request against version {event.previous}"
    return f"version {event.version} {gain}{bounds} {over}{until}"


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _of_monitor(event: Any) -> str:
    match event:
        case FindingOpened():
            return f"finding ({words(event.kind)}): {event.summary}"
        case FindingResolved():
            return f"finding resolved ({words(event.kind)}): {event.reason}"
        case EfficacyReported():
            return _efficacy(event)
        case AlertChanged(status="firing", silence=AlertSilence(by=by, reason=reason)):
            return f"alert {event.labels.get('alertname', '')} fires, silenced by {by} ({reason}): {event.annotations.get('summary', '')}"
        case AlertChanged(status="firing"):
            return f"alert {event.labels.get('alertname', '')} fires: {event.annotations.get('summary', '')}"
        case AlertChanged():
            return f"alert {event.labels.get('alertname', '')} has ended"
    return ""


def _of_training(event: Any) -> str:
    match event:
        case RetrainRequested():
            return f"retrain requested ({event.cause}) by {event.by}: {event.reason}"
        case RetrainAccepted():
            return f"accepted as run {event.run[:_ID_CHARS]}"
        case RetrainCoalesced():
            return f"joined the run {event.run[:_ID_CHARS]}, which was under way"
        case RetrainRefused():
            return f"retrain refused: {event.reason}"
        case TrainingProgressed():
            return f"run {event.run[:_ID_CHARS]} {event.share:.0%} ({event.stage}){_after(event.detail)}"
        case GateJudged():
            return gate_text(event.result)
        case TrainingFinished(outcome="registered"):
            more = "" if event.is_released else f"; not released: {event.reason}"
            return f"run {event.run[:_ID_CHARS]} trained on {event.trained_rows:,} rows in {event.took_s:.1f} s{more}"
        case TrainingFinished(outcome="waiting"):
            return (
                f"run {event.run[:_ID_CHARS]} waits for {event.missing_rows:,} more labelled rows{_after(event.reason)}"
            )
        case TrainingFinished():
            return f"run {event.run[:_ID_CHARS]} {event.outcome}{_after(event.reason)}"
    return ""


def gate_text(result: GateResult) -> str:
    """A gate in one line: its verdict, and the figure beside its limit; the details of one that did not pass.

    >>> gate_text(GateResult("better", "FAIL", 0.71, 0.69, "m", "worse than the champion"))
    'gate better FAIL: .71, limit .69 (worse than the champion)'
    """
    figure = UNMEASURED.lower() if result.measured is None else number(result.measured)
    limit = "" if result.limit is None else f", limit {number(result.limit)}"
    figures = "" if result.measured is None and result.limit is None else f": {figure}{limit}"
    detail = f" ({result.detail})" if result.detail and result.verdict != PASS else ""
    return f"gate {result.gate} {result.verdict}{figures}{detail}"


def _of_version(event: Any) -> str:
    match event:
        case VersionRegistered():
            rows = f", trained on {event.trained_rows:,} rows" if event.trained_rows else ""
            return f"version {event.version} registered by {event.by}{rows}"
        case VersionWarmed():
            return f"version {event.version} warm on {event.instance} after {event.took_s:.1f} s"
        case VersionUnloadable():
            return f"version {event.version} cannot be loaded on {event.instance}: {event.reason}"
        case VersionLoadFailed():
            return f"version {event.version} not loaded on {event.instance} ({event.cause}): {event.reason}"
        case VersionApproved():
            return f"version {event.version} approved by {event.by}: {event.reason}"
        case VersionArchived() | VersionDeleted():
            verb = "archived" if isinstance(event, VersionArchived) else "deleted"
            return f"version {event.version} {verb} by {event.by}: {event.reason}"
        case AliasMoved(alias="champion"):
            was = "the prior" if event.was is None else f"version {event.was}"
            return f"version {event.version} is champion in place of {was}"
        case AliasMoved():
            was = "" if event.was is None else f" in place of version {event.was}"
            return f"alias {event.alias} names version {event.version}{was}: {event.reason}"
        case RouteChanged(route=route):
            over = ", ".join(f"version {found.version}" for found in route.passed_over)
            return f"requests pass over {over}: {route.reason}" if over else f"the route changed: {route.reason}"
    return ""


def _of_rollout(event: Any) -> str:
    match event:
        case RolloutStarted():
            against = "" if event.control is None else f" against version {event.control}"
            return f"rollout of version {event.version} began ({words(event.policy)}){against}: {event.reason}"
        case RolloutQueued():
            return f"version {event.version} waits for its rollout: {event.reason}"
        case RolloutAdvanced(step="switched"):
            return f"version {event.version} takes all traffic{found_by(event.evidence)}"
        case RolloutAdvanced():
            share = f", {event.share:.0%} of units" if event.share else ", answers nothing"
            return f"version {event.version} {event.step}{share}{found_by(event.evidence)}"
        case RolloutPaused():
            return f"rollout of version {event.version} paused: {event.reason}"
        case ApprovalAwaited():
            return f"version {event.version} waits for a person's approval: {event.reason}"
        case RolloutResumed():
            return f"rollout of version {event.version} goes on: {event.reason}"
        case RolloutCompleted(promoted=True):
            return f"rollout of version {event.version} is complete{_after(event.reason)}"
        case RolloutCompleted():
            return f"rollout of version {event.version} ended without a switch{_after(event.reason)}"
        case RolloutAborted():
            what = "rolled back and rejected" if event.harmful else "aborted"
            return f"version {event.version} {what}: {event.reason}{found_by(event.evidence, event.reason)}"
        case RolledBack():
            how = f"{event.reason}{found_by(event.evidence, event.reason)}"
            return f"version {event.version} rolled back to version {event.to}, and rejected: {how}"
        case CommandRefused():
            return f"refused ({words(event.command)}): {event.reason}"
    return ""


def _of_command(event: Any) -> str:
    if not isinstance(event, COMMANDS):
        return ""
    return f"{event.by} asks to {_asked(event)}{_after(event.reason)}"


def _asked(event: Any) -> str:
    """What a person's command asks for, as a verb with its object."""
    match event:
        case RollBack():
            return f"roll back version {event.expected}"
        case StartRollout():
            policy = f" ({words(event.policy)})" if event.policy else ""
            return f"release version {event.version}{policy}"
        case SetAlias():
            return f"name version {event.version} {event.alias}"
        case SetOverride():
            return f"answer tenant {event.tenant} by {'the route' if event.version is None else f'version {event.version}'}"
        case RegisterVersion():
            return "register a model"
    verb, noun = type_name(type(event)).split(".")
    return f"{verb} version {event.version}" if hasattr(event, "version") else f"{verb} the {noun}"


def _after(text: str) -> str:
    return f": {text}" if text else ""


def found_by(found: Iterable[Evidence], reason: str = "") -> str:
    """What decided a step: the metrics that failed, but for those that `reason` names in the same words, else how many
    passed. "" without evidence.
    """
    every = list(found)
    failed = [one for one in every if one.verdict == FAIL]
    if failed:
        unnamed = [text for one in failed if (text := evidence_text(one)) not in reason]
        return f" [{'; '.join(unnamed)}]" if unnamed else ""
    passed = [one for one in every if one.verdict == PASS]
    return f" [{len(passed)} of {len(every)} metrics PASS]" if every else ""


def words(kind: str) -> str:
    """A type or a policy as words.

    >>> words("start.rollout"), words("blue_green")
    ('start rollout', 'blue green')
    """
    return kind.replace(".", " ").replace("_", " ")


def number(value: float) -> str:
    """A figure as it is read: four digits, no zero before the point.

    >>> number(0.5234567), number(-0.25), number(1200000.0), number(0.0)
    ('.5235', '-.25', '1,200,000', '0')
    """
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def short(text: str, most: int = _MOST_CHARS) -> str:
    """A text in one line of at most so many characters.

    >>> short("a  b\\n c"), short("abcdefghij", 8)
    ('a b c', 'abcd ...')
    """
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 4].rstrip()} ..."
