"""What a pane keeps of a column, and what is computed from it: every partial aggregate and every aggregation, once.

A pane holds its count of events and, per column, some partial aggregates. Two folds fill them and agree to the last
bit: `add_value` adds one event, and its vectorised twin `add_values` adds many. Two readers merge them and agree too:
`finalise` walks the panes of one or many entities, `as_of` the cells of many requests. All four use the tables below.
So a new aggregation is a line in `AGGREGATIONS`, and a line in `PARTIALS` where it needs a new partial aggregate.

| partial           | over the values that are not null                     | of no value |
|-------------------|-------------------------------------------------------|-------------|
| `n`               | their number                                          | 0           |
| `sum`             | their sum, in offset order                            | 0           |
| `sum_squares`     | the sum of their squares, in offset order             | 0           |
| `min`, `max`      | the smallest, the largest                             | inf, -inf   |
| `last`, `last_at` | the value of the newest event, even null; its instant | NaN, -inf   |
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Partial:
    """A partial aggregate. `empty`: its value over no value. `add`: adds one more value.

    For arrays, `ufunc` adds `of` the values. It also merges the partial aggregates of several panes.
    """

    empty: float
    add: Callable[[float, float], float]
    ufunc: np.ufunc
    of: Callable[[Floats], Floats]


def _itself(values: Floats) -> Floats:
    return values


# They are stored in this order.
PARTIALS: Mapping[str, Partial] = {
    "n": Partial(0.0, lambda there, value: there + 1.0, np.add, np.ones_like),
    "sum": Partial(0.0, operator.add, np.add, _itself),
    "sum_squares": Partial(0.0, lambda there, value: there + value * value, np.add, np.square),
    "min": Partial(math.inf, min, np.minimum, _itself),
    "max": Partial(-math.inf, max, np.maximum, _itself),
}
# The value and the instant of the newest event are replaced together, which no ufunc of one column does. So every fold
# and reader handles them separately.
NEWEST = ("last", "last_at")
EMPTY: Mapping[str, float] = {name: found.empty for name, found in PARTIALS.items()} | {
    "last": math.nan,
    "last_at": -math.inf,
}
ORDER = (*PARTIALS, *NEWEST)


Read = Callable[[str], Any]
Value = Callable[[Any, Read], Any]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A figure of a window. `needs`: its partials. `value`: computes it from the number of values and the merged
    partials.

    `value` takes numbers and arrays alike. It is not called where there is no value: then the figure is `nothing`. It
    is None for `last`, which is read from the newest event.
    """

    needs: tuple[str, ...]
    value: Value | None
    nothing: float = math.nan


def _mean(counted: Any, part: Read) -> Any:
    return part("sum") / counted


def _std(counted: Any, part: Read) -> Any:
    mean = part("sum") / counted
    return np.sqrt(np.maximum(part("sum_squares") / counted - mean * mean, 0.0))


AGGREGATIONS: Mapping[str, Aggregation] = {
    "count": Aggregation((), lambda counted, part: counted, nothing=0.0),
    "sum": Aggregation(("n", "sum"), lambda counted, part: part("sum"), nothing=0.0),
    "mean": Aggregation(("n", "sum"), _mean),
    "share": Aggregation(("n", "sum"), _mean),
    "std": Aggregation(("n", "sum", "sum_squares"), _std),
    "min": Aggregation(("n", "min"), lambda counted, part: part("min")),
    "max": Aggregation(("n", "max"), lambda counted, part: part("max")),
    "last": Aggregation(NEWEST, None),
}


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How one event's value of a column is added to a pane, prepared once: this is done for every event.

    `adds`: per partial its place in the pane, and its `add`. `last`: the place of `last`, None where it is not kept.
    """

    name: str
    adds: tuple[tuple[int, Callable[[float, float], float]], ...]
    last: int | None

    @staticmethod
    def of(name: str, parts: Sequence[str], begin: int) -> "ColumnPlan":
        """The plan of a column whose partials begin at the place `begin`."""
        adds = tuple((begin + n, PARTIALS[part].add) for n, part in enumerate(parts) if part in PARTIALS)
        return ColumnPlan(name, adds, begin + parts.index("last") if "last" in parts else None)


def add_value(pane: list[float], column: ColumnPlan, value: float, at_s: float) -> None:
    """Add one event's value of a column to a pane. NaN stands for null."""
    if value == value:
        # NB: -0.0 becomes 0.0: of two zeros Python's `min` keeps the first and numpy's either, and their bits differ.
        number = value + 0.0
        for place, add in column.adds:
            pane[place] = add(pane[place], number)
    last = column.last
    if last is not None and at_s >= pane[last + 1]:
        pane[last], pane[last + 1] = value, at_s


def add_values(table: Floats, parts: Sequence[str], cell: Ints, values: Floats, at_s: Floats) -> None:
    """Add many events' values of a column, in their order, to panes: `table` has shape (panes, len(parts)).

    `cell`: the pane of each event. It equals repeated `add_value` to the last bit, since `ufunc.at` adds in order.
    """
    known = ~np.isnan(values)
    at, seen = cell[known], values[known] + 0.0
    for n, part in enumerate(parts):
        found = PARTIALS.get(part)
        if found is not None:
            found.ufunc.at(table[:, n], at, found.of(seen))
        elif part == "last" and len(cell):
            _replace_newest(table[:, n], table[:, n + 1], cell, values, at_s)


def _replace_newest(last: Floats, last_at: Floats, cell: Ints, values: Floats, at_s: Floats) -> None:
    """Replace the newest event of each cell, unless the known one is newer. Of equally new events the later counts."""
    order = np.lexsort((np.arange(len(cell)), at_s, cell))
    ends = order[np.append(cell[order][1:] != cell[order][:-1], True)]
    ends = ends[at_s[ends] >= last_at[cell[ends]]]
    last[cell[ends]], last_at[cell[ends]] = values[ends], at_s[ends]


def figures(aggregation: str, counted: Floats, part: Read) -> Floats:
    """An aggregation of many windows, shape (n,).

    `counted`: the number of values per window, shape (n,). `part`: their merged partials by name.
    """
    found = AGGREGATIONS[aggregation]
    if found.value is None:
        return part("last")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counted == 0, found.nothing, found.value(counted, part))


def figure(aggregation: str, counted: float, part: Read) -> float:
    """The same for one window."""
    found = AGGREGATIONS[aggregation]
    if found.value is None:
        return part("last")
    return found.nothing if counted == 0 else found.value(counted, part)
