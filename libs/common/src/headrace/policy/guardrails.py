"""Label-free limits on a version under rollout, each a sequential test against its control in the same stretch of traffic.

    errors, invalid_scores   share of requests for which the version was to score and did not; gave NaN or nonsense
    degraded                 share of its own units' requests that another rung answered, or none
    latency                  share of calls in which it took more than `limit` times as long as its control did, less the
                             share in which it was the control that took so much longer; the test allows a tenth
    distribution             largest difference between the two cumulative distributions of scores, on the same requests
                             (Kolmogorov's distance at nine thresholds: an e-process per threshold and side, averaged)

A share is tested in bets of one stretch each: traffic is cut as soon as both arms have had a decision, and the bettor
gains (share in the new arm) - (share in the control arm) - limit. What strikes both arms at once costs him nothing. Which
arm a unit is in is a hash, so the cut tells nothing of the outcome.

A rollout's error rate alpha is split once, for all its steps: a test goes on from step to step and is never begun anew.
Half goes to the label evidence, half in equal parts to the guardrails that are no dry run; without the one or the other,
all to what there is. `consecutive` failures in a row fail at once, by count, and are no part of alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.policy.sequential import BETS, log_mean_exp, staked

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LATENCY_SLACK = 0.1
THRESHOLDS: Floats = np.arange(1, 10) / 10
INVALID = "predict returned"
NOT_ASKED = "overload"


def split_alpha(alpha: float, guardrails: Sequence[str], *, has_labels: bool) -> dict[str, float]:
    """The part of each metric that can roll back; `labels` for the label evidence.

    >>> split_alpha(0.05, ["errors", "latency"], has_labels=True)
    {'labels': 0.025, 'errors': 0.0125, 'latency': 0.0125}
    """
    parts = {"labels": alpha / (2 if guardrails else 1)} if has_labels else {}
    left = alpha - sum(parts.values())
    return parts | {metric: left / len(guardrails) for metric in guardrails}


@dataclass
class ShareTest:
    """Whether bad cases are more frequent in the new arm than in the control's by more than `limit`.

    `wealth`: logarithms, one per bet. `new`, `control`: cases and bad ones so far; `open_new`, `open_control`: those of the
    stretch that is not cut yet. `streak`: bad ones in a row in the new arm by now; `longest`: ever.
    """

    limit: float
    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    new: Floats = field(default_factory=lambda: np.zeros(2))
    control: Floats = field(default_factory=lambda: np.zeros(2))
    open_new: Floats = field(default_factory=lambda: np.zeros(2))
    open_control: Floats = field(default_factory=lambda: np.zeros(2))
    streak: int = 0
    longest: int = 0

    def take(self, in_new: Bools, bad_new: Bools, in_control: Bools, bad_control: Bools) -> None:
        """Decisions in order, shape (n,): which arm each counts for (perhaps both), and whether it was bad there."""
        new = np.stack([in_new, in_new & bad_new], axis=1).astype(np.float64)
        control = np.stack([in_control, in_control & bad_control], axis=1).astype(np.float64)
        self.new = self.new + new.sum(axis=0)
        self.control = self.control + control.sum(axis=0)
        self._count_streak(bad_new[in_new])
        self._bet(new, control)

    def _count_streak(self, bad: Bools) -> None:
        good = np.flatnonzero(~bad)
        if not len(good):
            self.streak += len(bad)
            self.longest = max(self.longest, self.streak)
            return
        gaps = np.diff(good) - 1
        self.longest = max(
            self.longest, self.streak + int(good[0]), int(gaps.max(initial=0)), len(bad) - 1 - int(good[-1])
        )
        self.streak = len(bad) - 1 - int(good[-1])

    def _bet(self, new: Floats, control: Floats) -> None:
        """Cut into stretches, and settle a bet on each."""
        all_new, all_control = np.vstack([self.open_new, new]), np.vstack([self.open_control, control])
        ends, differences = stretches(all_new, all_control)
        last = ends[-1] + 1 if len(ends) else 0
        self.open_new, self.open_control = all_new[last:].sum(axis=0), all_control[last:].sum(axis=0)
        self.wealth = self.wealth + staked_on_shares(differences, self.limit).sum(axis=0)

    @property
    def log_e(self) -> float:
        """Logarithm of the evidence that the limit is broken."""
        return float(log_mean_exp(self.wealth))

    @property
    def measured(self) -> float | None:
        """The difference of the shares so far; None before the new arm has any case."""
        if not self.new[0]:
            return None
        theirs = self.control[1] / self.control[0] if self.control[0] else 0.0
        return float(self.new[1] / self.new[0] - theirs)

    def state(self) -> dict[str, list[float]]:
        """Plain numbers, from which `restored` makes the test again."""
        arms = [self.new, self.control, self.open_new, self.open_control]
        return {
            "wealth": self.wealth.tolist(),
            "arms": np.concatenate(arms).tolist(),
            "streak": [self.streak, self.longest],
        }

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "ShareTest":
        """The test from its state."""
        new, control, open_new, open_control = np.array(state["arms"], dtype=np.float64).reshape(4, 2)
        streak, longest = (int(count) for count in state["streak"])
        wealth = np.array(state["wealth"], dtype=np.float64)
        return cls(limit, wealth, new, control, open_new, open_control, streak, longest)


def stretches(new: Floats, control: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Where each stretch ends, and the new arm's share of bad cases less the control's in it.

    `new`, `control`: cases and bad cases per decision, shape (n, 2).
    """
    ends = np.array(_cuts(new[:, 0] > 0, control[:, 0] > 0), dtype=np.int64)
    if not len(ends):
        return ends, np.empty(0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    ours, theirs = np.add.reduceat(new[: ends[-1] + 1], starts), np.add.reduceat(control[: ends[-1] + 1], starts)
    return ends, ours[:, 1] / ours[:, 0] - theirs[:, 1] / theirs[:, 0]


def staked_on_shares(differences: Floats, limit: float) -> Floats:
    """What each difference of shares adds to the logarithm of the wealth per bet, shape (n, bets)."""
    return staked((differences - limit) / (1 + limit))


def _cuts(has_new: Bools, has_control: Bools) -> list[int]:
    """Where each stretch ends: as soon as both arms have had a case since the last end.

    >>> _cuts(np.array([False, True, False, True, True]), np.array([True, False, True, False, False]))
    [1, 3]
    """
    count = len(has_new)
    next_new, next_control = _next_true(has_new), _next_true(has_control)
    ends = np.maximum(next_new, next_control).tolist()
    cuts: list[int] = []
    place = 0
    while place < count and ends[place] < count:
        cuts.append(ends[place])
        place = ends[place] + 1
    return cuts


def _next_true(flags: Bools) -> NDArray[np.int64]:
    """Per place the first true one from there on; the length where there is none."""
    places = np.where(flags, np.arange(len(flags)), len(flags))
    return np.minimum.accumulate(places[::-1])[::-1]


@dataclass
class LatencyTest:
    """Whether calls of the new version take more than `limit` times as long as its control's calls on the same rows."""

    limit: float
    shares: ShareTest = field(default_factory=lambda: ShareTest(LATENCY_SLACK))
    log_ratio: float = 0.0

    def take(self, new_ms: ArrayLike, control_ms: ArrayLike) -> None:
        """Calls on the same rows, shape (n,). Rows of one call count once: their times are one measurement."""
        new, control = np.asarray(new_ms, dtype=np.float64), np.asarray(control_ms, dtype=np.float64)
        both = np.ones(len(new), dtype=bool)
        self.shares.take(both, new > self.limit * control, both, control > self.limit * new)
        self.log_ratio += float(np.log(np.maximum(new, _LEAST_MS) / np.maximum(control, _LEAST_MS)).sum())

    @property
    def log_e(self) -> float:
        """Logarithm of the evidence that the limit is broken."""
        return self.shares.log_e

    @property
    def measured(self) -> float | None:
        """How many times as long the new version takes, in the geometric mean; None before any call."""
        return float(np.exp(self.log_ratio / self.shares.new[0])) if self.shares.new[0] else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers, from which `restored` makes the test again."""
        return {**self.shares.state(), "log_ratio": [self.log_ratio]}

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "LatencyTest":
        """The test from its state."""
        return cls(limit, ShareTest.restored(LATENCY_SLACK, state), float(state["log_ratio"][0]))


_LEAST_MS = 1e-3


@dataclass
class DistanceTest:
    """Whether the scores of two versions of the same requests are distributed differently by more than `limit`.

    `counts`: per threshold how often only the new score, and only the control's, was not above it. `rows`: pairs so far.
    """

    limit: float
    counts: Floats = field(default_factory=lambda: np.zeros((2, len(THRESHOLDS))))
    rows: int = 0

    def take(self, new: ArrayLike, control: ArrayLike) -> None:
        """Scores in 0..1 of the same requests, shape (n,)."""
        below_new = np.asarray(new, dtype=np.float64)[:, None] <= THRESHOLDS
        below_control = np.asarray(control, dtype=np.float64)[:, None] <= THRESHOLDS
        only_new, only_control = below_new & ~below_control, below_control & ~below_new
        self.counts = self.counts + np.stack([only_new.sum(axis=0), only_control.sum(axis=0)])
        self.rows += len(below_new)

    @property
    def log_e(self) -> float:
        """Logarithm of the evidence that the limit is broken. A pair's gain is -1, 0 or 1, less the limit: the counts tell all."""
        return float(distance_log_e(self.counts[0], self.counts[1], self.rows, self.limit))

    @property
    def measured(self) -> float | None:
        """The distance so far; None before any pair."""
        return float(np.abs(self.counts[0] - self.counts[1]).max() / self.rows) if self.rows else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers, from which `restored` makes the test again."""
        return {"counts": self.counts.ravel().tolist(), "rows": [self.rows]}

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "DistanceTest":
        """The test from its state."""
        return cls(limit, np.array(state["counts"], dtype=np.float64).reshape(2, -1), int(state["rows"][0]))


def distance_log_e(only_new: ArrayLike, only_control: ArrayLike, rows: ArrayLike, limit: float) -> Floats:
    """Logarithm of the evidence that two distributions lie further apart than `limit`, shape (...).

    `only_new`, `only_control`: per threshold how often only the one score was not above it, shape (..., thresholds); `rows`: pairs.
    """
    up, down = np.asarray(only_new, dtype=np.float64)[..., None], np.asarray(only_control, dtype=np.float64)[..., None]
    rest = np.asarray(rows, dtype=np.float64)[..., None, None] - up - down
    gain, none, loss = staked_on_shares(np.array([1.0, 0.0, -1.0]), limit)
    sides = [up * gain + down * loss + rest * none, down * gain + up * loss + rest * none]
    return log_mean_exp(np.stack(sides), axis=(0, -2, -1))


GuardrailTest = ShareTest | LatencyTest | DistanceTest
_KINDS: dict[str, type[ShareTest] | type[LatencyTest] | type[DistanceTest]] = {
    "errors": ShareTest,
    "invalid_scores": ShareTest,
    "degraded": ShareTest,
    "latency": LatencyTest,
    "distribution": DistanceTest,
}


def guardrail_test(metric: str, limit: float, state: Mapping[str, Sequence[float]] | None = None) -> GuardrailTest:
    """The test behind a guardrail, at its beginning or as it was left."""
    kind = _KINDS[metric]
    return kind(limit) if state is None else kind.restored(limit, state)
