"""A finding as a story: what moved, since when, the windows before and after, what was requested because of it, and its end.

The monitor records which source, column, feature or version a finding is about, and what it rests on: the segment of requests
that explains it most, inputs that moved with it, who writes differently since.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import FindingEvidence, FindingOpened, FindingResolved, WindowClosed
from headrace.events.registry import VersionRegistered
from headrace.events.training import (
    REQUEST_ID_CHARS,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
)
from headrace.log.codec import Message
from headrace.log.envelope import derived_id

# The topics that it reads.
TOPICS = ("monitor.windows", "monitor.findings", "training.requests", "training.facts", "registry.facts")
MOST_FINDINGS = 200
_MOST_WINDOWS, _MOST_RETRAINS = 120, 50


# What the figures of a segment are, by the kind of its finding.
_COMPARED = {
    "drift": "loss in excess of the expected one",
    "worse_than_prior": "loss in excess of the prior's",
    "skew": "share that differs",
    "labels": "share without a label",
}


def compared_by(kind: str) -> str:
    """What is compared between a segment and the rest, in words.

    >>> compared_by("drift"), compared_by("contract")
    ('loss in excess of the expected one', 'share that is broken')
    """
    return _COMPARED.get(kind, "share that is broken")


class WindowSeen(msgspec.Struct, frozen=True):
    """One evaluation window beside a finding. `loss`: of `version`, which is the finding's, and the champion in the
    window since; None where it was not measured, `unmeasured` says why. `place`: of its record.
    """

    from_s: float
    to_s: float
    requests: int
    labelled: int
    verdict: str
    version: int | None
    loss: float | None
    loss_name: str
    drift_statistic: float | None
    unmeasured: str
    place: str


class Retrain(msgspec.Struct, frozen=True):
    """A retrain that was requested because of a finding. `answer`: `""` before there is one, `accepted`, `coalesced` or
    `refused`; `outcome`: of its run, "" while there is none. `version`: that it made. `end_place`: of the newest record.
    `gained`: what that version gained over the one before it since its switch, by the newest report; None before one.
    """

    request: str
    at_s: float
    place: str
    answer: str = ""
    run: str = ""
    outcome: str = ""
    reason: str = ""
    version: int | None = None
    end_place: str = ""
    gained: EfficacyReported | None = None


class Finding(msgspec.Struct, frozen=True):
    """A finding. `at_s`, `resolved_s`: event time; `wall_s`, `resolved_wall_s`: append time; None while it is open.

    `changed_at_s`, `back_at`, `measured`, `limit`: as in `FindingOpened`. `before`: the window before the one that it was
    found in, `found_in`: that one, `after`: the newest since, at
    most until it was resolved. `severity`, `evidence`: as in `FindingOpened`; the evidence is None in records from before
    it was recorded.
    """

    finding: str
    deployment: str
    kind: str
    summary: str
    about: str
    detector: str
    version: int | None
    measured: float | None
    limit: float | None
    back_at: float | None
    changed_at_s: float | None
    window_from_s: float | None
    window_to_s: float | None
    at_s: float
    wall_s: float
    place: str
    resolved_s: float | None = None
    resolved_wall_s: float | None = None
    resolved: str = ""
    resolved_place: str = ""
    before: WindowSeen | None = None
    found_in: WindowSeen | None = None
    after: WindowSeen | None = None
    retrains: tuple[Retrain, ...] = ()
    severity: str = "warning"
    evidence: FindingEvidence | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.resolved_s is None


@dataclass
class _Held:
    """What is held of one deployment. `requests`: the finding of each request."""

    findings: OrderedDict[str, Finding] = field(default_factory=OrderedDict)
    windows: deque[tuple[WindowClosed, str]] = field(default_factory=lambda: deque(maxlen=_MOST_WINDOWS))
    requests: OrderedDict[str, str] = field(default_factory=OrderedDict)


class Findings:
    """The findings of all deployments, fed message by message: per deployment the newest `most`, open ones last to go."""

    def __init__(self, most: int = MOST_FINDINGS) -> None:
        self._most = most
        self._held: dict[str, _Held] = {}
        self._reached: dict[tuple[str, int], int] = {}

    def take(self, message: Message) -> str | None:
        """Take a record of `TOPICS`; returns the deployment whose findings it changed, None if it changed none."""
        event = message.event
        name = getattr(event, "deployment", None)
        record, place = message.record, (message.record.topic, message.record.partition)
        if name is None or not isinstance(event, _TAKEN) or record.offset <= self._reached.get(place, -1):
            return None
        self._reached[place] = record.offset
        if name not in self._held and not isinstance(event, WindowClosed | FindingOpened):
            return None
        held = self._held.setdefault(name, _Held())
        before = dict(held.findings)
        self._fold(held, event, message)
        return name if held.findings != before else None

    def of(self, deployment: str | None = None, *, only_open: bool = False) -> list[Finding]:
        """The findings of a deployment, or of all, oldest first."""
        names = [deployment] if deployment is not None else sorted(self._held)
        found = [one for name in names for one in self._held.get(name, _Held()).findings.values()]
        return sorted((one for one in found if one.is_open or not only_open), key=lambda one: (one.wall_s, one.finding))

    def get(self, finding: str) -> Finding | None:
        """The finding with an id, or with an id that begins so if there is only one; None for none."""
        every = self.of()
        found = [one for one in every if one.finding == finding] or [o for o in every if o.finding.startswith(finding)]
        return found[0] if len(found) == 1 else None

    def _fold(self, held: _Held, event: Any, message: Message) -> None:
        place = message.record.place
        match event:
            case WindowClosed():
                held.windows.append((event, place))
                for one in list(held.findings.values()):
                    if one.resolved_s is None or event.to_s <= one.resolved_s:
                        held.findings[one.finding] = _fitted(one, held)
            case FindingOpened():
                if event.finding not in held.findings:
                    held.findings[event.finding] = _fitted(_opened(event, message, place), held)
                    self._bound(held)
            case FindingResolved():
                _resolve(held, event, message, place)
            case RetrainRequested():
                _request(held, event, message, place)
            case _:
                _answer(held, event, place)

    def _bound(self, held: _Held) -> None:
        while len(held.findings) > self._most:
            oldest = next((name for name, one in held.findings.items() if not one.is_open), next(iter(held.findings)))
            del held.findings[oldest]


_TAKEN = (
    WindowClosed, FindingOpened, FindingResolved, RetrainRequested, RetrainAccepted, RetrainCoalesced, RetrainRefused,
    TrainingFinished, VersionRegistered, EfficacyReported,
)  # fmt: skip


def _opened(event: FindingOpened, message: Message, place: str) -> Finding:
    names = (
        "finding", "deployment", "kind", "summary", "about", "detector", "version", "measured", "limit", "back_at",
        "changed_at_s", "window_from_s", "window_to_s", "at_s", "severity", "evidence",
    )  # fmt: skip
    fields = {name: getattr(event, name) for name in names}
    return Finding(**fields, wall_s=message.record.timestamp_ms / 1000, place=place)


def _fitted(found: Finding, held: _Held) -> Finding:
    """The finding with the windows beside it, as far as they are held."""
    if found.window_from_s is None or found.window_to_s is None:
        return found
    before = [one for one in held.windows if one[0].to_s <= found.window_from_s]
    inside = [one for one in held.windows if one[0].from_s == found.window_from_s]
    until_s = math.inf if found.resolved_s is None else found.resolved_s
    after = [one for one in held.windows if one[0].from_s >= found.window_to_s and one[0].to_s <= until_s]
    return replace(
        found,
        before=_newest(before, found.version) or found.before,
        found_in=_newest(inside, found.version) or found.found_in,
        after=_newest(after, None) or found.after,
    )


def _newest(windows: list[tuple[WindowClosed, str]], version: int | None) -> WindowSeen | None:
    if not windows:
        return None
    window, place = max(windows, key=lambda one: one[0].to_s)
    mine = [one for one in window.qualities if version is not None and one.version == version]
    quality = next(iter(mine or [one for one in window.qualities if one.role == "champion"]), None)
    return WindowSeen(
        window.from_s,
        window.to_s,
        window.requests,
        window.labelled,
        window.verdict,
        quality.version if quality else None,
        quality.loss if quality else None,
        quality.loss_name if quality else "",
        window.drift_statistic,
        window.unmeasured,
        place,
    )


def _resolve(held: _Held, event: FindingResolved, message: Message, place: str) -> None:
    found = held.findings.get(event.finding)
    if found is not None and found.is_open:
        wall_s = message.record.timestamp_ms / 1000
        ended = {"resolved_s": event.at_s, "resolved_wall_s": wall_s, "resolved": event.reason, "resolved_place": place}
        held.findings[event.finding] = replace(found, **ended)


def _request(held: _Held, event: RetrainRequested, message: Message, place: str) -> None:
    ident, found = message.envelope.id[:REQUEST_ID_CHARS], held.findings.get(event.finding or "")
    if found is None or ident in held.requests:
        return
    held.requests[ident] = found.finding
    if len(held.requests) > MOST_FINDINGS * 4:
        held.requests.popitem(last=False)
    at_s = event.clock_s if event.clock_s is not None else message.envelope.time_s
    retrains = (*found.retrains, Retrain(ident, at_s, place, end_place=place))
    held.findings[found.finding] = replace(found, retrains=retrains[-_MOST_RETRAINS:])


def _answer(held: _Held, event: Any, place: str) -> None:
    """What became of a retrain: an answer to its request, the end of its run, the version that it made, or what that gained."""
    for found in held.findings.values():
        retrains = tuple(_answered(one, event, place) for one in found.retrains)
        if retrains != found.retrains:
            held.findings[found.finding] = replace(found, retrains=retrains)


def _answered(retrain: Retrain, event: Any, place: str) -> Retrain:
    match event:
        case RetrainAccepted() if event.request_id[:REQUEST_ID_CHARS] == retrain.request:
            return replace(retrain, answer="accepted", run=event.run, end_place=place)
        case RetrainCoalesced() if event.request_id[:REQUEST_ID_CHARS] == retrain.request:
            return replace(retrain, answer="coalesced", run=event.run, end_place=place)
        case RetrainRefused() if event.request_id[:REQUEST_ID_CHARS] == retrain.request:
            return replace(retrain, answer="refused", reason=event.reason, end_place=place)
        case TrainingFinished() if event.run == retrain.run:
            return replace(retrain, outcome=event.outcome, reason=event.reason, end_place=place)
        case VersionRegistered() if retrain.run and event.command_id == derived_id("register", retrain.run):
            return replace(retrain, version=event.version, end_place=place)
        case EfficacyReported() if event.version == retrain.version and not (
            retrain.gained and retrain.gained.is_final
        ):
            return replace(retrain, gained=event, end_place=place)
    return retrain
