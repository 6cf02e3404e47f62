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
from headrace.project.labels import NUMBER
from headrace.stats.charts import CALIBRATION, LEVEL, RANKING, figures_of
from headrace_monitor.core.scored import Scored
from headrace_monitor.core.slices import Columns, Slice, slices_by
from headrace_monitor.core.windows import Rows

# Segments have these charts: the others need more rows than a part of a window has.
SEGMENT_CHARTS = (RANKING, CALIBRATION, LEVEL)
MOST_SEGMENTS = 20
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
    deployment: DeploymentDefinition, rows: Rows, sample: Sequence[DecisionMade], columns: Columns
) -> tuple[Slice, ...]:
    """The parts of a window that charts may follow: of each column at most 20 values, the most frequent ones with rows enough."""
    plan = deployment.charts
    return () if plan is None else slices_by(plan.segments, deployment, rows, sample, columns, MOST_SEGMENTS)


def seen_of(
    label: LabelDefinition,
    scored: Sequence[Scored],
    champion: int | None,
    parts: Sequence[Slice] = (),
    kept: Sequence[str] = (),
) -> Seen:
    """The figures of the champion in a window; none where it scored nothing that has a label.

    `scored`: the labelled scores of each version and role. `parts`: of the window. `kept`: the segments that charts are kept for; all
    parts while there are none yet.
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
    chosen = [part for part in parts if not kept or part.name in kept]
    for part in chosen:
        mine = part.rows[rows]
        counts[part.name] = int(mine.sum())
        found = figures_of(label.kind, scores[mine], labels[mine], span)
        figures |= {f"{chart}@{part.name}": found[chart] for chart in SEGMENT_CHARTS if chart in found}
    return Seen(figures, counts, tuple(part.name for part in chosen))
