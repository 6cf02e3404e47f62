"""Tests of a running mean that stay valid at every look, as bets against it.

A bettor starts with 1 and stakes a fixed fraction b of the wealth on each gain x >= -1, so that the wealth is
multiplied by 1 + b x. Write m for the conditional mean of a gain, given all that was known before its outcome. Then the
product of (1 + b x) / (1 + b m) is a martingale, and the product of 1 + b m is at most exp(b sum m). So while the
running sum of conditional means has never been above 0, the expected wealth is at most 1 at any time at which one may
choose to look. By Ville's inequality it reaches 1/alpha with probability at most alpha. The running mean is tested, not
each single one, which requires that b is fixed beforehand. So the wealth is an average over several b instead of one
that adapts (Cover 1991, universal portfolios; the null is the weak one of Choe & Ramdas 2024, "Comparing sequential
forecasters", who use exponentials where the product is used here, which is never smaller).

Outcomes that come late and overlap (`Chains`): when outcomes of a block are known only k blocks later, every k-th block
forms a chain whose outcomes do not overlap, and the wealth of the k chains is averaged (Arnold, Henzi & Ziegel 2023,
"Sequentially valid tests for forecast calibration"). That average is no supermartingale for one who looks at all chains
at once, because bets are still open (Henzi & Ziegel 2022, correction to "Valid sequential inference on probability
forecast performance", Biometrika 109; Choe & Ramdas 2025, "Combining evidence across filtrations"). So at every look
each open bet counts as lost as far as it still can be. What remains is at most what all bets will be worth, so the test
is valid. The null is then the running mean of each chain, a sample of every k-th block. "Known before" includes the
number of a block's requests and both versions' scores of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# The staked fractions, each with the same weight.
BETS: Floats = np.array([0.05, 0.2, 0.5, 0.8, 0.95])


def log_mean_exp(logs: ArrayLike, axis: int | tuple[int, ...] = -1) -> Floats:
    """Logarithm of the mean of exponentials, without overflow; -inf where all values are.

    >>> round(float(log_mean_exp([0.0, np.log(3.0)])), 4)
    0.6931
    """
    values = np.asarray(logs, dtype=np.float64)
    highest = values.max(axis=axis, keepdims=True)
    safe = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        found = np.log(np.exp(values - safe).mean(axis=axis, keepdims=True)) + safe
    return np.squeeze(found, axis=axis)


def staked(gains: ArrayLike) -> Floats:
    """What each gain adds to the logarithm of each bettor's wealth.

    `gains`: any shape, none below -1. The result has an additional axis for `BETS`.
    """
    return np.log1p(BETS * np.asarray(gains, dtype=np.float64)[..., None])


@dataclass
class Chains:
    """One test whose outcomes come late: a chain of bets for every `count`-th block. Blocks settle in order, empty ones
    too.

    `wealth`: logarithms, shape (*batch, count, bets). `settled`: blocks so far. A gain is divided by what was at risk
    in its block, by the mean risk so far where that is more (a block with hardly any risk must not weigh like a full
    one), or by `least`. These weights are known before a block's outcomes; the running mean under them is tested.
    """

    wealth: Floats
    risk_sum: Floats
    risk_blocks: Floats
    least: float
    settled: int = 0

    @classmethod
    def new(cls, count: int, least: float, batch: tuple[int, ...] = ()) -> "Chains":
        """A test with nothing staked. `count`: the number of chains, more than the number of blocks that an outcome may
        be late.
        """
        return cls(np.zeros((*batch, count, len(BETS))), np.zeros(batch), np.zeros(batch), least)

    @property
    def count(self) -> int:
        """The number of chains."""
        return self.wealth.shape[-2]

    def settle(self, gain: ArrayLike, at_risk: ArrayLike) -> None:
        """Add the next closed block. `at_risk`: how far below 0 its gain could have been, as known before its
        outcomes.
        """
        risk = np.asarray(at_risk, dtype=np.float64)
        relative = np.asarray(gain, dtype=np.float64) / self._scales(risk[..., None])[..., 0]
        self.wealth[..., self.settled % self.count, :] += staked(np.maximum(relative, -1.0))
        self.risk_sum = self.risk_sum + risk
        self.risk_blocks = self.risk_blocks + (risk > 0)
        self.settled += 1

    def skip(self, blocks: int) -> None:
        """Add so many closed blocks in which nothing was at risk: they change no wealth."""
        self.settled += blocks

    def log_e(self, open_low: ArrayLike = (), open_risk: ArrayLike = ()) -> Floats:
        """Logarithm of the evidence against a running mean of at most 0, shape (*batch).

        Open blocks follow the settled ones in order, shape (*batch, fewer than count). `open_low`: how low their gain
        can still be by what is known now. `open_risk`: how low it could have been before any outcome.
        """
        risk = np.asarray(open_risk, dtype=np.float64)
        lost = np.clip(np.asarray(open_low, dtype=np.float64) / self._scales(risk), -1.0, 0.0)
        wealth = self.wealth.copy()
        wealth[..., (self.settled + np.arange(risk.shape[-1])) % self.count, :] += staked(lost)
        return log_mean_exp(wealth, axis=(-2, -1))

    def state(self) -> dict[str, list[float]]:
        """Plain numbers of one test, for `restore`."""
        risk = [float(self.risk_sum), float(self.risk_blocks)]
        return {"wealth": self.wealth.ravel().tolist(), "risk": risk, "settled": [self.settled]}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Continue from a state."""
        self.wealth = np.array(state["wealth"], dtype=np.float64).reshape(self.wealth.shape)
        self.risk_sum, self.risk_blocks = (np.array(value, dtype=np.float64) for value in state["risk"])
        self.settled = int(state["settled"][0])

    def _scales(self, risks: Floats) -> Floats:
        """The divisors of the gains of the next blocks, given the risk of each."""
        sums = self.risk_sum[..., None] + np.cumsum(risks, axis=-1)
        blocks = self.risk_blocks[..., None] + np.cumsum(risks > 0, axis=-1)
        typical = sums / np.maximum(blocks, 1.0)
        return np.maximum(np.maximum(risks, typical), self.least)


def chains_needed(horizon_s: float, block_s: float) -> int:
    """The number of blocks from one block to the next that begins when its outcomes are known.

    >>> chains_needed(86_400.0, 3600.0)
    25
    """
    return math.ceil(horizon_s / block_s) + 1


def log_e_of_counts(new: int, control: int, share: float, weight: float = 100.0) -> float:
    """Evidence against units being split by `share`: a beta mixture of likelihood ratios (Lindon & Malek 2022).

    `new`, `control`: units seen in each arm. `weight`: how closely the mixture is concentrated around `share`.

    >>> log_e_of_counts(500, 9500, 0.05) < 0 < log_e_of_counts(700, 9300, 0.05)
    True
    """
    if share <= 0 or share >= 1:
        return math.inf if (new if share <= 0 else control) else 0.0
    a, b = weight * share, weight * (1 - share)
    mixed = _log_beta(a + new, b + control) - _log_beta(a, b)
    return mixed - new * math.log(share) - control * math.log1p(-share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
