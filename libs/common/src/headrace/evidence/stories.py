"""The stories of one deployment while they are put together: which episode each record belongs to, in bounded memory.

See `headrace.evidence.timeline` for the rules.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from headrace.events import type_name
from headrace.events.alerts import AlertChanged
from headrace.events.audit import AuditReported
from headrace.events.efficacy import EfficacyReported
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.monitor import BudgetReported, FindingOpened, WindowClosed, WindowEstimated
from headrace.events.registry import (
    AliasMoved,
    RegisterVersion,
    RolledBack,
    RolloutAdvanced,
    RolloutQueued,
    RolloutStarted,
    RouteChanged,
    VersionApproved,
    VersionRegistered,
)
from headrace.events.training import RetrainAccepted
from headrace.events.verdicts import VerdictGiven
from headrace.evidence.early_alerts import EarlyAlerts, Harms, SeenAlerts, alert_key, kind_of, kinds_of
from headrace.evidence.episodes import Entry, Episode, episode_of, in_order, opened
from headrace.evidence.steps import Step, part_of, sentence, short, state_of
from headrace.evidence.turns import Turn, finding_key, newest_alone, switch_key, turn_of, version_key
from headrace.log.codec import Message

# An instance publishes that it has warmed a version after the registry has seen it.
_WARM_WITHIN_S = 30.0
# The steps of one episode, and the places of records that may be causes: of the newest records, and of verdicts.
_MOST_OF_EPISODE, _MOST_PLACES, _MOST_VERDICTS = 500, 1_000, 50
# A record whose instant lies so far after the deployment's clock has the wall clock of a person's command, while the
# deployment plays the past. The deployment's clock as it stood counts then.
_REPLAYED_S = 30 * 86_400.0
_OF_LOADING = (VersionWarmed, VersionUnloadable, VersionLoadFailed)


@dataclass
class Held:
    """One episode while it is put together. `entries` by the id of their record."""

    entries: dict[str, Entry] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    left_out: int = 0
    made: Episode | None = None

    @property
    def is_running(self) -> bool:
        """Whether anything that it opened is not closed."""
        return bool(opened((turn for _, turn in self.entries.values()), self.closed))

    @property
    def has_rollout(self) -> bool:
        """Whether a rollout has begun in it."""
        return any(step.kind == "rollout.started" for step, _ in self.entries.values())


class Story:
    """What is held of one deployment: its episodes by number, and which of them each key belongs to.

    `forgotten`: episodes that are not held any more. `is_known`: it has a version, a run or a finding; without one all that
    is known of it is what somebody wrote to a users' topic.
    """

    def __init__(self, deployment: str, most_episodes: int, most_steps: int) -> None:
        self.deployment, self._most_episodes, self._most_steps = deployment, most_episodes, most_steps
        self.held: dict[int, Held] = {}
        self.keys: dict[str, int] = {}
        self._places: OrderedDict[str, str] = OrderedDict()
        self._verdicts: OrderedDict[str, str] = OrderedDict()
        self._progress: dict[str, str] = {}
        # The newest episode of a version, of its switch, of a kind of finding, and of a rollout.
        self._newest: dict[str, int] = {}
        self._queued: int | None = None
        self._early, self._alerts, self._harms = EarlyAlerts(), SeenAlerts(), Harms()
        self.forgotten = 0
        self.is_known = False
        self._number = 0
        self._steps = 0
        self._clock_s: float | None = None
        self._route: tuple[dict[str, int], frozenset[str]] = ({}, frozenset())
        # The cause and the episode of the newest fact of the registry: facts of one cause lie together.
        self._before: tuple[str, int] | None = None

    def take(self, message: Message) -> bool:
        """Whether the record changed an episode."""
        event, ident = message.event, message.envelope.id
        event_s = self._event_s(message)
        if isinstance(event, VerdictGiven):
            _keep(self._verdicts, ident, message.record.place, _MOST_VERDICTS)
            return False
        if ident in self._places:
            return False
        _keep(self._places, ident, message.record.place, _MOST_PLACES)
        if isinstance(event, WindowClosed | WindowEstimated | BudgetReported | AuditReported):
            return False
        text = self._alerts.text_of(event) if isinstance(event, AlertChanged) else sentence(event)
        if isinstance(event, AlertChanged) and not text:
            return False
        turn = turn_of(event, ident, message.envelope.causation_id or "")
        number = self._number_of(message, turn)
        if number is None:
            return False
        self._put(number, message, turn or Turn(), text, event_s)
        early = self._early.claim(kinds_of(event), message) if isinstance(event, FindingOpened) else None
        if early is not None:
            self._put(number, early, Turn(), sentence(early.event), event_s)
        self._bound()
        return True

    def episodes(self) -> list[Episode]:
        """All episodes that have a step."""
        return [found for number in list(self.held) if (found := self.episode(number)) is not None]

    def episode(self, number: int) -> Episode | None:
        """One episode; None while it has no step."""
        found = self.held[number]
        if found.made is None and found.entries:
            entries = [(self._with_cause(step), turn) for step, turn in found.entries.values()]
            found.made = episode_of(self.deployment, entries, found.closed, found.left_out)
        return found.made

    def _with_cause(self, step: Step) -> Step:
        place = step.cause_place or self._place_of(step.cause)
        return step if place == step.cause_place else replace(step, cause_place=place)

    def _place_of(self, ident: str) -> str:
        return self._places.get(ident) or self._verdicts.get(ident, "")

    def _event_s(self, message: Message) -> float | None:
        """The instant of a record by the deployment's clock, which it may set forward."""
        event = message.event
        own = _clock_of(event)
        if own is not None:
            self._clock_s = own if self._clock_s is None else max(self._clock_s, own)
            return own
        time_s, clock_s = message.envelope.time_s, self._clock_s
        return clock_s if clock_s is not None and time_s - clock_s > _REPLAYED_S else time_s

    # which episode

    def _number_of(self, message: Message, turn: Turn | None) -> int | None:
        event = message.event
        if isinstance(event, AlertChanged):
            return self._of_alert(message, event)
        if isinstance(event, _OF_LOADING):
            return self._warming(event, message.record.timestamp_ms / 1000)
        if isinstance(event, EfficacyReported):
            return self._newest.get(switch_key(event.version), self._newest.get(version_key(event.version)))
        if turn is None:
            return None
        keys, cause = [*turn.refs, *turn.answers], message.envelope.causation_id or ""
        if isinstance(event, RouteChanged):
            keys = self._of_route(event, turn)
        elif isinstance(event, AliasMoved) and event.alias != "champion":
            # NB: the alias `previous` moves with every champion; only one that a person moves is a step.
            keys = [] if self._before is not None and self._before[0] == cause else keys
        if not keys and isinstance(event, RouteChanged | AliasMoved):
            return None
        known = [self.keys[key] for key in keys if key in self.keys]
        beside = self._beside(event, cause)
        number = self._one_of(known if beside is None else [*known, beside])
        self._claim(number, [*keys, *self._harms.add(message)])
        self._note(event, number, cause)
        return number

    def _of_alert(self, message: Message, alert: AlertChanged) -> int | None:
        kind, own = kind_of(alert), self.keys.get(alert_key(alert))
        number = self._newest.get(kind) if own is None else own
        if own is None and (harm := self._harms.key_for(alert)) is not None:
            number = self.keys.get(harm)
        if number is not None and number not in self.held:
            return None
        is_over = number is None or (own is None and kind != "rollout" and not self.held[number].is_running)
        if alert.status == "firing" and is_over:
            self._early.hold(kind, message)
            return None
        if number is not None:
            self._claim(number, [alert_key(alert)])
        return number

    def _beside(self, event: Any, cause: str) -> int | None:
        """The episode that a record belongs to by more than its own keys; None for none."""
        match event:
            case RolloutStarted() | VersionApproved():
                number = self.keys.get(version_key(event.version))
                found = None if number is None else self.held.get(number)
                is_free = found is not None and (isinstance(event, VersionApproved) or not found.has_rollout)
                return number if found is not None and is_free and self._awaits(found) else None
            case RolledBack(evidence=evidence) if evidence:
                return self._newest.get(version_key(event.version))
            case AliasMoved(alias="champion"):
                if self._before is not None and cause and self._before[0] == cause:
                    return self._before[1]
                number = self._newest.get(version_key(event.version))
                return number if number is not None and self.held[number].is_running else None
        return None

    def _of_route(self, event: RouteChanged, turn: Turn) -> list[str]:
        """The keys of a change of the route that no other record shows: tenants, and versions that are passed over."""
        tenants, over = self._route
        self._route = (dict(event.route.overrides), frozenset(found.finding for found in event.route.passed_over))
        findings = [finding_key(found) for found in sorted(over ^ self._route[1])]
        return [*findings, *(turn.answers if tenants != self._route[0] else ())]

    @staticmethod
    def _awaits(found: Held) -> bool:
        """Whether an episode is running, or its newest record has just registered a version."""
        kinds = [step.kind for step, _ in in_order(found.entries.values())]
        return found.is_running or kinds[-1:] == ["version.registered"]

    def _warming(self, event: Any, wall_s: float) -> int | None:
        number = self._newest.get(version_key(event.version))
        found = None if number is None else self.held.get(number)
        if found is None or not found.entries:
            return None
        first, last = _span(found)
        is_within = first <= wall_s and (wall_s <= last + _WARM_WITHIN_S or found.is_running)
        twice = f"warm:{event.version}:{event.instance}"
        is_new = not isinstance(event, VersionWarmed) or twice not in found.keys
        if not (is_within and is_new):
            return None
        found.keys.add(twice)
        return number

    def _note(self, event: Any, number: int, cause: str) -> None:
        """Remember what later records are found by."""
        self.is_known = self.is_known or isinstance(event, VersionRegistered | RetrainAccepted | FindingOpened)
        if isinstance(event, VersionRegistered | RolloutStarted):
            self._newest[version_key(event.version)] = number
        if isinstance(event, RolloutStarted):
            self._newest["rollout"] = number
            self._queued = None if self._queued == event.version else self._queued
        if isinstance(event, RolloutQueued):
            self._replace_queued(event.version)
        if isinstance(event, FindingOpened):
            self._newest |= dict.fromkeys(kinds_of(event), number)
        if isinstance(event, RolledBack):
            self._newest["rollout"] = number
        if isinstance(event, AliasMoved) and event.alias == "champion":
            self._newest[switch_key(event.version)] = number
        if isinstance(event, RolloutStarted | RolloutAdvanced | RolledBack):
            self._before = (cause, number)

    def _replace_queued(self, version: int) -> None:
        """A version that waits for its rollout replaces one that waited before."""
        if self._queued is not None and self._queued != version:
            number = self.keys.get(version_key(self._queued))
            if number is not None:
                self.held[number].closed.add(f"waiting:{self._queued}")
                self.held[number].made = None
        self._queued = version

    # putting together

    def _one_of(self, known: Iterable[int]) -> int:
        """The oldest of these episodes, of which the others become parts; a new one for none."""
        numbers = sorted({number for number in known if number in self.held})
        if not numbers:
            self._number += 1
            self.held[self._number] = Held()
            return self._number
        kept = self.held[numbers[0]]
        for number in numbers[1:]:
            part = self.held.pop(number)
            kept.entries |= part.entries
            kept.closed |= part.closed
            kept.left_out += part.left_out
            kept.keys |= part.keys
            self.keys |= dict.fromkeys((key for key in part.keys if key in self.keys), numbers[0])
            self._redirect(number, numbers[0])
        kept.made = None
        return numbers[0]

    def _redirect(self, old: int, new: int) -> None:
        self._newest = {key: new if number == old else number for key, number in self._newest.items()}

    def _claim(self, number: int, keys: Iterable[str]) -> None:
        for key in keys:
            self.keys[key] = number
            self.held[number].keys.add(key)

    def _put(self, number: int, message: Message, turn: Turn, text: str, event_s: float | None) -> None:
        found = self.held[number]
        found.made = None
        # NB: the trainer's registration only links its run to its version.
        if not text or (isinstance(message.event, RegisterVersion) and message.envelope.causation_id):
            return
        if only := newest_alone(message.event):
            before = self._progress.pop(only, None)
            self._steps -= found.entries.pop(before, None) is not None if before else 0
            self._progress[only] = message.envelope.id
        step = _step(message, turn, text, event_s)
        found.entries[step.id] = (replace(step, cause_place=self._place_of(step.cause)), turn)
        self._steps += 1

    def _bound(self) -> None:
        """Forget the oldest steps of a long episode, and the oldest episodes, ended ones first."""
        for number in [number for number, one in self.held.items() if len(one.entries) > _MOST_OF_EPISODE]:
            self._shorten(self.held[number])
        while len(self.held) > self._most_episodes or (self._steps > self._most_steps and len(self.held) > 1):
            self._forget(self._oldest())
        if len(self.held) == 1 and self._steps > self._most_steps:
            self._shorten(next(iter(self.held.values())))

    def _oldest(self) -> int:
        newest = max(self.held)
        ended = (number for number, one in self.held.items() if number != newest and not one.is_running)
        return next(ended, min(self.held))

    def _shorten(self, found: Held) -> None:
        """Its oldest step but the first goes; what that opened and closed is remembered in the first."""
        first, *others = sorted(found.entries.values(), key=lambda entry: entry[0].wall_s)
        gone, turn = others[0]
        del found.entries[gone.id]
        opened_before, closed_before = {*first[1].opens, *turn.opens}, {*first[1].closes, *turn.closes}
        opens = tuple(sorted(opened_before - closed_before))
        closes = tuple(sorted(key for key in closed_before - opened_before if not key.startswith("command:")))
        found.entries[first[0].id] = (first[0], replace(first[1], opens=opens, closes=closes))
        self._release(found, [key for key in (*turn.refs, *turn.answers) if key.startswith(("command:", "request:"))])
        found.left_out += 1
        found.made = None
        self._steps -= 1

    def _release(self, found: Held, keys: Iterable[str]) -> None:
        """Forget keys that name one record each, unless a step that is held has them too."""
        kept = {key for _, turn in found.entries.values() for key in (*turn.refs, *turn.answers)}
        for key in {*keys} - kept:
            self.keys.pop(key, None)
            found.keys.discard(key)

    def _forget(self, number: int) -> None:
        gone = self.held.pop(number)
        self.forgotten += bool(gone.entries)
        self._steps -= len(gone.entries)
        for key in gone.keys:
            if self.keys.get(key) == number:
                del self.keys[key]
        self._newest = {key: named for key, named in self._newest.items() if named != number}
        kept = {step.id for step, _ in gone.entries.values()}
        self._progress = {run: ident for run, ident in self._progress.items() if ident not in kept}


def _step(message: Message, turn: Turn, text: str, event_s: float | None) -> Step:
    event, envelope = message.event, message.envelope
    version = getattr(event, "version", None)
    return Step(
        kind=envelope.type or type_name(type(event)),
        sentence=text,
        state=state_of(event),
        event_s=event_s,
        wall_s=message.record.timestamp_ms / 1000,
        place=message.record.place,
        id=envelope.id,
        cause=envelope.causation_id or "",
        by=str(getattr(event, "by", "")),
        reason=short(str(getattr(event, "reason", "") or getattr(event, "summary", ""))),
        version=version if isinstance(version, int) else None,
        refs=turn.refs,
        part=part_of(event),
    )


def _clock_of(event: Any) -> float | None:
    """The deployment's clock as a record states it; None where it states none."""
    match event:
        case VerdictGiven():
            return event.clock_s if event.has_clock else None
        case WindowClosed():
            return event.to_s
        case AlertChanged():
            return None
    if getattr(event, "has_clock", True) is False:
        return None
    at_s = getattr(event, "at_s", None)
    return at_s if at_s is not None else getattr(event, "clock_s", None)


def _span(found: Held) -> tuple[float, float]:
    walls = [step.wall_s for step, _ in found.entries.values()]
    return min(walls), max(walls)


def _keep(places: OrderedDict[str, str], ident: str, place: str, most: int) -> None:
    places[ident] = place
    if len(places) > most:
        places.popitem(last=False)
