"""A simulation as a table for people and as plain values for programs."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headrace.project.applicable.wording import duration
from headrace.stats.shares import Share
from headrace_cli.simulation.recorded import Recorded
from headrace_cli.simulation.simulating import ENOUGH_CYCLES, Row, Simulated
from headrace_cli.terminal.render import finite

COLUMNS = (
    "version", "worse_by", "ranking_lost", "rolled_back", "by", "promoted", "false_rollbacks", "wrong_promotions",
    "cycles", "labels", "in_window",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What was simulated, on what. `delay_s`: of the labels. `window_cycles`: of labels in the rollback window, None
    where there is none. `notes`: warnings.
    """

    deployment: str
    found: Recorded
    simulated: Simulated
    delay_s: float
    window_cycles: float | None
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return COLUMNS if self.window_cycles is not None else COLUMNS[:-1]

    @property
    def head(self) -> str:
        """What the table rests on, in a line."""
        done, judging = self.simulated, self.simulated.judging
        indicative = f" INDICATIVE: below {ENOUGH_CYCLES} cycles;" if done.is_indicative else ""
        margin = f"margin {judging.margin:.2g}" if math.isfinite(judging.margin) else "no level test (no low and high)"
        return (
            f"{self.deployment}:{indicative} {done.cycles:,} independent cycles of {duration(judging.cycle_s)} with"
            f" {done.labels:,} labels on the log; {done.runs:,} rollouts of up to {judging.cycles} cycles per version;"
            f" {margin}, ranking_limit {judging.limit:g}, min_cycles {judging.min_cycles}, alpha of labels {judging.alpha:g}"
        )

    @property
    def foot(self) -> Iterator[str]:
        """How to read the table, and what else there is to say."""
        yield (
            "rates: share of the runs [95 % bounds] (least and greatest without any one week of the log); cycles and labels:"
            f" until the decision, median and 90th percentile; labels are read {duration(self.delay_s)} after a block"
        )
        if self.window_cycles is not None:
            yield f"in window: rolled back within the {self.window_cycles:.3g} cycles of labels of the rollback window"
        if self.found.cut:
            yield f"{self.found.cut:,} older records of decisions were not read: only the newest ones count"
        yield from (f"note: {note}" for note in self.notes)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table, as text."""
        return [_texts(row) for row in self.simulated.rows]

    def values(self) -> Mapping[str, Any]:
        """Everything as plain values; None for what is infinite or never came."""
        done = self.simulated
        return finite(
            {
                "deployment": self.deployment,
                "decisions": len(self.found),
                "decisions_not_read": self.found.cut,
                "versions": self.found.versions,
                "cycles": done.cycles,
                "labels": done.labels,
                "indicative": done.is_indicative,
                "runs": done.runs,
                "missing_share": self.found.missing_share,
                "label_delay_s": self.delay_s,
                "window_cycles": self.window_cycles,
                "plan": asdict(done.judging),
                "rows": [asdict(row) for row in done.rows],
                "notes": self.notes,
            }
        )


def _texts(row: Row) -> dict[str, Any]:
    by = [f"{name} {share:.0%}" for name, share in row.by.items() if share]
    return {
        "version": row.version,
        "worse_by": f"{row.worse_by:.2g}",
        "ranking_lost": f"{row.skill_lost:.0%}",
        "rolled_back": _rate(row.failed),
        "by": ", ".join(by),
        "promoted": _rate(row.passed),
        "false_rollbacks": "" if row.false_rollbacks is None else _rate(row.false_rollbacks),
        "wrong_promotions": "" if row.wrong_promotions is None else _rate(row.wrong_promotions),
        "cycles": _both(row.decision.cycles, ".3g"),
        "labels": _both(row.decision.labels, ",.0f"),
        "in_window": "" if row.in_window is None else f"{row.in_window.share:.0%}",
    }


def _rate(found: Share) -> str:
    """A rate with its bounds, and its range without any one week.

    >>> _rate(Share(0.02, 0.0055, 0.0504, (0.0, 0.05)))
    '2 % [1-5] (0-5)'
    """
    weeks = (
        "" if found.without_a_week is None else " ({:.0f}-{:.0f})".format(*(100 * one for one in found.without_a_week))
    )
    return f"{100 * found.share:.3g} % [{100 * found.low:.0f}-{100 * found.high:.0f}]{weeks}"


def _both(values: tuple[float, float], form: str) -> str:
    """A median and a 90th percentile.

    >>> _both((14.0, math.inf), ".3g")
    '14, never'
    """
    return ", ".join(f"{one:{form}}" if math.isfinite(one) else "never" for one in values)
