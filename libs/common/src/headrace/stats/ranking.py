"""The ranking test: whether a version has lost the greater part of what its control's ranking is worth.

Each labelled request is compared with settled requests of other labels, of the blocks before its own. `share` is the
part of them that a version ranks right by its scores:

    binary     requests of the other class (area under the ROC curve)
    classes    the probability of the request's own class, against requests of all other classes (one-vs-rest)
    number     pairs of different numbers in the right order (concordance index)

A control's skill is its share - 1/2: what its ranking is worth over chance. The gain of the test is the loss of the
version (control's share - its own) less `limit` times that skill. So the limit is a part of what there is to lose. With
a fixed loss of AUC, versions that are merely stale are rejected in storms, when rankings are easy, and shuffled ones
are not found in calm weeks. The weight of a request is the part of the reference that has another label, so that all
pairs count alike.

The gains are staked on in request order, each with fixed fractions of the wealth (`headrace.stats.sequential`), so a
look at any time is allowed. The null is that the weighted running mean of the conditional gains is at most 0. Wealth is
multiplied by requests one after the other, also within an hour, where they share their weather: between half of the
limit and the limit a version is rejected more often than alpha says. Blind to all that keeps the order of scores.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.losses import BINARY, NUMBER
from headrace.stats.sequential import log_mean_exp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BETS: Floats = np.array([0.02, 0.06, 0.15, 0.35, 0.7])
# No verdict before so many labels, and so many of every class but the most frequent one together.
LEAST_LABELS, LEAST_RARER = 100, 20
# Where the control's skill is less, there is nothing to lose, and the test says nothing.
LEAST_SKILL = 0.05
# How many labels of one block count at the most.
BLOCK_LABELS = 50
# How many rows per block and class are kept to compare with, and how many of numbers.
KEPT_PER_CLASS, KEPT_NUMBERS = 64, 32
# The reference reaches back over one cycle at the least. It ends where so many of the rarer labels are in it, or after
# so many cycles.
ENOUGH, CYCLES = 2_000, 7


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one block to compare with. `new`, `control`: scores, shape (n,) or (n, classes); `labels`: shape (n,).

    `counts`: the labels per class of the whole block, of which these rows may be a part; of numbers their number.
    `scales`: how many rows of its block each kept row stands for, where rows are kept (see `sampled`).
    """

    block: int
    new: Floats
    control: Floats
    labels: Floats
    counts: Floats
    scales: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class Ranked:
    """Per labelled request, in order: its weight, the loss of the version and the skill of its control, shape (n,)."""

    weight: Floats
    loss: Floats
    skill: Floats


NOTHING = Ranked(np.empty(0), np.empty(0), np.empty(0))


def ranked(kind: str, rows: Rows, reference: Sequence[Rows]) -> Ranked:
    """How both versions rank the requests of a block among those of the reference. Requests without one are left out.

    `kind`: of the label. `reference`: rows that were kept, see `sampled`.
    """
    if not len(rows.labels) or not reference:
        return NOTHING
    new, control = (np.concatenate([getattr(one, name) for one in reference]) for name in ("new", "control"))
    labels = np.concatenate([one.labels for one in reference])
    if kind == NUMBER:
        return _ranked_numbers(rows, new, control, labels)
    counts = np.sum([one.counts for one in reference], axis=0)
    scales = np.concatenate([one.scales for one in reference])
    weight, loss, skill = (np.zeros(len(rows.labels)) for _ in range(3))
    for label in np.unique(rows.labels).astype(np.int64):
        mine, others = rows.labels == label, labels != label
        if not others.any():
            continue
        theirs = [_of_class(kind, scores, label) for scores in (new, control)]
        own = [_of_class(kind, scores, label) for scores in (rows.new, rows.control)]
        found = [_right(a[mine], b[others], scales[others]) for a, b in zip(own, theirs, strict=True)]
        weight[mine] = 1 - counts[label] / counts.sum()
        loss[mine], skill[mine] = found[1] - found[0], found[1] - 0.5
    kept = weight > 0
    return Ranked(weight[kept], loss[kept], skill[kept])


def sampled(kind: str, rows: Rows) -> Rows:
    """Evenly spaced rows of a block, at most `KEPT_PER_CLASS` of each class or `KEPT_NUMBERS` numbers."""
    if kind == NUMBER:
        chosen = _spaced(np.arange(len(rows.labels)), KEPT_NUMBERS)
    else:
        places = [np.flatnonzero(rows.labels == label) for label in np.unique(rows.labels)]
        chosen = np.sort(np.concatenate([_spaced(found, KEPT_PER_CLASS) for found in places])) if places else []
    chosen = np.asarray(chosen, dtype=np.int64)
    labels = rows.labels[chosen]
    scales = np.empty(0) if kind == NUMBER else _scales(labels, rows.counts)
    return Rows(rows.block, rows.new[chosen], rows.control[chosen], labels, rows.counts, scales)


def stakes(found: Ranked, limit: float) -> Floats:
    """What the requests of a block add to the logarithm of the wealth per bet, shape (bets,)."""
    gains = found.weight * (found.loss - limit * found.skill) / (1 + limit / 2)
    return np.log1p(BETS[:, None] * gains).sum(axis=1) * block_share(len(gains))


def are_enough(labels: ArrayLike, rarer: ArrayLike) -> Bools:
    """Whether there are labels enough for a verdict. `rarer`: those that are not of the most frequent class."""
    return (np.asarray(labels) >= LEAST_LABELS) & (np.asarray(rarer) >= LEAST_RARER)


def is_worth(skill: ArrayLike) -> Bools:
    """Whether the ranking of a control with this skill is worth anything over chance; not where it is unknown (NaN)."""
    return np.asarray(skill, dtype=np.float64) >= LEAST_SKILL


def block_share(labels: int) -> float:
    """How much each of the labels of one block counts: together as much as `BLOCK_LABELS` at the most.

    They share their weather, and one bad hour of much traffic would be enough to reject a good version. Stakes that are
    scaled by a share known before the labels stay valid: (1 + x)^w is at most 1 + w x for w in 0..1.

    >>> block_share(20), block_share(500)
    (1.0, 0.1)
    """
    return min(1.0, BLOCK_LABELS / max(labels, 1))


@dataclass
class RankingTest:
    """The test of one rollout. `limit`: the part of the control's skill that a version may lose, in 0..1.

    `kind`: of the label; `classes`: how many it has, nothing for numbers. `cycle`: the blocks of a cycle. `wealth`: logarithms per bet.
    `counts`: labels per class. `sums`: of weights, of weighted losses and skills. The reference is not part of its
    state: it is made again by `remember`.
    """

    kind: str
    classes: int
    limit: float
    cycle: int
    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    counts: Floats = field(default_factory=lambda: np.zeros(0))
    sums: Floats = field(default_factory=lambda: np.zeros(3))
    reference: deque[Rows] = field(default_factory=deque)

    def __post_init__(self) -> None:
        # A number has no classes, and a label of two classes may have no names for them.
        self.classes = 1 if self.kind == NUMBER else max(self.classes, 2)
        if not len(self.counts):
            self.counts = np.zeros(self.classes)

    def take(self, block: int, new: ArrayLike, control: ArrayLike, labels: ArrayLike) -> Ranked:
        """Take the labelled requests of the next block, in request order."""
        rows = self._rows(block, new, control, labels)
        found = ranked(self.kind, rows, self.reference)
        self.wealth = self.wealth + stakes(found, self.limit)
        self.counts = self.counts + rows.counts
        own = [found.weight.sum(), found.weight @ found.loss, found.weight @ found.skill]
        self.sums = self.sums + np.array(own)
        self._remember(rows)
        return found

    def remember(self, block: int, new: ArrayLike, control: ArrayLike, labels: ArrayLike) -> None:
        """Take a block that was taken before a restart: to compare with, and nothing else."""
        self._remember(self._rows(block, new, control, labels))

    def _rows(self, block: int, new: ArrayLike, control: ArrayLike, labels: ArrayLike) -> Rows:
        truth = np.asarray(labels, dtype=np.float64)
        ours, theirs = (np.asarray(scores, dtype=np.float64) for scores in (new, control))
        if self.kind == NUMBER:
            counts = np.array([float(len(truth))])
        else:
            counts = np.bincount(truth.astype(np.int64), minlength=self.classes).astype(np.float64)
        return Rows(block, ours, theirs, truth, counts)

    def _remember(self, rows: Rows) -> None:
        if len(rows.labels):
            self.reference.append(sampled(self.kind, rows))
        while self.reference and rows.block - self.reference[0].block >= self.cycle and self._is_enough(rows.block):
            self.reference.popleft()

    def _is_enough(self, block: int) -> bool:
        """Whether the oldest block of the reference is not needed any more."""
        if block - self.reference[0].block >= self.cycle * CYCLES:
            return True
        left = np.sum([one.counts for one in self.reference], axis=0) - self.reference[0].counts
        return self._rarer(left) >= ENOUGH

    @property
    def reference_from(self) -> int | None:
        """The oldest block of the reference; None while there is none."""
        return self.reference[0].block if self.reference else None

    @property
    def labels(self) -> int:
        """How many labels were taken."""
        return int(self.counts.sum())

    @property
    def rarer(self) -> int:
        """How many of them are not of the most frequent class."""
        return int(self._rarer(self.counts))

    def _rarer(self, counts: Floats) -> float:
        return float(counts.sum() if self.kind == NUMBER else counts.sum() - counts.max(initial=0.0))

    @property
    def has_enough(self) -> bool:
        """Whether there are enough labels for a verdict."""
        return bool(are_enough(self.labels, self.rarer))

    @property
    def loss(self) -> float | None:
        """The mean loss of AUC (of concordance) so far; None before the first comparison."""
        return float(self.sums[1] / self.sums[0]) if self.sums[0] else None

    @property
    def skill(self) -> float | None:
        """The mean skill of the control so far; None before the first comparison."""
        return float(self.sums[2] / self.sums[0]) if self.sums[0] else None

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that more than the limit is lost."""
        return float(log_mean_exp(self.wealth))

    def has_failed(self, alpha: float) -> bool:
        """Whether the loss is shown to be over the limit: by the evidence, and by the plain mean too."""
        is_over = self.sums[1] > self.limit * self.sums[2]
        return self.has_enough and self.has_skill and self.log_e >= -math.log(alpha) and bool(is_over)

    @property
    def has_skill(self) -> bool:
        """Whether the control's ranking is worth anything over chance."""
        return self.skill is not None and bool(is_worth(self.skill))

    def state(self) -> dict[str, list[float]]:
        """Plain numbers for `restore`; the reference is none of them."""
        return {"wealth": self.wealth.tolist(), "counts": self.counts.tolist(), "sums": self.sums.tolist()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Continue from a state, with an empty reference."""
        self.wealth, self.counts, self.sums = (
            np.array(state[name], dtype=np.float64) for name in ("wealth", "counts", "sums")
        )


def _ranked_numbers(rows: Rows, new: Floats, control: Floats, labels: Floats) -> Ranked:
    apart = np.sign(rows.labels[:, None] - labels)
    kept = (apart != 0).any(axis=1)
    ours, theirs = (_in_order(own, apart, others) for own, others in ((rows.new, new), (rows.control, control)))
    return Ranked(np.ones(int(kept.sum())), (theirs - ours)[kept], (theirs - 0.5)[kept])


def _in_order(own: Floats, apart: Floats, others: Floats) -> Floats:
    """The share of the others that each own number is on the right side of, shape (n,); `apart`: the right sides.

    Equal ones count by half, and failures rank nothing right; others that failed are nothing to compare with.
    """
    known = ~np.isnan(others)
    sides = apart[:, known]
    right = ((1 + np.sign(own[:, None] - others[known]) * sides) / 2 * np.abs(sides)).sum(axis=1)
    pairs = np.abs(sides).sum(axis=1)
    return np.where(np.isnan(own), 0.0, np.where(pairs > 0, right / np.maximum(pairs, 1.0), 0.5))


def _of_class(kind: str, scores: Floats, label: int) -> Floats:
    """The scores for a class, shape (n,)."""
    if kind == BINARY:
        return scores if label == 1 else 1 - scores
    return scores[:, label]


def _right(own: Floats, others: Floats, scales: Floats) -> Floats:
    """The share of the others that lie below each own score; equal ones count by half, failures rank nothing right."""
    known = ~np.isnan(others)
    order = np.argsort(others[known])
    below = np.concatenate([[0.0], np.cumsum(scales[known][order])])
    if not below[-1]:
        return np.where(np.isnan(own), 0.0, 0.5)
    values = others[known][order]
    left, right = (below[np.searchsorted(values, own, side)] for side in ("left", "right"))
    return np.where(np.isnan(own), 0.0, (left + right) / 2 / below[-1])


def _scales(labels: Floats, counts: Floats) -> Floats:
    """How many rows of its block each kept row stands for."""
    places = labels.astype(np.int64)
    return counts[places] / np.bincount(places, minlength=len(counts))[places]


def _spaced(places: Ints, most: int) -> Ints:
    return places if len(places) <= most else places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
