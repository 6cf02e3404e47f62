"""Monitor: how often it pages without a reason, and how soon it finds what is broken, on the flight year in whole weeks.

    pages      pages a month in synthetic years without drift, against the budget; at the seams of weeks apart
    control    what must fail the same test: raw ADWIN on the loss of each request, and a page in every window
    fault      delays of planted faults, by how many trials each was missed, and what else paged

Also writes docs/reports/monitor.md and its plots. The constants of the monitor were chosen on January to March and on generated
streams; nothing here was used to choose them.
"""

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import ROOT, ForeignLoad, Row, progress
from bench.monitor_false_alarms import (
    ADWIN_YEARS,
    MONTHS,
    Pages,
    Year,
    every_window,
    pages_of,
    quiet_a_month,
    raw_adwin,
    year_of,
    years,
)
from bench.monitor_faults import LABEL_FAULTS, Figures, Trial, onsets, row_faults, row_trials, source_figures, tried
from bench.monitor_inputs import false_findings
from bench.monitor_plots import delays_plot, pages_plot
from bench.monitor_report import Quiet, report
from bench.monitor_streams import BUDGET, MONTH_S, REFERENCE_WEEKS, Days
from bench.monitor_weeks import DAY_S, WEEK_S, weeks
from bench.rollout_harness import interval

Ints = NDArray[np.int64]

REPORTS = ROOT / "docs" / "reports"
PROCESSES = 2
# Of the years without drift at most this share may have more than twice the budget.
MOST_YEARS = 0.05
# So many years have at most the upper bound that the ledger tells.
COVERED = 0.9
# In at most this share of the trials anything else may page before the fault is found.
MOST_OTHERS = 0.1
# Sound inputs are looked at in so many of the synthetic years, for so many weeks each.
INPUT_YEARS, INPUT_WEEKS = 6, 8

# The recorded days, for processes that were forked.
_RECORDED: list[Days] = []


def run() -> list[Row]:
    """All rows of the area; also writes the report."""
    days = Days(weeks())
    with ForeignLoad() as load:
        drawn = years()
        progress(f"{len(drawn)} synthetic years without drift")
        found = _spread(days, _year, drawn)
        pages = [pages_of("ours", found), *controls(days, drawn)]
        faults = fault_figures(days)
        quiet = quiet_of(days, found, drawn)
    rows = [*page_rows(pages, found), *quiet_rows(quiet), *(row for figures in faults for row in fault_rows(figures))]
    for row in rows:
        row.foreign_load_share = load.share
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / "monitor-pages.svg").write_text(pages_plot(pages[0], BUDGET))
    (REPORTS / "monitor-delays.svg").write_text(delays_plot(faults))
    (REPORTS / "monitor.md").write_text(report(pages, quiet, faults, rows))
    return rows


def controls(days: Days, drawn: Ints) -> list[Pages]:
    """The pages of methods that must fail."""
    progress("raw ADWIN")
    return [raw_adwin(days, drawn[:ADWIN_YEARS]), every_window(drawn)]


def fault_figures(days: Days) -> list[Figures]:
    """All trials of all faults: of sources, rows, labels and scores."""
    drawn, rows = onsets(), row_faults(days.weeks.signature)
    progress(f"{len(drawn)} onsets of each fault")
    by_onset = _spread(days, _rows, range(len(drawn)))
    found = [
        *source_figures(days.weeks, drawn),
        *(Figures(fault, [trials[place] for trials in by_onset]) for place, fault in enumerate(rows)),
        *(
            Figures(LABEL_FAULTS[place], trials)
            for place, trials in enumerate(_spread(days, _labels, range(len(LABEL_FAULTS))))
        ),
    ]
    for one in found:
        median, most = (one.quantile_s(share) / DAY_S for share in (0.5, 0.9))
        progress(f"{one.fault.name}: median {median:.2f} d, 90th percentile {most:.2f} d, {one.missed} missed")
    return found


def quiet_of(days: Days, found: Sequence[Year], drawn: Ints) -> Quiet:
    """Findings of sound weeks that call nobody."""
    progress("inputs of sound weeks")
    opened = [
        one for year in _spread(days, _inputs, drawn[:INPUT_YEARS, : REFERENCE_WEEKS + INPUT_WEEKS]) for one in year
    ]
    months = INPUT_YEARS * INPUT_WEEKS * WEEK_S / MONTH_S
    return Quiet(quiet_a_month(found), {name: count / months for name, count in Counter(opened).most_common()})


def _spread(days: Days, work: Callable[[Any], Any], over: Any) -> list[Any]:
    """The work on each item, in order, by forked processes that share the recorded days."""
    _RECORDED[:] = [days]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(work, over))


def _year(weeks_drawn: Ints) -> Year:
    return year_of(_RECORDED[0], weeks_drawn)


def _rows(place: int) -> list[Trial]:
    return row_trials(_RECORDED[0], onsets()[place])


def _labels(place: int) -> list[Trial]:
    return [tried(_RECORDED[0], LABEL_FAULTS[place], onset) for onset in onsets()]


def _inputs(weeks_drawn: Ints) -> list[str]:
    return [f"{found.kind} {found.about}".strip() for found in false_findings(_RECORDED[0], weeks_drawn)]


def quiet_rows(quiet: Quiet) -> list[Row]:
    """Findings of sound weeks that call nobody: nothing is demanded of them."""
    found = Counter[str]()
    for name, value in (*quiet.charts.items(), *quiet.inputs.items()):
        found[name if name.startswith("drift") else name.partition(" ")[0]] += value
    unit = "findings a month, without a fault"
    return [row(f"quiet.{name.replace(' ', '.')}", value, unit, "-", True, 1) for name, value in found.items()]


def page_rows(pages: Sequence[Pages], found: Sequence[Year]) -> list[Row]:
    """That the budget is kept, that the ledger tells so, and that methods which do not keep it fail."""
    ours, *others = pages
    told = [year.told for year in found if year.told is not None]
    counts = [ours.a_year[n] / MONTHS for n, year in enumerate(found) if year.told is not None]
    kept = np.mean([count <= high for count, (_, high) in zip(counts, told, strict=True)]) if told else 0.0
    runs, over = len(ours.away), ours.above(2 * BUDGET)
    low, high = interval(int(over.sum()), runs)
    unit = f"pages a month, upper bound {ours.bound:.2f}, away from seams {ours.a_month:.2f}"
    rows = [
        row("pages.a_month", ours.with_seams, unit, f"upper bound <= {BUDGET:g}", ours.bound <= BUDGET, runs),
        row(
            "pages.years_above_twice_the_budget", over.mean(), f"share, 95 % {low:.3f}-{high:.3f}",
            f"<= {MOST_YEARS:g}", over.mean() <= MOST_YEARS, runs,
        ),
        row("pages.at_seams", ours.at_seams.sum() / (runs * MONTHS), "pages a month in first windows behind seams", "-", True, runs),
    ]  # fmt: skip
    mean = np.mean([measured for measured, _ in told]) if told else 0.0
    unit = f"share of years with at most its upper bound of pages; it expected {mean:.2f} pages a month in the mean"
    rows.append(row("pages.ledger_covers", kept, unit, f">= {COVERED:g}", kept >= COVERED, len(told)))
    for one in others:
        unit = f"pages a month, lower bound {one.lower:.1f}; years above twice the budget: {one.above(2 * BUDGET).mean():.2f}"
        demanded = f"a control: lower bound > {BUDGET:g}"
        rows.append(row(f"control.{one.name}", one.with_seams, unit, demanded, one.lower > BUDGET, len(one.away)))
    return rows


def fault_rows(figures: Figures) -> list[Row]:
    """How soon one fault is found, and whether anything else pages first."""
    fault, runs = figures.fault, len(figures.trials)
    median, most = (figures.quantile_s(share) for share in (0.5, 0.9))
    named = ", ".join(f"{name or '-'} {count}" for name, count in figures.names.most_common())
    within_s = fault.within_s
    demanded = "-" if within_s is None else f"<= {within_s / DAY_S:.3g}, at most a tenth missed"
    met = within_s is None or (median <= within_s and most < math.inf)
    unit = f"days, median; 90th percentile {most / DAY_S:.2f}; missed {figures.missed} of {runs}; {named}"
    others = figures.others_first / runs
    what = ", ".join(f"{name} {count}" for name, count in figures.others.most_common()) or "nothing"
    return [
        row(f"fault.{fault.name}.delay", median / DAY_S, unit, demanded, met, runs),
        row(
            f"fault.{fault.name}.others_first", others, f"share of trials with another page before it; in all: {what}",
            f"<= {MOST_OTHERS:g}", others <= MOST_OTHERS, runs,
        ),
    ]  # fmt: skip


def row(name: str, value: float, unit: str, demanded: str, met: bool, runs: int) -> Row:
    """A row of the area."""
    return Row(f"monitor.{name}", float(value), unit, None, None, None, demanded, bool(met), runs, 0.0, 0.0)
