"""The fold for many requests at once: the same values as `finalise` over tiles, to the last bit.

Events are reduced to cells, one per (entity, pane, source partition), in the order in which `finalise` adds them: panes
ascending, partitions ascending within a pane. A request's window is then a run of neighbouring cells. Requests with the
same run share it, and all runs are walked in step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import FeatureDefinition
from headrace.features.events import EventTable
from headrace.features.partials import AGGREGATIONS, EMPTY, PARTIALS, add_values, figures
from headrace.features.plan import ViewPlan, WidthPlan, features_of_width

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PANES = 2**33
_PARTITIONS = 2**10


@dataclass(frozen=True)
class AsOf:
    """Values of a view for n requests, shape (n, n_features).

    `beyond`: whether the row's panes hold an event at or past the row's offset limit, shape (n,).
    """

    values: Floats
    beyond: NDArray[np.bool_]


@dataclass(frozen=True)
class _Cells:
    keys: Ints
    partition: Ints
    newest_offset: Ints
    parts: dict[str, Floats]


def as_of(
    plan: ViewPlan,
    table: EventTable,
    entities: Sequence[str | None],
    at_s: Floats,
    feature_delay_s: float,
    limits: Mapping[int, Ints] | None = None,
) -> AsOf:
    """Values at each request's instant, of all events in `table`.

    `entities`, `at_s`: one per request. `limits`: per source partition an array of offsets, one per request. Rows whose
    panes hold an event at or past its limit are marked in `beyond`, since their fold up to the limits may differ.
    """
    index, per_event = table.codes(plan.view.entity)
    wanted = np.array([index.get(entity, -1) if entity is not None else -2 for entity in entities], dtype=np.int64)
    values = np.full((len(at_s), len(plan.view.features)), np.nan)
    beyond = np.zeros(len(at_s), dtype=bool)
    for width in plan.widths:
        cells = _cells(table, width, per_event)
        ends = np.floor((at_s - feature_delay_s) / width.width_s).astype(np.int64)
        for window_s, features in _by_window(plan, width.width_s):
            runs = _runs(cells, wanted, ends - window_s // width.width_s, ends)
            merged = _merged(cells, runs, _parts_of(features), sorted(limits or ()))
            for place, feature in features:
                values[:, place] = _value(feature, merged)[runs.row]
            for partition, limit in (limits or {}).items():
                beyond |= merged[f"offset:{partition}"][runs.row] >= limit
    values[wanted == -2] = np.nan
    return AsOf(values, beyond)


def _by_window(plan: ViewPlan, width_s: int) -> list[tuple[int, list[tuple[int, FeatureDefinition]]]]:
    """The features of a width with their places, by window: features of one window walk the same cells."""
    found: dict[int, list[tuple[int, FeatureDefinition]]] = {}
    for place, feature in features_of_width(plan.view, width_s):
        found.setdefault(feature.window_s, []).append((place, feature))
    return list(found.items())


def _cells(table: EventTable, width: WidthPlan, codes: Ints) -> _Cells:
    partitions, offsets, available = table.partitions, table.offsets, table.available
    panes = np.floor(available / width.width_s).astype(np.int64)
    used = np.flatnonzero(codes >= 0)
    used = used[np.lexsort((offsets[used], partitions[used]))]
    keys = _key(codes[used], panes[used]) * _PARTITIONS + partitions[used]
    unique, cell = np.unique(keys, return_inverse=True)
    size = len(unique)
    newest = np.full(size, -1, dtype=np.int64)
    np.maximum.at(newest, cell, offsets[used])
    parts = {"count": np.bincount(cell, minlength=size).astype(np.float64)}
    for name, wanted in width.columns:
        table_of = np.tile([EMPTY[part] for part in wanted], (size, 1))
        add_values(table_of, wanted, cell, table.column(name)[used], available[used])
        parts |= {f"{name}:{part}": table_of[:, n].copy() for n, part in enumerate(wanted)}
    return _Cells(unique, unique % _PARTITIONS, newest, parts)


def _key(codes: Ints, panes: Ints) -> Ints:
    return codes * _PANES + panes


@dataclass(frozen=True)
class _Runs:
    """The distinct runs of cells, longest first: each from `low`, with `length` cells. `row`: the run of each
    request.
    """

    low: Ints
    length: Ints
    row: Ints


def _runs(cells: _Cells, wanted: Ints, first: Ints, end: Ints) -> _Runs:
    low = np.searchsorted(cells.keys, _key(wanted, first) * _PARTITIONS).astype(np.int64)
    high = np.searchsorted(cells.keys, _key(wanted, end) * _PARTITIONS).astype(np.int64)
    unknown = wanted < 0
    low[unknown] = high[unknown] = 0
    pairs, row = np.unique(low * (len(cells.keys) + 1) + high, return_inverse=True)
    low, high = pairs // (len(cells.keys) + 1), pairs % (len(cells.keys) + 1)
    order = np.argsort(low - high, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return _Runs(low[order], (high - low)[order], place[row])


def _parts_of(features: Sequence[tuple[int, FeatureDefinition]]) -> list[str]:
    needed: set[str] = set()
    for _, feature in features:
        if feature.aggregation == "count":
            needed.add("count")
        else:
            needed |= {f"{feature.column}:{part}" for part in AGGREGATIONS[feature.aggregation].needs}
    return sorted(needed)


def _merged(cells: _Cells, runs: _Runs, parts: Sequence[str], partitions: Sequence[int]) -> dict[str, Floats]:
    """The merged partial aggregates of each run, and per partition the newest offset in it. Cells are added in
    order.
    """
    found = {part: np.full(len(runs.low), EMPTY.get(part.rpartition(":")[2], 0.0)) for part in parts}
    newest = {partition: np.full(len(runs.low), -1.0) for partition in partitions}
    for step in range(int(runs.length[0]) if len(runs.length) else 0):
        going = int(np.searchsorted(-runs.length, -step, side="left"))
        at = runs.low[:going] + step
        for part in parts:
            _add(part, found, cells, at, going)
        for partition, offsets in newest.items():
            mine = cells.partition[at] == partition
            offsets[:going] = np.where(mine, np.maximum(offsets[:going], cells.newest_offset[at]), offsets[:going])
    return found | {f"offset:{partition}": offsets for partition, offsets in newest.items()}


def _add(part: str, found: dict[str, Floats], cells: _Cells, at: Ints, going: int) -> None:
    column, _, kind = part.rpartition(":")
    total = found[part]
    if kind == "last_at":
        return  # together with `last`
    if kind == "last":
        at_s, newest = cells.parts[f"{column}:last_at"][at], found[f"{column}:last_at"]
        newer = at_s >= newest[:going]
        total[:going] = np.where(newer, cells.parts[part][at], total[:going])
        newest[:going] = np.where(newer, at_s, newest[:going])
    else:
        # NB: the count of events has no partial of its own, but is added like one.
        ufunc = PARTIALS[kind].ufunc if kind in PARTIALS else np.add
        total[:going] = ufunc(total[:going], cells.parts[part][at])


def _value(feature: FeatureDefinition, merged: Mapping[str, Floats]) -> Floats:
    part, kind = (lambda name: merged[f"{feature.column}:{name}"]), feature.aggregation
    if kind == "last":
        return part("last")
    return figures(kind, merged["count"] if kind == "count" else part("n"), part)
