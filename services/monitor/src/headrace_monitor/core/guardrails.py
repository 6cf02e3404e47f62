"""Label-free limits on a version under rollout: each one is a sequential test against the control in the same traffic.

    errors, invalid_scores   share of the requests that the version was asked and did not score by its own fault, or scored
                             with NaN or another invalid number
    degraded                 share of the requests of its own units that another step of the fallback chain answered, or none
    latency                  share of the calls in which the version took more than `limit` times as long as its control, less
                             the share in which the control took more than `limit` times as long; the test allows a tenth
    distribution             the largest difference between the two cumulative distributions of scores, on the same requests
                             (Kolmogorov's distance at nine thresholds: one e-process per threshold and direction, averaged)

A share is tested by bets, one per interval of traffic. An interval ends as soon as both arms have had a decision, and the
bettor gains (share in the new arm) - (share in the control arm) - limit. What hits both arms at once costs the version
nothing. A hash decides which arm a unit is in, so where an interval ends says nothing about the outcome.

The error rate alpha of a rollout is split once, for all of its steps: a test continues from step to step and never begins
anew. Half of alpha goes to the label evidence, and half in equal parts to the guardrails that are no dry run. Where one of
the two is missing, the other one gets all of it. `consecutive` failures in a row fail the version at once, by count, and are
no part of alpha (`Streak`).

**Whose fault a failure is.** The type of a failure (`headrace.events.failures`) decides what counts, and never its words: only
a version's own failures (Raised, InvalidScore, Hung) are bad cases. A version that gave no score for another reason (not
loaded, busy, no time, shed, a row that it does not take) was not asked: the request is no case of its arm, neither in `errors`
nor in `degraded`.

**Once per unit and row.** Bad cases of one unit, or of one identical row, count once per arm (`SeenFailures`): twenty retries
of one request are one failure, in the shares and in the streak.

**In a row** means: bad cases of the new arm without a good case of it between them, each beside a healthy control. What the
control returned for the same request decides, where the control was asked (as the answer, in the fallback chain, or in
shadow, in time or late): a request that both fail is passed over, it neither counts nor ends the streak. Where the control
was not asked, its next case decides: if it is good, the failures since its case before count, and if it is bad, they are
dropped. So while both arms fail, the streak stands still, and without any result of the control nothing fails by count.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.sequential import BETS, log_mean_exp, staked

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The share of calls in which a version may be slower than its control by more than the limit.
LATENCY_SLACK = 0.1
THRESHOLDS: Floats = np.arange(1, 10) / 10
# How many failing units, and rows, are remembered per arm: four bytes each, the newest ones.
FAILURES_KEPT = 256
# Calls shorter than this count as if they had taken so long: the logarithm of their ratio must exist.
_LEAST_MS = 1e-3


def split_alpha(alpha: float, guardrails: Sequence[str], *, has_labels: bool) -> dict[str, float]:
    """The part of the error rate of each metric that can roll back; the key `labels` is the label evidence.

    `guardrails`: the metrics that are no dry run.

    >>> split_alpha(0.05, ["errors", "latency"], has_labels=True)
    {'labels': 0.025, 'errors': 0.0125, 'latency': 0.0125}
    """
    parts = {"labels": alpha / (2 if guardrails else 1)} if has_labels else {}
    left = alpha - sum(parts.values())
    return parts | {metric: left / len(guardrails) for metric in guardrails}


class SeenFailures:
    """The units and rows that have failed in one arm: the newest `FAILURES_KEPT` of each, by checksum.

    >>> seen = SeenFailures()
    >>> seen.is_first("ann", b"1"), seen.is_first("ann", b"2"), seen.is_first("bob", b"1"), seen.is_first("bob", b"")
    (True, False, False, True)
    """

    def __init__(self, units: Iterable[float] = (), rows: Iterable[float] = ()) -> None:
        self._units = dict.fromkeys(int(unit) for unit in units)
        self._rows = dict.fromkeys(int(row) for row in rows)

    def is_first(self, unit: str, row: bytes) -> bool:
        """Whether this failure is the first one of its unit and of its row; if so, it is remembered.

        `row`: the bytes of the feature row; b"" when it is not known.
        """
        of_unit, of_row = crc32(unit.encode("utf-8", "surrogatepass")), crc32(row)
        if of_unit in self._units or (row and of_row in self._rows):
            return False
        self._units[of_unit] = None
        if row:
            self._rows[of_row] = None
        for kept in (self._units, self._rows):
            if len(kept) > FAILURES_KEPT:
                del kept[next(iter(kept))]
        return True

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal object."""
        return {"units": [float(unit) for unit in self._units], "rows": [float(row) for row in self._rows]}

    @classmethod
    def restored(cls, state: Mapping[str, Sequence[float]] | None) -> "SeenFailures":
        """The object behind a `state`; an empty one when `state` is None."""
        return cls() if state is None else cls(state.get("units", ()), state.get("rows", ()))


@dataclass
class Streak:
    """Bad cases of the new arm in a row beside a healthy control; the module's docstring has the rule.

    `length`: how many count now. `waiting`: how many of the newest wait for the next case of the control. `longest`: the
    highest `length` so far.

    >>> streak = Streak()
    >>> yes, no = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)
    >>> streak.take(yes, yes, yes, no), streak.take(yes, yes, yes, yes)  # the control is healthy, and then it fails too
    (None, None)
    >>> streak.length
    3
    """

    length: int = 0
    longest: int = 0
    waiting: int = 0

    def take(self, in_new: Bools, bad_new: Bools, in_control: Bools, bad_control: Bools) -> None:
        """Take requests in order; all arguments have shape (n,).

        `in_new`, `in_control`: whether a request is a case of the arm (perhaps of both). `bad_new`, `bad_control`: whether it
        was bad there.
        """
        bad = in_new & bad_new
        if not bad.any():
            return self._take_good(in_new, in_control, bad_control)
        columns = (in_new.tolist(), bad.tolist(), in_control.tolist(), (in_control & bad_control).tolist())
        for is_new, is_bad, is_control, is_bad_control in zip(*columns, strict=True):
            if is_bad and is_control:
                self._count(0 if is_bad_control else 1)
            elif is_bad:
                self.waiting += 1
            elif is_new:
                self.length = self.waiting = 0
            elif is_control:
                self._on_control(is_bad_control)
        return None

    def _take_good(self, in_new: Bools, in_control: Bools, bad_control: Bools) -> None:
        """Nothing failed in the new arm: at most the first case of the control decides, then the streak is over."""
        if not self.length and not self.waiting:
            return
        first_good = int(np.argmax(in_new)) if in_new.any() else len(in_new)
        if self.waiting and in_control[:first_good].any():
            self._on_control(bool(bad_control[np.argmax(in_control)]))
        if first_good < len(in_new):
            self.length = self.waiting = 0

    def _on_control(self, is_bad: bool) -> None:
        self._count(0 if is_bad else self.waiting)
        self.waiting = 0

    def _count(self, failures: int) -> None:
        self.length += failures
        self.longest = max(self.longest, self.length)


@dataclass
class ShareTest:
    """Tests whether bad cases are more frequent in the new arm than in the control's by more than `limit`.

    `wealth`: logarithms, one per bet. `new`, `control`: cases and bad cases so far, shape (2,). `open_new`, `open_control`:
    those of the interval that has not ended yet. `streak`: see `Streak`; it is fed apart where the control's result for a
    request arrives another way.
    """

    limit: float
    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    new: Floats = field(default_factory=lambda: np.zeros(2))
    control: Floats = field(default_factory=lambda: np.zeros(2))
    open_new: Floats = field(default_factory=lambda: np.zeros(2))
    open_control: Floats = field(default_factory=lambda: np.zeros(2))
    streak: Streak = field(default_factory=Streak)

    def take(self, in_new: Bools, bad_new: Bools, in_control: Bools, bad_control: Bools) -> None:
        """Take decisions in order, for the shares and for the streak; the arguments are those of `Streak.take`."""
        self.streak.take(in_new, bad_new, in_control, bad_control)
        self.bet(in_new, bad_new, in_control, bad_control)

    def bet(self, in_new: Bools, bad_new: Bools, in_control: Bools, bad_control: Bools) -> None:
        """Take decisions in order for the shares alone; the arguments are those of `Streak.take`."""
        new = np.stack([in_new, in_new & bad_new], axis=1).astype(np.float64)
        control = np.stack([in_control, in_control & bad_control], axis=1).astype(np.float64)
        self.new = self.new + new.sum(axis=0)
        self.control = self.control + control.sum(axis=0)
        self._bet(new, control)

    def _bet(self, new: Floats, control: Floats) -> None:
        """Divide the decisions into intervals, and decide one bet on each."""
        all_new, all_control = np.vstack([self.open_new, new]), np.vstack([self.open_control, control])
        ends, differences = intervals(all_new, all_control)
        last = ends[-1] + 1 if len(ends) else 0
        self.open_new, self.open_control = all_new[last:].sum(axis=0), all_control[last:].sum(axis=0)
        self.wealth = self.wealth + staked_on_shares(differences, self.limit).sum(axis=0)

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the limit is exceeded."""
        return float(log_mean_exp(self.wealth))

    @property
    def measured(self) -> float | None:
        """The difference of the shares so far; None while the new arm has no case."""
        if not self.new[0]:
            return None
        theirs = self.control[1] / self.control[0] if self.control[0] else 0.0
        return float(self.new[1] / self.new[0] - theirs)

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal test."""
        arms = [self.new, self.control, self.open_new, self.open_control]
        return {
            "wealth": self.wealth.tolist(),
            "arms": np.concatenate(arms).tolist(),
            "streak": [self.streak.length, self.streak.longest, self.streak.waiting],
        }

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "ShareTest":
        """The test behind a `state`."""
        new, control, open_new, open_control = np.array(state["arms"], dtype=np.float64).reshape(4, 2)
        wealth = np.array(state["wealth"], dtype=np.float64)
        streak = Streak(*(int(count) for count in state["streak"]))
        return cls(limit, wealth, new, control, open_new, open_control, streak)


def intervals(new: Floats, control: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The index at which each interval ends, and in each the new arm's share of bad cases less the control's.

    `new`, `control`: cases and bad cases per decision, shape (n, 2). Both results have shape (intervals,).
    """
    ends = np.array(_ends(new[:, 0] > 0, control[:, 0] > 0), dtype=np.int64)
    if not len(ends):
        return ends, np.empty(0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    ours, theirs = np.add.reduceat(new[: ends[-1] + 1], starts), np.add.reduceat(control[: ends[-1] + 1], starts)
    return ends, ours[:, 1] / ours[:, 0] - theirs[:, 1] / theirs[:, 0]


def staked_on_shares(differences: Floats, limit: float) -> Floats:
    """What each difference of shares adds to the logarithm of the wealth per bet, shape (n, bets)."""
    return staked((differences - limit) / (1 + limit))


def _ends(has_new: Bools, has_control: Bools) -> list[int]:
    """Where each interval ends: as soon as both arms have had a case since the end before.

    >>> _ends(np.array([False, True, False, True, True]), np.array([True, False, True, False, False]))
    [1, 3]
    """
    count = len(has_new)
    next_new, next_control = _next_true(has_new), _next_true(has_control)
    # Per index the end of an interval that begins there; `count` where it does not end.
    ends = np.maximum(next_new, next_control).tolist()
    found: list[int] = []
    start = 0
    while start < count and ends[start] < count:
        found.append(ends[start])
        start = ends[start] + 1
    return found


def _next_true(flags: Bools) -> NDArray[np.int64]:
    """Per index the first true one from there on; the length where there is none."""
    places = np.where(flags, np.arange(len(flags)), len(flags))
    return np.minimum.accumulate(places[::-1])[::-1]


@dataclass
class LatencyTest:
    """Tests whether calls of the new version take more than `limit` times as long as its control's on the same rows.

    `shares`: the test on the shares of slow calls. `log_ratio`: the sum of the logarithms of (new / control) over all calls.
    """

    limit: float
    shares: ShareTest = field(default_factory=lambda: ShareTest(LATENCY_SLACK))
    log_ratio: float = 0.0

    def take(self, new_ms: ArrayLike, control_ms: ArrayLike) -> None:
        """Take calls on the same rows, shape (n,). Rows of one call must come once: their times are one measurement."""
        new, control = np.asarray(new_ms, dtype=np.float64), np.asarray(control_ms, dtype=np.float64)
        both = np.ones(len(new), dtype=bool)
        self.shares.take(both, new > self.limit * control, both, control > self.limit * new)
        self.log_ratio += float(np.log(np.maximum(new, _LEAST_MS) / np.maximum(control, _LEAST_MS)).sum())

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the limit is exceeded."""
        return self.shares.log_e

    @property
    def measured(self) -> float | None:
        """How many times as long the new version takes, as a geometric mean; None before the first call."""
        return float(np.exp(self.log_ratio / self.shares.new[0])) if self.shares.new[0] else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal test."""
        return {**self.shares.state(), "log_ratio": [self.log_ratio]}

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "LatencyTest":
        """The test behind a `state`."""
        return cls(limit, ShareTest.restored(LATENCY_SLACK, state), float(state["log_ratio"][0]))


@dataclass
class DistanceTest:
    """Tests whether the scores of two versions of the same requests are distributed differently by more than `limit`.

    `counts`: per threshold how often only the new score, and only the control's, did not exceed it, shape (2, thresholds).
    `rows`: the number of pairs so far.
    """

    limit: float
    counts: Floats = field(default_factory=lambda: np.zeros((2, len(THRESHOLDS))))
    rows: int = 0

    def take(self, new: ArrayLike, control: ArrayLike) -> None:
        """Take scores in 0..1 of the same requests, shape (n,)."""
        below_new = np.asarray(new, dtype=np.float64)[:, None] <= THRESHOLDS
        below_control = np.asarray(control, dtype=np.float64)[:, None] <= THRESHOLDS
        only_new, only_control = below_new & ~below_control, below_control & ~below_new
        self.counts = self.counts + np.stack([only_new.sum(axis=0), only_control.sum(axis=0)])
        self.rows += len(below_new)

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the limit is exceeded."""
        return float(distance_log_e(self.counts[0], self.counts[1], self.rows, self.limit))

    @property
    def measured(self) -> float | None:
        """The distance so far; None before the first pair."""
        return float(np.abs(self.counts[0] - self.counts[1]).max() / self.rows) if self.rows else None

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal test."""
        return {"counts": self.counts.ravel().tolist(), "rows": [self.rows]}

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "DistanceTest":
        """The test behind a `state`."""
        return cls(limit, np.array(state["counts"], dtype=np.float64).reshape(2, -1), int(state["rows"][0]))


def distance_log_e(only_new: ArrayLike, only_control: ArrayLike, rows: ArrayLike, limit: float) -> Floats:
    """The logarithm of the evidence that two distributions lie further apart than `limit`, shape (...).

    `only_new`, `only_control`: per threshold how often only the one score did not exceed it, shape (..., thresholds). `rows`:
    the number of pairs, shape (...).
    """
    up, down = np.asarray(only_new, dtype=np.float64)[..., None], np.asarray(only_control, dtype=np.float64)[..., None]
    rest = np.asarray(rows, dtype=np.float64)[..., None, None] - up - down
    # The gain of a pair is -1, 0 or 1, less the limit: so the counts are enough, and no pair is kept.
    gain, none, loss = staked_on_shares(np.array([1.0, 0.0, -1.0]), limit)
    directions = [up * gain + down * loss + rest * none, down * gain + up * loss + rest * none]
    return log_mean_exp(np.stack(directions), axis=(0, -2, -1))


GuardrailTest = ShareTest | LatencyTest | DistanceTest
_KINDS: dict[str, type[ShareTest] | type[LatencyTest] | type[DistanceTest]] = {
    "errors": ShareTest,
    "invalid_scores": ShareTest,
    "degraded": ShareTest,
    "latency": LatencyTest,
    "distribution": DistanceTest,
}


def guardrail_test(metric: str, limit: float, state: Mapping[str, Sequence[float]] | None = None) -> GuardrailTest:
    """The test behind the guardrail of a metric: a new one when `state` is None, else the one behind that state."""
    kind = _KINDS[metric]
    return kind(limit) if state is None else kind.restored(limit, state)
