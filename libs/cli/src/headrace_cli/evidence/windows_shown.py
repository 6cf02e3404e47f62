"""The evaluation windows of a deployment for the terminal: a table of windows, and what the newest closed one shows in detail."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.text import Text

from headrace.events.charts import ChartPoint, ColumnSeen, Estimated
from headrace.events.monitor import VersionQuality, WindowClosed
from headrace.evidence.steps import number
from headrace.project.applicable.wording import duration
from headrace.stats.charts import chart_of, class_of
from headrace_cli.evidence.history import lasted, stamp
from headrace_cli.evidence.windows import OpenWindow, Watched, shares
from headrace_cli.terminal.render import console, harmless, show

COLUMNS = ("window", "verdict", "requests", "labelled", "version", "rows", "figures", "estimated")
CHART_COLUMNS = ("chart", "version", "measured", "usual", "test", "limit", "detectable")
INPUT_COLUMNS = ("column", "version", "rows", "nulls", "distinct", "in_training", "psi", "ks", "p", "moved")
SLICE_COLUMNS = ("slice", "version", "rows", "figures")
# The figures of a version that have a field of their own, the most telling first.
_FIGURES = ("log_loss", "squared_error", "auc", "accuracy", "rmse", "mae")
# `f1@carrier=UA`, `pinball@.9@carrier=UA`; and not `pinball@.9`, which is a quantile.
_OF_A_SLICE = re.compile(r"(?P<metric>[^@]+(?:@[0-9.]+)?)@(?P<slice>[^@=]+=.*)", re.DOTALL)
# Lines of a table that fit beside the others on one screen.
_MOST_LINES = 12


def show_inputs(found: Watched) -> None:
    """The columns of the newest closed window that compared any with the training rows, those that moved first."""
    compared = [window for window in found.closed if window.columns]
    if not compared:
        console.print("no window has compared columns yet: it needs a version whose training rows were described")
        return
    newest = compared[-1]
    span = f"window from {stamp(newest.from_s, '%Y-%m-%d %H:%M')}, times in UTC"
    console.print(Text.assemble((harmless(found.deployment), "bold"), f"  {span}"))
    ordered = sorted(newest.columns, key=lambda one: (not one.is_moved, -one.psi))
    show(list(map(input_row, ordered)), INPUT_COLUMNS, as_json=False, empty="")


def input_row(found: ColumnSeen) -> dict[str, Any]:
    """A column beside the training rows as a line. `distinct`, `in_training`: how many distinct values, by estimate."""
    return {
        "column": found.column,
        "version": str(found.version),
        "rows": f"{found.rows:,}",
        "nulls": f"{found.null_share:.1%}".replace("%", " %"),
        "distinct": "-" if found.distinct is None else f"{found.distinct:,}",
        "in_training": "-" if found.usual_distinct is None else f"{found.usual_distinct:,}",
        "psi": number(found.psi),
        "ks": "-" if found.ks is None else number(found.ks),
        "p": number(found.p_value),
        "moved": "moved" if found.is_moved else "",
    }


def show_windows(found: Watched) -> None:
    """The windows, oldest first; then slices, charts and inputs of the newest closed one."""
    console.print(Text.assemble((harmless(found.deployment), "bold"), f"  {_counted(found)}, times in UTC"))
    rows = [row for window in found.closed for row in closed_rows(window)]
    rows += [row for window in found.open for row in open_rows(window)]
    show(rows, COLUMNS, as_json=False, empty="nothing was asked: `headrace predict` asks")
    if not found.closed:
        return
    newest = found.closed[-1]
    _table(list(slice_rows(newest)), SLICE_COLUMNS, "slices of the newest closed window")
    _table(
        [chart_row(point, found.classes) for point in newest.charts],
        CHART_COLUMNS,
        "charts of the newest closed window",
    )
    for line in notes(newest):
        console.print(Text(harmless(line), "dim"), soft_wrap=True)


def _counted(found: Watched) -> str:
    counts = []
    for name, held, every in (
        ("closed", len(found.closed), found.closed_count),
        ("open", len(found.open), found.open_count),
    ):
        counts.append(f"{every} {name}" if held == every else f"{held} of {every} {name}")
    return f"windows of {duration(found.window_s)}: {', '.join(counts)}"


def _table(rows: list[dict[str, Any]], columns: Iterable[str], title: str) -> None:
    if not rows:
        return
    console.print()
    show(rows[:_MOST_LINES], tuple(columns), as_json=False, empty="", title=title)
    if len(rows) > _MOST_LINES:
        console.print(f"and {len(rows) - _MOST_LINES} more: --json has all", highlight=False)


def closed_rows(window: WindowClosed) -> list[dict[str, Any]]:
    """A closed window: a line per version and role, or one that says why no version was measured."""
    estimated = {one.version: [e for e in window.estimates if e.version == one.version] for one in window.estimates}
    lines = [
        {
            "version": _who(quality),
            "rows": f"{quality.rows:,}",
            "figures": figures_text(quality),
            "estimated": estimates_text(estimated.pop(quality.version, [])),
        }
        for quality in window.qualities
    ]
    if not window.qualities or window.unmeasured:
        lines.append({"figures": window.unmeasured or "no version was measured"})
    lines += [{"version": str(version), "estimated": estimates_text(found)} for version, found in estimated.items()]
    return _with_window(window, window.verdict, lines)


def open_rows(window: OpenWindow) -> list[dict[str, Any]]:
    """An open window: UNMEASURED, with what is expected of each version that was estimated."""
    state = "waits for its labels" if window.is_full else "its requests still come"
    versions = dict.fromkeys(one.version for one in window.estimates)
    lines = [
        {"version": str(version), "estimated": estimates_text([e for e in window.estimates if e.version == version])}
        for version in versions
    ]
    lines = lines or [{"estimated": f"none: {window.unestimated}"} if window.unestimated else {}]
    lines[0]["figures"] = f"open: {state}"
    return _with_window(window, "UNMEASURED", lines)


def _with_window(window: WindowClosed | OpenWindow, verdict: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a window, of which the first names it."""
    share = shares(window)
    named = {
        "window": stamp(window.from_s, "%Y-%m-%d %H:%M"),
        "verdict": verdict,
        "requests": f"{window.requests:,}",
        "labelled": "-" if share is None else f"{share:.0%}".replace("%", " %"),
    }
    blank = dict.fromkeys((*named, "version", "rows", "figures", "estimated"), "")
    return [blank | (named if place == 0 else {}) | line for place, line in enumerate(lines)]


def _who(quality: VersionQuality) -> str:
    name = "prior" if quality.version == 0 else f"{quality.version} {quality.role}"
    return name.strip()


def figures_text(quality: VersionQuality) -> str:
    """The figures of a version, without those of slices.

    >>> figures_text(VersionQuality(1, "champion", 9, 0.41, 0.4, 0.71, 0.2, metrics={"brier": 0.2, "f1@c=UA": 1.0}))
    'log loss .41, auc .71, brier .2'
    """
    own = {name: getattr(quality, name) for name in _FIGURES if getattr(quality, name) is not None}
    return _figures(
        own | {name: value for name, value in quality.metrics.items() if _OF_A_SLICE.fullmatch(name) is None}
    )


def _figures(values: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in values.items())


def estimates_text(estimates: Iterable[Estimated]) -> str:
    """What was estimated, with its bounds, and what it became.

    >>> estimates_text([Estimated(1, "auc", 0.71, 0.68, 0.74, "cbpe", 0.7), Estimated(1, "mae", 3.0, 2.0, 4.0, "dle")])
    'auc .71 (.68 to .74) became .7, mae 3 (2 to 4)'
    """
    return ", ".join(map(_estimate_text, estimates))


def _estimate_text(found: Estimated) -> str:
    became = "" if found.realised is None else f" became {number(found.realised)}"
    bounds = f"{number(found.low)} to {number(found.high)}"
    return f"{found.metric.replace('_', ' ')} {number(found.value)} ({bounds}){became}"


def slice_rows(window: WindowClosed) -> Iterator[dict[str, Any]]:
    """A line per slice and version."""
    for quality in window.qualities:
        slices: dict[str, dict[str, float]] = {}
        for name, value in quality.metrics.items():
            if (found := _OF_A_SLICE.fullmatch(name)) is not None:
                slices.setdefault(found["slice"], {})[found["metric"]] = value
        for at, values in slices.items():
            rows = values.pop("rows", None)
            count = "-" if rows is None else f"{rows:,.0f}"
            yield {"slice": at, "version": _who(quality), "rows": count, "figures": _figures(values)}


def chart_row(point: ChartPoint, classes: Sequence[str] = ()) -> dict[str, Any]:
    """A point of a chart as a line: the figure beside what is usual, the test, and what cannot be seen. `classes`: the label's."""
    of = class_of(point.chart, classes) or point.segment
    name = f"{chart_of(point.chart).replace('_', ' ')}{f' of {of}' if of else ''}"
    usual = "-" if point.expected is None else f"{number(point.expected)} ± {number(point.spread or 0.0)}"
    can = "-" if point.detectable is None else f"{number(point.detectable)} within {point.within_windows} windows"
    return {
        "chart": name,
        "version": str(point.version),
        "measured": f"{number(point.value)} ± {number(point.error)}",
        "usual": usual,
        "test": number(point.statistic),
        "limit": "-" if point.limit is None else number(point.limit),
        "detectable": can,
    }


def notes(window: WindowClosed) -> Iterator[str]:
    """What else the newest closed window shows, a sentence per subject."""
    if window.label_delay_s is not None:
        yield f"labels come {lasted(window.label_delay_s)} after their request in the median"
    if window.late_requests or window.late_outcomes or window.outcomes_beyond:
        late = f"{window.late_requests:,} requests and {window.late_outcomes:,} outcomes came after their window had closed"
        yield f"{late}; {window.outcomes_beyond:,} outcomes came beyond the label horizon"
    if window.columns:
        moved = sorted((one for one in window.columns if one.is_moved), key=lambda one: one.p_value)
        words = f": {', '.join(map(_moved, moved))}" if moved else ""
        yield f"{len(moved)} of {len(window.columns)} inputs and scores moved away from the training rows{words}"


def _moved(found: ColumnSeen) -> str:
    return f"{found.column} (psi {number(found.psi)})"
