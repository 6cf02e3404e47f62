"""Evaluation windows of request time: when each closes, and which labels its requests have by then.

Early labels are biased (on-time flights report first), so labels are read only when a window has closed. A window [from, to)
closes when the deployment's clock has passed its end and either `coverage` of its requests have a label known by then, or the
label horizon has passed too. It closes at the first full hour at which that holds. The hour is found by arithmetic, so it
depends neither on how records were batched nor on how far away an instant lies.

A waiting decision takes 48 bytes, and 16 more per score of a shadow, most of them wherever `Keep` puts them. Whatever else of
it is needed when its window closes is read from the log again. Over the bound of bytes or of windows the oldest window closes with what there is.
"""

import math
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, Expired, FellBack, Invalid, Refused, Score, Served, ShadowScored
from headrace.features.outcomes import BEYOND, SKEW_S, Asked, KnownOutcome, Table, fates_of, key_of, labels_of
from headrace_monitor.core.held_rows import Among, HeldRows, InMemory, Keep
from headrace_monitor.core.labels import KEPT_S, Floats, Labels
from headrace_monitor.core.late_corrections import LateCorrections
from headrace_monitor.core.late_scores import SHADOW_DTYPE, LateScores, nowhere
from headrace_monitor.core.late_scores import key_of as late_key

HOUR_S = 3600.0
MOST_WINDOWS = 10_000

ANSWERS = (Served, FellBack, Refused, Expired, Invalid)
ROLES = ("", "champion", "previous", "baseline", "prior", "fallback", "shadow")
CHAMPION, SHADOW = 1, 6

_KIND: dict[type, int] = {found: n for n, found in enumerate(ANSWERS)}
_ROLE = {name: n for n, name in enumerate(ROLES)}
_ROW = struct.Struct("<QdqdiHBBQ")
ROW_DTYPE = np.dtype(
    [("unit", "<u8"), ("at_s", "<f8"), ("offset", "<i8"), ("score", "<f8"), ("version", "<i4"), ("partition", "<u2"),
     ("kind", "u1"), ("role", "u1"), ("request", "<u8")]
)  # fmt: skip
_SHADOW = struct.Struct("<Iid")
ROW_BYTES = _ROW.size


@dataclass(slots=True)
class Window:
    """What waits in one window: rows of ROW_DTYPE, the scores of shadows by row, and those that came after their decision.

    `looked_to_s`: the next full hour that was not looked at yet. `waits_for`: before so many labels came in all, coverage
    cannot be reached.
    """

    rows: HeldRows
    shadows: HeldRows
    late: LateScores = field(default_factory=LateScores)
    looked_to_s: float = -math.inf
    waits_for: int = 0

    @property
    def held_bytes(self) -> int:
        """How many bytes they take in memory."""
        return self.rows.held_bytes + self.shadows.held_bytes + self.late.held_bytes


@dataclass(frozen=True)
class Rows:
    """The rows of a closed window as columns, shape (n,).

    `table`: of ROW_DTYPE. `labels`: NaN where a request has none. `shadows`: of SHADOW_DTYPE. `beyond`: how many outcomes came
    after the horizon of their requests, see `WindowClosed`. `late`: where scores of several classes lie that came after their
    decision, of PLACED_DTYPE. `label_delay_s`: median time from a request to its first label, None without labels.
    """

    table: NDArray[np.void]
    labels: Floats
    shadows: NDArray[np.void]
    beyond: int = 0
    late: NDArray[np.void] = field(default_factory=nowhere)
    label_delay_s: float | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labelled(self) -> int:
        """How many have a label."""
        return int((~np.isnan(self.labels)).sum())

    @property
    def answers(self) -> dict[str, int]:
        """Requests by kind of answer, in the order of first appearance."""
        kinds, first, counts = np.unique(self.table["kind"], return_index=True, return_counts=True)
        return {str(ANSWERS[kinds[n]].__struct_config__.tag): int(counts[n]) for n in np.argsort(first)}

    @property
    def served_version(self) -> int | None:
        """The version that was champion for the whole window; None when there were several, or none."""
        versions = np.unique(self.table["version"][self.table["kind"] == _KIND[Served]])
        return int(versions[0]) if len(versions) == 1 else None

    def sample(self, most: int) -> dict[int, NDArray[np.int64]]:
        """The offsets of at most `most` decisions, per partition and ascending: those of the lowest hash of where they lie.

        The offsets of their late scores of several classes are among them.
        """
        partitions, offsets, late = self.table["partition"], self.table["offset"], self.late
        if len(offsets) > most:
            chosen = np.argpartition(_mixed(partitions, offsets), most)[:most]
            partitions, offsets, late = partitions[chosen], offsets[chosen], late[np.isin(late["row"], chosen)]
        partitions = np.concatenate([partitions, late["partition"]])
        offsets = np.concatenate([offsets, late["offset"]])
        return {int(p): np.sort(offsets[partitions == p]) for p in np.unique(partitions)}


class Late(NamedTuple):
    """How many requests, outcomes and corrections of labels came after their window had closed, see `WindowClosed`."""

    requests: int = 0
    outcomes: int = 0
    corrections: int = 0


@dataclass
class Windows:
    """The open windows of one deployment, by the start of each. Raises `ValueError` for a length or a horizon that is no time.

    `limit_bytes`: the bound of the rows in memory, and of the labels; `keep`: where full parts of them lie. `closed_to_s`: the end of the newest closed window, and
    `closed_at_s`: the event time at which it closed; -inf before the first. `late_requests`, `late_outcomes`: what came after
    its window had closed, since the beginning; `corrections`: those of labels, see `late_corrections`. `highest_s`: the highest instant of a request so far. `estimated_to_s`: windows
    that end by then are not estimated any more.
    """

    deployment: DeploymentDefinition
    limit_bytes: int = 512 * 1024 * 1024
    keep: Keep = InMemory
    closed_to_s: float = -math.inf
    closed_at_s: float = -math.inf
    late_requests: int = 0
    late_outcomes: int = 0
    highest_s: float = -math.inf
    estimated_to_s: float = -math.inf
    open: dict[float, Window] = field(default_factory=dict)
    labels: Labels | None = None
    corrections: LateCorrections = field(init=False)
    _rows_bytes: int = 0

    def __post_init__(self) -> None:
        self.corrections = LateCorrections(self.keep)
        length_s = self.deployment.evaluation_window_s
        if not (math.isfinite(length_s) and length_s >= 1.0):
            raise ValueError(f"an evaluation window must be at least 1 s long, got {length_s!r} s")
        label = self.deployment.label
        if label is not None and self.labels is None:
            if not (math.isfinite(label.horizon_s) and label.horizon_s >= 0):
                raise ValueError(f"the horizon of a label must be a time, got {label.horizon_s!r} s")
            self.labels = Labels(label, self.limit_bytes, self.keep)

    def add_decision(self, decision: DecisionMade, partition: int, offset: int, *, is_new: bool = True) -> float | None:
        """Take a decision that lies there. Returns the start of its window; None for one of a closed window.

        `is_new`: it is not read again after a restart; a decision of a closed window then counts as late.
        """
        at_s = decision.at_s
        start_s = self.start_of(at_s)
        if start_s < self.closed_to_s:
            self.late_requests += is_new
            return None
        window = self.open.get(start_s)
        if window is None:
            window = self.open[start_s] = self._new()
        answer = decision.answer
        score: Score | None = None
        role = 0
        if isinstance(answer, Served):
            score, role = answer.score, CHAMPION
        elif isinstance(answer, FellBack):
            score, role = answer.score, _ROLE.get(answer.step, 5)
        value = math.nan if score is None or score.value is None else score.value
        version = 0 if score is None else score.version
        unit = key_of(decision.unit)
        window.waits_for = 0
        request = key_of(decision.request_id)
        packed = _ROW.pack(unit, at_s, offset, value, version, partition, _KIND[type(answer)], role, request)
        self._rows_bytes += window.rows.add(packed)
        if decision.shadows:
            row = len(window.rows) // ROW_BYTES - 1
            for shadow in decision.shadows:
                if shadow.value is not None:
                    self._rows_bytes += window.shadows.add(_SHADOW.pack(row, shadow.version, shadow.value))
        if at_s > self.highest_s:
            self.highest_s = at_s
        return start_s

    def add_late_score(self, scored: ShadowScored, partition: int, offset: int) -> None:
        """Take the score of a shadow that came after its decision, and lies there."""
        window = self.open.get(self.start_of(scored.at_s))
        if window is not None and scored.score is not None:
            key = late_key(key_of(scored.unit), scored.at_s, key_of(scored.request_id))
            self._rows_bytes += window.late.add(key, scored.score, partition, offset)

    def add_outcome(self, outcome: KnownOutcome, *, is_new: bool = True) -> None:
        """Take an outcome. One that was known when the newest closed window closed came too late, and is counted.

        `is_new`: it is not read again after a restart.
        """
        if self.labels is None:
            return
        if is_new and outcome.known_s <= self.closed_at_s:
            self.late_outcomes += 1
        if outcome.known_s >= self.closed_to_s - KEPT_S or outcome.corrects:
            self.labels.add(outcome)
        if outcome.corrects and (is_new or outcome.known_s > self.closed_at_s):
            self.corrections.add(outcome)

    def settle_corrections(self, closes_s: float) -> None:
        """Before a window that closes at `closes_s` is dropped: count the corrections that came too late."""
        label = self.deployment.label
        if label is not None and self.labels is not None:
            held = (_table(window.rows, ROW_DTYPE) for window in self.open.values())
            self.corrections.settle(label, self.labels, held, closes_s)

    @property
    def late(self) -> Late:
        """What came too late since the beginning."""
        return Late(self.late_requests, self.late_outcomes, self.corrections.count)

    @property
    def held_bytes(self) -> int:
        """How many bytes the rows of open windows take in memory."""
        return self._rows_bytes

    @property
    def open_from_s(self) -> float:
        """The start of the oldest open window, or of the next one when none is open; -inf before the first."""
        return min(self.open, default=self.closed_to_s)

    def may_close_by(self, clock_s: float) -> bool:
        """Whether the oldest open window has come to an hour that was not looked at yet: a cheap look before `closable`."""
        if not self.open:
            return False
        start_s = min(self.open)
        return (
            clock_s >= max(start_s + self.deployment.evaluation_window_s, self.open[start_s].looked_to_s)
            or self._is_over_bound
        )

    def closable(self, clock_s: float) -> tuple[float, float] | None:
        """The oldest open window if it may close, as (start, the hour at which it closed).

        None when it may not close, or when no window is open. Windows close in order: the oldest one holds back the others.
        """
        if not self.open:
            return None
        start_s = min(self.open)
        closes_s = self._closes_s(start_s, clock_s)
        if closes_s is None and self._is_over_bound:
            return start_s, start_s + self.deployment.evaluation_window_s
        return None if closes_s is None else (start_s, closes_s)

    def estimable(self, clock_s: float) -> float | None:
        """The start of the oldest open window whose end the clock has passed, and that was not estimated; None for none."""
        if self.labels is None:
            return None
        last_s = clock_s - self.deployment.evaluation_window_s
        return min((start_s for start_s in self.open if self.estimated_to_s <= start_s <= last_s), default=None)

    @property
    def _is_over_bound(self) -> bool:
        return self._rows_bytes > self.limit_bytes or len(self.open) > MOST_WINDOWS

    def _closes_s(self, start_s: float, clock_s: float) -> float | None:
        window, label, end_s = self.open[start_s], self.deployment.label, start_s + self.deployment.evaluation_window_s
        if clock_s < _full_hour(max(end_s, window.looked_to_s)):
            return None
        if label is None:
            return _full_hour(end_s)
        last_s = _full_hour(end_s + label.horizon_s)
        if clock_s >= last_s or self.labels is None or self.labels.observed >= window.waits_for:
            covered_s = min(_full_hour(max(end_s, self._covered_s(window, end_s))), last_s)
            if covered_s <= clock_s:
                return covered_s
        window.looked_to_s = math.floor(clock_s / HOUR_S) * HOUR_S + HOUR_S
        return None

    def _covered_s(self, window: Window, end_s: float) -> float:
        """When `coverage` of the rows had a label; inf when they do not have one yet."""
        label, table = self.deployment.label, _table(window.rows, ROW_DTYPE)
        if label is None or self.labels is None:
            return math.inf
        outcomes = _outcomes(self.labels, table, end_s + label.horizon_s)
        first_s = labels_of(label, _asked(table), outcomes).first_s
        if label.absent == "negative":
            first_s = np.minimum(first_s, table["at_s"] + label.horizon_s)
        needed = min(math.ceil(self.deployment.coverage * len(table) - 1e-9), len(table))
        missing = needed - int(np.isfinite(first_s).sum())
        if missing > 0:
            # One more label covers at most the requests of one unit.
            most = int(np.unique(table["unit"], return_counts=True)[1].max())
            window.waits_for = self.labels.observed + math.ceil(missing / most)
        return float(np.partition(first_s, needed - 1)[needed - 1]) if needed > 0 else -math.inf

    def rows_in(self, start_s: float) -> int:
        """How many requests an open window holds."""
        return len(self.open[start_s].rows) // ROW_BYTES

    def rows_of(self, start_s: float, closes_s: float) -> Rows:
        """The rows of an open window, with their labels as known at `closes_s`."""
        return self._rows(self.open[start_s], start_s, closes_s)

    def adopt(self, other: "Windows") -> None:
        """Take over what the windows of another definition hold: their rows, divided anew, their labels, and what was counted."""
        self.late_requests, self.late_outcomes = other.late_requests, other.late_outcomes
        self.corrections.adopt(other.corrections)
        self.highest_s, self.closed_to_s, self.closed_at_s = other.highest_s, other.closed_to_s, other.closed_at_s
        for window in other.open.values():
            table = _table(window.rows, ROW_DTYPE)
            shadows = window.late.joined(table, _table(window.shadows, SHADOW_DTYPE))
            starts = np.floor(table["at_s"] / self.deployment.evaluation_window_s) * self.deployment.evaluation_window_s
            for start_s in np.unique(starts).tolist():
                mine = np.flatnonzero(starts == start_s)
                taken = self.open.setdefault(start_s, self._new())
                begin = len(taken.rows) // ROW_BYTES
                self._rows_bytes += taken.rows.add(table[mine].tobytes())
                moved = shadows[np.isin(shadows["row"], mine)].copy()
                moved["row"] = begin + np.searchsorted(mine, moved["row"])
                self._rows_bytes += taken.shadows.add(moved.tobytes()) + taken.late.adopt(window.late, table[mine])
        if self.labels is not None and other.labels is not None:
            self.labels.adopt(other.labels)

    def drop(self, start_s: float, closes_s: float) -> None:
        """A window that closed at `closes_s` is over; its rows and the labels that nobody needs any more are dropped."""
        self._rows_bytes -= self.open.pop(start_s).held_bytes
        self.closed_to_s = start_s + self.deployment.evaluation_window_s
        self.closed_at_s = max(self.closed_at_s, closes_s)
        if self.labels is not None:
            self.labels.forget_before(self.open_from_s)

    def _rows(self, window: Window, start_s: float, closes_s: float) -> Rows:
        table, label = _table(window.rows, ROW_DTYPE), self.deployment.label
        labels, beyond, delay_s = np.full(len(table), np.nan), 0, None
        if label is not None and self.labels is not None:
            over_s = start_s + self.deployment.evaluation_window_s + label.horizon_s
            outcomes = _outcomes(self.labels, table, max(over_s, closes_s))
            joined = labels_of(label, _asked(table), outcomes, closes_s)
            labels, delay_s = joined.labels, _median_delay_s(table, joined.first_s, closes_s)
            beyond = self._beyond(table, outcomes[outcomes["known_s"] <= closes_s])
        shadows = window.late.joined(table, _table(window.shadows, SHADOW_DTYPE))
        return Rows(table, labels, shadows, beyond, window.late.places(table), delay_s)

    def _beyond(self, table: NDArray[np.void], outcomes: Table) -> int:
        """How many outcomes came after the horizon of a request of these rows and belong to no open request."""
        label = self.deployment.label
        if label is None or not (late := fates_of(label, _asked(table), outcomes) == BEYOND).any():
            return 0
        # NB: of the units concerned only: all open windows at once may be far more than fits into memory.
        units = Among(outcomes["unit"][late])
        held = (_table(window.rows, ROW_DTYPE) for window in self.open.values())
        others = np.concatenate([rows[units.places(rows["unit"])] for rows in held])
        return int((late & (fates_of(label, _asked(others), outcomes) == BEYOND)).sum())

    def _new(self) -> Window:
        return Window(HeldRows(self.keep), HeldRows(self.keep))

    def start_of(self, at_s: float) -> float:
        """The start of the window that an instant falls into."""
        return math.floor(at_s / self.deployment.evaluation_window_s) * self.deployment.evaluation_window_s


def _median_delay_s(table: NDArray[np.void], first_s: Floats, closes_s: float) -> float | None:
    """Median time from a request to its first label, of those that came by `closes_s`; None where none did."""
    came = first_s <= closes_s
    return float(np.median((first_s - table["at_s"])[came])) if came.any() else None


def _table(rows: HeldRows, dtype: np.dtype) -> NDArray[np.void]:
    return np.frombuffer(bytes(rows), dtype=dtype)


def _outcomes(labels: Labels, table: NDArray[np.void], to_s: float) -> Table:
    """The outcomes that may belong to these rows and were known by `to_s`."""
    return labels.between(float(table["at_s"].min()) - SKEW_S, to_s, Among(table["unit"]))


def _asked(table: NDArray[np.void]) -> Asked:
    return Asked(*(np.ascontiguousarray(table[name]) for name in ("unit", "at_s", "request")))


def _full_hour(at_s: float) -> float:
    return math.ceil(at_s / HOUR_S) * HOUR_S if math.isfinite(at_s) else at_s


def _mixed(partitions: NDArray[np.uint16], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of where a record lies (splitmix64, Steele 2014); it is the same after a restart."""
    with np.errstate(over="ignore"):
        z = offsets.astype(np.uint64) + partitions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
