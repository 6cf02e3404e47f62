"""Which harm the labels of a deployment would find, and in how long: before a rollout begins, from its own record.

A harmed version is the champion with noise: so much that its ranking loses a stated AUC, or that its bounded score is
worse by a stated difference. Rollouts of such a version are drawn from the record and judged by the tests that judge
real ones (`headrace.stats.trials`). How long it takes is the median over these runs, of whatever test finds it first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headrace.stats.scores import constant_score, default_margin, differences, label_counts
from headrace.stats.trials import NEVER, Table, Traffic, Trials, draw_cycles, judge, tabulate
from headrace.stats.variants import shuffled, skill_of, with_less_skill, with_noise

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AUC, LEVEL = "AUC", "level"
# With fewer whole cycles of labels nothing is drawn: there is no telling how they vary.
LEAST_CYCLES = 5
RUNS = 100
_SEED = 12


@dataclass(frozen=True, slots=True)
class Harm:
    """A harm of a stated size. `measure`: `AUC` (lost by the ranking) or `level` (by which the bounded score is worse)."""

    measure: str
    size: float


HARMS = (Harm(AUC, 0.05), Harm(AUC, 0.1), Harm(LEVEL, 0.005), Harm(LEVEL, 0.01), Harm(LEVEL, 0.02))


@dataclass(frozen=True, slots=True)
class Judging:
    """How rollouts are judged. `cycle_s`, `block_s`: widths of a cycle and a block. `limit`: of the ranking test.

    `margin`: of the level test, infinite where the score has no bound: then the ranking test alone can reject a version,
    and nothing can pass it. `alpha`: the part of the error rate that is for labels. `cycles`: after so many a rollout is given up.
    """

    cycle_s: float
    block_s: float
    limit: float
    margin: float
    min_cycles: int
    alpha: float
    cycles: int


@dataclass(frozen=True, slots=True)
class Record:
    """Labelled requests that the champion scored, in order, whose instants are counted from the first cycle's begin.

    `kind`: of the label. `at_s`, `labels`: shape (n,). `control`: the champion's scores, (n,) or (n, classes), numbers
    scaled to the range 0..1. `cycles`: how many whole cycles of `cycle_s` there are.
    """

    kind: str
    at_s: Floats
    labels: Floats
    control: Floats
    cycles: int

    def table(self, new: Floats, judging: Judging) -> Table:
        """The sums of a version with these scores against the champion."""
        traffic = Traffic(self.kind, self.at_s, self.labels, new, self.control)
        return tabulate(traffic, judging.cycle_s, judging.block_s, judging.limit, (0.0, self.cycles * judging.cycle_s))


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a harm is found. `share`: of the runs, before they are given up. `cycles`, `labels`: the median over all runs,
    infinite where fewer than half find it. `why_not`: why nothing is expected to find it; then the others are void.
    """

    harm: Harm
    share: float = 0.0
    cycles: float = math.inf
    labels: float = math.inf
    why_not: str = ""


def margin_of(record: Record, declared: float | None) -> float:
    """The margin: the declared one, or the default rule for this champion."""
    if declared is not None:
        return declared
    own = float(differences(record.kind, record.control, record.control, record.labels).control.mean())
    classes = record.control.shape[1] if record.control.ndim > 1 else 2
    constant = constant_score(record.kind, label_counts(record.kind, record.labels, classes))
    return float(default_margin(constant - own))


def outlooks(record: Record, judging: Judging, harms: Sequence[Harm] = HARMS, runs: int = RUNS) -> list[Outlook]:
    """How each harm would be found. The same record always gives the same answer."""
    skill = skill_of(record.kind, record.control, record.labels)
    return [_outlook(record, judging, harm, skill, runs) for harm in harms]


def _outlook(record: Record, judging: Judging, harm: Harm, skill: float, runs: int) -> Outlook:
    rng = np.random.default_rng(_SEED)
    if harm.measure == LEVEL and harm.size <= judging.margin:
        unbounded = "the score has no bound: low and high are not declared"
        within = f"it is within the margin {judging.margin:.3g}: it counts as no worse"
        return Outlook(harm, why_not=unbounded if math.isinf(judging.margin) else within)
    if harm.measure == AUC and harm.size >= skill:
        return Outlook(harm, why_not=f"the champion's whole AUC is {0.5 + max(skill, 0):.3g}")
    try:
        if harm.measure == AUC:
            new = with_less_skill(record.kind, record.control, record.labels, harm.size / skill, rng)
        else:
            new = with_noise(record.kind, record.control, record.labels, harm.size, rng)
    except ValueError:
        return Outlook(harm, why_not="the champion is hardly better than a constant: it has less to lose")
    table = record.table(new, judging)
    drawn = draw_cycles(rng, runs, judging.cycles, table.cycles)
    found = judged(table, drawn, judging)
    share = float(found.is_failed().mean())
    cycles = np.where(found.is_failed(), found.failed, math.inf)
    return Outlook(harm, share, _middle(cycles), _middle(labels_to_fail(table, drawn, found)))


def judged(table: Table, drawn: Ints, judging: Judging) -> Trials:
    """What becomes of the runs. A score without a bound has no level, so only the ranking test judges it."""
    found = judge(table, drawn, judging.margin, judging.min_cycles, judging.alpha)
    if math.isfinite(judging.margin):
        return found
    never = np.full(len(found.passed), NEVER)
    return replace(found, passed=never, level_failed=never, gross_failed=never, gross_labels=never)


def labels_to_broken(record: Record, judging: Judging, runs: int = RUNS, share: float = 0.9) -> float:
    """After how many labels nine of ten versions with a ranking by chance are found; infinite where they are not."""
    rng = np.random.default_rng(_SEED)
    table = record.table(shuffled(record.control, rng), judging)
    drawn = draw_cycles(rng, runs, judging.cycles, table.cycles)
    found = judged(table, drawn, judging)
    return float(np.quantile(labels_to_fail(table, drawn, found), share, method="higher"))


def labels_to_fail(table: Table, drawn: Ints, found: Trials) -> Floats:
    """After how many labels each run failed, by whichever test came first; infinite where it did not."""
    return _labels_after(table, drawn, found.failed, found.is_failed())


def labels_to_pass(table: Table, drawn: Ints, found: Trials) -> Floats:
    """After how many labels each run passed; infinite where it did not."""
    return _labels_after(table, drawn, found.passed, found.is_passed())


def _labels_after(table: Table, drawn: Ints, cycles: Floats, is_so: NDArray[np.bool_]) -> Floats:
    """The labels of each run after so many cycles, the last of which may be a part."""
    blocks = np.where(is_so, np.rint(np.where(is_so, cycles, 1) * table.blocks), 1).astype(np.int64)
    seen = table.requests[drawn].reshape(len(drawn), -1).cumsum(axis=1)
    return np.where(is_so, np.take_along_axis(seen, blocks[:, None] - 1, axis=1)[:, 0], math.inf)


def _middle(values: Floats) -> float:
    """The median; infinite where half of the values are."""
    return float(np.quantile(values, 0.5, method="higher"))
