"""What the labels of a rollout add up to, per cycle: the sums that the level test and the limits of the ranking rest on."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.stats.losses import losses
from headrace.stats.ranking import Ranked
from headrace.stats.scores import constant_score, differences, label_counts
from headrace_monitor.core.blocks import Known

Floats = NDArray[np.float64]

# Requests that both versions were asked; labels; the sums of the differences that are known, and of those that any missing
# label could make at the least and the most; of the control's score; missing pairs; log-losses of both.
COLUMNS = ("rows", "labelled", "seen", "low", "high", "control", "missing", "log_new", "log_control")
# Of the ranking: the weights, and the weighted gains (see `headrace.stats.ranking`).
RANKS = ("weight", "gain")
# More cycles are not kept: the oldest ones are dropped.
MOST_CYCLES = 500


class Cycles:
    """The sums of a rollout's cycles, in order. `kind`, `classes`: of the label; `blocks`: how many make a cycle.

    `anchor`: the block with which the first cycle begins, None before it is known. `counts`: labels per class, or per part of
    the range of a number, of final blocks.
    """

    def __init__(
        self, kind: str, classes: int, blocks: int, state: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        self.kind, self.blocks = kind, blocks
        self.anchor: int | None = None
        self._classes, self.counts = classes, label_counts(kind, (), classes)
        self._sums: dict[int, Floats] = {}
        if state is not None:
            self._restore(state)

    def cycle_of(self, block: int) -> int:
        """The number of the cycle of a block. The first block that is asked about begins the first cycle."""
        if self.anchor is None:
            self.anchor = block
        return (block - self.anchor) // self.blocks

    def end_of(self, cycle: int) -> int:
        """The first block after a cycle."""
        assert self.anchor is not None, "a cycle has a block"
        return self.anchor + (cycle + 1) * self.blocks

    def first_after(self, cycle: int) -> int | None:
        """The first cycle after that one which has a ripe block; None when there is none."""
        return min((number for number in self._sums if number > cycle), default=None)

    def add_ranks(self, block: int, found: Ranked, limit: float) -> None:
        """Add what a ripe block says about the ranking."""
        own = self._own(self.cycle_of(block))
        own[len(COLUMNS) :] += [found.weight.sum(), found.weight @ (found.loss - limit * found.skill)]

    def add(self, known: Known) -> None:
        """Add a final block."""
        sums, counts = summed(self.kind, known, self._classes)
        self._own(self.cycle_of(known.number))[: len(COLUMNS)] += sums
        self.counts = self.counts + counts

    def _own(self, cycle: int) -> Floats:
        own = self._sums.setdefault(cycle, np.zeros(len(COLUMNS) + len(RANKS)))
        # NB: where labels come later than so many cycles, the block's own one may be among the dropped ones.
        for oldest in sorted(self._sums)[:-MOST_CYCLES]:
            del self._sums[oldest]
        return own

    def table(self, last: int, open_blocks: Iterable[Known]) -> tuple[dict[str, Floats], Floats]:
        """The columns of all cycles up to the last one that have requests, shape (cycles,), and the counts of labels.

        `open_blocks`: those that are not final, as known now.
        """
        rows, counts = {cycle: sums.copy() for cycle, sums in self._sums.items()}, self.counts.copy()
        for known in open_blocks:
            sums, own = summed(self.kind, known, self._classes)
            row = rows.setdefault(self.cycle_of(known.number), np.zeros(len(COLUMNS) + len(RANKS)))
            row[: len(COLUMNS)] += sums
            counts += own
        kept = [rows[cycle] for cycle in sorted(rows) if cycle <= last and rows[cycle][0] > 0]
        columns = np.array(kept).reshape(len(kept), -1).T if kept else np.zeros((len(COLUMNS) + len(RANKS), 0))
        return dict(zip((*COLUMNS, *RANKS), columns, strict=True)), counts

    def gain_of_control(self, columns: Mapping[str, Floats], counts: Floats) -> float | None:
        """What the control gains over the best constant answer, per request in the same score; None without labels."""
        labelled = float(columns["labelled"].sum())
        return constant_score(self.kind, counts) - float(columns["control"].sum()) / labelled if labelled else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which an equal object is made."""
        cycles = sorted(self._sums)
        return {
            "cycles": [float(cycle) for cycle in cycles],
            "sums": [float(number) for cycle in cycles for number in self._sums[cycle]],
            "counts": self.counts.tolist(),
            "anchor": [] if self.anchor is None else [float(self.anchor)],
        }

    def _restore(self, state: Mapping[str, Sequence[float]]) -> None:
        sums = np.array(state["sums"], dtype=np.float64).reshape(len(state["cycles"]), len(COLUMNS) + len(RANKS))
        self._sums = {int(cycle): own.copy() for cycle, own in zip(state["cycles"], sums, strict=True)}
        self.counts = np.array(state["counts"], dtype=np.float64)
        self.anchor = int(state["anchor"][0]) if state["anchor"] else None


def summed(kind: str, known: Known, classes: int) -> tuple[Floats, Floats]:
    """The sums of a block in the order of `COLUMNS`, and its labels per class or part of the range."""
    if not len(known.labels):
        sums = np.zeros(len(COLUMNS))
        sums[COLUMNS.index("missing")] = known.missing
        return sums, label_counts(kind, (), classes)
    found = differences(kind, known.new, known.control, known.labels)
    has_label = ~np.isnan(known.labels)
    low, high = found.low[~has_label].sum(), found.high[~has_label].sum()
    labels = known.labels[has_label]
    sums = [
        len(known.labels),
        len(labels),
        found.seen[has_label].sum(),
        low,
        high,
        found.control[has_label].sum(),
        known.missing,
        *_log_losses(kind, known),
    ]
    return np.array(sums, dtype=np.float64), label_counts(kind, labels, classes)


def _log_losses(kind: str, known: Known) -> tuple[float, float]:
    """The sums of the losses that people read (log-loss; of numbers the squared error) over the rows that both scored."""
    wide = [scores.reshape(len(known.labels), -1) for scores in (known.new, known.control)]
    usable = ~(np.isnan(wide[0]).any(axis=1) | np.isnan(wide[1]).any(axis=1) | np.isnan(known.labels))
    of_new, of_control = (
        float(losses(kind, scores[usable], known.labels[usable]).sum()) for scores in (known.new, known.control)
    )
    return of_new, of_control
