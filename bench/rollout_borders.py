"""Wrong verdicts at natural borders: the margin is the true difference of two real versions, so PASS and FAIL are both
wrong.

Nothing is made up: the versions are real, and so are the days and their order within each stretch. The controls
(`bench.controls`) judge the same draws.
"""

from dataclasses import dataclass, field

import numpy as np

from bench.controls import blocks_of, by_chains, by_t_test
from bench.flight_scores import HOUR_S, span_of
from bench.measure import Row, progress
from bench.rollout_harness import (
    Bools,
    Ints,
    Pair,
    Records,
    above,
    at_most,
    bounded,
    draw,
    interval,
    judged,
    shown,
    table_of,
)
from headrace.stats.trials import Table

BORDERS = (
    Pair("logit", "may", 6),
    Pair("late", "may", 6),
    Pair("resample_b", "resample_a", 6),
    Pair("may", "jun", 7),
    Pair("mar", "aug", 9),
    Pair("logit", "mar", 6),
)
# A hundred times the traffic is simulated of those that are wrong most often.
DENSEST = (BORDERS[0], BORDERS[3], BORDERS[4])
STORMS = (Pair("mar", "may", 6), Pair("mar", "jun", 7))
CONTROL_RUNS = 300
MOST_WRONG, MOST_WRONG_FAIL, MOST_UPPER = 0.05, 0.025, 0.075


@dataclass
class Wrong:
    """Which runs had a wrong PASS, and which a wrong FAIL, by pair."""

    passed: dict[str, Bools] = field(default_factory=dict)
    failed: dict[str, Bools] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)

    def add(self, pair: Pair, margin: float, passed: Bools, failed: Bools) -> None:
        """Add those of a pair."""
        self.passed[pair.name], self.failed[pair.name], self.margins[pair.name] = passed, failed, margin

    def rows(self, what: str) -> list[Row]:
        """Rows of all pairs together and of each."""
        found = [
            at_most(f"{what}.wrong_pass.pooled", np.concatenate([*self.passed.values()]), MOST_WRONG),
            at_most(f"{what}.wrong_fail.pooled", np.concatenate([*self.failed.values()]), MOST_WRONG_FAIL),
        ]
        for name, margin in self.margins.items():
            note = f"margin {margin:.5f}"
            found.append(bounded(f"{what}.wrong_pass.{name}", self.passed[name], MOST_UPPER, note))
            found.append(at_most(f"{what}.wrong_fail.{name}", self.failed[name], MOST_WRONG_FAIL, note))
        return found

    def redrawn_rows(self, what: str) -> list[Row]:
        """The same of what drawing from each hour does by itself, of which nothing is demanded."""
        hits = {"wrong_pass": self.passed, "wrong_fail": self.failed}
        return [shown(f"{what}.{kind}.{name}", values[name]) for kind, values in hits.items() for name in values]

    def control_row(self, what: str) -> Row:
        """The row of a control, which must break what is demanded: of all pairs together, or of the worst one."""
        shares = {name: float(passed.mean()) for name, passed in self.passed.items()}
        worst = max(shares, key=shares.__getitem__)
        pooled = np.concatenate([*self.passed.values()])
        found = above(f"{what}.wrong_pass.pooled", pooled, MOST_WRONG)
        lower, upper = interval(int(self.passed[worst].sum()), len(self.passed[worst]))
        found.unit += f"; most for {worst}: {shares[worst]:.3f} ({lower:.3f}-{upper:.3f})"
        found.demanded = f"a control: over {MOST_WRONG:g}, all or one pair"
        found.met = found.met or lower > MOST_WRONG
        return found


def border_rows(records: Records) -> list[Row]:
    """The rows of borders, of denser traffic, of storms, and of the controls."""
    rows: list[Row] = []
    of_controls: list[Row] = []
    for what, pairs in (("border", BORDERS), ("storms", STORMS)):
        wrong, chains, t_test = Wrong(), Wrong(), Wrong()
        for pair in pairs:
            drawn = _judged(wrong, what, pair, records.table(pair))
            _control(chains, t_test, records, pair, drawn[:CONTROL_RUNS])
        rows += wrong.rows(what)
        of_controls.append(chains.control_row(f"control.every_kth_block.{what}"))
        of_controls.append(t_test.control_row(f"control.t_test.{what}"))
    for what, times, pairs in (
        ("border_redrawn", 1, BORDERS[:1]),
        ("border_x10", 10, BORDERS),
        ("border_x100", 100, DENSEST),
    ):
        wrong = Wrong()
        for pair in pairs:
            _judged(wrong, what, pair, table_of(records.traffic(pair), pair, times))
        rows += wrong.rows(what) if times > 1 else wrong.redrawn_rows(what)
    return [*rows, *of_controls]


def _judged(wrong: Wrong, what: str, pair: Pair, table: Table) -> Ints:
    """Judge a pair at its border. Returns what was drawn."""
    assert table.difference > 0, f"{pair.name}: the new version must be the worse one, for margins are not negative"
    drawn = draw(table)
    trials = judged(table, drawn, table.difference)
    passed, failed = np.isfinite(trials.passed), np.isfinite(trials.failed)
    wrong.add(pair, table.difference, passed, failed)
    progress(f"{what} {pair.name}: wrong PASS {passed.mean():.3f}, wrong FAIL {failed.mean():.3f}")
    return drawn


def _control(chains: Wrong, t_test: Wrong, records: Records, pair: Pair, drawn: Ints) -> None:
    """Let the controls judge the same draws."""
    table, traffic = records.table(pair), records.traffic(pair)
    lag_s = records.year.lag_s[records.year.between(pair.first, pair.after_last)]
    begin_s, _ = span_of(pair.first, pair.after_last)
    blocks = blocks_of(traffic, lag_s, table.difference, (table.cycles, table.blocks), begin_s, HOUR_S)
    for name, wrong, found in (("every k-th block", chains, by_chains), ("t-test", t_test, by_t_test)):
        wrong.add(pair, table.difference, *found(blocks, drawn))
        shares = [float(hits[pair.name].mean()) for hits in (wrong.passed, wrong.failed)]
        progress(f"  {name}: wrong PASS {shares[0]:.3f}, wrong FAIL {shares[1]:.3f}")
