"""Feature views: named aggregations of a source per entity, over sliding windows of event time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from headrace.project.sources import Source


@dataclass(frozen=True)
class Aggregation:
    """One windowed aggregation. Use the constructors below."""

    kind: str
    column: str | None
    window: str | float
    default: float | None = None
    stale_after: str | float | None = None


class Rules(TypedDict, total=False):
    """What every aggregation takes besides its column and window.

    - `default`: what the model gets where there is no value (else NaN). The decision lists the feature as missing
      either way.
    - `stale_after`: the decision lists the feature as stale when its source sent nothing newer than this.
    """

    default: float
    stale_after: str | float


def Count(window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802 - reads as the noun it declares
    """The number of events in the window, 0 when there are none."""
    return Aggregation("count", None, window, **rules)


def Sum(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The sum of the column, 0 when the window is empty."""
    return Aggregation("sum", column, window, **rules)


def Mean(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The mean of the column's values that are not null; missing when there is none."""
    return Aggregation("mean", column, window, **rules)


def Share(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The share (0..1) of events whose flag is true; missing when there is none."""
    return Aggregation("share", column, window, **rules)


def Min(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The smallest value; missing when there is none."""
    return Aggregation("min", column, window, **rules)


def Max(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The largest value; missing when there is none."""
    return Aggregation("max", column, window, **rules)


def Std(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The population standard deviation; missing when there is no value."""
    return Aggregation("std", column, window, **rules)


def Last(column: str, window: str | float, **rules: Unpack[Rules]) -> Aggregation:  # noqa: N802
    """The value of the newest event in the window; missing when there is none or it is null."""
    return Aggregation("last", column, window, **rules)


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
        """Look the view up by these fields of the request, in the order of `entity`."""
        return Binding(self, fields)
