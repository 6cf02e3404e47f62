"""How the rollouts area simulates and what its rows look like.

A run is a row of whole days drawn from the months of a record, in stretches of seven days on average. With k times the
traffic each hour has k times as many requests, drawn from its own with replacement: the weather and its days stay. That
makes hours differ by more than real ones do, for the luck of forty requests becomes the nature of four hundred: already
at the same traffic the ranking test is wrong several times as often (`redrawn` rows).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from bench.flight_scores import DAY_S, HOUR_S, LATE, Year, span_of
from bench.measure import Row
from headrace.events.definition import RolloutDefinition
from headrace.stats.alphas import labels_alpha
from headrace.stats.trials import Block, Table, Traffic, Trials, draw_cycles, judge, tabulate, tabulate_blocks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RUNS, CYCLES, HOURS = 1000, 60, 24
# Everything that is not said otherwise is the default.
PLAN = RolloutDefinition("canary")
ALPHA = labels_alpha(PLAN.alpha, has_guardrails=True)


@dataclass(frozen=True)
class Pair:
    """A version beside its champion, on whole days of some months."""

    new: str
    control: str
    first: int
    after_last: int = 13
    label: str = LATE

    @property
    def name(self) -> str:
        """For rows."""
        return f"{self.new}-{self.control}"


@dataclass(frozen=True)
class Records:
    """What was recorded, with the sums of the pairs that were asked for."""

    year: Year
    tables: dict[Pair, Table] = field(default_factory=dict)

    def traffic(self, pair: Pair) -> Traffic:
        """The record of a pair."""
        return self.year.traffic(pair.new, pair.control, pair.first, pair.after_last, pair.label)

    def table(self, pair: Pair) -> Table:
        """The sums of a pair."""
        if pair not in self.tables:
            self.tables[pair] = table_of(self.traffic(pair), pair)
        return self.tables[pair]


def table_of(traffic: Traffic, pair: Pair, times: int | None = None) -> Table:
    """The sums of a record. `times`: how much traffic is drawn from each hour; None for the record as it is."""
    span_s = span_of(pair.first, pair.after_last)
    if times is None:
        return tabulate(traffic, DAY_S, HOUR_S, PLAN.ranking_limit, span_s)
    blocks = _denser(traffic, np.arange(span_s[0], span_s[1] + HOUR_S / 2, HOUR_S), times)
    return tabulate_blocks(traffic.kind, traffic.classes, blocks, HOURS, PLAN.ranking_limit)


def _denser(traffic: Traffic, edges_s: Floats, times: int) -> Iterator[Block]:
    rng = np.random.default_rng(times)
    for a, b in pairwise(np.searchsorted(traffic.at_s, edges_s).tolist()):
        rows = rng.integers(a, b, times * (b - a)) if b > a else np.empty(0, dtype=np.int64)
        yield traffic.new[rows], traffic.control[rows], traffic.labels[rows]


def draw(table: Table, cycles: int = CYCLES, runs: int = RUNS, seed: int = 1) -> Ints:
    """Cycles of every run."""
    return draw_cycles(np.random.default_rng(seed), runs, cycles, table.cycles)


def judged(table: Table, drawn: Ints, margin: float | None = None) -> Trials:
    """Judge the runs as by default."""
    return judge(table, drawn, margin, PLAN.min_cycles, ALPHA)


def interval(count: int, runs: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % bounds of a share."""
    lower = float(beta.ppf(0.025, count, runs - count + 1)) if count else 0.0
    upper = float(beta.ppf(0.975, count + 1, runs - count)) if count < runs else 1.0
    return lower, upper


def at_most(name: str, hits: Bools, limit: float, note: str = "") -> Row:
    """The share of hits is at most that."""
    count, runs = int(hits.sum()), len(hits)
    return row(name, count / runs, share_unit(count, runs, note), f"<= {limit:g}", count / runs <= limit, runs)


def bounded(name: str, hits: Bools, limit: float, note: str = "") -> Row:
    """The upper bound of the share of hits is at most that."""
    count, runs = int(hits.sum()), len(hits)
    met = interval(count, runs)[1] <= limit
    return row(name, count / runs, share_unit(count, runs, note), f"upper bound <= {limit:g}", met, runs)


def above(name: str, hits: Bools, limit: float, note: str = "") -> Row:
    """A control, which must do worse: the lower bound of the share of hits is above that."""
    count, runs = int(hits.sum()), len(hits)
    met = interval(count, runs)[0] > limit
    return row(name, count / runs, share_unit(count, runs, note), f"a control: lower bound > {limit:g}", met, runs)


def at_least(name: str, hits: Bools, limit: float, note: str = "") -> Row:
    """The share of hits is at least that."""
    count, runs = int(hits.sum()), len(hits)
    return row(name, count / runs, share_unit(count, runs, note), f">= {limit:g}", count / runs >= limit, runs)


def shown(name: str, hits: Bools, note: str = "") -> Row:
    """A share of which nothing is demanded."""
    count, runs = int(hits.sum()), len(hits)
    return row(name, count / runs, share_unit(count, runs, note), "-", True, runs)


def share_unit(count: int, runs: int, note: str = "") -> str:
    """The unit of a share: with its bounds."""
    lower, upper = interval(count, runs)
    return f"share, 95 % {lower:.3f}-{upper:.3f}" + (f"; {note}" if note else "")


def row(name: str, value: float, unit: str, demanded: str, met: bool, runs: int) -> Row:
    """A row of the area."""
    return Row(f"rollouts.{name}", float(value), unit, None, None, None, demanded, bool(met), runs, 0.0, 0.0)
