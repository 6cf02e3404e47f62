"""The gross test: whether a version's score is worse than its control's by more than `LIMIT`, which no version is that
is merely stale: a version that is sure of the wrong answers (it saw the future in training, or its labels were turned
around). It needs some dozens of labels, and is blind to all that is smaller; the other two tests find that.

Each request's difference of the two scores (`headrace.stats.scores`) less the limit is staked on, in request order, as
in the ranking test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.ranking import BETS, LEAST_LABELS, block_share
from headrace.stats.sequential import log_mean_exp

Floats = NDArray[np.float64]

LIMIT = 0.1


def gross_stakes(seen: ArrayLike) -> Floats:
    """What the requests of a block, with these differences of scores, add to the logarithm of the wealth per bet, shape
    (bets,).
    """
    gains = (np.asarray(seen, dtype=np.float64) - LIMIT) / (1 + LIMIT)
    return np.log1p(BETS[:, None] * gains).sum(axis=1) * block_share(len(gains))


@dataclass
class GrossTest:
    """The test of one rollout. `wealth`: logarithms per bet. `labels`, `total`: how many, and the sum of differences."""

    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    labels: float = 0.0
    total: float = 0.0

    def take(self, seen: ArrayLike) -> None:
        """Take the differences of the next labelled requests, shape (n,), new minus control."""
        found = np.asarray(seen, dtype=np.float64)
        self.wealth = self.wealth + gross_stakes(found)
        self.labels, self.total = self.labels + len(found), self.total + float(found.sum())

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the limit is exceeded."""
        return float(log_mean_exp(self.wealth))

    @property
    def mean(self) -> float | None:
        """The mean difference so far; None without labels."""
        return self.total / self.labels if self.labels else None

    def has_failed(self, alpha: float) -> bool:
        """Whether the limit is shown to be exceeded: by the evidence, and by the plain mean too."""
        is_over = self.total > LIMIT * self.labels
        return self.labels >= LEAST_LABELS and self.log_e >= -math.log(alpha) and is_over

    def state(self) -> dict[str, list[float]]:
        """Plain numbers for `restore`."""
        return {"wealth": self.wealth.tolist(), "sums": [self.labels, self.total]}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Continue from a state."""
        self.wealth = np.array(state["wealth"], dtype=np.float64)
        self.labels, self.total = (float(number) for number in state["sums"])
