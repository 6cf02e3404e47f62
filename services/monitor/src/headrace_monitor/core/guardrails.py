"""Label-free limits on a version under rollout: each one is a sequential test against the control in the same traffic.

    errors, invalid_scores   share of the requests that the version was asked and did not score by its own fault, or scored
                             with NaN or another invalid number
    degraded                 share of the requests of its own units that another step of the fallback chain answered, or none
    latency                  share of the calls in which the version took more than `limit` times as long as its control, less
                             the share in which the control took more than `limit` times as long; the test allows a tenth
    distribution             the largest difference between the two cumulative distributions of scores (`score_tests`)
    rank_correlation         Spearman's rank correlation of the two versions' scores (`score_tests`)

**Pairs.** Where both versions score every request (all policies but `BlueGreen(shadow_previous=False)`), `errors` and
`invalid_scores` are bets on pairs: requests for which both versions returned something, as the answer, in the fallback
chain, or in shadow, in time or late. A pair gains (bad of the version) - (bad of the control) - limit. So all traffic counts
at any share, and what hits both versions costs nobody.

**Arms.** `degraded`, and without pairs all shares, are bets between arms, one per interval of traffic. An interval ends as
soon as both arms have had a case, and gains (share in the new arm) - (share in the control arm) - limit. A hash decides
which arm a unit is in, so where an interval ends says nothing about the outcome.

**By unit and block.** Of each unit the first request in a block of event time counts, and no other (`counted_once`): the
choice is made before anything is returned, and the bet is settled at once, not when the block ends. A row that has failed
before is no case any more. And no unit rejects a version alone: the evidence is what remains without the unit that failed
most often. For any one unit it is a valid test of all others, so one client that is broken, however heavy, changes nothing
about alpha (`ShareTest.log_e`).

The error rate alpha of a rollout is split once, for all of its steps: a test continues from step to step and never begins
anew. Half of alpha goes to the label evidence, and half to the guardrails that are no dry run, in proportion to `WEIGHTS`.
Where one of the two is missing, the other one gets all of it. `consecutive` failures in a row fail the version at once, by
count, and are no part of alpha (`Streak`).

**Whose fault a failure is.** The type of a failure (`headrace.events.failures`) decides what counts, and never its words: only
a version's own failures (Raised, InvalidScore, Hung) are bad cases, and an open breaker that its own failures have opened
twice in a row. A version that gave no score for another reason (not loaded, busy, no time, shed, a row that it does not take,
a breaker that slow calls opened) was not asked: the request is no case, neither in `errors` nor in `degraded`.

**In a row** means: bad cases of the new arm without a good case of it between them, of units and rows that have not failed
before (`SeenFailures`), each while the control is healthy in the same block. What the control returned for the same request
decides, where the control was asked: a request that both fail is passed over, it neither counts nor ends the streak. Where
the control was not asked, its next case in the same block decides: if it is good, the failures since its case before count,
and if it is bad, or if none comes, they are dropped. In a block in which the control has failed as often as not, nothing
counts. So while both arms fail, the streak stands still, and without any result of the control nothing fails by count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.alphas import labels_alpha
from headrace.stats.sequential import BETS, log_mean_exp, staked
from headrace_monitor.core.score_tests import DistanceTest, RankTest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# The share of calls in which a version may be slower than its control by more than the limit.
LATENCY_SLACK = 0.1
# How much of alpha a guardrail gets, beside the others: failures must be found within few requests.
WEIGHTS = {"errors": 3.0}
# How many units are remembered whose failures counted.
_UNITS_KEPT = 256
# Calls that use less count as if they had used so much: a millisecond instead of a fifth of one is no harm, and it is what
# scikit-learn takes where ONNX served before.
LEAST_MS = 5.0


def split_alpha(alpha: float, guardrails: Sequence[str], *, has_labels: bool) -> dict[str, float]:
    """The part of the error rate of each metric that can roll back; the key `labels` is the label evidence.

    `guardrails`: the metrics that are no dry run.

    >>> split_alpha(0.05, ["latency", "degraded"], has_labels=True)
    {'labels': 0.025, 'latency': 0.0125, 'degraded': 0.0125}
    """
    parts = {"labels": labels_alpha(alpha, has_guardrails=bool(guardrails))} if has_labels else {}
    left, weights = alpha - sum(parts.values()), {metric: WEIGHTS.get(metric, 1.0) for metric in guardrails}
    return parts | {metric: left * (weight / sum(weights.values())) for metric, weight in weights.items()}


@dataclass
class Streak:
    """Bad cases of the new arm in a row beside a healthy control; the module's docstring has the rule.

    `length`: how many count now. `waiting`: how many of the newest wait for the next case of the control. `longest`: the
    highest `length` so far. `block`: the newest block. `good`, `bad`: the control's cases in it.

    >>> streak = Streak()
    >>> yes, no, block = np.ones(3, dtype=bool), np.zeros(3, dtype=bool), np.zeros(3, dtype=np.int64)
    >>> streak.take(yes, yes, yes, no, block), streak.take(yes, yes, yes, yes, block)  # the control is healthy, then it fails too
    (None, None)
    >>> streak.length
    3
    """

    length: int = 0
    longest: int = 0
    waiting: int = 0
    block: int = -1
    good: int = 0
    bad: int = 0

    def take(self, in_new: Bools, bad_new: Bools, in_control: Bools, bad_control: Bools, blocks: Ints) -> None:
        """Take requests in order; all arguments have shape (n,).

        `in_new`, `in_control`: whether a request is a case of the arm (perhaps of both). `bad_new`, `bad_control`: whether it
        was bad there. `blocks`: the block of event time of each.
        """
        bad, bad_control = in_new & bad_new, in_control & bad_control
        if not (bad.any() or self.waiting):
            self._take_good(in_new, in_control, bad_control, blocks)
            return
        columns = (in_new.tolist(), bad.tolist(), in_control.tolist(), bad_control.tolist(), blocks.tolist())
        for is_new, is_bad, is_control, is_bad_control, block in zip(*columns, strict=True):
            self._begin(block)
            if is_control and block == self.block:
                self.good, self.bad = self.good + (not is_bad_control), self.bad + is_bad_control
            if is_bad and is_control:
                self._count(0 if is_bad_control else 1)
            elif is_bad:
                self.waiting += 1
            elif is_new:
                self.length = self.waiting = 0
            elif is_control:
                self._count(0 if is_bad_control else self.waiting)
                self.waiting = 0

    def _take_good(self, in_new: Bools, in_control: Bools, bad_control: Bools, blocks: Ints) -> None:
        """Nothing failed in the new arm, and nothing waits."""
        if in_new.any():
            self.length = 0
        if len(blocks):
            self._begin(int(blocks.max()))
            here = in_control & (blocks == self.block)
            bad = int((here & bad_control).sum())
            self.good, self.bad = self.good + int(here.sum()) - bad, self.bad + bad

    def _begin(self, block: int) -> None:
        if block > self.block:
            self.block, self.good, self.bad, self.waiting = block, 0, 0, 0

    def _count(self, failures: int) -> None:
        if self.good > self.bad:
            self.length += failures
            self.longest = max(self.longest, self.length)

    def state(self) -> list[float]:
        """Plain numbers from which `restored` makes an equal streak."""
        return [self.length, self.longest, self.waiting, self.block, self.good, self.bad]

    @classmethod
    def restored(cls, state: Sequence[float]) -> "Streak":
        """The streak behind a `state`."""
        return cls(*(int(count) for count in state))


@dataclass
class ShareTest:
    """Tests whether bad cases are more frequent in the new arm than in the control's by more than `limit`.

    `wealth`: logarithms, one per bet. `new`, `control`: cases and bad cases so far, shape (2,). `open_new`, `open_control`,
    `open_units`: those of the interval that has not ended yet, and the units whose case of the new arm was bad in it.
    `failures`: per unit how many of its failures have spoken against the version. `streak`: see `Streak`; it is fed apart.
    """

    limit: float
    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    new: Floats = field(default_factory=lambda: np.zeros(2))
    control: Floats = field(default_factory=lambda: np.zeros(2))
    open_new: Floats = field(default_factory=lambda: np.zeros(2))
    open_control: Floats = field(default_factory=lambda: np.zeros(2))
    open_units: list[int] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)
    streak: Streak = field(default_factory=Streak)

    def bet_on_pairs(self, bad_new: Bools, bad_control: Bools, units: Ints | None = None) -> None:
        """Take requests that both versions were asked, shape (n,). `units`: whose they are; None where no unit is to blame."""
        count, only_new = len(bad_new), bad_new & ~bad_control
        self.new = self.new + np.array([count, bad_new.sum()])
        self.control = self.control + np.array([count, bad_control.sum()])
        up, down = int(only_new.sum()), int((bad_control & ~bad_new).sum())
        worse, same, better = staked_on_shares(np.array([1.0, 0.0, -1.0]), self.limit)
        self.wealth = self.wealth + up * worse + (count - up - down) * same + down * better
        if up and units is not None:
            for unit in units[only_new].tolist():
                self._blame(unit)

    def bet_on_arms(
        self, in_new: Bools, bad_new: Bools, in_control: Bools, bad_control: Bools, units: Ints | None = None
    ) -> None:
        """Take decisions in order; the other arguments are those of `Streak.take`. `units`: whose they are."""
        bad = in_new & bad_new
        new = np.stack([in_new, bad], axis=1).astype(np.float64)
        control = np.stack([in_control, in_control & bad_control], axis=1).astype(np.float64)
        self.new = self.new + new.sum(axis=0)
        self.control = self.control + control.sum(axis=0)
        all_new, all_control = np.vstack([self.open_new, new]), np.vstack([self.open_control, control])
        ends, differences = intervals(all_new, all_control)
        last = ends[-1] + 1 if len(ends) else 0
        self.open_new, self.open_control = all_new[last:].sum(axis=0), all_control[last:].sum(axis=0)
        self.wealth = self.wealth + staked_on_shares(differences, self.limit).sum(axis=0)
        if units is not None and (self.open_units or bad.any()):
            self._blame_units(ends, differences, np.flatnonzero(bad) + 1, units[bad])

    def _blame_units(self, ends: Ints, differences: Floats, places: Ints, units: Ints) -> None:
        """Note whose failures spoke against the version: those in intervals that were a gain."""
        places = np.concatenate([np.zeros(len(self.open_units), dtype=np.int64), places])
        everyone = np.concatenate([np.array(self.open_units, dtype=np.int64), units])
        of_interval = np.searchsorted(ends, places)
        self.open_units = everyone[of_interval == len(ends)].tolist()
        for number, unit in zip(of_interval.tolist(), everyone.tolist(), strict=True):
            if number < len(ends) and differences[number] > 0:
                self._blame(unit)

    def _blame(self, unit: int) -> None:
        self.failures[unit] = self.failures.get(unit, 0) + 1
        if len(self.failures) > _UNITS_KEPT:
            del self.failures[min(self.failures, key=self.failures.__getitem__)]

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence that the limit is exceeded, without the unit that failed most often."""
        most = max(self.failures.values(), default=0)
        return float(log_mean_exp(self.wealth - most * staked_on_shares(np.array([1.0]), self.limit)[0]))

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
            "open_units": [float(unit) for unit in self.open_units],
            "failing": [float(unit) for unit in self.failures],
            "failures": [float(count) for count in self.failures.values()],
            "streak": self.streak.state(),
        }

    @classmethod
    def restored(cls, limit: float, state: Mapping[str, Sequence[float]]) -> "ShareTest":
        """The test behind a `state`."""
        new, control, open_new, open_control = np.array(state["arms"], dtype=np.float64).reshape(4, 2)
        wealth = np.array(state["wealth"], dtype=np.float64)
        pairs = zip(state["failing"], state["failures"], strict=True)
        failures = {int(unit): int(count) for unit, count in pairs}
        units, streak = [int(unit) for unit in state["open_units"]], Streak.restored(state["streak"])
        return cls(limit, wealth, new, control, open_new, open_control, units, failures, streak)


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
        new, control = (np.maximum(np.asarray(took, dtype=np.float64), LEAST_MS) for took in (new_ms, control_ms))
        self.shares.bet_on_pairs(new > self.limit * control, control > self.limit * new)
        self.log_ratio += float(np.log(new / control).sum())

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


GuardrailTest = ShareTest | LatencyTest | DistanceTest | RankTest
_KINDS: dict[str, type[ShareTest] | type[LatencyTest] | type[DistanceTest] | type[RankTest]] = {
    "errors": ShareTest,
    "invalid_scores": ShareTest,
    "degraded": ShareTest,
    "latency": LatencyTest,
    "distribution": DistanceTest,
    "rank_correlation": RankTest,
}


def guardrail_test(metric: str, limit: float, state: Mapping[str, Sequence[float]] | None = None) -> GuardrailTest:
    """The test behind the guardrail of a metric: a new one when `state` is None, else the one behind that state."""
    kind = _KINDS[metric]
    return kind(limit) if state is None else kind.restored(limit, state)
