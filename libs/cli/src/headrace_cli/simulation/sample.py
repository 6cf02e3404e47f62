"""The whole cycles of a deployment's record, as the simulated rollouts draw them.

Cycles without a labelled request are left out, so that a pause of months takes no memory and counts for nothing; the
others follow each other. A cycle counts as whole when its labelled requests reach over three quarters of it.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import RolloutDefinition
from headrace.project.applicable.wording import duration
from headrace.stats.alphas import labels_alpha
from headrace.stats.planning import LEAST_CYCLES, Judging, Record, margin_of
from headrace_cli.simulation.recorded import Recorded, has_range, scaled

Ints = NDArray[np.int64]

WEEK_S = 604_800.0
# More blocks than these in a cycle are no sharper, only slower.
MOST_BLOCKS_A_CYCLE = 168
# So many blocks are drawn from, the newest ones.
MOST_BLOCKS = 20_000
# A simulated rollout is not drawn longer than this, or twice the least number of cycles.
MOST_CYCLES = 120
# How far into a cycle its first request may come, and how far before its end the last one.
_SLACK = 0.25


@dataclass(frozen=True)
class Sample:
    """Whole cycles of labelled requests. `rows`: their places in what was recorded. `weeks`: per cycle the number of its
    calendar week.
    """

    record: Record
    judging: Judging
    rows: Ints
    weeks: Ints

    @property
    def cycles(self) -> int:
        """How many there are."""
        return self.record.cycles


def judging_of(plan: RolloutDefinition, least_block_s: float = 0.0) -> Judging:
    """How rollouts of a plan are judged, with a margin that is still to be found where none is declared.

    `least_block_s`: blocks are not shorter, unless a whole cycle is.
    """
    cycle_s = plan.cycle_s
    blocks = max(round(cycle_s / plan.block_s), 1)
    most = min(MOST_BLOCKS_A_CYCLE, max(int(cycle_s / max(least_block_s, 1.0)), 1))
    block_s = cycle_s / next(n for n in range(min(blocks, most), 0, -1) if blocks % n == 0)
    most_cycles = max(MOST_CYCLES, 2 * plan.min_cycles)
    cycles = min(max(math.floor(plan.give_up_s / cycle_s), 1), most_cycles)
    margin = 0.0 if plan.margin is None else plan.margin
    alpha = labels_alpha(plan.alpha, has_guardrails=not all(rail.dry_run for rail in plan.guardrails))
    return Judging(cycle_s, block_s, plan.ranking_limit, margin, plan.min_cycles, alpha, cycles)


def sample_of(
    found: Recorded,
    plan: RolloutDefinition,
    most_cycles: int | None = None,
    *,
    least_block_s: float = 0.0,
    rows: NDArray[np.bool_] | None = None,
) -> Sample:
    """The newest whole cycles of labelled requests, at most `most_cycles` (and as many as `MOST_BLOCKS` allow).

    Requests whose label delay has not passed are left out, since only the early ones of their labels are known. `rows`:
    which requests to take, all by default.
    """
    judging, delay_s = judging_of(plan, least_block_s), plan.delay_s(found.label)
    kept = ~np.isnan(found.labels) & (found.at_s + delay_s <= found.clock_s)
    kept = np.flatnonzero(kept if rows is None else kept & rows)
    numbers = np.floor(found.at_s[kept] / judging.cycle_s).astype(np.int64)
    within = found.at_s[kept] - numbers * judging.cycle_s
    whole = _whole(numbers, within, judging.cycle_s)
    most = MOST_BLOCKS // round(judging.cycle_s / judging.block_s)
    whole = whole[max(len(whole) - (most if most_cycles is None else min(most, most_cycles)), 0) :]
    is_in = np.isin(numbers, whole)
    kept, places = kept[is_in], np.searchsorted(whole, numbers[is_in])
    at_s = places * judging.cycle_s + within[is_in]
    labels, control = scaled(found, found.labels[kept]), scaled(found, found.scores[kept])
    record = Record(found.label.kind, at_s, labels, control, len(whole))
    if not has_range(found.label):
        judging = replace(judging, margin=math.inf)
    elif len(whole):
        judging = replace(judging, margin=margin_of(record, plan.margin))
    weeks = np.floor(whole * judging.cycle_s / WEEK_S).astype(np.int64)
    return Sample(record, judging, kept, weeks)


def too_few(found: Recorded, sample: Sample) -> str:
    """How many whole cycles with labels there are, and how many are needed, as text."""
    cycle, count = duration(sample.judging.cycle_s), sample.cycles
    what = f"the newest {len(found):,} decisions hold" if found.cut else "the log holds"
    return f"{what} {count} whole cycle{'s' * (count != 1)} of {cycle} with labels, and {LEAST_CYCLES} are needed"


def _whole(numbers: Ints, within: NDArray[np.float64], cycle_s: float) -> Ints:
    """The numbers of the cycles with requests, less a first and a last one that are not whole."""
    found = np.unique(numbers)
    if len(found) and within[numbers == found[0]].min() > _SLACK * cycle_s:
        found = found[1:]
    if len(found) and within[numbers == found[-1]].max() < (1 - _SLACK) * cycle_s:
        found = found[:-1]
    return found
