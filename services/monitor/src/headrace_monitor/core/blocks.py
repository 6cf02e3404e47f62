"""Paired requests of a rollout, in blocks of event time, until their labels are there.

A block [from, to) is *ripe* when the deployment's clock has passed its end and the label delay: nearly all labels are
there. It is *final* when the label's horizon has passed as well: none can come any more, and its pairs are dropped. Near the
bound in bytes a ripe block is final early: labels that come later do not count. Which outcome is the label of a request, as known at
either instant, `headrace.features.outcomes` decides.

A request that only one of the versions was asked is no pair. A request is *missing* whose shadow was due and did not
come before its block was ripe, or gave no score by no fault of its own. Missing requests are counted with their block, because
what is missing is no fair sample.

A pair takes 24 bytes and 8 per number of its two scores (40 for a binary label), an outcome takes 48, in plain arrays. Blocks
without requests take nothing, and are passed over without a turn each, so no loop's length depends on an instant.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.features.outcomes import SKEW_S, Asked, KnownOutcome, Table, key_of, labels_of, packed, table_of
from headrace.project.labels import CLASSES, NUMBER

Floats = NDArray[np.float64]

PAIRS_LIMIT_BYTES = 64 * 2**20
LABELS_LIMIT_BYTES = 64 * 2**20
# From this share of the bound on, ripe blocks do not wait for their last labels.
_NEAR = 0.9


@dataclass(frozen=True, slots=True)
class Pair:
    """One request that both versions were asked. `new`, `control`: their scores; None for a version that failed."""

    unit: str
    at_s: float
    new: Score | None
    control: Score | None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The pairs of one block in request order, as known at an instant. Scores of shape (n,) or (n, classes); numbers are scaled
    to their declared range, where there is one. `labels`: NaN where unknown. `missing`: requests that should have been pairs.
    """

    number: int
    from_s: float
    to_s: float
    new: Floats
    control: Floats
    labels: Floats
    missing: int


@dataclass(frozen=True, slots=True)
class Due:
    """What a block has become by the clock: `ripe` or `final`, since `at_s`."""

    what: Literal["ripe", "final"]
    number: int
    at_s: float


class _Rows:
    """The pairs of one block, in columns. Units and requests are hashes of this process; NaN is a version that failed."""

    def __init__(self) -> None:
        self.units, self.requests, self.at_s = array("Q"), array("Q"), array("d")
        self.new, self.control = array("d"), array("d")


@dataclass
class Blocks:
    """The blocks of one rollout whose labels may still come.

    `block_s`, `delay_s`: the length of a block and the label delay. `open_from_s`: the start of the oldest block that is kept,
    None before the first request. `late`: requests that came after their block was final. `foreign`: outcomes that are no label
    of the deployment's kind. `has_closed`: whether any block has become ripe.
    """

    label: LabelDefinition
    block_s: float
    delay_s: float
    open_from_s: float | None = None
    late: int = 0
    foreign: int = 0
    pairs_limit_bytes: int = PAIRS_LIMIT_BYTES
    labels_limit_bytes: int = LABELS_LIMIT_BYTES
    _rows: dict[int, _Rows] = field(default_factory=dict)
    _missing: dict[int, int] = field(default_factory=dict)
    _outcomes: bytearray = field(default_factory=bytearray)
    _held: int = 0
    has_closed: bool = False

    def __post_init__(self) -> None:
        # NB: computed once, because each of these is asked for with every request.
        self._start = None if self.open_from_s is None else round(self.open_from_s / self.block_s)
        self._unripe = self._start
        self._kind = self.label.kind
        self._width = len(self.label.classes) if self._kind == CLASSES else 1
        self._classes = max(len(self.label.classes), 2)
        self._low, self._span = self._range()
        self.pair_bytes = 24 + 16 * self._width

    def _range(self) -> tuple[float, float]:
        low, high = self.label.low, self.label.high
        return (0.0, 1.0) if self._kind != NUMBER or low is None or high is None else (low, high - low)

    # what comes

    def expect(self, at_s: float, *, is_first_time: bool = True) -> bool:
        """Whether a request may be a pair. False for one of a final block, which is counted as late.

        Until the first block is ripe, an earlier request moves the beginning back: one request of today amid a replay of
        ten years ago must not make all others late. A request that is read again (not `is_first_time`) moves nothing.
        """
        number, start = math.floor(at_s / self.block_s), self._start
        if start is not None and number >= start:
            return True
        if start is None or (is_first_time and not self.has_closed):
            self._open_at(number)
            self._unripe = number
            return True
        self.late += 1
        return False

    def _open_at(self, number: int) -> None:
        self._start, self.open_from_s = number, number * self.block_s

    def add_pair(self, pair: Pair, *, is_first_time: bool = True) -> None:
        """Take a pair of an open block. Over the bound in bytes it counts as missing instead."""
        self.put(pair.unit, pair.at_s, pair.new, pair.control, pair.request_id, is_first_time=is_first_time)

    def put(
        self,
        unit: str,
        at_s: float,
        new: Score | None,
        control: Score | None,
        request_id: str,
        *,
        is_first_time: bool = True,
    ) -> None:
        """The same as `add_pair`, without an object per request."""
        number = math.floor(at_s / self.block_s)
        if (self._start is None or number < self._start) and not self.expect(at_s, is_first_time=is_first_time):
            return
        if (self._held + 1) * self.pair_bytes > self.pairs_limit_bytes:
            self._miss(at_s)
            return
        rows = self._rows.get(number)
        if rows is None:
            rows = self._rows[number] = _Rows()
        rows.units.append(key_of(unit))
        rows.requests.append(key_of(request_id))
        rows.at_s.append(at_s)
        self._put(rows.new, new)
        self._put(rows.control, control)
        self._held += 1

    def miss(self, at_s: float, *, is_first_time: bool = True) -> None:
        """Count a request that should have been a pair and is none."""
        if self.expect(at_s, is_first_time=is_first_time):
            self._miss(at_s)

    def _miss(self, at_s: float) -> None:
        number = self.number_of(at_s)
        self._missing[number] = self._missing.get(number, 0) + 1

    def add_outcome(self, outcome: KnownOutcome) -> None:
        """Take an outcome. One that is no label of the deployment's kind is only counted."""
        value = float(outcome.value)
        is_label = math.isfinite(value) if self._kind == NUMBER else value.is_integer() and 0 <= value < self._classes
        if not is_label:
            self.foreign += 1
            return
        self._outcomes += packed(*outcome)
        if len(self._outcomes) > self.labels_limit_bytes:
            self._thin_out()

    def _thin_out(self) -> None:
        """At the bound, drop the outcomes that belong to no open request, and if these are few the oldest tenth."""
        outcomes = table_of(self._outcomes)
        open_units = [np.array(rows.units, dtype=np.uint64) for rows in self._rows.values()]
        kept = (
            np.isin(outcomes["unit"], np.concatenate(open_units)) if open_units else np.zeros(len(outcomes), dtype=bool)
        )
        if kept.mean() > 0.9:
            kept &= outcomes["known_s"] > np.quantile(outcomes["known_s"], 0.1)
        self._keep(outcomes, kept)

    def _keep(self, outcomes: Table, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self._outcomes = bytearray(outcomes[kept].tobytes())

    # what becomes of blocks

    def next_due(self, clock_s: float) -> Due | None:
        """Which block with requests has become ripe or final by this clock, the earliest first; None when none has."""
        if self._start is None or not math.isfinite(clock_s):
            return None
        found = [
            due
            for due in (
                self._first("ripe", self._unripe, self.delay_s),
                self._first("final", None, self.label.horizon_s),
            )
            if due is not None and due.at_s <= clock_s
        ]
        return min(found, key=_instant, default=self._pressed(clock_s))

    def _pressed(self, clock_s: float) -> Due | None:
        """Near the bound in bytes the oldest ripe block is final early, rather than that new pairs are missing."""
        oldest = min(self._rows, default=None)
        if oldest is None or self._unripe is None or oldest >= self._unripe:
            return None
        is_near = self.pairs_bytes > _NEAR * self.pairs_limit_bytes
        return Due("final", oldest, clock_s) if is_near else None

    def _first(self, what: Literal["ripe", "final"], least: int | None, wait_s: float) -> Due | None:
        numbers = (
            number for kept in (self._rows, self._missing) for number in kept if least is None or number >= least
        )
        number = min(numbers, default=None)
        return None if number is None else Due(what, number, (number + 1) * self.block_s + wait_s)

    def ripen(self, due: Due) -> Known:
        """The pairs of a block that is ripe, with the labels known by then."""
        if not self.has_closed:
            # NB: from now on an earlier request is late, since it would lie before the first cycle.
            self._open_at(due.number)
        self._unripe, self.has_closed = due.number + 1, True
        return self._known([due.number], due.at_s)[0]

    def finish(self, due: Due) -> Known:
        """The pairs of a block that is final, with all of their labels; it is kept no longer."""
        known = self._known([due.number], due.at_s)[0]
        rows = self._rows.pop(due.number, None)
        self._missing.pop(due.number, None)
        self._held -= len(rows.units) if rows else 0
        self._open_at(due.number + 1)
        self._forget((due.number + 1) * self.block_s)
        return known

    def provisional(self, before: int, now_s: float) -> list[Known]:
        """The pairs of all ripe blocks before this one that are not final, with the labels known by `now_s`."""
        last = min(before, self._unripe) if self._unripe is not None else before
        numbers = sorted({number for kept in (self._rows, self._missing) for number in kept if number < last})
        return self._known(numbers, now_s)

    def _known(self, numbers: Iterable[int], now_s: float) -> list[Known]:
        """Blocks as known at an instant. After the horizon an absent label may mean negative."""
        wanted = list(numbers)
        found = [self._rows.get(number) or _Rows() for number in wanted]
        if not found:
            return []
        units, requests = (
            np.concatenate([np.array(getattr(rows, name), dtype=np.uint64) for rows in found])
            for name in ("units", "requests")
        )
        at_s = np.concatenate([np.array(rows.at_s, dtype=np.float64) for rows in found])
        labels = labels_of(self.label, Asked(units, at_s, requests), table_of(self._outcomes), now_s).labels
        labels = (labels - self._low) / self._span
        ends = np.cumsum([len(rows.units) for rows in found])[:-1]
        return [
            self._block(number, rows, own_at_s, own_labels)
            for number, rows, own_at_s, own_labels in zip(
                wanted, found, np.split(at_s, ends), np.split(labels, ends), strict=True
            )
        ]

    def _block(self, number: int, rows: _Rows, at_s: Floats, labels: Floats) -> Known:
        order = np.argsort(at_s, kind="stable")
        new, control = (self._scores(scores)[order] for scores in (rows.new, rows.control))
        from_s, to_s = number * self.block_s, (number + 1) * self.block_s
        return Known(number, from_s, to_s, new, control, labels[order], self._missing.get(number, 0))

    def _scores(self, scores: array) -> Floats:
        values = np.array(scores, dtype=np.float64)
        return (values - self._low) / self._span if self._width == 1 else values.reshape(-1, self._width)

    def _forget(self, closed_to_s: float) -> None:
        """Drop the outcomes that were known before the oldest open request, and corrections with what they correct."""
        if self._outcomes:
            outcomes = table_of(self._outcomes)
            ids, corrects = outcomes["id"], outcomes["corrects"]
            kept = outcomes["known_s"] >= closed_to_s - SKEW_S
            kept |= np.isin(corrects, ids[(kept | (corrects != 0)) & (ids != 0)])
            self._keep(outcomes, kept)

    # what it holds

    def last_ripe_by(self, clock_s: float) -> int:
        """The number of the last block that is ripe by the clock."""
        return math.floor((clock_s - self.delay_s) / self.block_s) - 1

    def number_of(self, at_s: float) -> int:
        """The number of the block that an instant falls into."""
        return math.floor(at_s / self.block_s)

    @property
    def pairs_bytes(self) -> int:
        """How many bytes the open pairs take."""
        return self._held * self.pair_bytes

    @property
    def labels_bytes(self) -> int:
        """How many bytes the outcomes take."""
        return len(self._outcomes)

    def _put(self, column: array, score: Score | None) -> None:
        """Append the numbers of a score; NaN where there is none, or where it has another shape or is no probability."""
        if self._width == 1:
            value = math.nan if score is None or score.value is None else score.value
            is_valid = math.isfinite(value) if self._kind == NUMBER else 0 <= value <= 1
            column.append(value if is_valid else math.nan)
            return
        values = () if score is None or score.probabilities is None else score.probabilities
        is_valid = len(values) == self._width and all(0 <= value <= 1 for value in values)
        column.extend(values if is_valid else (math.nan,) * self._width)


def _instant(due: Due) -> float:
    return due.at_s
