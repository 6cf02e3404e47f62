"""What the rollouts area measures itself against, in the same harness: tests that must not hold there.

bets on every k-th block   what judged rollouts before: one bet a block against a running mean, a chain of bets for
                           every k-th block, since labels come k blocks late. With k = 12 hours each chain meets the
                           same two hours of the day for ever, and a block of two flights weighs like a full one.
a repeated t-test          of all labelled requests so far, at every block
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.stats.scores import differences
from headrace.stats.sequential import log_mean_exp
from headrace.stats.trials import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BETS: Floats = np.array([0.05, 0.2, 0.5, 0.8, 0.95])
# The label delay of eleven hours that the guide recommended, in blocks of an hour.
CHAINS = 12
LEVEL, HARM_LEVEL = 0.05, 0.025
SMOOTHING = 10.0
_LEAST = 1e-4
_SIGMAS, _LEAST_LABELS = 1.645, 30


@dataclass(frozen=True)
class Blocks:
    """Sums of each block, shape (cycles, blocks): of requests, of differences and their squares.

    `risk`: how far below 0 the sums of (margin - difference), for a PASS, and of (difference - margin), for a FAIL, can
    come to be by whatever labels, shape (2, cycles, blocks). `open_low`: how low they can still be so many blocks after
    the block's end, by the labels that are known then, shape (2, cycles, blocks, ages).
    """

    margin: float
    requests: Floats
    sums: Floats
    squares: Floats
    risk: Floats
    open_low: Floats


def blocks_of(
    traffic: Traffic, lag_s: Floats, margin: float, shape: tuple[int, int], begin_s: float, block_s: float
) -> Blocks:
    """The blocks of a record from its begin. `lag_s`: how long each request's label takes. `shape`: cycles, and blocks
    of each.
    """
    place = ((traffic.at_s - begin_s) // block_s).astype(np.int64)
    kept = (place >= 0) & (place < shape[0] * shape[1])
    found = differences(traffic.kind, traffic.new, traffic.control, traffic.labels)

    def summed(values: Floats) -> Floats:
        return np.bincount(place[kept], values[kept], shape[0] * shape[1]).reshape(shape)

    ripe = (traffic.at_s + lag_s - begin_s) / block_s - (place + 1)
    gains = (margin - found.seen, margin - found.high), (found.seen - margin, found.low - margin)
    return Blocks(
        margin,
        summed(np.ones(len(place))),
        summed(found.seen),
        summed(found.seen**2),
        np.array([summed(np.maximum(-least, 0.0)) for _, least in gains]),
        np.array(
            [
                np.stack([summed(np.where(ripe <= age, seen, least)) for age in range(CHAINS - 1)], axis=-1)
                for seen, least in gains
            ]
        ),
    )


class Chains:
    """A chain of bets for every `CHAINS`-th block, of many runs side by side."""

    def __init__(self, runs: int, least: float) -> None:
        self.wealth = np.zeros((runs, CHAINS, len(BETS)))
        self.risk_sum, self.risk_blocks = np.zeros(runs), np.zeros(runs)
        self.least, self.settled = least, 0

    def settle(self, gain: Floats, risk: Floats) -> None:
        """Add the next closed block of each run."""
        relative = gain / self._scales(risk[:, None])[:, 0]
        self.wealth[:, self.settled % CHAINS] += _staked(np.maximum(relative, -1.0))
        self.risk_sum += risk
        self.risk_blocks += risk > 0
        self.settled += 1

    def log_e(self, open_low: Floats, open_risk: Floats) -> Floats:
        """The evidence of each run, in which open bets count as lost as far as they still can be.

        `open_low`: how low the gains of the next blocks can still be; `open_risk`: how low they could have been.
        """
        wealth = self.wealth.copy()
        lost = np.clip(open_low / self._scales(open_risk), -1.0, 0.0)
        wealth[:, (self.settled + np.arange(open_risk.shape[1])) % CHAINS] += _staked(lost)
        return log_mean_exp(wealth, axis=(-2, -1))

    def _scales(self, risks: Floats) -> Floats:
        sums = self.risk_sum[:, None] + np.cumsum(risks, axis=1)
        blocks = self.risk_blocks[:, None] + np.cumsum(risks > 0, axis=1)
        return np.maximum(np.maximum(risks, sums / np.maximum(blocks, 1.0)), self.least)


def _staked(gains: Floats) -> Floats:
    return np.log1p(BETS * gains[..., None])


def by_chains(blocks: Blocks, drawn: Ints) -> tuple[Bools, Bools]:
    """Which runs the bets on every k-th block PASS, and which they FAIL, at any block."""
    runs = len(drawn)
    requests, sums = (values[drawn].reshape(runs, -1) for values in (blocks.requests, blocks.sums))
    mean = np.cumsum(sums, axis=1) / np.maximum(np.cumsum(requests, axis=1), 1.0)
    weight = requests + SMOOTHING
    gain = (blocks.margin * requests - sums) / weight
    found = np.zeros((2, runs), dtype=bool)
    for place, (sign, level) in enumerate(((1, LEVEL), (-1, HARM_LEVEL))):
        risk = blocks.risk[place][drawn].reshape(runs, -1) / weight
        low = blocks.open_low[place][drawn].reshape(runs, -1, CHAINS - 1) / weight[..., None]
        test = Chains(runs, max(blocks.margin / 4, _LEAST))
        for block in range(gain.shape[1]):
            test.settle(sign * gain[:, block], risk[:, block])
            behind = np.arange(block + 1, min(block + CHAINS, gain.shape[1]))
            log_e = test.log_e(low[:, behind, CHAINS - 1 - (behind - block)], risk[:, behind])
            found[place] |= (log_e >= -np.log(level)) & (sign * (blocks.margin - mean[:, block]) > 0)
    return found[0], found[1]


def by_t_test(blocks: Blocks, drawn: Ints) -> tuple[Bools, Bools]:
    """Which runs a t-test at 5 % on one side, repeated at every block, PASSes, and which it FAILs."""
    count, total, squares = (
        np.cumsum(values[drawn].reshape(len(drawn), -1), axis=1)
        for values in (blocks.requests, blocks.sums, blocks.squares)
    )
    n = np.maximum(count, 2.0)
    mean = total / n
    sigmas = (mean - blocks.margin) / np.sqrt(np.maximum(squares / n - mean**2, 1e-12) / n)
    has_enough = count >= _LEAST_LABELS
    passed, failed = has_enough & (sigmas < -_SIGMAS), has_enough & (sigmas > _SIGMAS)
    return passed.any(axis=1), failed.any(axis=1)
