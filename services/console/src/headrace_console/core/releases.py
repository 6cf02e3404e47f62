"""Versions, routes and rollouts, folded from the registry's facts and the monitor's verdicts, with where each was read.

The fold itself is `headrace.registry.state`. Beside it stands what only people want: places, instants, cards, who said so.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.events.registry import (
    AliasMoved,
    ApprovalAwaited,
    CardWritten,
    CommandRefused,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutStarted,
    RouteChanged,
    VersionApproved,
    VersionArchived,
    VersionRegistered,
)
from headrace.events.verdicts import VerdictGiven
from headrace.registry.state import Entry, Fold
from headrace_console.core.documents import Clock, SeriesMark
from headrace_console.core.links import deployment_link, version_link
from headrace_console.core.seen import Seen

CARDS_KEPT, CARD_CHARS = 50, 40_000
MARKS_KEPT = 200
HISTORY_KEPT = 240
VERDICTS_KEPT = 1_000


@dataclass
class Story:
    """What is known of a deployment beside the registry's entry.

    `champion_since_s`, `waits_since_s` (the approval), `stands_since_s` (paused): wall clock.
    `history`: per metric of the newest rollout, event time and measured value. `reasons`, `by`: per version, why and by
    whom it came to its stage. `clock_s`: the latest event time that a verdict or a fact has.
    """

    clock_s: float | None = None
    champion_since_s: float | None = None
    route_place: str = ""
    rollout_place: str = ""
    waits_since_s: float | None = None
    stands_since_s: float | None = None
    last_place: str = ""
    versions: dict[int, str] = field(default_factory=dict)
    cards: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)
    approved: dict[int, tuple[str, str]] = field(default_factory=dict)
    history: dict[str, deque[tuple[float, float | None]]] = field(default_factory=dict)
    history_of: str = ""
    marks: deque[tuple[str, SeriesMark]] = field(default_factory=lambda: deque(maxlen=MARKS_KEPT))


class Releases:
    """The state of all deployments in the registry, with their stories."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.stories: dict[str, Story] = {}
        self.verdicts: dict[str, VerdictGiven] = {}

    def entry(self, deployment: str) -> Entry:
        """The registry's entry; an empty one where nothing is known."""
        return self.fold.state.entry(deployment)

    def story(self, deployment: str) -> Story:
        """The story of a deployment; an empty one where nothing is known."""
        return self.stories.get(deployment) or Story()

    def take(self, seen: Seen) -> str:
        """Take a fact or a verdict. Returns the deployment that it concerns, "" for none."""
        event = seen.event
        if isinstance(event, VerdictGiven):
            return self._judge(event)
        deployment = getattr(event, "deployment", "")
        if not deployment or isinstance(event, CommandRefused):
            return ""
        story = self.stories.setdefault(deployment, Story())
        if isinstance(event, VersionRegistered):
            # NB: rows and profiles are long, and no document shows them.
            event = msgspec.structs.replace(event, golden=(), profile={})
        clock_s = getattr(event, "clock_s", None)
        if clock_s is not None and getattr(event, "has_clock", True):
            story.clock_s = max(clock_s, story.clock_s or clock_s)
        self._tell(story, event, seen)
        self.fold.take(event, seen.id)
        return deployment

    def _judge(self, verdict: VerdictGiven) -> str:
        self.verdicts.pop(verdict.rollout, None)
        self.verdicts[verdict.rollout] = verdict
        while len(self.verdicts) > VERDICTS_KEPT:
            del self.verdicts[next(iter(self.verdicts))]
        story = self.stories.setdefault(verdict.deployment, Story())
        if story.history_of != verdict.rollout:
            story.history, story.history_of = {}, verdict.rollout
        if verdict.has_clock:
            story.clock_s = max(verdict.clock_s, story.clock_s or verdict.clock_s)
            for found in verdict.evidence:
                points = story.history.setdefault(found.metric, deque(maxlen=HISTORY_KEPT))
                if not points or points[-1] != (verdict.clock_s, found.measured):
                    points.append((verdict.clock_s, found.measured))
        return verdict.deployment

    def _tell(self, story: Story, event: Any, seen: Seen) -> None:
        """Note what the fold does not keep."""
        match event:
            case VersionRegistered(version=version):
                story.versions[version] = seen.place
            case CardWritten(version=version, markdown=markdown):
                story.cards[version] = markdown[:CARD_CHARS]
                while len(story.cards) > CARDS_KEPT:
                    del story.cards[next(iter(story.cards))]
            case VersionApproved(version=version, by=by, reason=reason):
                story.approved[version] = (by, reason)
            case VersionArchived(version=version, by=by, reason=reason):
                story.reasons[version] = (reason, by)
            case RouteChanged():
                story.route_place = seen.place
            case AliasMoved(alias="champion", version=version):
                story.champion_since_s = seen.appended_s
                self._mark(story, seen, "version", f"version {version} is champion", version)
            case _:
                self._tell_rollout(story, event, seen)

    def _tell_rollout(self, story: Story, event: Any, seen: Seen) -> None:
        match event:
            case RolloutStarted():
                story.rollout_place = seen.place
                story.waits_since_s = story.stands_since_s = None
            case RolloutAdvanced(version=version, step=step, share=share):
                story.last_place = seen.place
                self._mark(story, seen, "rollout", f"version {version}: {step}, {share:.4g} of traffic", version)
            case ApprovalAwaited():
                story.waits_since_s = seen.appended_s
            case RolloutPaused():
                story.stands_since_s, story.last_place = seen.appended_s, seen.place
            case RolloutResumed():
                story.stands_since_s, story.last_place = None, seen.place
            case RolloutCompleted() | RolloutAborted():
                story.last_place = seen.place
                story.waits_since_s = story.stands_since_s = None
                if isinstance(event, RolloutAborted):
                    story.reasons[event.version] = (event.reason, "")
                    what = "rolled back" if event.harmful else "aborted"
                    self._mark(story, seen, "rollback", f"version {event.version} {what}", event.version)
            case RolledBack(version=version, by=by, reason=reason):
                story.last_place = seen.place
                story.reasons[version] = (reason, by)
                self._mark(story, seen, "rollback", f"version {version} rolled back", version)

    def _mark(self, story: Story, seen: Seen, kind: Any, text: str, version: int) -> None:
        clock_s = getattr(seen.event, "clock_s", None)
        clock: Clock = "wall" if clock_s is None else "event"
        name = seen.event.deployment
        link = version_link(name, version) if kind == "version" else deployment_link(name)
        at_s = seen.appended_s if clock_s is None else clock_s
        story.marks.append((seen.place, SeriesMark(at_s, clock, kind, text, link, seen.appended_s)))
