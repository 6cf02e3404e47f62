"""From tiles to values: one pure function that inference, trainer and monitor share.

The value at `at` covers the complete panes [E - window/width, E) with E = floor((at - settle) / width). Sums add over
panes ascending and, within a pane, over source partitions ascending, one after the other in float64 (never pairwise,
never compensated). NaN means missing.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.features import PaneColumns, Tile
from headrace.features.plan import ViewPlan, features_of_width
from headrace.project.definition import FeatureDefinition

Floats = NDArray[np.float64]


class Panes:
    """Panes of one width, merged over partitions: ascending by (pane, partition)."""

    __slots__ = ("count", "index", "parts")

    def __init__(self, index: NDArray[np.int64], count: NDArray[np.int64], parts: dict[str, Floats]) -> None:
        self.index, self.count, self.parts = index, count, parts

    @staticmethod
    def merge(stored: Sequence[PaneColumns]) -> "Panes":
        """Of the same width of one entity, by partition ascending."""
        index = np.concatenate([np.frombuffer(found.index, "<i8") for found in stored])
        count = np.concatenate([np.frombuffer(found.count, "<i8") for found in stored])
        names = stored[0].columns
        parts = {
            name: np.concatenate([np.frombuffer(found.columns[name], "<f8") for found in stored]) for name in names
        }
        if len(stored) > 1:
            order = np.argsort(index, kind="stable")
            index, count, parts = index[order], count[order], {name: values[order] for name, values in parts.items()}
        return Panes(index, count, parts)


def merge_tiles(tiles: Sequence[Tile]) -> dict[int, Panes]:
    """Panes per width of one entity; `tiles` by source partition ascending."""
    widths = {found.width_s for tile in tiles for found in tile.panes}
    return {w: Panes.merge([found for tile in tiles for found in tile.panes if found.width_s == w]) for w in widths}


def edge(at_s: float, settle_s: float, width_s: int) -> int:
    """E: the first pane that is not complete yet at `at_s - settle_s`."""
    return math.floor((at_s - settle_s) / width_s)


def finalise(plan: ViewPlan, panes: dict[int, Panes], at_s: float, settle_s: float) -> Floats:
    """Values of the view's features at `at_s`, shape (n_features,), float64; NaN where there is none."""
    values = np.full(len(plan.view.features), np.nan)
    for width in plan.widths:
        found = panes.get(width.width_s)
        end = edge(at_s, settle_s, width.width_s)
        for place, feature in features_of_width(plan.view, width.width_s):
            first = end - feature.window_s // width.width_s
            if found is None:
                values[place] = _empty(feature)
            elif not _is_dropped(found, first, width.keep_panes):
                values[place] = _value(feature, found, first, end)
    return values


def _is_dropped(panes: Panes, first: int, keep_panes: int) -> bool:
    """Whether the ring may have dropped panes of the window: an instant too long ago has no value, never a wrong one."""
    return len(panes.index) > 0 and first <= int(panes.index[-1]) - keep_panes


def _empty(feature: FeatureDefinition) -> float:
    return 0.0 if feature.aggregation in ("count", "sum") else math.nan


def _value(feature: FeatureDefinition, panes: Panes, first: int, end: int) -> float:
    low, high = np.searchsorted(panes.index, (first, end))
    if low >= high:
        return _empty(feature)
    if feature.aggregation == "count":
        return float(panes.count[low:high].sum())
    if feature.aggregation == "last":
        return _last(panes, feature.column, low, high)
    counted = panes.parts[f"{feature.column}:n"][low:high].sum()
    return combine(
        feature.aggregation, counted, lambda part: _accumulate(part, panes.parts[f"{feature.column}:{part}"][low:high])
    )


def _last(panes: Panes, column: str | None, low: int, high: int) -> float:
    at = panes.parts[f"{column}:last_at"][low:high]
    newest = len(at) - 1 - int(np.argmax(at[::-1]))
    return float(panes.parts[f"{column}:last"][low:high][newest])


def _accumulate(part: str, values: Floats) -> float:
    if part == "min":
        return float(values.min())
    if part == "max":
        return float(values.max())
    # NB: np.sum adds in pairs; cumsum adds one after the other, as the definition says. `+ 0.0` makes -0.0 to 0.0.
    return float(np.cumsum(values)[-1]) + 0.0


def combine(aggregation: str, counted: float, part) -> float:
    """The value of an aggregation from its merged partial aggregates."""
    if aggregation == "sum":
        return part("sum")
    if counted == 0:
        return math.nan
    if aggregation in ("mean", "share"):
        return part("sum") / counted
    if aggregation == "std":
        mean = part("sum") / counted
        return math.sqrt(max(part("sum_squares") / counted - mean * mean, 0.0))
    return part(aggregation)
