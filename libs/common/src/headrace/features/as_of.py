"""The fold for many requests at once: the same values as `finalise` over tiles, to the last bit.

Events are reduced to cells, one per (entity, pane, source partition), ordered exactly as `finalise` adds them: panes
ascending, partitions ascending within a pane. A request's window is then a run of neighbouring cells, and all
requests walk their runs in step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.features.events import EventTable
from headrace.features.plan import ViewPlan, WidthPlan, entity_of, features_of_width
from headrace.project.definition import FeatureDefinition

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PANES = 2**33
_PARTITIONS = 2**10


@dataclass(frozen=True)
class AsOf:
    """Values of a view for n requests, shape (n, n_features); `beyond`: whether an event inside the row's panes lies at or past the row's offset limit."""

    values: Floats
    beyond: NDArray[np.bool_]


@dataclass(frozen=True)
class _Cells:
    keys: Ints
    partition: Ints
    count: Floats
    newest_offset: Ints
    parts: dict[str, Floats]


def as_of(
    plan: ViewPlan,
    table: EventTable,
    entities: Sequence[str | None],
    at_s: Floats,
    settle_s: float,
    limits: Mapping[int, Ints] | None = None,
) -> AsOf:
    """Values at each request's instant, of all events in `table`.

    `entities`, `at_s`: per request. `limits`: per source partition an array of offsets, one per request; rows whose
    panes hold an event at or past its limit are marked in `beyond` (their fold up to the limits would differ, perhaps).
    """
    codes = _codes(plan, table)
    wanted = np.array(
        [codes.index.get(entity, -1) if entity is not None else -2 for entity in entities], dtype=np.int64
    )
    values = np.full((len(at_s), len(plan.view.features)), np.nan)
    beyond = np.zeros(len(at_s), dtype=bool)
    for width in plan.widths:
        cells = _cells(table, width, codes.per_event)
        ends = np.floor((at_s - settle_s) / width.width_s).astype(np.int64)
        for place, feature in features_of_width(plan.view, width.width_s):
            low, high = _runs(cells, wanted, ends - feature.window_s // width.width_s, ends)
            values[:, place] = _values(feature, cells, low, high)
            if limits is not None:
                beyond |= _beyond(cells, low, high, limits)
    values[wanted == -2] = np.nan
    return AsOf(values, beyond)


@dataclass(frozen=True)
class _Codes:
    index: dict[str, int]
    per_event: Ints


def _codes(plan: ViewPlan, table: EventTable) -> _Codes:
    index: dict[str, int] = {}
    fields = plan.view.entity
    per_event = [
        -1 if (entity := entity_of(fields, event)) is None else index.setdefault(entity, len(index))
        for event in table.events
    ]
    return _Codes(index, np.array(per_event, dtype=np.int64))


def _cells(table: EventTable, width: WidthPlan, codes: Ints) -> _Cells:
    partitions = np.array(table.partitions, dtype=np.int64)
    offsets = np.array(table.offsets, dtype=np.int64)
    available = np.array(table.available, dtype=np.float64)
    panes = np.floor(available / width.width_s).astype(np.int64)
    used = np.flatnonzero(codes >= 0)
    used = used[np.lexsort((offsets[used], partitions[used]))]
    keys = _key(codes[used], panes[used]) * _PARTITIONS + partitions[used]
    unique, cell = np.unique(keys, return_inverse=True)
    size = len(unique)
    newest = np.full(size, -1, dtype=np.int64)
    np.maximum.at(newest, cell, offsets[used])
    parts = {
        f"{name}:{part}": column
        for name, wanted in width.columns
        for part, column in _reduce(wanted, table.column(name)[used], available[used], cell, size).items()
    }
    return _Cells(unique, unique % _PARTITIONS, np.bincount(cell, minlength=size).astype(np.float64), newest, parts)


def _key(codes: Ints, panes: Ints) -> Ints:
    return codes * _PANES + panes


def _reduce(wanted: tuple[str, ...], values: Floats, available: Floats, cell: Ints, size: int) -> dict[str, Floats]:
    """Partial aggregates per cell; events come in offset order, and bincount adds in that order."""
    known = ~np.isnan(values)
    at, seen = cell[known], values[known]
    found: dict[str, Floats] = {}
    for part in wanted:
        if part == "n":
            found[part] = np.bincount(at, minlength=size).astype(np.float64)
        elif part == "sum":
            found[part] = np.bincount(at, weights=seen, minlength=size).astype(np.float64)
        elif part == "sum_squares":
            found[part] = np.bincount(at, weights=seen * seen, minlength=size).astype(np.float64)
        elif part == "min":
            found[part] = np.full(size, np.inf)
            np.minimum.at(found[part], at, seen)
        elif part == "max":
            found[part] = np.full(size, -np.inf)
            np.maximum.at(found[part], at, seen)
    if "last" in wanted:
        found |= _last_of_cells(values, available, cell, size)
    return found


def _last_of_cells(values: Floats, available: Floats, cell: Ints, size: int) -> dict[str, Floats]:
    """The newest event of each cell; of equally new ones the later offset."""
    order = np.lexsort((np.arange(len(cell)), available, cell))
    last = np.flatnonzero(np.append(cell[order][1:] != cell[order][:-1], True)) if len(cell) else order
    found = {"last": np.full(size, np.nan), "last_at": np.full(size, -np.inf)}
    found["last"][cell[order][last]] = values[order][last]
    found["last_at"][cell[order][last]] = available[order][last]
    return found


def _runs(cells: _Cells, wanted: Ints, first: Ints, end: Ints) -> tuple[Ints, Ints]:
    low = np.searchsorted(cells.keys, _key(wanted, first) * _PARTITIONS)
    high = np.searchsorted(cells.keys, _key(wanted, end) * _PARTITIONS)
    unknown = wanted < 0
    low[unknown] = high[unknown] = 0
    return low.astype(np.int64), high.astype(np.int64)


def _walk(low: Ints, high: Ints):
    """Rows that still have a cell at step j, and that cell; rows with long runs come first, so that each step is a slice."""
    length = high - low
    order = np.argsort(-length, kind="stable")
    sorted_length = -length[order]
    for step in range(int(length.max(initial=0))):
        rows = order[: np.searchsorted(sorted_length, -step, side="left")]
        yield rows, low[rows] + step


def _accumulated(values: Floats, low: Ints, high: Ints, start: float, fold: np.ufunc) -> Floats:
    total = np.full(len(low), start)
    for rows, cells in _walk(low, high):
        total[rows] = fold(total[rows], values[cells])
    return total


def _values(feature: FeatureDefinition, cells: _Cells, low: Ints, high: Ints) -> Floats:
    def added(part: str) -> Floats:
        return _accumulated(cells.parts[f"{feature.column}:{part}"], low, high, 0.0, np.add)

    kind = feature.aggregation
    if kind == "count":
        return _accumulated(cells.count, low, high, 0.0, np.add)
    if kind == "sum":
        return added("sum")
    if kind == "last":
        return _last(feature, cells, low, high)
    counted = added("n")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counted == 0, np.nan, _combined(kind, counted, added, feature, cells, low, high))


def _combined(kind, counted, added, feature, cells, low, high) -> Floats:
    if kind in ("mean", "share"):
        return added("sum") / counted
    if kind == "std":
        mean = added("sum") / counted
        return np.sqrt(np.maximum(added("sum_squares") / counted - mean * mean, 0.0))
    start, fold = (np.inf, np.minimum) if kind == "min" else (-np.inf, np.maximum)
    return _accumulated(cells.parts[f"{feature.column}:{kind}"], low, high, start, fold)


def _last(feature: FeatureDefinition, cells: _Cells, low: Ints, high: Ints) -> Floats:
    values, at = cells.parts[f"{feature.column}:last"], cells.parts[f"{feature.column}:last_at"]
    found, newest = np.full(len(low), np.nan), np.full(len(low), -np.inf)
    for rows, step in _walk(low, high):
        newer = at[step] >= newest[rows]
        chosen, source = rows[newer], step[newer]
        found[chosen], newest[chosen] = values[source], at[source]
    return found


def _beyond(cells: _Cells, low: Ints, high: Ints, limits: Mapping[int, Ints]) -> NDArray[np.bool_]:
    found = np.zeros(len(low), dtype=bool)
    for partition, limit in limits.items():
        for rows, step in _walk(low, high):
            found[rows] |= (cells.partition[step] == partition) & (cells.newest_offset[step] >= limit[rows])
    return found
