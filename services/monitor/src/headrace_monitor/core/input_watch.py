"""When the inputs of a deployment are looked at, and which findings open and resolve: by its clock, and once a minute.

Intervals and windows are judged in the order in which they end, once each, when the clock has passed their end. So what they show
depends on instants, and not on when it was read. In between, after a minute of wall time, the interval that is not over is judged by
what is certain: that only opens findings, of what is read as it comes. A backlog is judged by its clock alone.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from headrace.events.charts import ColumnSeen
from headrace.events.inference import DecisionMade
from headrace.events.monitor import FindingEvidence, FindingOpened
from headrace.log.envelope import derived_id
from headrace.stats.profiles import Profile
from headrace.stats.references import MOST_COLUMNS
from headrace_monitor.core import input_drift
from headrace_monitor.core.facts import FindingOver
from headrace_monitor.core.input_contracts import Breach, judge
from headrace_monitor.core.live_inputs import INTERVAL_S, KEPT_S, Interval, LiveInputs
from headrace_monitor.core.references import References, VersionFrame

KIND, PREFIX = "contract", "inputs."
WALL_S = 60.0
# How often the clock is looked at in between, for sources that fall silent.
STEP_S = 600.0
# A record that was appended so long ago is one of a backlog.
LIVE_S = 300.0
# Once nothing more is read, partitions are quiet after a while, and the clock goes on: so long it is looked at again.
SETTLES_S = 10.0
# A window tells of so many columns, five versions of the widest; sketches, 1.4 KB each, are those of two.
_MOST_COLUMNS, _MOST_SKETCHED = 5 * (MOST_COLUMNS + 1), 2 * (MOST_COLUMNS + 1)
_LASTS = 2
_CLEAN = 3


@dataclass
class Seen:
    """What a look has found. `changes`: findings that open, and those that are over, in order."""

    changes: list[FindingOpened | FindingOver] = field(default_factory=list)

    @property
    def opened(self) -> list[FindingOpened]:
        """The findings that open."""
        return [change for change in self.changes if isinstance(change, FindingOpened)]


class InputWatch:
    """The inputs of one deployment. `length_s`: of an evaluation window. `judged_to_s`: what ends by then is judged and published."""

    def __init__(
        self, deployment: str, length_s: float, decisions: str, references: References, judged_to_s: float = -math.inf
    ) -> None:
        self.live = LiveInputs(deployment, references)
        self.judged_to_s = judged_to_s
        # A restart judges the last day again, for what a fault needs to last, and publishes nothing of it.
        self._counted_to_s = judged_to_s - KEPT_S
        self._deployment, self._length_s, self._decisions, self._references = (
            deployment, length_s, decisions, references,
        )  # fmt: skip
        self._lasting, self._clean, self._quiet = Counter[str](), Counter[str](), Counter[str]()
        # By key, of open findings, and of those that a look opens.
        self._open_faults: dict[str, str] = {}
        self._open_moved: dict[str, frozenset[str]] = {}
        self._due_s = -math.inf
        # Since when, by the monotonic clock, there are decisions that no look has seen.
        self._is_news, self._news_s = False, math.inf
        # Whether anything was read since it was last asked whether to look, and when something was.
        self._is_read, self._read_s = False, -math.inf

    def add(
        self, decision: DecisionMade, window_s: float | None, partition: int, offset: int, *, is_live: bool = True
    ) -> None:
        """Take a decision that lies there. `window_s`: the start of its window, None when that is closed.

        `is_live`: it is read as it comes, and is none of a backlog.
        """
        self.live.add(decision, window_s, partition, offset)
        self._is_read, self._is_news = True, self._is_news or is_live
        if self._due_s == -math.inf:
            self._due_s = _next_step_s(decision.at_s)

    def is_due(self, highest_s: float, now_s: float) -> bool:
        """Whether to look. `highest_s`: the highest instant of a request; `now_s`: of the monotonic clock."""
        if self._is_news:
            self._news_s = min(self._news_s, now_s)
        is_idle, self._is_read = not self._is_read, False
        self._read_s = self._read_s if is_idle else now_s
        if highest_s >= self._due_s > -math.inf or now_s - self._news_s >= WALL_S:
            return True
        return is_idle and now_s - self._read_s <= SETTLES_S and bool(self._ended(highest_s))

    def columns_of(self, window_s: float) -> tuple[ColumnSeen, ...]:
        """The columns of an open window, of each version that answered. Sketches are those of the versions with most rows, and of
        many versions the others are left out: all of it is one record.
        """
        self.live.fold()
        found = self.live.windows.get(window_s, {})
        by_version: dict[int, tuple[ColumnSeen, ...]] = {}
        count = 0
        for version in sorted(found, key=lambda one: (-found[one].rows, one)):
            frame = self._references.of(self._deployment, version)
            columns = () if frame is None else self._seen(window_s, found[version], frame)
            count += len(columns)
            if count <= _MOST_COLUMNS:
                by_version[version] = columns if count <= _MOST_SKETCHED else input_drift.without_sketches(columns)
        return tuple(column for version in sorted(by_version) for column in by_version[version])

    def look(
        self,
        clock_s: float,
        highest_s: float,
        now_s: float,
        open_findings: Mapping[str, FindingOpened],
        unjudged: Collection[str] = (),
    ) -> Seen:
        """What the inputs show by this clock. `open_findings`: by key; `unjudged`: columns of sources that are silent anyway."""
        self.live.fold()
        self._open_faults = {key: finding.detector for key, finding in open_findings.items() if finding.kind == KIND}
        self._open_moved = {
            key: frozenset(input_drift.columns_of(finding))
            for key, finding in open_findings.items()
            if finding.kind == input_drift.KIND
        }
        found, known = Seen(), set(open_findings)
        for end_s, start_s, is_window in self._ended(clock_s):
            is_live = end_s > self.judged_to_s
            if is_window:
                self._on_window(start_s, end_s, known, found, is_live)
            else:
                self._on_interval(self.live.intervals[start_s], end_s, known, found, unjudged, is_live)
            self._counted_to_s = end_s
            self.judged_to_s = max(self.judged_to_s, end_s)
        if now_s - self._news_s >= WALL_S:
            self._is_news, self._news_s = False, math.inf
            self._on_minute(known, found, unjudged)
        self.live.forget_before(clock_s - KEPT_S)
        self._due_s = _next_step_s(max(highest_s, clock_s))
        return found

    def adopt(self, other: "InputWatch") -> None:
        """Take over what another definition of the deployment has counted; of windows only those of the same length."""
        self.live, self.judged_to_s, self._counted_to_s = other.live, other.judged_to_s, other._counted_to_s
        self._lasting, self._clean, self._quiet = other._lasting, other._clean, other._quiet
        for start_s in list(self.live.windows) if self._length_s != other._length_s else ():
            self.live.drop_window(start_s)

    def drop_window(self, window_s: float) -> None:
        """A window is closed."""
        self.live.drop_window(window_s)

    def _ended(self, clock_s: float) -> list[tuple[float, float, bool]]:
        """What ends after `judged_to_s` and by the clock: its end, its start, and whether it is a window; by its end."""
        intervals = [(start_s + INTERVAL_S, start_s, False) for start_s in self.live.intervals]
        windows = [(start_s + self._length_s, start_s, True) for start_s in self.live.windows]
        return sorted(one for one in [*intervals, *windows] if self._counted_to_s < one[0] <= clock_s)

    def _frame(self, interval: Interval) -> VersionFrame | None:
        """Of the version that answered most."""
        by_rows = {version: profile.rows for version, profile in interval.profiles.items()}
        return self._references.of(self._deployment, max(by_rows, key=by_rows.__getitem__)) if by_rows else None

    def _faults(self, known: set[str]) -> dict[str, str]:
        """By column the fault of its open finding."""
        start = f"{KIND}:{PREFIX}"
        return {
            k.removeprefix(start): fault for k, fault in self._open_faults.items() if k in known and k.startswith(start)
        }

    def _history(self, interval: Interval) -> list[Interval]:
        from_s = interval.from_s - KEPT_S
        return [one for start_s, one in sorted(self.live.intervals.items()) if from_s < start_s <= interval.from_s]

    def _on_interval(
        self, interval: Interval, end_s: float, known: set[str], found: Seen, unjudged: Collection[str], is_live: bool
    ) -> None:
        frame = self._frame(interval)
        judged = judge(self._history(interval), frame, unjudged, self._faults(known))
        for column, breach in judged.breaches.items():
            self._lasting[column] += 1
            self._clean.pop(column, None)
            if is_live and (breach.is_certain or self._lasting[column] >= _LASTS):
                self._open(breach, interval, end_s, known, found, frame)
        for column in [column for column in self._lasting if column not in judged.breaches]:
            del self._lasting[column]
        for column in judged.clean | judged.gone:
            key = f"{KIND}:{PREFIX}{column}"
            if key not in known:
                continue
            self._clean[column] += 1
            if is_live and self._clean[column] >= _CLEAN:
                how = "in no row that is compared" if column in judged.gone else "within its contract"
                found.changes.append(FindingOver(key, f"{how} for {_CLEAN} intervals", end_s))
                known.discard(key)
                del self._clean[column]

    def _on_minute(self, known: set[str], found: Seen, unjudged: Collection[str]) -> None:
        """What is certain of the newest interval that is not over."""
        running = [
            interval for start_s, interval in self.live.intervals.items() if start_s + INTERVAL_S > self.judged_to_s
        ]
        if not running:
            return
        interval = max(running, key=lambda one: one.requests)
        frame = self._frame(interval)
        for breach in judge([interval], frame, unjudged).breaches.values():
            if breach.is_certain:
                self._open(breach, interval, interval.newest_s, known, found, frame)

    def _on_window(self, start_s: float, end_s: float, known: set[str], found: Seen, is_live: bool) -> None:
        columns = self._columns_of_most(start_s)
        if not columns or not self.live.is_whole(start_s, columns[0].version):
            return
        moved = {column.column for column in columns if column.is_moved}
        for key, named in self._open_moved.items():
            self._quiet[key] = 0 if named & moved else self._quiet[key] + 1
        over = [key for key, count in self._quiet.items() if key in known and count >= input_drift.QUIET_WINDOWS]
        for key in over if is_live else ():
            found.changes.append(FindingOver(key, "its inputs look like the training rows again", end_s))
            known.discard(key)
            del self._open_moved[key], self._quiet[key]
        # What moves while a finding stands has a finding of its own: else one storm in the weather would hide it.
        new = moved.difference(*self._open_moved.values())
        if is_live and new:
            fresh = [column for column in columns if column.column in new]
            opened = input_drift.finding_of(self._deployment, fresh, start_s, end_s)
            found.changes.append(opened)
            known.add(key := f"{input_drift.KIND}:{opened.about}")
            self._open_moved[key] = frozenset(new)

    def _columns_of_most(self, start_s: float) -> tuple[ColumnSeen, ...]:
        """The columns of the version that answered most in a window."""
        profiles = self.live.windows[start_s]
        version = max(profiles, key=lambda one: profiles[one].rows, default=0)
        frame = self._references.of(self._deployment, version)
        return () if frame is None else self._seen(start_s, profiles[version], frame)

    def _seen(self, start_s: float, profile: Profile, frame: VersionFrame) -> tuple[ColumnSeen, ...]:
        """The columns of a version in a window. Where it answered in a part of it only, none has moved."""
        columns = input_drift.seen(profile, frame)
        return columns if self.live.is_whole(start_s, frame.version) else input_drift.unmoved(columns)

    def _open(
        self, breach: Breach, interval: Interval, at_s: float, known: set[str], found: Seen, frame: VersionFrame | None
    ) -> None:
        about = f"{PREFIX}{breach.column}"
        if (key := f"{KIND}:{about}") in known:
            return
        known.add(key)
        self._open_faults[key] = breach.fault
        offence = breach.offence
        found.changes.append(
            FindingOpened(
                finding=derived_id(self._deployment, KIND, about, interval.from_s)[:16],
                deployment=self._deployment,
                kind=KIND,
                summary=breach.summary,
                at_s=at_s,
                version=None if frame is None else frame.version,
                detector=breach.fault,
                measured=breach.measured,
                limit=breach.limit,
                about=about,
                changed_at_s=interval.from_s if offence is None else offence.at_s,
                back_at=breach.limit,
                evidence=FindingEvidence()
                if offence is None
                else FindingEvidence(f"{self._decisions}/{offence.place}", offence.at_s, tuple(offence.requests)),
            )
        )


def _next_step_s(at_s: float) -> float:
    return (at_s // STEP_S + 1) * STEP_S if math.isfinite(at_s) else -math.inf
