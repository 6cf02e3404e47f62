"""Two limits on the scores of two versions for the same requests: how they are spread, and how they are ordered.

**Spread** (`DistanceTest`, metric `distribution`): the largest difference between the two cumulative distributions at the
control's own deciles, and just below them. So a control whose scores all lie below .1 is compared where its scores are. The
deciles are learned from the control's scores so far, after `LEARNED` pairs and whenever there are twice as many: a first hour
that is unlike the others does not decide for ever. Each pair is compared by deciles that were settled before it came, and
the first ones, from which the first deciles are learned, are not compared at all. One e-process per threshold and direction,
averaged.

**Order** (`RankTest`, metric `rank_correlation`): Spearman's rank correlation in groups of `GROUP` requests that follow one
another. A group gains (limit - its correlation), and the test is a bet on the mean over the groups: it has no reference
that could become old, and a storm that lifts all scores changes nothing. Within a group the correlation is lower than over
a whole day, for what differs between the hours is not in it. Where a label has several classes, no order of the classes has
a meaning and the highest probability says nothing about which class it is. So each class is ranked by itself, and the
correlations are averaged with the control's mean probabilities as weights, lest the noise of a class that hardly ever comes
count like the others. Numbers are ranked as they are, with or without a range.

A group in which the control gives all requests the same score has no order to keep: it is no bet. If only the new version
does so, the correlation counts as 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.sequential import BETS, log_mean_exp, staked

Floats = NDArray[np.float64]

# The pairs from which the deciles of the control are learned.
LEARNED = 50
DECILES: Floats = np.arange(1, 10) / 10
# The requests of a group that is ranked.
GROUP = 10


@dataclass
class DistanceTest:
    """Tests whether the scores of two versions of the same requests are distributed differently by more than `limit`.

    `learned`: of the control's scores so far every `stride`-th, fewer than `2 * LEARNED`. `seen`: how many there were.
    `thresholds`: the deciles as learned last, and the numbers just below them, shape (thresholds,); None before. `counts`:
    per threshold how often only the new score, and only the control's, did not exceed it, shape (2, thresholds). `rows`: the
    number of pairs that are compared.
    """

    limit: float
    thresholds: Floats | None = None
    learned: list[float] = field(default_factory=list)
    seen: int = 0
    stride: int = 1
    counts: Floats = field(default_factory=lambda: np.zeros((2, 2 * len(DECILES))))
    rows: int = 0

    def take(self, new: ArrayLike, control: ArrayLike) -> None:
        """Take scores of the same requests, shape (n,)."""
        ours, theirs = np.asarray(new, dtype=np.float64), np.asarray(control, dtype=np.float64)
        while len(theirs):
            # Up to the next pair after which the deciles are learned.
            some = max(LEARNED, 2 ** (self.seen // LEARNED).bit_length() * LEARNED) - self.seen
            self._compare(ours[:some], theirs[:some])
            self._learn(theirs[:some])
            ours, theirs = ours[some:], theirs[some:]

    def _compare(self, new: Floats, control: Floats) -> None:
        if self.thresholds is None:
            return
        below_new, below_control = new[:, None] <= self.thresholds, control[:, None] <= self.thresholds
        only_new, only_control = below_new & ~below_control, below_control & ~below_new
        self.counts = self.counts + np.stack([only_new.sum(axis=0), only_control.sum(axis=0)])
        self.rows += len(new)

    def _learn(self, control: Floats) -> None:
        self.learned += control[-self.seen % self.stride :: self.stride].tolist()
        self.seen += len(control)
        while len(self.learned) >= 2 * LEARNED:
            self.learned, self.stride = self.learned[::2], 2 * self.stride
        doublings = self.seen // LEARNED
        if self.seen % LEARNED == 0 and doublings & (doublings - 1) == 0:
            deciles = np.quantile(self.learned, DECILES, method="inverted_cdf")
            # NB: a control that always scores alike would hide what lies below that score.
            self.thresholds = np.concatenate([deciles, np.nextafter(deciles, -np.inf)])

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the limit is exceeded."""
        return float(distance_log_e(self.counts[0], self.counts[1], self.rows, self.limit)) if self.rows else 0.0

    @property
    def measured(self) -> float | None:
        """The distance so far; None before the first pair that is compared."""
        return float(np.abs(self.counts[0] - self.counts[1]).max() / self.rows) if self.rows else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal test."""
        return {
            "thresholds": [] if self.thresholds is None else self.thresholds.tolist(),
            "learned": self.learned,
            "counts": self.counts.ravel().tolist(),
            "numbers": [self.seen, self.stride, self.rows],
        }

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "DistanceTest":
        """The test behind a `state`."""
        thresholds = np.array(state["thresholds"], dtype=np.float64) if state["thresholds"] else None
        counts = np.array(state["counts"], dtype=np.float64).reshape(2, -1)
        seen, stride, rows = (int(number) for number in state["numbers"])
        return cls(limit, thresholds, list(state["learned"]), seen, stride, counts, rows)


def distance_log_e(only_new: ArrayLike, only_control: ArrayLike, rows: ArrayLike, limit: float) -> Floats:
    """The logarithm of the evidence that two distributions lie further apart than `limit`, shape (...).

    `only_new`, `only_control`: per threshold how often only the one score did not exceed it, shape (..., thresholds). `rows`:
    the number of pairs, shape (...).
    """
    up, down = np.asarray(only_new, dtype=np.float64)[..., None], np.asarray(only_control, dtype=np.float64)[..., None]
    rest = np.asarray(rows, dtype=np.float64)[..., None, None] - up - down
    # The gain of a pair is -1, 0 or 1, less the limit: so the counts are enough, and no pair is kept.
    gain, none, loss = staked((np.array([1.0, 0.0, -1.0]) - limit) / (1 + limit))
    directions = [up * gain + down * loss + rest * none, down * gain + up * loss + rest * none]
    return log_mean_exp(np.stack(directions), axis=(0, -2, -1))


Scores = tuple[float, ...]


@dataclass
class RankTest:
    """Tests whether the mean rank correlation of two versions' scores of the same requests is below `limit`.

    `wealth`: logarithms, one per bet. `groups`, `total`: the groups so far that are bets, and the sum of their correlations.
    `flat`: the groups that are no bet, for the control has no order there. `open`: the scores of the group that is not full yet, new and control's.
    """

    limit: float
    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    groups: int = 0
    total: float = 0.0
    flat: int = 0
    open: list[tuple[Scores, Scores]] = field(default_factory=list)

    def take(self, pairs: Sequence[tuple[Scores, Scores]]) -> None:
        """Take the scores of both versions, new and control's: one number, or one per class."""
        width = len((self.open or pairs)[0][0]) if self.open or pairs else 0
        self.open += [pair for pair in pairs if len(pair[0]) == width]
        whole = len(self.open) // GROUP
        if not whole:
            return
        values = np.array(self.open[: whole * GROUP], dtype=np.float64).reshape(whole, GROUP, 2, -1)
        self.open = self.open[whole * GROUP :]
        found = correlations(values[:, :, 0], values[:, :, 1])
        self.flat += int(np.isnan(found).sum())
        found = found[np.isfinite(found)]
        # The gain is at least limit - 1, for a correlation is at most 1.
        self.wealth = self.wealth + staked((self.limit - found) / (1 - self.limit)).sum(axis=0)
        self.groups, self.total = self.groups + len(found), self.total + float(found.sum())

    @property
    def rows(self) -> int:
        """The requests of the groups that are bets."""
        return self.groups * GROUP

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the correlation is below the limit."""
        return float(log_mean_exp(self.wealth))

    @property
    def measured(self) -> float | None:
        """The mean correlation so far; None before the first group."""
        return self.total / self.groups if self.groups else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal test."""
        return {
            "wealth": self.wealth.tolist(),
            "groups": [self.groups, self.total, self.flat],
            "open": [value for pair in self.open for scores in pair for value in scores],
            "open_pairs": [len(self.open)],
        }

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "RankTest":
        """The test behind a `state`."""
        values, pairs = list(state["open"]), int(state["open_pairs"][0])
        width = len(values) // (2 * pairs) if pairs else 0
        scores = [tuple(values[place : place + width]) for place in range(0, len(values), max(width, 1))]
        groups, total, flat = state["groups"]
        wealth = np.array(state["wealth"], dtype=np.float64)
        return cls(limit, wealth, int(groups), total, int(flat), list(zip(scores[::2], scores[1::2], strict=True)))


def correlations(new: Floats, control: Floats) -> Floats:
    """Spearman's rank correlation within each group, classes averaged; NaN where the control has no order.

    Both arguments have shape (groups, requests, classes), the result (groups,).

    >>> correlations(np.array([[[1.0], [2.0], [3.0]]]), np.array([[[0.1], [0.3], [0.2]]])).round(3).tolist()
    [0.5]
    """
    ours, theirs = _centred_ranks(new), _centred_ranks(control)
    spread_new, spread_control = (ours**2).sum(axis=1), (theirs**2).sum(axis=1)
    both = np.sqrt(spread_new * spread_control)
    each = np.divide((ours * theirs).sum(axis=1), both, out=np.zeros_like(both), where=both > 0)
    # NB: a number has no probability to weigh by, and is its only class.
    weights = np.where(spread_control > 0, control.mean(axis=1) if control.shape[-1] > 1 else 1.0, 0.0)
    total = weights.sum(axis=-1)
    return np.divide((weights * each).sum(axis=-1), total, out=np.full(len(total), np.nan), where=total > 0)


def _centred_ranks(values: Floats) -> Floats:
    """Ranks less their mean, ties averaged, along axis 1: half of (those below less those above)."""
    one, other = values[:, :, None], values[:, None]
    below, above = (other < one).sum(axis=2), (other > one).sum(axis=2)
    return (below - above) / 2
