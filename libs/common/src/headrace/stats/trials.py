"""Many simulated rollouts side by side on recorded traffic, judged by the functions that judge real ones.

A rollout is a row of whole cycles drawn from the record (`draw_cycles`: the stationary bootstrap of Politis & Romano
1994: stretches of random length, so that neighbouring days stay together). What the tests need of each block is summed
up once (`tabulate`); drawing and judging is then adding (`judge`). Each request of a drawn cycle is compared with the
requests that came before it in the record, except in the first cycle of a run, whose reference begins with it.

The label verdict of a rollout, whose alpha is the part of the error rate that is for labels (`headrace.stats.alphas`):

    FAIL  at any look: the lower bound of the level is above the margin (at least `min_cycles`), or the
          ranking test fails, or the gross test does
    PASS  at the end of a cycle, after at least `min_cycles`: the upper bound of the level is below the margin, the
          upper bound of the mean loss of ranking is below its limit, and the ranking test has its least labels
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.alphas import LabelAlphas
from headrace.stats.gross import LIMIT, gross_stakes
from headrace.stats.level import level
from headrace.stats.losses import BINARY, NUMBER
from headrace.stats.ranking import BETS, LEAST_LABELS, RankingTest, are_enough, is_worth
from headrace.stats.scores import constant_score, default_margin, differences, label_counts
from headrace.stats.sequential import log_mean_exp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Block = tuple[Floats, Floats, Floats]

NEVER = math.inf
MEAN_STRETCH = 7.0
# Bounds on what is held at once: runs, and blocks of runs.
_RUNS, _BLOCKS = 200, 300_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Labelled requests of two versions, in order of `at_s`, with the scores of both.

    `kind`: of the label. `at_s`: when they were asked, shape (n,). `labels`: places of classes or scaled numbers, all
    known. `new`, `control`: probabilities, shape (n,) or (n, classes), or scaled numbers; NaN is a failure.
    """

    kind: str
    at_s: Floats
    labels: Floats
    new: Floats
    control: Floats

    def __post_init__(self) -> None:
        if len(self.at_s) and (np.diff(self.at_s) < 0).any():
            raise ValueError("the requests must be in order of at_s; sort them first")
        if np.isnan(self.labels).any():
            raise ValueError("all labels must be known; leave requests without one out")

    @property
    def classes(self) -> int:
        """How many classes the label has; 1 for a number."""
        return {BINARY: 2, NUMBER: 1}.get(self.kind) or self.control.shape[1]


@dataclass(frozen=True, slots=True)
class RankedSums:
    """Sums of the ranking test. `wealth`: what is added to the logarithms, shape (cycles, blocks, bets).

    `weights`: shape (cycles, blocks); `gains`: of weight x (loss - limit x skill); `skills`: of weight x skill.
    """

    wealth: Floats
    weights: Floats
    gains: Floats
    skills: Floats


@dataclass(frozen=True, slots=True)
class Table:
    """What the tests need of every block, shape (cycles, blocks, ...).

    `requests`: how many. `counts`: labels per class, or per part of the range. `differences`, `control`: sums of
    the differences of scores, and of the control's scores. `gross`: what is added to the logarithms of the gross test, per bet. `warm`: compared with the record before; `cold`: compared with
    the same cycle only.
    """

    kind: str
    requests: Floats
    counts: Floats
    differences: Floats
    control: Floats
    gross: Floats
    warm: RankedSums
    cold: RankedSums

    @property
    def cycles(self) -> int:
        """How many whole cycles there are."""
        return self.requests.shape[0]

    @property
    def blocks(self) -> int:
        """How many blocks a cycle has."""
        return self.requests.shape[1]

    @property
    def difference(self) -> float:
        """The mean difference of all requests."""
        return float(self.differences.sum() / max(self.requests.sum(), 1.0))


@dataclass(frozen=True, slots=True)
class Trials:
    """What became of each run, shape (runs,); `NEVER` where it did not come to it.

    `passed`, `level_failed`: after how many cycles the conditions of a PASS, and of a FAIL by level, were first met.
    `ranking_failed`, `gross_failed`: after how many blocks; `ranking_labels`, `gross_labels`: after how many labels.
    `blocks`: how many a cycle has.
    """

    passed: Floats
    level_failed: Floats
    ranking_failed: Floats
    gross_failed: Floats
    ranking_labels: Floats
    gross_labels: Floats
    blocks: int

    @property
    def failed(self) -> Floats:
        """After how many cycles a run failed, by whatever came first; parts of a cycle count."""
        return np.minimum(self.level_failed, self.failed_early / self.blocks)

    @property
    def failed_early(self) -> Floats:
        """After how many blocks it failed by ranking or gross."""
        return np.minimum(self.ranking_failed, self.gross_failed)

    @property
    def labels_to_early(self) -> Floats:
        """After how many labels it failed by ranking or gross."""
        return np.minimum(self.ranking_labels, self.gross_labels)

    def is_passed(self, within: float = NEVER) -> Bools:
        """Which runs end with a PASS, within so many cycles. Where both come at once, FAIL wins."""
        return (self.passed <= within) & (self.passed < self.failed) & np.isfinite(self.passed)

    def is_failed(self, within: float = NEVER) -> Bools:
        """Which runs end with a FAIL, within so many cycles."""
        return (self.failed <= within) & (self.failed <= self.passed) & np.isfinite(self.failed)


def tabulate(
    traffic: Traffic, cycle_s: float, block_s: float, limit: float, span_s: tuple[float, float] | None = None
) -> Table:
    """The sums of every block. Cycles are counted from the begin of `span_s`; one that is not whole is left out.

    `limit`: of the ranking test. `span_s`: begin and end of the record; without it, the begin of the first and the end
    of the last request's block.
    """
    per_cycle = max(round(cycle_s / block_s), 1)
    if span_s is None:
        ends = traffic.at_s[[0, -1]] if len(traffic.at_s) else np.zeros(2)
        span_s = float(ends[0] // block_s * block_s), float((ends[1] // block_s + 1) * block_s)
    cycles = int((span_s[1] - span_s[0]) / block_s + 1e-9) // per_cycle
    bounds = np.searchsorted(traffic.at_s, span_s[0] + np.arange(cycles * per_cycle + 1) * block_s).tolist()
    blocks = ((traffic.new[a:b], traffic.control[a:b], traffic.labels[a:b]) for a, b in pairwise(bounds))
    return tabulate_blocks(traffic.kind, traffic.classes, blocks, per_cycle, limit)


def tabulate_blocks(kind: str, classes: int, blocks: Iterable[Block], per_cycle: int, limit: float) -> Table:
    """The same of blocks in order, each the new version's scores, its control's, and the labels. They can be made one
    after the other, and need not be in memory together.

    `classes`: see `Traffic`. `per_cycle`: how many blocks make a cycle.
    """
    sums: list[Floats] = []
    counts: list[Floats] = []
    gross: list[Floats] = []
    warm, cold = _Ranked(kind, classes, limit, per_cycle), _Ranked(kind, classes, limit, per_cycle)
    for number, (new, control, labels) in enumerate(blocks):
        if number % per_cycle == 0:
            cold.begin()
        found = differences(kind, new, control, labels)
        sums.append(np.array([len(labels), found.seen.sum(), found.control.sum()]))
        counts.append(label_counts(kind, labels, classes))
        gross.append(gross_stakes(found.seen))
        warm.take(number, new, control, labels)
        cold.take(number, new, control, labels)
    shape = (len(sums) // per_cycle, per_cycle)
    requests, seen, own = np.moveaxis(_by_cycle(sums, shape, 3), -1, 0)
    width = len(label_counts(kind, (), classes))
    by_class, staked = _by_cycle(counts, shape, width), _by_cycle(gross, shape, len(BETS))
    return Table(kind, requests, by_class, seen, own, staked, warm.sums(shape), cold.sums(shape))


def _by_cycle(values: Sequence[NDArray], shape: tuple[int, int], width: int) -> Floats:
    """Values of blocks, each of shape (width,), as an array of whole cycles."""
    return np.reshape(np.array(values[: shape[0] * shape[1]], dtype=np.float64), (*shape, width))


class _Ranked:
    """What every block adds to the ranking test."""

    def __init__(self, kind: str, classes: int, limit: float, per_cycle: int) -> None:
        self._new = partial(RankingTest, kind, classes, limit, per_cycle)
        self._limit, self._rows = limit, list[Floats]()
        self.begin()

    def begin(self) -> None:
        """Begin anew, with an empty reference."""
        self._test = self._new()

    def take(self, block: int, new: Floats, control: Floats, labels: Floats) -> None:
        """Take a block; one without requests adds nothing."""
        wealth, sums = self._test.wealth, self._test.sums
        if len(labels):
            self._test.take(block, new, control, labels)
        weight, loss, skill = self._test.sums - sums
        self._rows.append(np.array([weight, loss - self._limit * skill, skill, *(self._test.wealth - wealth)]))

    def sums(self, shape: tuple[int, int]) -> RankedSums:
        """All of it, by cycle."""
        found = _by_cycle(self._rows, shape, 3 + len(BETS))
        return RankedSums(found[..., 3:], found[..., 0], found[..., 1], found[..., 2])


def draw_cycles(
    rng: np.random.Generator, runs: int, cycles: int, pool: int, mean_stretch: float = MEAN_STRETCH
) -> Ints:
    """Cycles of the pool for each run, shape (runs, cycles): stretches of random length that go on at the beginning
    where the pool ends.

    `pool`: how many cycles there are. `mean_stretch`: the mean length of a stretch, in cycles.
    """
    if pool < 1:
        raise ValueError("there is no whole cycle to draw from; the record must cover at least one")
    fresh = rng.random((runs, cycles)) < 1 / mean_stretch
    fresh[:, :1] = True
    starts = rng.integers(0, pool, (runs, cycles))
    places = np.arange(cycles)
    last = np.maximum.accumulate(np.where(fresh, places, 0), axis=1)
    return (np.take_along_axis(starts, last, axis=1) + places - last) % pool


def judge(
    table: Table, drawn: ArrayLike, margin: float | None = None, min_cycles: int = 14, alpha: float = 0.025
) -> Trials:
    """Judge every run at all its looks.

    `drawn`: cycles of the table, shape (runs, cycles). `margin`: None for the default rule, by the labels that each
    run has at each look. `alpha`: the part of the error rate that is for labels.
    """
    cycles = np.asarray(drawn, dtype=np.int64)
    at_once = max(1, min(_RUNS, _BLOCKS // max(cycles.shape[1] * table.blocks, 1)))
    parts = [
        _judge(table, cycles[place : place + at_once], margin, min_cycles, alpha)
        for place in range(0, len(cycles), at_once)
    ]
    names = [one.name for one in fields(Trials) if one.name != "blocks"]
    joined = {name: np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)]) for name in names}
    return Trials(**joined, blocks=table.blocks)


def _judge(table: Table, drawn: Ints, margin: float | None, min_cycles: int, alpha: float) -> Trials:
    counts = table.counts[drawn].reshape(len(drawn), -1, table.counts.shape[-1]).cumsum(axis=1)
    labels = counts.sum(axis=-1)
    rarer = labels if table.kind == NUMBER else labels - counts.max(axis=-1)
    has_enough, alphas = are_enough(labels, rarer), LabelAlphas.of(alpha)
    ranking = _evidence(_started(table, "wealth", drawn)) >= -math.log(alphas.ranking)
    ranking &= (_flat(_started(table, "gains", drawn)).cumsum(axis=1) > 0) & has_enough
    weights, skills = (_flat(_started(table, name, drawn)).cumsum(axis=1) for name in ("weights", "skills"))
    has_skill = is_worth(np.divide(skills, weights, out=np.full(weights.shape, np.nan), where=weights > 0))
    ranking &= has_skill
    gross = _evidence(table.gross[drawn]) >= -math.log(alphas.gross)
    gross &= (_flat(table.differences[drawn]).cumsum(axis=1) > LIMIT * labels) & (labels >= LEAST_LABELS)
    ends = slice(table.blocks - 1, None, table.blocks)
    passes, fails = _levels(table, drawn, margin, min_cycles, alphas, counts[:, ends], has_skill[:, ends])
    return Trials(
        _first(passes & has_enough[:, ends]),
        _first(fails & has_enough[:, ends]),
        _first(ranking),
        _first(gross),
        _first(ranking, labels),
        _first(gross, labels),
        table.blocks,
    )


def _levels(
    table: Table,
    drawn: Ints,
    margin: float | None,
    min_cycles: int,
    alphas: LabelAlphas,
    counts: Floats,
    has_skill: Bools,
) -> tuple[Bools, Bools]:
    """Where the bounds of level and ranking allow a PASS, and where that of the level says FAIL, (runs, cycles) each.

    `counts`: labels per class at the end of each cycle. `has_skill`: whether the control's ranking is worth anything by
    then; where it is not, there is nothing to lose.
    """
    requests, sums, control = (
        _per_cycle(values[drawn]) for values in (table.requests, table.differences, table.control)
    )
    weights, gains = (_per_cycle(_started(table, name, drawn)) for name in ("weights", "gains"))
    passes, fails = np.zeros(drawn.shape, dtype=bool), np.zeros(drawn.shape, dtype=bool)
    for look in range(max(min_cycles, 1), drawn.shape[1] + 1):
        found = level(requests[:, :look], sums[:, :look])
        lost = level(weights[:, :look], gains[:, :look])
        allowed: ArrayLike = margin if margin is not None else 0.0
        if margin is None:
            constant = np.apply_along_axis(partial(constant_score, table.kind), 1, counts[:, look - 1])
            own = control[:, :look].sum(axis=1) / np.maximum(requests[:, :look].sum(axis=1), 1.0)
            allowed = default_margin(constant - own)
        passes[:, look - 1] = (found.high(alphas.shown) < allowed) & (
            (lost.high(alphas.shown) < 0) | ~has_skill[:, look - 1]
        )
        fails[:, look - 1] = found.low(alphas.level) > allowed
    return passes, fails


def _started(table: Table, name: str, drawn: Ints) -> Floats:
    """A sum of the ranking test of drawn cycles: of the first one as if nothing was before it."""
    found = getattr(table.warm, name)[drawn]
    found[:, :1] = getattr(table.cold, name)[drawn[:, :1]]
    return found


def _evidence(wealth: Floats) -> Floats:
    """The logarithm of the evidence after each block, shape (runs, blocks)."""
    return log_mean_exp(wealth.reshape(len(wealth), -1, wealth.shape[-1]).cumsum(axis=1))


def _flat(values: Floats) -> Floats:
    return values.reshape(len(values), -1)


def _per_cycle(values: Floats) -> Floats:
    return values.sum(axis=2)


def _first(hits: Bools, values: Floats | None = None) -> Floats:
    """The number of the first hit of each run, counted from 1, or the value there."""
    if not hits.shape[1]:
        return np.full(len(hits), NEVER)
    place = hits.argmax(axis=1)
    found = place + 1.0 if values is None else np.take_along_axis(values, place[:, None], axis=1)[:, 0]
    return np.where(hits.any(axis=1), found, NEVER)
