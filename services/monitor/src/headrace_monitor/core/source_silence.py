"""Whether a source is silent, found within minutes: nothing came since, and at this time of day much came on every day before.

The events of the days before are those that are kept for the windows. A source is silent where the stretch since its newest
event had at least 25 events at the same time of each of these days, and goes on, since the first of these, for three times
as long as their longest silence then (a night is over when the first event usually comes). What a source sends once an hour is found after a day (by closed windows, in `contracts`), or sooner where many send.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.monitor import FindingOpened
from headrace.log.envelope import derived_id
from headrace_monitor.core.deployments import Watched
from headrace_monitor.core.facts import FindingOver
from headrace_monitor.core.sources import Sources

KIND, DETECTOR = "traffic", "silence"
DAY_S = 86_400.0
LEAST_EVENTS = 25
LEAST_S = 300.0
_TIMES = 3.0
_MOST_DAYS = 7


@dataclass(frozen=True, slots=True)
class Silence:
    """A source that is silent since `since_s`. `usually`: how many events come in such a stretch at least."""

    since_s: float
    usually: int


def silence(available: NDArray[np.float64], clock_s: float, whole_from_s: float) -> Silence | None:
    """The silence of a source by a clock; None while it is none.

    `available`: when its events became available, in any order; they are whole from `whole_from_s` on.

    >>> hours = np.arange(0.0, 60 * 3600.0, 60.0)
    >>> silence(hours, 61 * 3600.0, 0.0)
    Silence(since_s=215940.0, usually=61)
    >>> silence(hours, 60 * 3600.0 + 300, 0.0) is None
    True
    """
    if not len(available):
        return None
    newest_s = float(available.max())
    lasts_s = clock_s - newest_s
    days = min(int((newest_s - max(float(available.min()), whole_from_s)) // DAY_S), _MOST_DAYS)
    if lasts_s < LEAST_S or lasts_s >= DAY_S or days < 1:
        return None
    fewest, longest_s, first_s = LEAST_EVENTS, 0.0, 0.0
    for day in range(1, days + 1):
        from_s, to_s = newest_s - day * DAY_S, clock_s - day * DAY_S
        inside = np.sort(available[(available > from_s) & (available <= to_s)])
        if len(inside) < LEAST_EVENTS:
            return None
        fewest = len(inside) if day == 1 else min(fewest, len(inside))
        first_s = max(first_s, float(inside[0]) - from_s)
        longest_s = max(longest_s, float(np.diff(inside, append=to_s).max()))
    return Silence(newest_s, fewest) if lasts_s - first_s > _TIMES * longest_s else None


def look(watched: Watched, sources: Sources, clock_s: float) -> list[FindingOpened | FindingOver]:
    """The sources of a deployment that are silent by its clock: the findings that open, and those that are over."""
    changes: list[FindingOpened | FindingOver] = []
    for source in watched.sources if math.isfinite(clock_s) else ():
        key, newest_s = f"{KIND}:{source}", sources.newest_s(source)
        known = watched.findings.open.get(key)
        if known is not None:
            if known.detector == DETECTOR and newest_s > (known.changed_at_s or 0.0):
                changes.append(FindingOver(key, "it sends again", min(newest_s, clock_s)))
        elif clock_s - newest_s >= LEAST_S:
            table = sources.tables([source])[source]
            found = silence(table.available, clock_s, sources.whole_from_s([source]))
            if found is not None:
                changes.append(finding_of(watched.deployment.name, source, found, clock_s))
    return changes


def silent_columns(watched: Watched) -> frozenset[str]:
    """The columns of views of sources that are known to have stopped: that these have no values says nothing new."""
    silent = {found.about for found in watched.findings.open.values() if found.kind == KIND}
    views = [watched.project.view(binding.view) for binding in watched.deployment.features] if silent else []
    return frozenset(
        f"{view.name}.{feature.name}" for view in views if view.source in silent for feature in view.features
    )


def finding_of(deployment: str, source: str, found: Silence, at_s: float) -> FindingOpened:
    """The finding of a source that is silent."""
    minutes = (at_s - found.since_s) / 60
    return FindingOpened(
        finding=derived_id(deployment, KIND, source, found.since_s)[:16],
        deployment=deployment,
        kind=KIND,
        summary=f"source {source} has stopped: no event for {minutes:,.0f} min, in which usually {found.usually:,} come",
        at_s=at_s,
        detector=DETECTOR,
        measured=0.0,
        limit=float(found.usually),
        about=source,
        changed_at_s=found.since_s,
    )
