"""From tiles to values: the pure function that inference, trainer and monitor share.

The value at `at` covers the complete panes [E - window/width, E) with E = floor((at - feature_delay) / width). Sums add
over panes ascending and, within a pane, over source partitions ascending, one after the other in float64 (never
pairwise, never compensated). NaN means missing.

`finalise` reads one entity; `finalise_many` reads many by the same definition. Counts are differences of running
counts, which are exact whole numbers. Sums are walked in step for all entities and windows.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.features import PaneColumns, Tile
from headrace.features.partials import PARTIALS, figure, figures
from headrace.features.plan import FeatureRead, ViewPlan, WidthPlan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# With fewer entities, numpy's overhead exceeds its gain.
FEWEST = 6


class Panes:
    """Panes of one width, merged over partitions, ascending by (pane, partition).

    `index`, `numbers`: the number of each pane, for numpy and for bisect. `parts`: the partial aggregates, including
    `count`. `counted`: running totals of `count` and of each `column:n`, beginning with 0.
    """

    __slots__ = ("counted", "index", "numbers", "parts")

    def __init__(self, index: Ints, count: Ints, parts: dict[str, Floats]) -> None:
        self.index, self.numbers = index, array("q", index.tobytes())
        self.parts = parts | {"count": count.astype(np.float64)}
        self.counted = {
            name: _running(values) for name, values in self.parts.items() if name == "count" or name.endswith(":n")
        }

    @staticmethod
    def merge(stored: Sequence[PaneColumns]) -> "Panes":
        """Merge panes of one width and entity, given by partition ascending."""
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

    def is_dropped(self, first: int, keep_panes: int) -> bool:
        """Whether the ring may have dropped panes of the window. Then the value is missing instead of wrong."""
        return len(self.numbers) > 0 and first <= self.numbers[-1] - keep_panes


def _running(values: NDArray) -> array:
    return array("d", np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)]).tobytes())


def merge_tiles(tiles: Sequence[Tile]) -> dict[int, Panes]:
    """Panes per width of one entity. `tiles`: by source partition ascending."""
    widths = {found.width_s for tile in tiles for found in tile.panes}
    return {w: Panes.merge([found for tile in tiles for found in tile.panes if found.width_s == w]) for w in widths}


def edge(at_s: float, feature_delay_s: float, width_s: int) -> int:
    """E: the first pane that is not complete at `at_s - feature_delay_s`."""
    return math.floor((at_s - feature_delay_s) / width_s)


def finalise(plan: ViewPlan, panes: Mapping[int, Panes], at_s: float, feature_delay_s: float) -> Floats:
    """Values of the view's features at `at_s`, float64 (n_features,); NaN for a missing value."""
    values = [math.nan] * len(plan.view.features)
    for width in plan.widths:
        found = panes.get(width.width_s)
        if found is None:
            _fill_empty(width, values)
        else:
            _read(width, found, edge(at_s, feature_delay_s, width.width_s), values)
    return np.array(values)


def _fill_empty(width: WidthPlan, values: list[float]) -> None:
    for read in width.reads:
        values[read.place] = read.empty


def _read(width: WidthPlan, panes: Panes, end: int, values: list[float]) -> None:
    numbers = panes.numbers
    high = bisect_left(numbers, end)
    lows: dict[int, int] = {}
    for read in width.reads:
        first = end - read.span
        if panes.is_dropped(first, width.keep_panes):
            continue
        low = lows.get(first)
        if low is None:
            low = lows[first] = bisect_left(numbers, first, 0, high)
        values[read.place] = _value(read, panes, low, high)


def _value(read: FeatureRead, panes: Panes, low: int, high: int) -> float:
    if low >= high:
        return read.empty
    if read.aggregation == "last":
        return _last(panes, read.column, low, high)
    running = panes.counted[read.counted]
    return float(
        figure(
            read.aggregation,
            running[high] - running[low],
            lambda part: _merge(part, panes.parts[f"{read.column}:{part}"][low:high]),
        )
    )


def _last(panes: Panes, column: str | None, low: int, high: int) -> float:
    at = panes.parts[f"{column}:last_at"][low:high]
    newest = len(at) - 1 - int(np.argmax(at[::-1]))
    return float(panes.parts[f"{column}:last"][low:high][newest])


def _merge(part: str, values: Floats) -> Any:
    """Merge one partial aggregate over panes, shape (n, ...), along the first axis, one pane after the other."""
    ufunc = PARTIALS[part].ufunc
    if ufunc is not np.add:
        return ufunc.reduce(values, axis=0)
    # NB: np.sum adds in pairs; accumulate adds one after the other, as defined. `+ 0.0` turns -0.0 into 0.0.
    return np.add.accumulate(values, axis=0)[-1] + 0.0


def finalise_many(
    plan: ViewPlan, panes: Sequence[Mapping[int, Panes]], at_s: Sequence[float], feature_delay_s: float
) -> Floats:
    """The same for many entities, each at its own instant: shape (n_entities, n_features), equal to the last bit."""
    if len(panes) < FEWEST:
        rows = [finalise(plan, found, at, feature_delay_s) for found, at in zip(panes, at_s, strict=True)]
        return np.array(rows).reshape(len(rows), len(plan.view.features))
    values = np.full((len(plan.view.features), len(panes)), np.nan)
    for width in plan.widths:
        _read_many(width, panes, at_s, feature_delay_s, values)
    return values.T


def _read_many(
    width: WidthPlan,
    panes: Sequence[Mapping[int, Panes]],
    at_s: Sequence[float],
    feature_delay_s: float,
    values: Floats,
) -> None:
    """Fill `values`, shape (n_features, n_entities), with the features of this width."""
    longest = max(read.span for read in width.reads)
    ends, newest, runs = _runs(width.width_s, panes, at_s, feature_delay_s, longest)
    for read in width.reads:
        values[read.place] = read.empty
    if runs:
        window = _Windows(runs, ends)
        for read in width.reads:
            values[read.place, window.columns] = window.values(read)
    for read in width.reads:
        values[read.place, ends - read.span <= newest - width.keep_panes] = np.nan


_Run = tuple[int, Panes, int, int]


def _runs(
    width_s: int, panes: Sequence[Mapping[int, Panes]], at_s: Sequence[float], feature_delay_s: float, longest: int
) -> tuple[Ints, Ints, list[_Run]]:
    """E and the newest pane of each entity, and the runs of panes in the longest window of the entities that have
    any.
    """
    ends: list[int] = []
    newest: list[int] = []
    runs: list[_Run] = []
    for place, (found, at) in enumerate(zip(panes, at_s, strict=True)):
        one, end = found.get(width_s), edge(at, feature_delay_s, width_s)
        ends.append(end)
        if one is None or not one.numbers:
            newest.append(-(2**62))
            continue
        numbers = one.numbers
        newest.append(numbers[-1])
        high = bisect_left(numbers, end)
        low = bisect_left(numbers, end - longest, 0, high)
        if low < high:
            runs.append((place, one, low, high))
    return np.array(ends, dtype=np.int64), np.array(newest, dtype=np.int64), runs


class _Windows:
    """Windows of many entities, aligned at their ends. Each entity's panes are a column, padded at the top."""

    def __init__(self, runs: Sequence[_Run], ends: Ints) -> None:
        self._runs = runs
        self.columns = np.array([place for place, *_ in runs], dtype=np.int64)
        lengths = np.array([high - low for *_, low, high in runs])
        self._owner = np.repeat(np.arange(len(runs)), lengths)
        height = int(lengths.max())
        self._row = np.arange(len(self._owner)) - np.repeat(np.cumsum(lengths) - height, lengths)
        self._shape = (height, len(runs))
        numbers = np.concatenate([one.index[low:high] for _, one, low, high in runs])
        self._before_end = ends[self.columns][self._owner] - numbers
        self._flat: dict[str, Floats] = {}

    def values(self, read: FeatureRead) -> Floats:
        """One feature's value per column."""
        inside = self._before_end <= read.span
        seen = self._total("count", inside)
        found = self._last(read.column, inside) if read.aggregation == "last" else self._of(read, inside)
        return np.where(seen == 0, read.empty, found)

    def _of(self, read: FeatureRead, inside: NDArray[np.bool_]) -> Floats:
        # The padding is the partial of no value, which changes no merged partial.
        return figures(
            read.aggregation,
            self._total(read.counted, inside),
            lambda part: _merge(part, self._matrix(f"{read.column}:{part}", inside, PARTIALS[part].empty)),
        )

    def _total(self, part: str, inside: NDArray[np.bool_]) -> Floats:
        """Totals of whole numbers, which are exact in any order."""
        found = np.bincount(self._owner[inside], weights=self._part(part)[inside], minlength=self._shape[1])
        return found.astype(np.float64)

    def _last(self, column: str | None, inside: NDArray[np.bool_]) -> Floats:
        at = self._matrix(f"{column}:last_at", inside, -math.inf)
        newest = len(at) - 1 - np.argmax(at[::-1], axis=0)
        return self._matrix(f"{column}:last", inside, math.nan)[newest, np.arange(at.shape[1])]

    def _matrix(self, part: str, inside: NDArray[np.bool_], filler: float) -> Floats:
        """The values inside the window, with `filler` elsewhere: shape (longest, n_columns)."""
        matrix = np.full(self._shape, filler)
        matrix[self._row[inside], self._owner[inside]] = self._part(part)[inside]
        return matrix

    def _part(self, part: str) -> Floats:
        found = self._flat.get(part)
        if found is None:
            found = self._flat[part] = np.concatenate([one.parts[part][low:high] for _, one, low, high in self._runs])
        return found
