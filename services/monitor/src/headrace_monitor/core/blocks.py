"""Paired requests of a rollout, in blocks of event time, until their labels are there.

A block [from, to) closes when the deployment's clock has passed its end and the label delay. Labels count if they were
known by then, and not later after their request than the label's horizon.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import Score
from headrace.policy.pairs import EMPTY, BlockSum, brier_losses, brier_losses_of_classes, sum_up
from headrace.project.definition import LabelDefinition
from headrace_monitor.core.cohorts import Label
from headrace_monitor.core.quality import log_losses

Floats = NDArray[np.float64]

# More than any block can have at risk: a block that has not ended yet counts as lost.
_ALL = 1e9


@dataclass(frozen=True, slots=True)
class Pair:
    """One request scored by both versions; None for one that failed."""

    unit: str
    at_s: float
    new: Score | None
    control: Score | None


@dataclass(frozen=True, slots=True)
class Closed:
    """What became of one block. `open_after`: the sums of the blocks behind it that had begun when it closed."""

    from_s: float
    to_s: float
    closed_s: float
    sums: BlockSum
    log_loss: tuple[float, float]
    open_after: tuple[BlockSum, ...]


@dataclass
class Blocks:
    """The open blocks of one rollout."""

    label: LabelDefinition
    block_s: float
    delay_s: float
    margin: float
    open_from_s: float | None = None
    pairs: dict[float, list[Pair]] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    late: int = 0

    def take(self, pair: Pair) -> None:
        """A request of the first block or a later one; one of a closed block is counted as late."""
        start_s = math.floor(pair.at_s / self.block_s) * self.block_s
        if self.open_from_s is None:
            self.open_from_s = start_s
        if start_s < self.open_from_s:
            self.late += 1
            return
        self.pairs.setdefault(start_s, []).append(pair)

    def observe(self, unit: str, value: float, known_s: float) -> None:
        """Take an outcome; a later one corrects an earlier one."""
        known = self.labels.get(unit)
        if known is None or known_s >= known.known_s:
            self.labels[unit] = Label(value, known_s)

    def close_next(self, clock_s: float) -> Closed | None:
        """The oldest block, if it may close by then."""
        if self.open_from_s is None:
            return None
        from_s, to_s = self.open_from_s, self.open_from_s + self.block_s
        closed_s = to_s + self.delay_s
        if clock_s < closed_s:
            return None
        rows = self.pairs.pop(from_s, [])
        after = math.ceil(self.delay_s / self.block_s)
        behind = tuple(self._sum_open(to_s + n * self.block_s, closed_s) for n in range(after))
        found = Closed(
            from_s, to_s, closed_s, self._sum(rows, closed_s, is_final=True), self._log_losses(rows, closed_s), behind
        )
        self.open_from_s = to_s
        self._forget(to_s)
        return found

    def _sum_open(self, from_s: float, now_s: float) -> BlockSum:
        """A block that has begun, as it stands: labels still to come count as worst, and so does one that has not ended."""
        sums = self._sum(self.pairs.get(from_s, []), now_s, is_final=False)
        if now_s >= from_s + self.block_s:
            return sums
        return BlockSum(sums.rows, 0, 0.0, -_ALL, sums.harm_risk, -_ALL, sums.margin_risk, -_ALL, sums.better_risk)

    def _sum(self, rows: Sequence[Pair], now_s: float, *, is_final: bool) -> BlockSum:
        if not rows:
            return EMPTY
        labels = [self._label(row, now_s) for row in rows]
        worst = not is_final or self.delay_s < self.label.horizon_s
        new, control = self._losses([row.new for row in rows]), self._losses([row.control for row in rows])
        return sum_up(new, control, labels, self.margin, missing_is_worst=worst)

    def _losses(self, scores: Sequence[Score | None]) -> Floats:
        if self.label.kind == "binary":
            return brier_losses([math.nan if s is None or s.value is None else s.value for s in scores])
        count = len(self.label.classes)
        unknown = (math.nan,) * count
        return brier_losses_of_classes([unknown if s is None or s.classes is None else s.classes for s in scores])

    def _label(self, row: Pair, now_s: float) -> float:
        """The label as known by then; NaN where there is none. After the horizon an absent one may mean negative."""
        found = self.labels.get(row.unit)
        over_s = row.at_s + self.label.horizon_s
        if found is not None and found.known_s <= min(now_s, over_s):
            return found.value
        return 0.0 if self.label.absent == "negative" and now_s >= over_s else math.nan

    def _log_losses(self, rows: Sequence[Pair], now_s: float) -> tuple[float, float]:
        """Sums of log-loss of both over the labelled rows that both scored, only to be told; 0 where there is no binary label."""
        if self.label.kind != "binary":
            return 0.0, 0.0
        known = [(r.new.value, r.control.value, self._label(r, now_s)) for r in rows if r.new and r.control]
        table = np.array([k for k in known if None not in k and not math.isnan(k[2])], dtype=np.float64).reshape(-1, 3)
        return float(log_losses(table[:, 0], table[:, 2]).sum()), float(log_losses(table[:, 1], table[:, 2]).sum())

    def _forget(self, closed_to_s: float) -> None:
        """Drop the labels that were known before the oldest open request."""
        for unit in [unit for unit, label in self.labels.items() if label.known_s < closed_to_s]:
            del self.labels[unit]
