"""What changes again while a finding of charts stands.

A finding stands as long as its figures are not back, however long that is: its retrains may wait for rows, be rejected, or not
have helped. A further change must not be lost in it. So while it stands, its windows have charts of their own, whose reference are
the first of them (as many as `Charts(windows=...)` says), under the same limits. When these cross, and the figure lies
on the same side of the version's own reference (farther off, not on its way back), the finding is resolved, and
another one opens, which asks for a retrain of its own.
"""

from collections.abc import Mapping
from dataclasses import replace as replaced

from msgspec.structs import replace

from headrace.events.charts import ChartPoint, ChartsMemory
from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import FindingOpened
from headrace.events.references import VersionReference
from headrace_monitor.core import charts
from headrace_monitor.core.chart_figures import Seen

CHANGED_AGAIN = "its figures have changed again: another finding follows"


def after_figures(
    memory: ChartsMemory,
    deployment: DeploymentDefinition,
    reference: VersionReference | None,
    from_s: float,
    seen: Seen,
) -> tuple[ChartsMemory, tuple[ChartPoint, ...]]:
    """As `charts.after_figures`, for the charts of a finding that stands too."""
    memory, points = charts.after_figures(memory, deployment, reference, from_s, seen)
    if memory.standing is not None:
        paging = {key: figure for key, figure in seen.figures.items() if charts.pages_by(key)}
        standing, own = charts.after_figures(memory.standing, deployment, None, from_s, replaced(seen, figures=paging))
        # NB: a record holds all of this: of the sides of the finding nobody asks any more when their change was.
        runs = {name: run[-1:] if charts.pages_by(name) else run for name, run in memory.runs.items()}
        memory = replace(memory, runs=runs, standing=replace(standing, points=own))
    return memory, points


def begun(memory: ChartsMemory) -> ChartsMemory:
    """The memory when a finding opens: no window of it has closed yet."""
    return replace(memory, standing=None)


def with_standing(memory: ChartsMemory, opened: Mapping[str, FindingOpened]) -> ChartsMemory:
    """The memory after a window was judged: with charts of a finding that stands, and without where none does."""
    is_open = charts.key_of_open(opened, pages=True) is not None
    if is_open == (memory.standing is not None):
        return memory
    return replace(memory, standing=ChartsMemory(memory.version) if is_open else None)


def changed_again(memory: ChartsMemory, points: tuple[ChartPoint, ...]) -> list[charts.Crossing]:
    """The sides that have changed again, the one that shows most first. `points`: beside the version's own reference."""
    if memory.standing is None:
        return []
    own = {charts.Crossing(point, 1, 0.0, 0.0).key: point for point in points}
    found = [one for one in charts.crossings_of(memory.standing, memory.standing.points) if one.pages]
    return [one for one in found if one.key in own and _is_off(own[one.key], one.side)]


def _is_off(point: ChartPoint, side: int) -> bool:
    """Whether a figure lies on this side of the usual ones."""
    if point.expected is None or not point.spread:
        return False
    return side * (point.value - point.expected) / point.spread > charts.BACK_Z
