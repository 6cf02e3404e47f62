"""Tiles: the mergeable partial aggregates of one entity from one source partition, in panes of event time.

Pane k of width w covers [k*w, (k+1)*w). Within a pane values are added in offset order, in float64.
"""

import math
import sys
from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from headrace.events.features import PaneColumns, Tile
from headrace.features.partials import add_value
from headrace.features.plan import ViewPlan, WidthPlan

Pane = list[float]


class TileState:
    """One tile while it is folded: per width the panes by number, each `[count, *parts]`."""

    __slots__ = ("newest", "panes")

    def __init__(self, widths: int) -> None:
        self.panes: list[dict[int, Pane]] = [{} for _ in range(widths)]
        self.newest: list[int] = [-(2**62)] * widths

    def fold(self, plan: ViewPlan, event: Any, at_s: float) -> bool:
        """Add one event that is available at `at_s`. Returns False when it came after its panes were dropped."""
        kept = False
        for place, width in enumerate(plan.widths):
            number = math.floor(at_s / width.width_s)
            if number <= self.newest[place] - width.keep_panes:
                continue
            kept = True
            if number > self.newest[place]:
                self.newest[place] = number
            panes = self.panes[place]
            pane = panes.get(number)
            if pane is None:
                pane = panes[number] = list(width.empty)
            _add(pane, width, event, at_s)
        return kept

    def encode(self, plan: ViewPlan, entity: str, partition: int) -> Tile:
        """The tile as it is written. Panes older than the ring are dropped here."""
        return Tile(
            plan.view.key, entity, partition, tuple(self._columns(place, w) for place, w in enumerate(plan.widths))
        )

    def _columns(self, place: int, width: WidthPlan) -> PaneColumns:
        panes = self.panes[place]
        oldest = self.newest[place] - width.keep_panes
        for number in [number for number in panes if number <= oldest]:
            del panes[number]
        order = sorted(panes)
        rows = list(zip(*[panes[number] for number in order], strict=True)) or [()] * (1 + len(width.parts))
        # NB: bytes of plain arrays: most tiles have a few panes, for which numpy takes ten times as long.
        columns = {part: _doubles(values) for part, values in zip(width.parts, rows[1:], strict=True)}
        return PaneColumns(width.width_s, _longs(order), _longs(map(int, rows[0])), columns)

    @staticmethod
    def decode(plan: ViewPlan, tile: Tile) -> "TileState":
        """The state to continue folding from. Widths that the plan does not know are dropped."""
        state = TileState(len(plan.widths))
        stored = {found.width_s: found for found in tile.panes}
        for place, width in enumerate(plan.widths):
            found = stored.get(width.width_s)
            if found is not None and found.index:
                index = np.frombuffer(found.index, "<i8")
                rows = [
                    np.frombuffer(found.count, "<i8").astype("<f8"),
                    *(np.frombuffer(found.columns[part], "<f8") for part in width.parts),
                ]
                state.panes[place] = dict(zip(index.tolist(), np.array(rows).T.tolist(), strict=True))
                state.newest[place] = int(index[-1])
        return state


def _doubles(values: Iterable[float]) -> bytes:
    return _little(array("d", values))


def _longs(values: Iterable[int]) -> bytes:
    return _little(array("q", values))


def _little(values: array) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _add(pane: Pane, width: WidthPlan, event: Any, at_s: float) -> None:
    pane[0] += 1
    for column in width.folds:
        value = getattr(event, column.name)
        # NB: null is NaN. `last` remembers it too, since the newest event counts and not the newest value.
        add_value(pane, column, math.nan if value is None else float(value), at_s)
