"""What a view keeps: for each pane width, which partial aggregates of which columns, and for how long."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from headrace.errors import Poison
from headrace.events.definition import FeatureDefinition, ProjectDefinition, SourceDefinition, ViewDefinition
from headrace.features.partials import AGGREGATIONS, EMPTY, ORDER, ColumnPlan
from headrace.instants import instant_s, why_not
from headrace.project.rules import pane_width_s

SLACK_S = 86_400.0


@dataclass(frozen=True, slots=True)
class FeatureRead:
    """How a feature is read from panes of its width.

    `place`: its place in the view. `span`: its window in panes. `counted`: the running total that counts its values
    (`count`, or `column:n`). `empty`: its value over no event.
    """

    place: int
    span: int
    aggregation: str
    column: str | None
    counted: str
    empty: float


@dataclass(frozen=True, slots=True)
class WidthPlan:
    """Panes of one width. `parts`: `column:partial` in stored order; `keep_panes`: the length of the ring.

    `empty`: a pane without events, its count first and then its parts. `reads`: the features that read these panes.
    `folds`: how an event's value of each column is added to a pane.
    """

    width_s: int
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    parts: tuple[str, ...]
    keep_panes: int
    empty: tuple[float, ...] = ()
    reads: tuple[FeatureRead, ...] = ()
    folds: tuple[ColumnPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """A view with all that folding and reading need."""

    view: ViewDefinition
    source: SourceDefinition
    widths: tuple[WidthPlan, ...]
    feature_delay_s: float = 0.0

    @property
    def keep_s(self) -> float:
        """How long after an event's pane the event may still count, at most."""
        return max(width.width_s * width.keep_panes for width in self.widths)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Model column names, `<view>.<feature>`."""
        return tuple(f"{self.view.name}.{feature.name}" for feature in self.view.features)


def plan_view(project: ProjectDefinition, name: str) -> ViewPlan:
    """The plan of a view. Its ring is kept for the window, the longest feature delay of its deployments, and one
    day.
    """
    view = project.view(name)
    delays_s = [d.feature_delay_s for d in project.deployments if any(b.view == name for b in d.features)]
    return plan_definition(view, project.source(view.source), max(delays_s, default=0.0))


def plan_definition(view: ViewDefinition, source: SourceDefinition, feature_delay_s: float) -> ViewPlan:
    """The plan of a view by its definition, with the longest feature delay of the deployments that bind it."""
    widths = sorted({pane_width_s(feature.window_s) for feature in view.features})
    return ViewPlan(
        view, source, tuple(_plan_width(view, width_s, feature_delay_s) for width_s in widths), feature_delay_s
    )


def _plan_width(view: ViewDefinition, width_s: int, feature_delay_s: float) -> WidthPlan:
    features = [feature for feature in view.features if pane_width_s(feature.window_s) == width_s]
    needs: dict[str, set[str]] = {}
    for feature in features:
        if feature.column is not None:
            needs.setdefault(feature.column, set()).update(AGGREGATIONS[feature.aggregation].needs)
    columns = tuple((name, tuple(part for part in ORDER if part in needs[name])) for name in sorted(needs))
    parts = tuple(f"{name}:{part}" for name, found in columns for part in found)
    longest_s = max(feature.window_s for feature in features)
    empty = (0.0, *(EMPTY[part.rpartition(":")[2]] for part in parts))
    keep_panes = int((longest_s + feature_delay_s + SLACK_S) // width_s) + 2
    reads = tuple(_plan_read(place, feature, width_s) for place, feature in features_of_width(view, width_s))
    begins = itertools.accumulate((len(kept) for _, kept in columns), initial=1)
    folds = tuple(ColumnPlan.of(name, kept, begin) for (name, kept), begin in zip(columns, begins, strict=False))
    return WidthPlan(width_s, columns, parts, keep_panes, empty, reads, folds)


def _plan_read(place: int, feature: FeatureDefinition, width_s: int) -> FeatureRead:
    counted = "count" if feature.aggregation == "count" else f"{feature.column}:n"
    nothing = AGGREGATIONS[feature.aggregation].nothing
    return FeatureRead(place, feature.window_s // width_s, feature.aggregation, feature.column, counted, nothing)


def features_of_width(view: ViewDefinition, width_s: int) -> list[tuple[int, FeatureDefinition]]:
    """The features that read panes of this width, with their place in the view."""
    return [
        (place, feature) for place, feature in enumerate(view.features) if pane_width_s(feature.window_s) == width_s
    ]


def available_s(source: SourceDefinition, event: Any) -> float:
    """The instant from which an event may be used, seconds since the epoch."""
    field = source.available_at or source.event_time
    after_s = 0.0 if source.available_at else source.available_after_s
    return instant_s(getattr(event, field)) + after_s


def refusal(source: SourceDefinition, event: Any, append_ms: int) -> Poison | None:
    """Why an event of a record appended at `append_ms` (milliseconds since the epoch) is refused; None when it may
    enter.

    The instant that is checked is its availability, else its event time, without the source's `available_after`. Every
    fold of a source uses this, so that all of them drop the same events.
    """
    return admission(source)(event, append_ms)


def admission(source: SourceDefinition) -> Callable[[Any, int], Poison | None]:
    """The same for many events of one source."""
    enter = entrance(source)

    def refused(event: Any, append_ms: int) -> Poison | None:
        found = enter(event, append_ms)
        return found if isinstance(found, Poison) else None

    return refused


def entrance(source: SourceDefinition) -> Callable[[Any, int], float | Poison]:
    """For many events of one source: the instant from which one may be used, or why it is refused."""
    name = source.available_at or source.event_time
    after_s = 0.0 if source.available_at else source.available_after_s
    get = attrgetter(name)

    def enter(event: Any, append_ms: int) -> float | Poison:
        value = get(event)
        if value is None:
            return Poison(f"{name} is missing: it holds from when the event may be used", name)
        # NB: the usual cases come first, since this runs for every event of a replay.
        at_s = value.timestamp() if type(value) is datetime and value.tzinfo is not None else instant_s(value)
        if not 0.0 <= at_s <= append_ms / 1000 and (why := why_not(at_s, append_ms, name)) is not None:
            return Poison(why, name)
        return at_s + after_s

    return enter


def kinds_of(source: SourceDefinition, fields: Sequence[str]) -> tuple[str, ...]:
    """The kinds of some fields of a source, "" for a field that it does not have."""
    kinds = {field.name: field.kind for field in source.fields}
    return tuple(kinds.get(name, "") for name in fields)
