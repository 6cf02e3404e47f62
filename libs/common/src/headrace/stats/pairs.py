"""Label evidence on a version under rollout: both versions' scores of the same requests, by closed blocks of event
time.

The score is Brier's, in 0..1 (for several classes half the sum of squares). A version without a score gets the worst
score, 1, whatever the label is: an answer by another step is not its merit, and failing on difficult requests must not
pay. A block's gain is the sum over its labelled requests of (difference - margin), divided by `rows + SMOOTHING`:
nearly the block's mean, but a block with few requests counts for less. The worst possible gain of a block follows from
its scores, before any label is known: where two versions nearly agree, little is at risk, and much may be staked. Two
tests use one border, each at its own level:

    harm             the running mean of the difference (new - control) was at most the margin      -> FAIL
    non-inferiority  it was at least the margin                                                     -> PASS

The third, superiority (it was at least 0), is only reported. Labels that are still to come count as the worst for each
test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.sequential import BETS, Chains

Floats = NDArray[np.float64]

WORST = 1.0
SMOOTHING = 10.0
_LEAST = 1e-4
_NAMES = ("harm", "margin", "better")


@dataclass(frozen=True, slots=True)
class BlockSum:
    """One block of paired requests, as far as it is known. `rows`: scored by either version, failures included.

    `difference`: the sum of new minus control over the labelled rows. Each test has a `gain`, which is lower where a
    label is missing and `missing_is_worst`, and a `risk`: how far below 0 the gain could have been before any label.
    """

    rows: int
    labelled: int
    difference: float
    harm_gain: float
    harm_risk: float
    margin_gain: float
    margin_risk: float
    better_gain: float = 0.0
    better_risk: float = 0.0


EMPTY = BlockSum(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


def brier_losses(scores: ArrayLike) -> Floats:
    """The loss of each binary score if the label is 0, and if it is 1: shape (n, 2). NaN is a failure.

    >>> brier_losses([0.25, np.nan]).tolist()
    [[0.0625, 0.5625], [1.0, 1.0]]
    """
    p = np.asarray(scores, dtype=np.float64)
    return np.where(np.isnan(p)[:, None], WORST, np.stack([p**2, (1 - p) ** 2], axis=1))


def brier_losses_of_classes(probabilities: ArrayLike) -> Floats:
    """The same for probabilities per class, shape (n, classes). Rows of NaN are failures.

    >>> brier_losses_of_classes([[1.0, 0.0, 0.0], [np.nan] * 3]).tolist()
    [[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    losses = ((p**2).sum(axis=1)[:, None] - 2 * p + 1) / 2
    has_failed = np.isnan(p).any(axis=1, keepdims=True)
    return np.where(has_failed, WORST, losses)


def sum_up(new: Floats, control: Floats, labels: ArrayLike, margin: float, *, missing_is_worst: bool) -> BlockSum:
    """The sums of one block. `new`, `control`: losses per possible label, shape (n, classes); `labels`: NaN where
    unknown.

    `missing_is_worst`: a row without a label counts as the worst one for each test, since labels are still to come;
    else as 0.
    """
    truth = np.asarray(labels, dtype=np.float64)
    if not len(truth):
        return EMPTY
    by_label = new - control
    is_known = ~np.isnan(truth)
    low, high = by_label.min(axis=1), by_label.max(axis=1)
    least, most = (low, high) if missing_is_worst else (np.full(len(low), margin), np.full(len(low), margin))
    seen = by_label[np.arange(len(truth)), np.where(is_known, truth, 0).astype(np.int64)]
    weight = len(truth) + SMOOTHING
    pessimist, optimist = np.where(is_known, seen, most), np.where(is_known, seen, least)
    unbiased = pessimist if missing_is_worst else np.where(is_known, seen, 0.0)
    return BlockSum(
        len(truth),
        int(is_known.sum()),
        float(seen[is_known].sum()),
        float((optimist - margin).sum()) / weight,
        float(np.maximum(margin - low, 0.0).sum()) / weight,
        float((margin - pessimist).sum()) / weight,
        float(np.maximum(high - margin, 0.0).sum()) / weight,
        float(-unbiased.sum()) / weight,
        float(np.maximum(high, 0.0).sum()) / weight,
    )


@dataclass
class PairTest:
    """The three tests of one rollout over its closed blocks; of many rollouts in parallel when the blocks hold
    arrays.
    """

    harm: Chains
    margin: Chains
    better: Chains

    @classmethod
    def new(cls, chains: int, margin: float, batch: tuple[int, ...] = ()) -> "PairTest":
        """New tests. `chains`: see `chains_needed`. A risk below a quarter of the margin counts as that much."""
        least = max(margin / 4, _LEAST)
        return cls(*(Chains.new(chains, least, batch) for _ in range(3)))

    def settle(self, block: BlockSum) -> None:
        """Add the next closed block."""
        for test, gain, risk in zip(self._tests, *_stakes(block), strict=True):
            test.settle(gain, risk)

    def skip(self, blocks: int) -> None:
        """Add so many closed blocks without requests."""
        for test in self._tests:
            test.skip(blocks)

    def log_e(self, open_blocks: Sequence[BlockSum] = ()) -> tuple[Floats, Floats, Floats]:
        """Logarithms of the evidence of harm, non-inferiority and superiority. `open_blocks`: the blocks that have
        begun since.
        """
        stakes = [_stakes(block) for block in open_blocks]
        harm, margin, better = (
            test.log_e(_column([s[0][n] for s in stakes]), _column([s[1][n] for s in stakes]))
            for n, test in enumerate(self._tests)
        )
        return harm, margin, better

    @property
    def _tests(self) -> tuple[Chains, Chains, Chains]:
        return self.harm, self.margin, self.better

    def state(self) -> dict[str, dict[str, list[float]]]:
        """Plain numbers per test, from which `restored` makes them again (for one rollout)."""
        return {f"labels.{name}": test.state() for name, test in zip(_NAMES, self._tests, strict=True)}

    @classmethod
    def restored(cls, chains: int, margin: float, state: Mapping[str, Mapping[str, Sequence[float]]]) -> "PairTest":
        """The tests from their state; new ones where there is none."""
        found = cls.new(chains, margin)
        for name, test in zip(_NAMES, found._tests, strict=True):
            if f"labels.{name}" in state:
                test.restore(state[f"labels.{name}"])
        return found


def _stakes(block: BlockSum) -> tuple[tuple[ArrayLike, ...], tuple[ArrayLike, ...]]:
    """Gains and risks in the order of the tests."""
    gains = (block.harm_gain, block.margin_gain, block.better_gain)
    return gains, (block.harm_risk, block.margin_risk, block.better_risk)


def _column(values: Sequence[ArrayLike]) -> Floats:
    return np.stack([np.asarray(v, dtype=np.float64) for v in values], axis=-1) if values else np.empty(0)


def shows_harm(log_e: ArrayLike, difference: ArrayLike, margin: float, alpha: float) -> NDArray[np.bool_]:
    """Whether harm is shown: by the evidence, and by the plain mean over requests too."""
    return (np.asarray(log_e) >= -math.log(alpha)) & (np.asarray(difference) > margin)


def shows_no_worse(log_e: ArrayLike, difference: ArrayLike, margin: float, level: float) -> NDArray[np.bool_]:
    """Whether a version is shown to be within the margin: by the evidence, and by the plain mean over requests too."""
    return (np.asarray(log_e) >= -math.log(level)) & (np.asarray(difference) < margin)


def days_to_decision(
    difference: float, margin: float, sd: float, at_risk: float, blocks_per_day: float, chains: int, alpha: float
) -> float:
    """About how many days of event time it takes until the evidence is there, rather too many; infinite for never.

    `difference`: the expected mean Brier difference (new - control). `sd`, `at_risk`: standard deviation and mean
    possible loss of a block's gain. `blocks_per_day`: those with requests. `chains`: see `chains_needed`. Each chain
    grows by the mean logarithm of the best fixed bet, to second order. For the flights of July the result is 25 days
    for a good challenger, 8 for skewed, 31 for shuffled and 9 for flipped versions; whole rollouts took 16, 7, 21 and
    8, since the luckiest chains decide.

    >>> round(days_to_decision(-0.0105, 0.01, 0.049, 0.077, 19.0, 12, 0.05))
    25
    """
    edge = abs(margin - difference) / at_risk
    spread = (sd / at_risk) ** 2 + edge**2
    best = min(edge / spread, float(BETS.max())) if spread else 0.0
    growth = best * edge - best**2 * spread / 2
    return -math.log(alpha) / growth * chains / blocks_per_day if growth > 0 else math.inf
