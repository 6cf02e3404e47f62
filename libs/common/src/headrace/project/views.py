"""Feature views: named aggregations of a source per entity, over sliding windows of event time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.project.sources import Source


@dataclass(frozen=True)
class Aggregation:
    """One windowed figure. Use the constructors below."""

    kind: str
    column: str | None
    window: str | float


def Count(window: str | float) -> Aggregation:  # noqa: N802 - reads as the noun it declares
    """How many events the window holds (0 when none)."""
    return Aggregation("count", None, window)


def Sum(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """Sum of the column; 0 when the window is empty."""
    return Aggregation("sum", column, window)


def Mean(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """Mean of the column's values that are not null; missing when there is none."""
    return Aggregation("mean", column, window)


def Share(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """Share (0..1) of events whose flag is true; missing when there is none."""
    return Aggregation("share", column, window)


def Min(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """Smallest value; missing when there is none."""
    return Aggregation("min", column, window)


def Max(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """Largest value; missing when there is none."""
    return Aggregation("max", column, window)


def Std(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """Population standard deviation; missing when there is no value."""
    return Aggregation("std", column, window)


def Last(column: str, window: str | float) -> Aggregation:  # noqa: N802
    """The value of the newest event in the window; missing when there is none or it is null."""
    return Aggregation("last", column, window)


@dataclass(frozen=True)
class Binding:
    """A view bound to a request's fields."""

    view: "FeatureView"
    fields: tuple[str, ...]


@dataclass(frozen=True)
class FeatureView:
    """Aggregations of `source` per `entity`: a field, several fields, or () for one entity over all events.

    The model's column is named `<view>.<feature>`.
    """

    name: str
    source: Source
    entity: str | Sequence[str]
    features: Mapping[str, Aggregation] = field(default_factory=dict)

    def by(self, *fields: str) -> Binding:
        """Look this view up by these fields of the request, in the order of `entity`."""
        return Binding(self, fields)
