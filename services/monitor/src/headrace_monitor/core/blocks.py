"""Paired requests of a rollout, in blocks of event time, until their labels are there.

A block [from, to) closes when the deployment's clock has passed its end and the label delay. Which outcome is the label of a
request, as known by then, `headrace.features.outcomes` decides.

A request that only one of the versions was able to score is no pair. A request is *missing* whose shadow was due and did not
come before its block closed, or gave no score by no fault of its own. Missing requests are counted with their block, because
what is missing is no fair sample.

A pair takes 24 bytes and 8 per number of its two scores (40 for a binary label), an outcome takes 48, in plain arrays. Blocks
without requests take nothing, and are passed over without a turn each, so no loop's length depends on an instant.
"""

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.features.outcomes import SKEW_S, Asked, KnownOutcome, Table, key_of, labels_of, packed, table_of
from headrace.project.labels import CLASSES
from headrace.stats.losses import losses
from headrace.stats.pairs import EMPTY, BlockSum, brier_losses, brier_losses_of_classes, sum_up

Floats = NDArray[np.float64]

# More than any block can have at risk: a block that has not ended yet counts as lost.
_ALL = 1e9
PAIRS_LIMIT_BYTES = 64 * 2**20
LABELS_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Pair:
    """One request that both versions were asked. `new`, `control`: their scores; None for a version that failed."""

    unit: str
    at_s: float
    new: Score | None
    control: Score | None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Closed:
    """What one closed block adds up to.

    `closed_s`: when it closed, by event time. `log_loss`: sums of the new version and of the control, over the labelled rows
    that both scored. `open_after`: the sums of the blocks behind it that had begun when it closed. `missing`: how many of its
    requests should have been pairs and are none. `empty`: how many blocks without requests closed before it.
    """

    from_s: float
    to_s: float
    closed_s: float
    sums: BlockSum
    log_loss: tuple[float, float]
    open_after: tuple[BlockSum, ...]
    missing: int = 0
    empty: int = 0


class _Rows:
    """The pairs of one block, in columns. Units and requests are hashes of this process; NaN is a version that failed."""

    def __init__(self) -> None:
        self.units, self.requests, self.at_s = array("Q"), array("Q"), array("d")
        self.new, self.control = array("d"), array("d")


@dataclass
class Blocks:
    """The open blocks of one rollout.

    `block_s`, `delay_s`: the length of a block and the label delay. `margin`: of the rollout. `open_from_s`: the start of the
    oldest open block, None before the first request. `late`: requests that came after their block had closed. `foreign`:
    outcomes that are no label of the deployment's kind. `has_closed`: whether any block has closed.
    """

    label: LabelDefinition
    block_s: float
    delay_s: float
    margin: float
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
        self._is_binary = self.label.kind == "binary"
        self._width = 1 if self._is_binary else len(self.label.classes)
        self._classes = max(len(self.label.classes), 2)
        self.pair_bytes = 24 + 16 * self._width

    # what comes

    def expect(self, at_s: float, *, is_first_time: bool = True) -> bool:
        """Whether a request may be a pair. False for one of a closed block, which is counted as late.

        Until the first block has closed, an earlier request moves the beginning back: one request of today amid a replay of
        ten years ago must not make all others late. A request that is read again (not `is_first_time`) moves nothing.
        """
        number, start = math.floor(at_s / self.block_s), self._start
        if start is not None and number >= start:
            return True
        if start is None or (is_first_time and not self.has_closed):
            self._open_at(number)
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
        if not (float(outcome.value).is_integer() and 0 <= outcome.value < self._classes):
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

    # what closes

    def close_next(self, clock_s: float) -> Closed | None:
        """Close the oldest block that has requests, or lies near one that has, if it may close by this clock.

        Empty blocks before it are passed over. None when nothing may close: then the block that closes next passes over the
        empty ones.
        """
        if self._start is None:
            return None
        empty = self._empty_by(clock_s, self._start)
        start = self._start + empty
        from_s, to_s = start * self.block_s, (start + 1) * self.block_s
        closed_s = to_s + self.delay_s
        if clock_s < closed_s:
            return None
        numbers = range(start, start + 1 + math.ceil(self.delay_s / self.block_s))
        labels = self._labels_by_block(numbers, closed_s)
        own, *behind = [self._sum(labels.get(n), n, closed_s, is_final=n == start) for n in numbers]
        log_loss = self._log_losses(start, labels)
        rows = self._rows.pop(start, None)
        self._held -= len(rows.units) if rows else 0
        self._open_at(start + 1)
        self.has_closed = True
        self._forget(to_s)
        missing = self._missing.pop(start, 0)
        return Closed(from_s, to_s, closed_s, own, log_loss, tuple(behind), missing, empty)

    def _empty_by(self, clock_s: float, start: int) -> int:
        """How many blocks from the oldest on are empty, like all blocks that are looked at when they close.

        At most up to the last block that may close by the clock.
        """
        last = self.last_closed_by(clock_s)
        nearest = min((*self._rows, *self._missing), default=None)
        near = last if nearest is None else nearest - math.ceil(self.delay_s / self.block_s)
        return max(min(near, last) - start, 0)

    def _sum(self, labels: Floats | None, number: int, now_s: float, *, is_final: bool) -> BlockSum:
        """The sums of a block as it closes (`is_final`), or as it stands by then.

        Labels that are still to come count as the worst ones, and a block that has not ended counts as lost.
        """
        if labels is None:
            sums = EMPTY
        else:
            rows, worst = self._rows[number], not is_final or self.delay_s < self.label.horizon_s
            new, control = self._losses(rows.new), self._losses(rows.control)
            sums = sum_up(new, control, labels, self.margin, missing_is_worst=worst)
        if is_final or now_s >= (number + 1) * self.block_s:
            return sums
        return BlockSum(sums.rows, 0, 0.0, -_ALL, sums.harm_risk, -_ALL, sums.margin_risk, -_ALL, sums.better_risk)

    def _labels_by_block(self, numbers: Iterable[int], now_s: float) -> dict[int, Floats]:
        """Per block that has requests their labels as known by then; NaN where a request has none.

        After the horizon an absent label may mean negative.
        """
        found = {number: self._rows[number] for number in numbers if number in self._rows}
        if not found:
            return {}
        units, requests = (
            np.concatenate([np.array(getattr(rows, name), dtype=np.uint64) for rows in found.values()])
            for name in ("units", "requests")
        )
        at_s = np.concatenate([np.array(rows.at_s, dtype=np.float64) for rows in found.values()])
        labels = labels_of(self.label, Asked(units, at_s, requests), table_of(self._outcomes), now_s).labels
        parts = np.split(labels, np.cumsum([len(rows.units) for rows in found.values()])[:-1])
        return dict(zip(found, parts, strict=True))

    def _losses(self, scores: array) -> Floats:
        values = np.array(scores, dtype=np.float64)
        if self._width == 1:
            return brier_losses(values)
        return brier_losses_of_classes(values.reshape(-1, self._width))

    def _log_losses(self, number: int, labelled: Mapping[int, Floats]) -> tuple[float, float]:
        """The sums of the log-loss of both over the labelled rows that both scored, for people to read; 0 without any."""
        if number not in labelled:
            return 0.0, 0.0
        rows, labels = self._rows[number], labelled[number]
        new, control = (
            np.array(scores, dtype=np.float64).reshape(len(labels), -1) for scores in (rows.new, rows.control)
        )
        known = ~(np.isnan(new).any(axis=1) | np.isnan(control).any(axis=1) | np.isnan(labels))
        kind, true = self.label.kind, labels[known]
        shaped = ((scores if kind == CLASSES else scores[:, 0])[known] for scores in (new, control))
        of_new, of_control = (float(losses(kind, scores, true).sum()) for scores in shaped)
        return of_new, of_control

    def _forget(self, closed_to_s: float) -> None:
        """Drop the outcomes that were known before the oldest open request, and corrections with what they correct."""
        if self._outcomes:
            outcomes = table_of(self._outcomes)
            ids, corrects = outcomes["id"], outcomes["corrects"]
            kept = outcomes["known_s"] >= closed_to_s - SKEW_S
            kept |= np.isin(corrects, ids[(kept | (corrects != 0)) & (ids != 0)])
            self._keep(outcomes, kept)

    # what it holds

    def last_closed_by(self, clock_s: float) -> int:
        """The number of the last block that may close by the clock."""
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
        """Append the numbers of a score; NaN where there is none, or where it has another shape or lies outside 0..1."""
        if self._is_binary:
            value = math.nan if score is None or score.value is None else score.value
            column.append(value if 0 <= value <= 1 else math.nan)
            return
        values = () if score is None or score.probabilities is None else score.probabilities
        is_valid = len(values) == self._width and all(0 <= value <= 1 for value in values)
        column.extend(values if is_valid else (math.nan,) * self._width)
