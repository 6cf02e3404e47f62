"""Charts: what moved in the closed windows of a deployment, each figure by an e-detector per harmful side.

A window's figures are compared with those of the version's reference windows, which its training made out of time; where it brings
none, and for segments, with the first closed windows. With a season, with the windows of the nearest phase. The budget allows one
false page per `patience`: the detectors of K sides together alarm at K times the patience in windows (`headrace.stats.e_detector`),
so what several charts show a little is found too. Then the sides have crossed that hold their K-th part of it, the largest first.
Segments share half of the budget. The base rate moves with every hard week, without the model being worse: its sides have a limit
of their own, and their findings call nobody.

| finding                  | opens                                          | is resolved                                               |
|--------------------------|------------------------------------------------|-----------------------------------------------------------|
| `drift`, about the chart | the sides of all charts cross their limit      | each side that crossed lay within 1.5 standard deviations |
|                          |                                                | of its reference, or had no chart, for three windows in a |
|                          |                                                | row; or the project declares no charts any more           |
| `drift` of `base_rate`   | those of base rates cross; severity `info`     | the same                                                  |

Other sides that cross meanwhile join the finding; what changes again while it stands, `further_change` finds. After it all detectors
begin anew. Memory is plain: `ChartsMemory`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from headrace.events.charts import ChartPoint, ChartsDefinition, ChartsMemory
from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import FindingEvidence, FindingOpened, FindingResolved, WindowClosed
from headrace.events.references import ChartFigure, ReferenceWindow, VersionReference
from headrace.log.envelope import derived_id, format_instant
from headrace.stats.charts import BASE_RATE, CALIBRATION, CHARTS, LEVEL, SIDES, chart_of, class_of
from headrace.stats.e_detector import (
    LEAST_REFERENCE,
    Reference,
    after_window,
    change_in,
    detectable,
    e_values,
    limit_of,
    p_values,
    reference_of,
    run_after,
)
from headrace_monitor.core.chart_figures import SEGMENT_CHARTS, Seen

KIND, DETECTOR = "drift", "charts"
GONE = "the deployment declares no charts any more"
# A side is as usual within so many standard deviations; the finding is over after so many such windows in a row.
BACK_Z, BACK_WINDOWS = 1.5, 3
# What could be found is told for so many windows.
WITHIN_WINDOWS = 7
# A season's reference takes the nearest phases until it has so many windows.
OF_A_PHASE = 10
PAGING = tuple(chart for chart in CHARTS if chart != BASE_RATE)
_SIGNS = {1: "+", -1: "-"}


@dataclass(frozen=True, slots=True)
class Crossing:
    """A side of a chart that has crossed. `side`: 1 up, -1 down; `times`: how many times what was left of the limit for it;
    `began_s`: since when.
    """

    point: ChartPoint
    side: int
    times: float
    began_s: float

    @property
    def key(self) -> str:
        """The chart, with its segment."""
        return f"{self.point.chart}@{self.point.segment}" if self.point.segment else self.point.chart

    @property
    def name(self) -> str:
        """The key with its side."""
        return self.key + _SIGNS[self.side]

    @property
    def pages(self) -> bool:
        """Whether somebody is called."""
        return pages_by(self.name)


def restarted(memory: ChartsMemory, version: int | None) -> ChartsMemory:
    """The memory for a new champion: the ledger goes on, and so does an open episode; everything else begins anew."""
    backs = dict.fromkeys(memory.backs, 0)
    return ChartsMemory(
        version, backs=backs, pages=memory.pages, page_count=memory.page_count, since_s=memory.since_s,
        reported_s=memory.reported_s, columns=memory.columns,
    )  # fmt: skip


def of_plan(memory: ChartsMemory, plan: ChartsDefinition | None) -> ChartsMemory:
    """The memory for charts as they are declared now. With other columns of segments all charts begin anew, as for a new champion."""
    if plan is None or memory.columns == plan.segments:
        return memory
    begun = memory if memory.columns is None else restarted(memory, memory.version)
    return replace(begun, columns=plan.segments)


def resolved(memory: ChartsMemory, names: Sequence[str]) -> ChartsMemory:
    """The memory after an episode of these sides is over: they begin anew. An episode that paged ends for all."""
    gone = {name for name in memory.statistics if pages_by(name)} if any(map(pages_by, names)) else set(names)
    left = {name: m for name, m in memory.statistics.items() if name not in gone}
    runs = {name: run for name, run in memory.runs.items() if name not in gone}
    backs = {name: count for name, count in memory.backs.items() if name not in names}
    return replace(memory, statistics=left, runs=runs, backs=backs)


def after_figures(
    memory: ChartsMemory,
    deployment: DeploymentDefinition,
    reference: VersionReference | None,
    from_s: float,
    seen: Seen,
) -> tuple[ChartsMemory, tuple[ChartPoint, ...]]:
    """The memory after one more closed window, and its points. `reference`: of the champion, None where it brings none.

    Without `Charts()` in the project the points are the figures alone.
    """
    plan, version = deployment.charts, memory.version or 0
    if plan is None:
        return memory, tuple(_point(key, version, seen) for key in seen.figures)
    memory = replace(memory, segments=memory.segments or seen.segments)
    usual = [] if reference is None else list(reference.windows)
    points, statistics, runs = [], dict(memory.statistics), dict(memory.runs)
    for key, figure in seen.figures.items():
        found = reference_for(key, plan, usual, memory.live, from_s)
        point = _point(key, version, seen)
        if found is None:
            points.append(point)
            continue
        limit = limit_for(key, plan, deployment.evaluation_window_s, memory, seen.figures)
        z, own, best = found.standardised(figure.value, point.rows), found.own(), 0.0
        for side in SIDES[chart_of(key)]:
            name = key + _SIGNS[side]
            e = float(e_values(p_values(z * side, own * side)))
            runs[name] = run_after(runs.get(name, ()), from_s, e)
            statistics[name] = after_window(statistics.get(name, 0.0), e)
            best = max(best, statistics[name])
        points.append(
            replace(
                point, expected=found.mean, spread=found.spread(point.rows), statistic=best, limit=limit,
                detectable=detectable(found, point.rows, limit, WITHIN_WINDOWS), within_windows=WITHIN_WINDOWS,
            )
        )  # fmt: skip
    memory = replace(memory, statistics=statistics, runs=runs)
    shared = _with_others(points, statistics)
    return _with_live(memory, plan, usual, from_s, deployment.evaluation_window_s, seen), shared


def _point(key: str, version: int, seen: Seen) -> ChartPoint:
    chart, _, segment = key.partition("@")
    figure = seen.figures[key]
    return ChartPoint(chart, version, figure.value, figure.error, seen.rows.get(segment, 0), segment)


def _with_others(points: Sequence[ChartPoint], statistics: Mapping[str, float]) -> tuple[ChartPoint, ...]:
    """The points with what the other sides of the same budget leave of its limit to each: it is crossed where all of them cross it
    together, and the chart holds its part of that.
    """
    sides: dict[tuple[bool, bool], list[float]] = {}
    for point in points:
        if point.limit is not None:
            key = Crossing(point, 1, 0.0, 0.0).key
            found = [statistics[key + _SIGNS[side]] for side in SIDES[chart_of(key)]]
            sides.setdefault(_budget_of(point), []).extend(found)
    return tuple(
        point if point.limit is None else replace(point, limit=_left(point, point.limit, sides[_budget_of(point)]))
        for point in points
    )


def _budget_of(point: ChartPoint) -> tuple[bool, bool]:
    """Which points share a limit."""
    return chart_of(point.chart) == BASE_RATE, bool(point.segment)


def _left(point: ChartPoint, limit: float, sides: Sequence[float]) -> float:
    return max(limit - (math.fsum(sides) - point.statistic), limit / len(sides))


# References and limits


def reference_for(
    key: str, plan: ChartsDefinition, usual: Sequence[ReferenceWindow], live: Sequence[ReferenceWindow], from_s: float
) -> Reference | None:
    """The windows that a figure is compared with; None while there are too few.

    `usual`: those that the version brought; `live`: the first closed ones.
    """
    brought = windows_for(key, plan, usual, live)
    if plan.season_s is not None:
        brought = _of_phase(brought, plan.season_s, from_s)
    return reference_by(key, brought)


def windows_for(
    key: str, plan: ChartsDefinition, usual: Sequence[ReferenceWindow], live: Sequence[ReferenceWindow]
) -> list[ReferenceWindow]:
    """All windows that a figure may be compared with; [] while there are too few. The arguments are those of `reference_for`."""
    brought = [window for window in usual if key in window.charts]
    if len(brought) >= LEAST_REFERENCE:
        return brought
    return [window for window in live if key in window.charts] if len(live) >= plan.windows else []


def reference_by(key: str, windows: Sequence[ReferenceWindow]) -> Reference | None:
    """The reference of a figure by these windows, which have it; None where they are too few."""
    figures = [window.charts[key] for window in windows]
    rows = [_rows_of(window, key) for window in windows]
    return reference_of([found.value for found in figures], [found.error for found in figures], rows)


def _of_phase(windows: Sequence[ReferenceWindow], season_s: float, from_s: float) -> list[ReferenceWindow]:
    """The windows of the nearest phases of a season, at least `OF_A_PHASE` where there are so many."""
    apart = np.array([abs((window.from_s - from_s + season_s / 2) % season_s - season_s / 2) for window in windows])
    if len(apart) <= OF_A_PHASE:
        return list(windows)
    farthest = np.sort(apart)[OF_A_PHASE - 1]
    return [window for window, distance in zip(windows, apart, strict=True) if distance <= farthest]


def _rows_of(window: ReferenceWindow, key: str) -> float:
    """The rows behind a figure; of a segment those that its own figure `rows@segment` holds."""
    segment = key.partition("@")[2]
    return window.charts[f"rows@{segment}"].value if segment else float(window.rows)


def patience_windows(plan: ChartsDefinition, window_s: float) -> float:
    """How many windows pass between two false pages, by the budget."""
    return plan.period_s / plan.pages / window_s


def limit_for(
    key: str, plan: ChartsDefinition, window_s: float, memory: ChartsMemory, figures: Mapping[str, Any]
) -> float:
    """The M at which the sides that share a budget alarm together, and one of them alone."""
    patience = patience_windows(plan, window_s)
    if chart_of(key) == BASE_RATE:
        rates = sum(chart_of(found) == BASE_RATE for found in figures)
        return limit_of(patience, rates * len(SIDES[BASE_RATE]))
    half = 2 if memory.segments else 1
    return limit_of(patience, half * (sides_of_segments(memory) if "@" in key else OVERALL_SIDES))


OVERALL_SIDES = sum(len(SIDES[chart]) for chart in PAGING)


def sides_of_segments(memory: ChartsMemory) -> int:
    """How many sides the charts of all segments have."""
    return len(memory.segments) * sum(len(SIDES[chart]) for chart in SEGMENT_CHARTS)


def _with_live(
    memory: ChartsMemory,
    plan: ChartsDefinition,
    usual: Sequence[ReferenceWindow],
    from_s: float,
    window_s: float,
    seen: Seen,
) -> ChartsMemory:
    """The memory with one more window to compare with, where those that the version brought do not do."""
    if len(memory.live) >= plan.windows or (len(usual) >= LEAST_REFERENCE and not plan.segments):
        return memory
    figures = dict(seen.figures)
    for segment, rows in seen.rows.items():
        if segment:
            figures[f"rows@{segment}"] = ChartFigure(float(rows), 0.0)
    window = ReferenceWindow(from_s, from_s + window_s, seen.rows.get("", 0), figures)
    return replace(memory, live=(*memory.live, window))


# What crossed, and what is back


def crossings_of(memory: ChartsMemory, points: Sequence[ChartPoint]) -> list[Crossing]:
    """The sides that have crossed with a window, the one that shows most first."""
    return sorted(_crossings(memory, points), key=lambda found: -memory.statistics[found.name])


def _crossings(memory: ChartsMemory, points: Sequence[ChartPoint]) -> Iterator[Crossing]:
    for point in points:
        for side in SIDES[chart_of(point.chart)] if point.limit is not None else ():
            found = Crossing(point, side, 0.0, 0.0)
            times = memory.statistics.get(found.name, 0.0) / (point.limit or 1.0)
            if times >= 1:
                run = memory.runs[found.name]
                yield Crossing(point, side, times, run[change_in([log for _, log in run])][0])


def with_backs(memory: ChartsMemory, points: Sequence[ChartPoint], crossed: Sequence[Crossing]) -> ChartsMemory:
    """The memory with the sides that crossed, and since how many windows each is back."""
    backs = dict(memory.backs)
    by_key = {Crossing(point, 1, 0.0, 0.0).key: point for point in points}
    for name in backs:
        point = by_key.get(name[:-1])
        if point is None and not _is_followed(memory, name):
            backs[name] += 1
        elif point is not None and point.expected is not None and point.spread:
            side = 1 if name.endswith("+") else -1
            is_back = side * (point.value - point.expected) / point.spread <= BACK_Z
            backs[name] = backs[name] + 1 if is_back else 0
    return replace(memory, backs={**dict.fromkeys((found.name for found in crossed), 0), **backs})


def _is_followed(memory: ChartsMemory, name: str) -> bool:
    """Whether a side has charts: those of segments that are not among the chosen ones have none."""
    segment = name[:-1].partition("@")[2]
    return not segment or segment in memory.segments


def pages_by(name: str) -> bool:
    """Whether a side of that name calls somebody."""
    return chart_of(name.rstrip("+-")) != BASE_RATE


def is_quiet(found: FindingOpened | FindingResolved) -> bool:
    """Whether a finding is about a base rate, which calls nobody and asks for nothing."""
    return found.kind == KIND and chart_of(found.about) == BASE_RATE and bool(found.about)


def is_drift(found: FindingOpened) -> bool:
    """Whether a finding says that a version does not fit its data any more: then its windows are not as usual."""
    return found.kind == KIND and not is_quiet(found)


def key_of_open(opened: Mapping[str, FindingOpened], *, pages: bool) -> str | None:
    """The key of the open finding of charts, of those that page or of the others; None where there is none."""
    return next((key for key, found in opened.items() if found.detector == DETECTOR and is_quiet(found) != pages), None)


def is_open(opened: Mapping[str, FindingOpened], *, pages: bool) -> bool:
    """Whether a finding stands where one of charts would open: whatever has found the drift."""
    return (pages and KIND in opened) or key_of_open(opened, pages=pages) is not None


def joined(opened: Mapping[str, FindingOpened], crossed: Sequence[Crossing]) -> Mapping[str, FindingOpened]:
    """The open findings, with the charts that crossed meanwhile in the evidence of the drift."""
    found, names = opened.get(KIND), [one.key for one in crossed if one.pages]
    if found is None or not names:
        return opened
    evidence = found.evidence or FindingEvidence()
    others = tuple(dict.fromkeys((*evidence.charts, *(name for name in names if name != found.about))))
    return {**opened, KIND: replace(found, evidence=replace(evidence, charts=others))}


def is_over(memory: ChartsMemory, names: Sequence[str]) -> bool:
    """Whether all of these sides, at least one, are as usual again."""
    return bool(names) and all(memory.backs.get(name, 0) >= BACK_WINDOWS for name in names)


# Words

_WORDS = {
    BASE_RATE: "the base rate of the labels", "ranking": "the ranking by", CALIBRATION: "the calibration of",
    "slope": "the slope of the calibration of", LEVEL: "the level of the loss of",
}  # fmt: skip


def finding_of(
    window: WindowClosed, crossed: Sequence[Crossing], at_s: float, classes: Sequence[str] = ()
) -> FindingOpened:
    """The finding that opens: about the first of these sides, the others in its evidence. `at_s`: event time; `classes`: of the label."""
    first, *others = crossed
    point = first.point
    return FindingOpened(
        finding=derived_id(window.deployment, DETECTOR, first.key, window.from_s, point.version)[:16],
        deployment=window.deployment,
        kind=KIND,
        summary=summary_of(first, classes),
        at_s=at_s,
        version=point.version,
        detector=DETECTOR,
        measured=point.value,
        limit=point.limit,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        about=first.key,
        changed_at_s=first.began_s,
        back_at=(point.expected or 0.0) + first.side * BACK_Z * (point.spread or 0.0),
        severity="page" if first.pages else "info",
        evidence=FindingEvidence(charts=tuple(dict.fromkeys(found.key for found in others if found.key != first.key))),
    )


def summary_of(found: Crossing, classes: Sequence[str] = ()) -> str:
    """What a finding says. `classes`: the names of the label's classes."""
    point, chart = found.point, chart_of(found.point.chart)
    of = "" if chart == BASE_RATE else f" version {point.version}"
    part = class_of(point.chart, classes) or point.segment
    where = f" for {part}" if part else ""
    moved = "risen" if found.side > 0 else "fallen"
    how = f"from {point.expected:.3f} to {point.value:.3f} on the last closed window ({point.rows:,} rows)"
    return f"{_WORDS[chart]}{of}{where} has {moved} {how}, since {format_instant(found.began_s)}"
