"""Simulated rollouts of versions that are known to be harmless, at the margin, worse or broken: what becomes of them.

    version                   made of the champion's scores by            a mistake of the tests is
    the same scores           nothing                                     FAIL
    a jittered twin           noise too small to matter                   FAIL
    at the margin             noise worth the margin                      FAIL or PASS
    worse by twice it         noise worth twice the margin                PASS
    half of the limit lost    noise that loses half of ranking_limit      FAIL by ranking or gross
    labels shuffled           scores given to other requests              PASS
    labels flipped            scores turned around                        PASS
    p squared                 too low probabilities in the same order     PASS, if worse by more than the margin
    version N in shadow       its own scores on the log                   not known

Rollouts are drawn from whole cycles of the record (`headrace.stats.trials`). The rates are also computed from the record
without each of its weeks: how far they move says how much they rest on a single one.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import RolloutDefinition
from headrace.project.labels import NUMBER
from headrace.stats import variants
from headrace.stats.planning import LEAST_CYCLES, Judging, Record, judged, labels_to_fail, labels_to_pass
from headrace.stats.scores import LEAST_PAIRS, differences
from headrace.stats.shares import Share, share_of
from headrace.stats.trials import Table, Trials, draw_cycles
from headrace_cli.simulation.recorded import Recorded, scaled
from headrace_cli.simulation.sample import Sample, sample_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[float, str], None]
Make = Callable[[np.random.Generator], Floats]
Hits = Callable[[Trials], NDArray[np.bool_]]

# Below so many independent cycles the rates are indicative only.
ENOUGH_CYCLES = 60
# Runs per week that is left out, at the most.
RUNS_A_WEEK = 100
# More weeks than these are left out in groups.
MOST_WEEKS = 20
_SEED = 12


class Mistake(Enum):
    """A verdict that would be wrong of a version."""

    FAIL = "FAIL"
    FAIL_EARLY = "FAIL by ranking or gross"
    PASS = "PASS"
    PASS_IF_WORSE = "PASS, if worse by more than the margin"


@dataclass(frozen=True, slots=True)
class Variant:
    """A version to simulate: its scores of the requests of a record. `weeks`: see `Sample`."""

    name: str
    record: Record
    judging: Judging
    weeks: Ints
    scores: Floats
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """When runs decide: the median and the 90th percentile over all runs, in cycles and labels; infinite for never."""

    cycles: tuple[float, float]
    labels: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one version's runs.

    `worse_by`: the mean difference of its score from the champion's. `skill_lost`: the part of the champion's ranking
    that it lost. `failed`, `passed`: shares of the runs. `by`: of all runs, those that failed first by each test.
    `false_rollbacks`, `wrong_promotions`: the mistakes; None where this verdict would be none. `in_window`: failed
    within the rollback window; None where there is none.
    """

    version: str
    worse_by: float
    skill_lost: float
    failed: Share
    passed: Share
    by: dict[str, float]
    decision: Decision
    false_rollbacks: Share | None
    wrong_promotions: Share | None
    in_window: Share | None


@dataclass(frozen=True, slots=True)
class Simulated:
    """All rows. `cycles`: how many independent ones the log holds; `labels`: in them; `runs`: per row."""

    rows: tuple[Row, ...]
    judging: Judging
    cycles: int
    labels: int
    runs: int

    @property
    def is_indicative(self) -> bool:
        """Whether there are too few cycles for the rates to be more than an indication."""
        return self.cycles < ENOUGH_CYCLES


def simulate(
    found: Recorded,
    sample: Sample,
    plan: RolloutDefinition,
    runs: int,
    window_cycles: float | None = None,
    progress: Progress = lambda share, text: None,
) -> Simulated:
    """Simulate `runs` rollouts of each version. The same record and `runs` always give the same rates.

    `window_cycles`: how many cycles of labels the rollback window holds; None for none.
    """
    rows = []
    chosen = list(_makers(found, sample, plan))
    for number, (name, make) in enumerate(chosen):
        progress(number / len(chosen), name)
        variant = make()
        if variant is not None:
            rows.append(_row(variant, runs, window_cycles))
    progress(1.0, "done")
    return Simulated(tuple(rows), sample.judging, sample.cycles, len(sample.record.at_s), runs)


def _makers(
    found: Recorded, sample: Sample, plan: RolloutDefinition
) -> Iterator[tuple[str, Callable[[], Variant | None]]]:
    """The versions by name, each made when its turn comes, so that one at a time is in memory."""
    record, judging = sample.record, sample.judging
    kind, control, labels = record.kind, record.control, record.labels
    margin, limit = judging.margin, judging.limit

    def own(name: str, make: Make, *mistakes: Mistake) -> tuple[str, Callable[[], Variant | None]]:
        return name, lambda: _made(sample, name, make, mistakes)

    yield own("the same scores", lambda rng: control, Mistake.FAIL)
    yield own("a jittered twin", lambda rng: variants.jittered(kind, control, rng), Mistake.FAIL)
    if 0 < margin < math.inf:
        at, twice = f"worse by {margin:.2g} (the margin)", f"worse by {2 * margin:.2g} (twice it)"
        yield own(at, partial(_noisy, record, margin), Mistake.FAIL, Mistake.PASS)
        yield own(twice, partial(_noisy, record, 2 * margin), Mistake.PASS)
    half = f"{limit / 2:.0%} of the ranking lost (half the limit)"
    yield own(half, lambda rng: variants.with_less_skill(kind, control, labels, limit / 2, rng), Mistake.FAIL_EARLY)
    yield own("labels shuffled", lambda rng: variants.shuffled(control, rng), Mistake.PASS)
    yield own("labels flipped", lambda rng: variants.flipped(kind, control), Mistake.PASS)
    if kind != NUMBER:
        yield own("p squared", lambda rng: variants.squared(kind, control), Mistake.PASS_IF_WORSE)
    version = _second(found)
    if version is not None:
        yield f"version {version} in shadow", lambda: _recorded(found, plan, version)


def _noisy(record: Record, difference: float, rng: np.random.Generator) -> Floats:
    return variants.with_noise(record.kind, record.control, record.labels, difference, rng)


def _made(sample: Sample, name: str, make: Make, mistakes: tuple[Mistake, ...]) -> Variant | None:
    """The version; None where the champion has too little to lose for it."""
    try:
        scores = make(np.random.default_rng(_SEED))
    except ValueError:
        return None
    return Variant(name, sample.record, sample.judging, sample.weeks, scores, mistakes)


def _second(found: Recorded) -> int | None:
    """The shadow with the most scores; None without one."""
    counts = {version: int((~_failed(scores)).sum()) for version, scores in found.others.items()}
    return max(((count, version) for version, count in counts.items()), default=(0, None))[1]


def _failed(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = np.isnan(scores).reshape(len(scores), -1)
    return np.logical_or.reduce(missing, axis=1)


def _recorded(found: Recorded, plan: RolloutDefinition, version: int) -> Variant | None:
    """A version with its own scores, on the cycles in which it has any; None where these are too few."""
    scores = found.others[version]
    sample = sample_of(found, plan, rows=~_failed(scores))
    if sample.cycles < LEAST_CYCLES:
        return None
    own = scaled(found, scores[sample.rows])
    return Variant(f"version {version} in shadow", sample.record, sample.judging, sample.weeks, own)


def _row(variant: Variant, runs: int, window_cycles: float | None) -> Row:
    record, judging = variant.record, variant.judging
    apart = differences(record.kind, variant.scores, record.control, record.labels)
    worse_by, can_differ = float(apart.seen.mean()), float(apart.high.max(initial=0.0)) >= judging.margin
    table = record.table(variant.scores, judging)

    def outcome(count: int, pool: Ints) -> tuple[Ints, Trials]:
        drawn = pool[draw_cycles(np.random.default_rng(_SEED), count, judging.cycles, len(pool))]
        found = judged(table, drawn, judging)
        return drawn, found if can_differ or not math.isfinite(judging.margin) else _at_once(found, table, drawn)

    drawn, whole = outcome(runs, np.arange(table.cycles))
    without = [outcome(min(runs, RUNS_A_WEEK), pool)[1] for pool in _without_a_week(variant.weeks)]

    def share(hits: Hits) -> Share:
        return share_of(hits(whole), [float(hits(one).mean()) for one in without])

    false, wrong = _mistaken(variant.mistakes, is_worse=worse_by > judging.margin)
    return Row(
        version=variant.name,
        worse_by=worse_by,
        skill_lost=variants.skill_lost(record.kind, variant.scores, record.control, record.labels),
        failed=share(Trials.is_failed),
        passed=share(Trials.is_passed),
        by=_by(whole),
        decision=_decision(table, drawn, whole),
        false_rollbacks=None if false is None else share(false),
        wrong_promotions=None if wrong is None else share(wrong),
        in_window=None if window_cycles is None else share(lambda one: one.is_failed(window_cycles)),
    )


def _mistaken(mistakes: Sequence[Mistake], *, is_worse: bool) -> tuple[Hits | None, Hits | None]:
    """Which runs are false rollbacks, and which are wrong promotions; None where this verdict would be no mistake."""
    false, wrong = None, None
    for mistake in mistakes:
        match mistake:
            case Mistake.FAIL:
                false = Trials.is_failed
            case Mistake.FAIL_EARLY:
                false = _is_failed_early
            case Mistake.PASS:
                wrong = Trials.is_passed
            case Mistake.PASS_IF_WORSE:
                wrong = Trials.is_passed if is_worse else None
    return false, wrong


def _is_failed_early(found: Trials) -> NDArray[np.bool_]:
    """Which runs failed by ranking or gross, before or as they failed by level."""
    return found.is_failed() & (found.failed_early / found.blocks <= found.level_failed)


def _by(found: Trials) -> dict[str, float]:
    """The shares of all runs that failed first by each test."""
    failed, early = found.is_failed(), _is_failed_early(found)
    is_ranking = found.ranking_failed <= found.gross_failed
    hits = {"ranking": early & is_ranking, "gross": early & ~is_ranking, "level": failed & ~early}
    return {name: float(own.mean()) for name, own in hits.items()}


def _at_once(found: Trials, table: Table, drawn: Ints) -> Trials:
    """The same where both versions cannot differ by more than the margin: that is a PASS after `LEAST_PAIRS`."""
    seen = table.requests[drawn].reshape(len(drawn), -1).cumsum(axis=1)
    blocks = np.where(seen[:, -1] >= LEAST_PAIRS, (seen >= LEAST_PAIRS).argmax(axis=1) + 1.0, np.inf)
    return replace(found, passed=np.minimum(found.passed, blocks / table.blocks))


def _decision(table: Table, drawn: Ints, found: Trials) -> Decision:
    cycles = np.where(found.is_failed(), found.failed, np.where(found.is_passed(), found.passed, np.inf))
    labels = np.minimum(labels_to_fail(table, drawn, found), labels_to_pass(table, drawn, found))
    return Decision(_typical(cycles), _typical(labels))


def _typical(values: Floats) -> tuple[float, float]:
    """The median and the 90th percentile; infinite where so many never came to it."""
    middle, late = np.quantile(values, [0.5, 0.9], method="higher")
    return float(middle), float(late)


def _without_a_week(weeks: Ints) -> list[Ints]:
    """Places of the cycles without each week, or without each group of neighbouring weeks where there are many."""
    found = np.unique(weeks)
    groups = np.array_split(found, min(len(found), MOST_WEEKS))
    return [np.flatnonzero(~np.isin(weeks, group)) for group in groups] if len(found) > 1 else []
