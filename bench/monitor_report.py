"""The report about the monitor, docs/reports/monitor.md, from the figures of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.measure import Row
from bench.monitor_false_alarms import YEAR_WEEKS, Pages
from bench.monitor_faults import (
    CLEAN_DAYS,
    FLIPPED_SHARE,
    ONSETS,
    RAMP_DAYS,
    ROWS_DAYS,
    WATCHED_DAYS,
    Figures,
)
from bench.monitor_streams import BUDGET, MEAN_STRETCH, REFERENCE_WEEKS
from bench.monitor_weeks import DAY_S, FOLDS, WEEKS

HOUR_S = 3600.0
INPUT_KINDS, COLUMNS_SHOWN = ("contract", "inputs"), 5

_HEAD = f"""# The monitor on real weeks: false pages, and faults that were planted

Made by `make bench ONLY=monitor`; do not edit by hand. The data is the flight year of the example: {WEEKS} whole weeks, each scored by
a model that was fitted on other weeks ({FOLDS} folds of interleaved weeks), with the labels that were known at the hour at which each
window of a day closed. The windows go through the monitor's own core. The constants of the monitor were chosen on January to March and
on generated streams (`headrace.stats.e_detector` and `page_bootstrap` say which, on which seeds), and frozen at commit 47cdd225; the years
and onsets below were drawn from new seeds after that. What falls short was not tuned away.

## False pages

Each synthetic year is a stationary bootstrap of whole weeks (stretches of {MEAN_STRETCH:g} weeks on average): {REFERENCE_WEEKS} weeks of
reference, then {YEAR_WEEKS} weeks of one version and no drift, under the default budget of {BUDGET:g} page a month (30 days). Bounds are
one-sided, 95 %, by a bootstrap of the years. They do not cover that all weeks come from one year.
"""

_FAULTS = f"""## Planted faults

{ONSETS} trials each: {REFERENCE_WEEKS} weeks of reference, {CLEAN_DAYS[0]} to {CLEAN_DAYS[1]} clean days, then the fault from a random
instant on, watched for {WATCHED_DAYS} days (faults of rows {ROWS_DAYS} days, ramps {RAMP_DAYS}). Weeks and instants are drawn from a recorded seed;
sources stop at instants of the real year, at night too, when nothing is asked and no clock moves. A delay counts from the
fault to the deployment's clock at which the finding opens; a missed fault is infinite. "Pages before" counts trials in which anything
else paged first; "pages beside" names all other pages while the fault was watched, those that its damage deserves included.
"""


@dataclass(frozen=True)
class Quiet:
    """Findings a month of sound weeks that call nobody, by kind and subject: of charts, and of inputs."""

    charts: Mapping[str, float]
    inputs: Mapping[str, float]


def report(pages: Sequence[Pages], quiet: Quiet, faults: Sequence[Figures], rows: Sequence[Row]) -> str:
    """The whole page, in Markdown."""
    plot = "![Pages of each synthetic year](monitor-pages.svg)\n"
    parts = [_HEAD, *_pages(pages), *_ledger(rows), plot, *_quiet(quiet), _FAULTS, *_faults(faults)]
    return "\n".join([*parts, "![Delays of planted faults](monitor-delays.svg)\n", *_short(rows)])


def _pages(found: Sequence[Pages]) -> list[str]:
    lines = [
        "| method | pages a month | bounds | away from seams | median year | years above twice the budget | years |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        median = sorted(one.a_year)[len(one.a_year) // 2]
        bounds = f"{one.lower:.2f} to {one.bound:.2f}"
        lines.append(
            f"| {one.name} | {one.with_seams:.2f} | {bounds} | {one.a_month:.2f} | {median} pages | "
            f"{one.above(2 * BUDGET).mean():.1%} | {len(one.a_year)} |"
        )
    return [*lines, ""]


def _ledger(rows: Sequence[Row]) -> list[str]:
    """What the ledger expected of these years, by its bootstrap of their references."""
    told = next(row for row in rows if row.name == "monitor.pages.ledger_covers")
    return [f"The ledger of the deployment, by its reference of twelve weeks: {told.ours:.3f} {told.unit}.\n"]


def _quiet(quiet: Quiet) -> list[str]:
    charts = ", ".join(f"{name} {value:.2f}" for name, value in quiet.charts.items()) or "none"
    kinds = {kind: sum(v for name, v in quiet.inputs.items() if name.partition(" ")[0] == kind) for kind in INPUT_KINDS}
    inputs = ", ".join(f"{kind} {value:.2f}" for kind, value in kinds.items())
    columns = [(name.partition(" ")[2], value) for name, value in quiet.inputs.items() if " " in name]
    most = ", ".join(f"{name} {value:.2f}" for name, value in columns[:COLUMNS_SHOWN])
    return [
        f"Findings a month that call nobody, without a fault. By charts: {charts}. By inputs, in other sound weeks with their "
        f"storms (the first two days of the record, when no feature has a value yet, left out): {inputs}; of the contracts most are about: {most or 'nothing'}.\n"
    ]


def _faults(found: Sequence[Figures]) -> list[str]:
    lines = [
        "| fault | demanded | median | 90th percentile | missed | named as | pages before | pages beside |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        within_s, runs = one.fault.within_s, len(one.trials)
        named = ", ".join(f"{name} {count}" for name, count in one.names.most_common(4)) or "-"
        beside = ", ".join(f"{name} {count}" for name, count in one.others.most_common(4)) or "-"
        median, most = (shown_s(one.quantile_s(share)) for share in (0.5, 0.9))
        lines.append(
            f"| {one.fault.name} | {'-' if within_s is None else shown_s(within_s)} | {median} | {most} | {one.missed} of {runs} | "
            f"{named} | {one.others_first} of {runs} | {beside} |"
        )
    return [*lines, "", *_ramps(found)]


def _ramps(found: Sequence[Figures]) -> list[str]:
    """How many labels a slow ramp had turned around by the time it was found."""
    parts = []
    for one in found:
        if one.fault.full_after_days is not None:
            by_then = [
                FLIPPED_SHARE * min(one.quantile_s(q) / DAY_S / one.fault.full_after_days, 1.0) for q in (0.5, 0.9)
            ]
            parts.append(f"{one.fault.name} {by_then[0]:.0%} ({by_then[1]:.0%})")
    return [f"Labels that a ramp had turned around when it was found, median (90th percentile): {', '.join(parts)}.\n"]


def _short(rows: Sequence[Row]) -> list[str]:
    short = [f"- `{row.name}`: {row.ours:.3g} {row.unit}; demanded {row.demanded}" for row in rows if not row.met]
    return ["## What falls short\n", *(short or ["Nothing."]), ""]


def shown_s(seconds: float) -> str:
    """A delay in words.

    >>> shown_s(600.0), shown_s(7200.0), shown_s(2.5 * 86400), shown_s(float("inf"))
    ('10 min', '2.0 h', '2.5 d', 'missed')
    """
    if seconds == float("inf"):
        return "missed"
    if seconds < HOUR_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR_S:.1f} h" if seconds < DAY_S else f"{seconds / DAY_S:.1f} d"
