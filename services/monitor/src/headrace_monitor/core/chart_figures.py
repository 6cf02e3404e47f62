"""What charts are fed of a closed window: the figures of the champion's own rows, for all of them and by segment.

The champion's rows are those that it answered and those that it scored in shadow, so a canary, an A/B test or a version that is
passed over leaves it with fewer rows and not with none. Segments are values of columns in the rows that were read again, which
are a sample of a large window: each figure says of how many rows it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.inference import DecisionMade
from headrace.events.references import ChartFigure
from headrace.project.labels import CLASSES, NUMBER
from headrace.stats.charts import CALIBRATION, CHARTS, LEVEL, MOST_CLASSES, RANKING, SIDES, figures_of
from headrace.stats.e_detector import LONGEST_RUN
from headrace_monitor.core.scored import Scored
from headrace_monitor.core.slices import Columns, Slice, slices_by
from headrace_monitor.core.windows import Rows

# Segments have these charts: the others need more rows than a part of a window has.
SEGMENT_CHARTS = (RANKING, CALIBRATION, LEVEL)
MOST_SEGMENTS = 20
# A record holds 1 MiB: so much of it is for charts. A figure has a name and two numbers, an entry of a run two numbers.
MEMORY_BYTES = 800_000
_FIGURE_BYTES, _OF_RUN_BYTES = 46, 19
_ROLES = ("champion", "shadow")


@dataclass(frozen=True)
class Seen:
    """The figures of a window by key (`ranking`, `ranking@carrier=AA`), and of how many rows each segment's are ("" for all).

    `segments`: those that have rows enough, `column=value`.
    """

    figures: Mapping[str, ChartFigure] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    segments: tuple[str, ...] = ()


def span_of(label: LabelDefinition) -> float:
    """The width of the declared range of numbers; 1 without one."""
    if label.kind != NUMBER or label.low is None or label.high is None:
        return 1.0
    return label.high - label.low


def segments_of(
    deployment: DeploymentDefinition,
    rows: Rows,
    sample: Sequence[DecisionMade],
    columns: Columns,
    kept: Sequence[str] = (),
) -> tuple[Slice, ...]:
    """The parts of a window that charts follow: those in `kept`. While there are none, of each column at most 20 values, the most
    frequent ones with rows enough; of all of these the most frequent ones whose memory fits into a record.
    """
    plan = deployment.charts
    if plan is None:
        return ()
    parts = slices_by(plan.segments, deployment, rows, sample, columns, MOST_SEGMENTS)
    chosen = kept or _fitting(parts, deployment.label, plan.windows)
    return tuple(part for part in parts if part.name in chosen)


def _fitting(parts: Sequence[Slice], label: LabelDefinition | None, windows: int) -> set[str]:
    by_rows = sorted(parts, key=lambda part: -int(part.rows.sum()))
    rates = 1 if label is None or label.kind != CLASSES else MOST_CLASSES
    # NB: the first windows are kept twice while a finding stands, base rates once.
    whole = _FIGURE_BYTES * windows * (rates + 2 * (len(CHARTS) - 1))
    bytes_ = whole + np.cumsum([_bytes_of(part.name, windows) for part in by_rows])
    return {part.name for part, total in zip(by_rows, bytes_, strict=True) if total <= MEMORY_BYTES}


def _bytes_of(name: str, windows: int) -> int:
    """How many bytes of a record the charts of a segment take at the most: its first windows twice, and the run of each side."""
    figures, sides = len(SEGMENT_CHARTS) + 1, sum(len(SIDES[chart]) for chart in SEGMENT_CHARTS)
    figure = _FIGURE_BYTES + len(name.encode())
    return 2 * windows * figures * figure + sides * (_OF_RUN_BYTES * LONGEST_RUN + 4 * figure)


def seen_of(
    label: LabelDefinition,
    scored: Sequence[Scored],
    champion: int | None,
    parts: Sequence[Slice] = (),
) -> Seen:
    """The figures of the champion in a window; none where it scored nothing that has a label.

    `scored`: the labelled scores of each version and role. `parts`: see `segments_of`.
    """
    own = [one for one in scored if one.version == champion and one.role in _ROLES]
    if not own:
        return Seen()
    scores, labels, rows = (
        np.concatenate([getattr(one, name) for one in own]) for name in ("scores", "labels", "rows")
    )
    span = span_of(label)
    figures = figures_of(label.kind, scores, labels, span)
    counts = {"": len(labels)}
    for part in parts:
        mine = part.rows[rows]
        counts[part.name] = int(mine.sum())
        found = figures_of(label.kind, scores[mine], labels[mine], span)
        figures |= {f"{chart}@{part.name}": found[chart] for chart in SEGMENT_CHARTS if chart in found}
    return Seen(figures, counts, tuple(part.name for part in parts))
