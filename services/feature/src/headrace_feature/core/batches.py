"""Folding many events into many tiles at once: the same panes, to the last bit, as one event after the other.

Events of a batch are grouped by tile and pane; within a group numpy adds in the batch's order, starting from what the
pane held. A batch that brings an event which its tile may have to refuse (too late) is folded one by one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.features.partials import add_values
from headrace.features.plan import ViewPlan, WidthPlan
from headrace.features.tiles import Pane, TileState

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PANES = 2**33
# Below so many events numpy's overhead is larger than its gain.
FEWEST = 64


class Batch:
    """Events in offset order, with their instants; columns are made once for all views."""

    def __init__(self, events: Sequence[Any], at_s: Sequence[float]) -> None:
        self.events = events
        self.at_s = np.array(at_s, dtype=np.float64)
        self._columns: dict[str, Floats] = {}

    def column(self, name: str) -> Floats:
        """A numeric or flag field, NaN where null."""
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = np.array([getattr(event, name) for event in self.events], dtype=np.float64)
        return found


def fold_batch(
    plan: ViewPlan, batch: Batch, codes: Ints, places: Ints, states: Sequence[TileState]
) -> NDArray[np.bool_]:
    """Fold the events at `places` of the batch; returns which of them were kept.

    `codes`: per place the number of its tile in `states`.
    """
    at_s = batch.at_s[places]
    numbers = [np.floor(at_s / width.width_s).astype(np.int64) for width in plan.widths]
    if len(places) < FEWEST or any(
        _may_be_late(width, n, found, codes, states)
        for n, (width, found) in enumerate(zip(plan.widths, numbers, strict=True))
    ):
        events = batch.events
        kept = [states[code].fold(plan, events[n], float(batch.at_s[n])) for code, n in zip(codes, places, strict=True)]
        return np.array(kept, dtype=bool)
    for n, (width, found) in enumerate(zip(plan.widths, numbers, strict=True)):
        _fold_width(n, width, found, codes, states, lambda name: batch.column(name)[places], at_s)
    return np.ones(len(places), dtype=bool)


def _may_be_late(width: WidthPlan, n: int, numbers: Ints, codes: Ints, states: Sequence[TileState]) -> bool:
    """Whether an event's pane had been dropped by the events of its tile before it (or lies before 1970)."""
    if numbers.min(initial=0) < 0:
        return True
    order = np.argsort(codes, kind="stable")
    base = codes[order] * _PANES
    reached = np.maximum.accumulate(base + numbers[order])
    before = np.append(-1, reached[:-1]) - base  # negative for the first event of a tile
    newest = np.array([state.newest[n] for state in states], dtype=np.int64)[codes[order]]
    return bool((numbers[order] <= np.maximum(before, newest) - width.keep_panes).any())


def _fold_width(
    n: int,
    width: WidthPlan,
    numbers: Ints,
    codes: Ints,
    states: Sequence[TileState],
    column: Callable[[str], Floats],
    at_s: Floats,
) -> None:
    newest = np.array([state.newest[n] for state in states], dtype=np.int64)
    np.maximum.at(newest, codes, numbers)
    for state, reached in zip(states, newest.tolist(), strict=True):
        state.newest[n] = reached
    # Panes that this very batch makes old would be dropped when the tile is written: a fast replay is full of them.
    alive = numbers > newest[codes] - width.keep_panes
    if not alive.all():
        codes, numbers, at_s = codes[alive], numbers[alive], at_s[alive]
    keys, cell = np.unique(codes * _PANES + numbers, return_inverse=True)
    owners, panes_at = (keys // _PANES).tolist(), (keys % _PANES).tolist()
    panes: list[Pane] = []
    for owner, number in zip(owners, panes_at, strict=True):
        pane = states[owner].panes[n].get(number)
        panes.append(list(width.empty) if pane is None else pane)
    table = np.array(panes, dtype=np.float64)
    table[:, 0] += np.bincount(cell, minlength=len(keys))
    place = 1
    for name, parts in width.columns:
        add_values(table[:, place : place + len(parts)], parts, cell, column(name)[alive], at_s)
        place += len(parts)
    for owner, number, pane in zip(owners, panes_at, table.tolist(), strict=True):
        states[owner].panes[n][number] = pane
