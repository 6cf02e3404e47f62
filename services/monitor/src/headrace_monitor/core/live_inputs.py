"""What the requests of a deployment look like while they come: a profile per open window and answering version, and one per interval.

A decision costs a few microseconds: rows wait in a buffer, and are counted many at a time. Nothing here is kept on the log. A
restart reads the decisions of open windows and of the last day again, and counts them again. An interval is an hour of event time.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from headrace.events.inference import DecisionMade, FellBack, Invalid, Served
from headrace.stats.profiles import Binned, Profile
from headrace_monitor.core.references import References, VersionFrame

INTERVAL_S = 3600.0
# Judged intervals are kept for so long: slow faults are found over a day.
KEPT_S = 86_400.0
MOST_INTERVALS = 1000
MOST_REQUESTS = 10
_FOLD_AT = 512
LIMIT_BYTES = 64 * 1024 * 1024
# What windows leave of it is for intervals, by which faults are found.
_WINDOWS_SHARE = 0.8
# A version answered through a window where its decisions leave out at most this share of the time that all of them cover.
_LEFT_OUT = 0.05


@dataclass(slots=True)
class Offence:
    """The first decisions of an interval that show a fault. `place`: `partition/offset` of the first one; `requests`: at most ten ids."""

    place: str
    at_s: float
    requests: list[str] = field(default_factory=list)

    def add(self, request: str) -> None:
        """One more decision shows it."""
        if len(self.requests) < MOST_REQUESTS:
            self.requests.append(request)


@dataclass(slots=True)
class Interval:
    """The requests of an hour. `profiles`: of the rows, by answering version. `invalid`: refused requests by field. `stale`: decisions by
    feature whose source is silent; `missing`: by feature without a value, whose row holds a default. `offences`: by column and what is
    wrong with it (`null`, `outside`, `invalid`, `stale`, `missing`). `unknown`: rows of versions that bring no reference.
    """

    from_s: float
    requests: int = 0
    newest_s: float = -math.inf
    profiles: dict[int, Profile] = field(default_factory=dict)
    invalid: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    offences: dict[tuple[str, str], Offence] = field(default_factory=dict)
    unknown: int = 0

    def note(self, column: str, fault: str, decision: DecisionMade, place: str) -> None:
        """A decision shows a fault of a column."""
        found = self.offences.get((column, fault))
        if found is None:
            found = self.offences[column, fault] = Offence(place, decision.at_s)
        found.add(decision.request_id)


Key = TypeVar("Key")
# A row that waits: its window and interval, the answering version, its bytes, its score, its request, where it lies, and its instant.
_Waiting = tuple[float | None, float, int, bytes, float, str, str, float]


class LiveInputs:
    """The profiles of one deployment. `windows`: by the start of the window, then by version. `intervals`: by their start.
    `_spans`: as `windows`, the first and the last instant of the decisions of a version, and of all of them under None.

    `from_s`: intervals that end by then are over, and take no more rows.
    """

    def __init__(self, deployment: str, references: References, limit_bytes: int = LIMIT_BYTES) -> None:
        self.deployment, self._references, self.limit_bytes = deployment, references, limit_bytes
        self.windows: dict[float, dict[int, Profile]] = {}
        self._spans: dict[float, dict[int | None, tuple[float, float]]] = {}
        self.intervals: dict[float, Interval] = {}
        self.from_s = -math.inf
        self._waiting: list[_Waiting] = []
        self.held_bytes = 0

    def add(self, decision: DecisionMade, window_s: float | None, partition: int, offset: int) -> None:
        """Take a decision that lies there. `window_s`: the start of its window, None when that is closed."""
        at_s = decision.at_s
        start_s = at_s // INTERVAL_S * INTERVAL_S
        interval = self._interval(start_s)
        if interval is not None:
            interval.requests += 1
            interval.newest_s = max(interval.newest_s, at_s)
        answer = decision.answer
        if window_s is not None:
            self._spread(window_s, None, at_s)
        if isinstance(answer, Served | FellBack):
            if window_s is not None:
                self._spread(window_s, answer.score.version, at_s)
            if decision.row and answer.score.version:
                value = math.nan if answer.score.value is None else answer.score.value
                place = f"{partition}/{offset}"
                row = (
                    window_s, start_s, answer.score.version, decision.row, value, decision.request_id, place, at_s
                )  # fmt: skip
                self._waiting.append(row)
                if decision.missing and interval is not None:
                    self._note_missing(interval, decision, answer.score.version, place)
                if len(self._waiting) >= _FOLD_AT:
                    self.fold()
        elif isinstance(answer, Invalid) and interval is not None and answer.field:
            interval.invalid[answer.field] += 1
            interval.note(answer.field, "invalid", decision, f"{partition}/{offset}")
        if decision.stale and interval is not None:
            interval.stale.update(decision.stale)
            for feature in decision.stale:
                interval.note(feature, "stale", decision, f"{partition}/{offset}")

    def _spread(self, window_s: float, version: int | None, at_s: float) -> None:
        spans = self._spans.setdefault(window_s, {})
        first_s, last_s = spans.get(version, (at_s, at_s))
        spans[version] = min(first_s, at_s), max(last_s, at_s)

    def is_whole(self, window_s: float, version: int) -> bool:
        """Whether a version answered through a window. One that took over in it, or was away, has seen some hours of it only, and
        these differ from whole days without anything being wrong.
        """
        spans = self._spans.get(window_s, {})
        if version not in spans:
            return False
        (first_s, last_s), (begin_s, end_s) = spans[version], spans[None]
        return first_s - begin_s + end_s - last_s <= _LEFT_OUT * (end_s - begin_s)

    def _note_missing(self, interval: Interval, decision: DecisionMade, version: int, place: str) -> None:
        """Features without a value whose row does not show it. NB: those without a default are nulls of the row."""
        frame = self._references.of(self.deployment, version)
        for feature in decision.missing if frame is not None and frame.defaulted else ():
            if frame is not None and feature in frame.defaulted:
                interval.missing[feature] += 1
                interval.note(feature, "missing", decision, place)

    def _interval(self, start_s: float) -> Interval | None:
        found = self.intervals.get(start_s)
        if found is None and start_s + INTERVAL_S > self.from_s:
            if len(self.intervals) >= MOST_INTERVALS:
                self._forget(min(self.intervals))
            found = self.intervals[start_s] = Interval(start_s)
        return found

    def fold(self) -> None:
        """Count the rows that wait."""
        waiting, self._waiting = self._waiting, []
        by_version: dict[int, list[_Waiting]] = {}
        for row in waiting:
            by_version.setdefault(row[2], []).append(row)
        for version, rows in by_version.items():
            frame = self._references.of(self.deployment, version)
            for row in rows if frame is None else ():
                if (interval := self._interval(row[1])) is not None:
                    interval.unknown += 1
            # NB: rows of another width are of another signature than the version's own (a fallback that sees the inputs only).
            fitting = [] if frame is None else [row for row in rows if len(row[3]) == 4 * frame.width]
            if frame is not None and fitting:
                self._fold_rows(frame, fitting)

    def _fold_rows(self, frame: VersionFrame, rows: Sequence[_Waiting]) -> None:
        scores = np.array([row[4] for row in rows], np.float32)
        binned = frame.frame.binned(frame.matrix(b"".join(row[3] for row in rows), scores))
        for window_s, chosen in _groups([row[0] for row in rows]).items():
            if window_s is not None and (profile := self._profile_of_window(window_s, frame)) is not None:
                profile.fold(_part(binned, chosen, len(rows)))
        for start_s, chosen in _groups([row[1] for row in rows]).items():
            interval = self._interval(start_s)
            if interval is None:
                continue
            profile = self._profile_of_interval(interval, frame)
            if profile is None:
                continue
            part = _part(binned, chosen, len(rows))
            profile.fold(part)
            _note_offences(interval, frame, part, [rows[n] for n in chosen])

    def _profile_of_interval(self, interval: Interval, frame: VersionFrame) -> Profile | None:
        """None where profiles take more than their bound."""
        found = interval.profiles.get(frame.version)
        if found is None:
            made = Profile(frame.frame)
            if self.held_bytes + made.held_bytes <= self.limit_bytes:
                found = interval.profiles[frame.version] = made
                self.held_bytes += made.held_bytes
        return found

    def _profile_of_window(self, window_s: float, frame: VersionFrame) -> Profile | None:
        """None for a window that is begun while profiles take most of their bound: its columns are then not shown."""
        by_version = self.windows.setdefault(window_s, {})
        found = by_version.get(frame.version)
        if found is None:
            made = Profile(frame.frame, is_sketched=True)
            if self.held_bytes + _full_bytes(made) <= _WINDOWS_SHARE * self.limit_bytes:
                found = by_version[frame.version] = made
                # NB: what it takes once its sketches are full.
                self.held_bytes += _full_bytes(made)
        return found

    def drop_window(self, window_s: float) -> None:
        """A window is closed."""
        self.fold()
        self._spans.pop(window_s, None)
        for profile in self.windows.pop(window_s, {}).values():
            self.held_bytes -= _full_bytes(profile)

    def forget_before(self, at_s: float) -> None:
        """Intervals that began before this instant are over."""
        self.from_s = max(self.from_s, at_s)
        for start_s in [start_s for start_s in self.intervals if start_s < at_s]:
            self._forget(start_s)

    def _forget(self, start_s: float) -> None:
        self.held_bytes -= sum(profile.held_bytes for profile in self.intervals.pop(start_s).profiles.values())


def _full_bytes(profile: Profile) -> int:
    return 1800 * len(profile.frame.columns) + 8 * profile.counts.size


def _groups(keys: Sequence[Key]) -> dict[Key, list[int]]:
    found: dict[Key, list[int]] = {}
    for n, key in enumerate(keys):
        found.setdefault(key, []).append(n)
    return found


def _part(binned: Binned, chosen: Sequence[int], count: int) -> Binned:
    return binned if len(chosen) == count else binned.of(np.array(chosen, np.int64))


def _note_offences(interval: Interval, frame: VersionFrame, part: Binned, rows: Sequence[_Waiting]) -> None:
    for fault, mask in (("null", part.is_null), ("outside", part.is_outside)):
        for place in np.flatnonzero(mask.any(axis=0)).tolist():
            key = (frame.frame.columns[place].name, fault)
            found = interval.offences.get(key)
            if found is not None and len(found.requests) >= MOST_REQUESTS:
                continue
            for n in np.flatnonzero(mask[:, place])[:MOST_REQUESTS].tolist():
                _, _, _, _, _, request, where, at_s = rows[n]
                if found is None:
                    found = interval.offences[key] = Offence(where, at_s)
                found.add(request)
