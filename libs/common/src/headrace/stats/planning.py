"""How long label evidence takes to show that a version is no worse than its control, estimated before a rollout begins.

The same test is run on simulated blocks: pairs of scores are drawn from served ones (champion and shadow), and each
label with the mean of the two scores as its probability, so that the expected Brier differences cancel. The result is
the number of blocks if the version is as good as its control, and if they differ as much as these two.
"""

import math
from collections import deque

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.pairs import BlockSum, PairTest, brier_losses, sum_up

Floats = NDArray[np.float64]

RUNS = 9
LEVEL = 0.05


def blocks_to_show(
    pairs: ArrayLike, rows: int, margin: float, chains: int, most: int, rng: np.random.Generator, level: float = LEVEL
) -> float | None:
    """The median number of closed blocks until non-inferiority is shown; None when half of the runs need more than
    `most`.

    `pairs`: scores (new, control) of the same requests, shape (n, 2), n > 0. `rows`: requests per block. `chains`: see
    `chains_needed`.

    >>> blocks_to_show([[0.3, 0.2], [0.2, 0.3]], 100, 0.02, 1, 200, np.random.default_rng(0)) < 50
    True
    """
    scores = np.asarray(pairs, dtype=np.float64)
    found = sorted(_run(scores, rows, margin, chains, most, rng, -math.log(level)) for _ in range(RUNS))
    median = found[RUNS // 2]
    return median if math.isfinite(median) else None


def _run(
    scores: Floats, rows: int, margin: float, chains: int, most: int, rng: np.random.Generator, wanted: float
) -> float:
    test = PairTest.new(chains, margin)
    waiting: deque[tuple[BlockSum, BlockSum]] = deque()
    for block in range(1, most + chains):
        waiting.append(_block(scores[rng.integers(0, len(scores), rows)], margin, rng))
        if len(waiting) < chains:
            continue
        closed, _ = waiting.popleft()
        test.settle(closed)
        if float(test.log_e([still_open for _, still_open in waiting])[1]) >= wanted:
            return float(block - chains + 1)
    return math.inf


def _block(drawn: Floats, margin: float, rng: np.random.Generator) -> tuple[BlockSum, BlockSum]:
    """A block with its labels, and the same while no label is known."""
    new, control = brier_losses(drawn[:, 0]), brier_losses(drawn[:, 1])
    labels = (rng.random(len(drawn)) < drawn.mean(axis=1)).astype(np.float64)
    unknown = np.full(len(drawn), np.nan)
    closed = sum_up(new, control, labels, margin, missing_is_worst=False)
    return closed, sum_up(new, control, unknown, margin, missing_is_worst=True)
