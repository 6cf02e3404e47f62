"""Which documents there are: their keys, what each rests on, and how each is made.

| key                   | rests on (groups of topics)    |
|-----------------------|--------------------------------|
| `now`                 | all                            |
| `deployment/NAME`     | control, measurements, health  |
| `series/NAME`         | control, measurements, health  |
| `timeline/NAME`       | control, measurements          |
| `monitoring/NAME`     | control, measurements          |
| `version/NAME/NUMBER` | control                        |
| `finding/NAME/ID`     | control, measurements          |
| `alerts`              | control                        |
| `dead-letters`        | control, dead letters          |
| `features`            | control, measurements, health  |
| `services`            | health                         |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.events.monitor import FindingOpened
from headrace_console.core import (
    alerts,
    deployments,
    features,
    findings,
    monitoring,
    series,
    services,
    timelines,
    versions,
)
from headrace_console.core.documents import TrafficPoint
from headrace_console.core.world import ANYTHING, World

CONTROL, MEASUREMENTS, HEALTH, LETTERS = "control", "measurements", "health", "dead letters"
GROUPS = (CONTROL, MEASUREMENTS, HEALTH, LETTERS)
MOST_KEYS, MOST_KEY_CHARS = 16, 400
_KINDS = {
    "now": GROUPS,
    "deployment": (CONTROL, MEASUREMENTS, HEALTH),
    "series": (CONTROL, MEASUREMENTS, HEALTH),
    "timeline": (CONTROL, MEASUREMENTS),
    "monitoring": (CONTROL, MEASUREMENTS),
    "version": (CONTROL,),
    "finding": (CONTROL, MEASUREMENTS),
    "alerts": (CONTROL,),
    "dead-letters": (CONTROL, LETTERS),
    "features": (CONTROL, MEASUREMENTS, HEALTH),
    "services": (HEALTH,),
}
_PARTS = {"deployment": 1, "series": 1, "timeline": 1, "monitoring": 1, "version": 2, "finding": 2}
# How old a document may become although nothing that it rests on was reported as changed: time passes.
_AGES_S = {"now": 1.0, "services": 1.0, "alerts": 5.0, "deployment": 5.0, "features": 5.0, "series": 60.0}
# What is about everything is made at most so often, however often it changes.
_LEAST_S = {"now": 0.5, "services": 0.9}


@dataclass(frozen=True, slots=True)
class Key:
    """A document's key in its parts. `name`: of the deployment."""

    kind: str
    name: str = ""
    which: str = ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of topics that the document rests on."""
        return _KINDS.get(self.kind, ())

    @property
    def age_s(self) -> float:
        """How old the document may become without a change."""
        return _AGES_S.get(self.kind, 3600.0)

    @property
    def least_s(self) -> float:
        """How soon after the last time it may be made again."""
        return _LEAST_S.get(self.kind, 0.0)

    def subjects(self) -> tuple[str, ...]:
        """The subjects that it rests on."""
        name = self.name
        match self.kind:
            case "deployment":
                return f"deployment/{name}", f"windows/{name}", f"traffic/{name}"
            case "series" | "monitoring":
                return f"deployment/{name}", f"windows/{name}"
            case "timeline":
                return f"timeline/{name}", "projects"
            case "version":
                return (f"deployment/{name}",)
            case "finding":
                return f"deployment/{name}", f"windows/{name}", f"timeline/{name}"
            case "alerts":
                return ("alerts",)
            case "dead-letters":
                return ("letters",)
            case "services":
                return ("reports",)
            case "features":
                return "projects", "alerts"
            case "now":
                return (ANYTHING,)
            case _:
                return ()


def read_key(text: str) -> Key | None:
    """The key that a text is; None for any other text.

    >>> read_key("version/flights/3"), read_key("nothing")
    (Key(kind='version', name='flights', which='3'), None)
    """
    if len(text) > MOST_KEY_CHARS:
        return None
    kind, _, rest = text.partition("/")
    count = _PARTS.get(kind, 0)
    parts = rest.split("/", count - 1) if rest and count else []
    if kind not in _KINDS or len(parts) != count or (count == 0 and rest) or not all(parts):
        return None
    return Key(kind, *parts)


def no_key(text: str) -> Key:
    """What is followed instead of a document that cannot be: it has no value, and the reason.

    >>> no_key("deployment/").which, no_key("nothing").which
    ('no such deployment', 'no such document')
    """
    return Key("", which="no such deployment" if text.partition("/")[0] in _PARTS else "no such document")


def as_of_s(key: Key, read_s: Mapping[str, float | None]) -> float | None:
    """Until when everything was read that a document rests on; None while a part of it was never read to its end."""
    found = [read_s.get(group) for group in key.groups]
    known = [at_s for at_s in found if at_s is not None]
    return min(known, default=None) if len(known) == len(found) else None


def compose(
    world: World, key: Key, now_s: float, traffic: Mapping[int, TrafficPoint]
) -> tuple[dict[str, Any] | None, str]:
    """A document other than `now` as plain values, and why there is none. `traffic`: of `series/NAME` only."""
    found = _made(world, key, now_s, traffic)
    if found is None:
        return None, _why_none(key)
    return msgspec.to_builtins(found, str_keys=True), ""


def _made(world: World, key: Key, now_s: float, traffic: Mapping[int, TrafficPoint]) -> msgspec.Struct | None:
    match key.kind:
        case "deployment":
            return deployments.document(world, key.name, now_s)
        case "series":
            return series.document(world, key.name, traffic)
        case "timeline":
            return timelines.document(world, key.name)
        case "monitoring":
            return monitoring.document(world, key.name)
        case "version":
            return _version(world, key)
        case "finding":
            return _finding(world, key)
        case "alerts":
            return alerts.document(world.alarms, now_s)
        case "dead-letters":
            return world.letters.document()
        case "features":
            return features.document(world, now_s)
        case "services":
            return services.document(world.reports, now_s)
        case _:
            return None


def _version(world: World, key: Key) -> msgspec.Struct | None:
    if not (key.which.isascii() and key.which.isdigit() and len(key.which) < 10):
        return None
    entry, story = world.releases.entry(key.name), world.releases.story(key.name)
    return versions.document(key.name, int(key.which), entry, story, world.definition(key.name))


def _finding(world: World, key: Key) -> msgspec.Struct | None:
    found = world.findings.of(key.name).get(key.which)
    if found is None:
        return None
    episode = timelines.episode_with(world, key.name, key.which)
    return findings.finding_of(found, _statistic(world, found.opened), episode, world.namespace)


def _statistic(world: World, opened: FindingOpened) -> float | None:
    """The statistic of a finding's detector in the newest window; None where it has none."""
    if opened.detector != "charts":
        seen = world.windows.of(opened.deployment)
        return None if seen is None else seen.newest.drift_statistic
    held = world.monitored.of(opened.deployment)
    chart = None if held is None else held.newest_chart(opened.about)
    return None if chart is None or chart.version != opened.version else chart.statistic


def _why_none(key: Key) -> str:
    if not key.kind:
        return key.which
    what = {"version": f"version {key.which} of {key.name}", "finding": f"finding {key.which} of {key.name}"}
    named = what.get(key.kind, f"a deployment {key.name}")
    return f"nothing is known of {named}: it was never there, or it is no longer kept"
