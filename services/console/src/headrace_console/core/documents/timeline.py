"""Causes, as episodes."""

import msgspec

from headrace_console.core.documents.words import Mark


class TimelineStep(msgspec.Struct, frozen=True):
    """A step of an episode. `after_s`: since the step before, wall clock; `event_after_s`: in event time."""

    order: int
    kind: str
    sentence: str
    mark: Mark
    at_s: float
    wall_s: float | None
    place: str
    after_s: float | None = None
    event_after_s: float | None = None
    by: str = ""
    details: tuple[str, ...] = ()
    link: str = ""


class Episode(msgspec.Struct, frozen=True):
    """A story from its cause to its end. `mttd_s`, `mttr_s`: event time; `why_not`: why one of them is not known."""

    title: str
    state: str
    mark: Mark
    begun_s: float
    begun_wall_s: float
    steps: dict[str, TimelineStep]
    mttd_s: float | None = None
    mttr_s: float | None = None
    mttr_wall_s: float | None = None
    why_not: str = ""


class Timeline(msgspec.Struct, frozen=True):
    """The causes of a deployment's state: episodes by id, the newest has the latest `begun_wall_s`."""

    episodes: dict[str, Episode] = {}
    median_mttd_s: float | None = None
    median_mttr_s: float | None = None
    dropped: int = 0
