"""Which events count, which tiles an event touches, and which views a shard keeps, builds, or drops.

An event touches one tile per view of its source, for the entity that it names. A view is known by its key, name and
digest: a changed view is another one. What a shard finds defined but does not keep yet is built from the beginning of
the source, beside the others; what it keeps though nobody defines it any more is kept on until everything defined is
complete, and dropped at the next start.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import ProjectDefinition, SourceDefinition
from headrace.events.features import ViewAdopted
from headrace.features.batches import Batch, fold_batch
from headrace.features.entities import LONGEST_PART, bounded, entity_key, part_of
from headrace.features.origins import Origins
from headrace.features.plan import ViewPlan, available_s, kinds_of, plan_definition, plan_view
from headrace.features.repeats import Repeats
from headrace.features.tiles import TileState

# A tile in memory, and a pane of it (a list of a few numbers), by estimate.
_TILE_BYTES, _PANE_BYTES = 600, 260
_SAMPLED = 50

Touched = tuple[ViewPlan, str, TileState]


class SourceFold:
    """The fold of one source's partition into the tiles of its views."""

    def __init__(self, source: SourceDefinition, plans: Iterable[ViewPlan]) -> None:
        self.source = source
        self.origins = Origins()
        self.late, self.repeated, self.newest_s = 0, 0, 0.0
        self.tiles: dict[tuple[str, str], TileState] = {}
        self._touched: set[tuple[str, str]] = set()
        self._plans: dict[str, ViewPlan] = {}
        self.repeats = Repeats(source, source.dedupe_within_s)
        self._panes_per_tile = 0.0
        self._taken: list[Any] = []
        self._taken_at_s: list[float] = []
        self.keep(plans)

    def keep(self, plans: Iterable[ViewPlan]) -> None:
        """Fold for these views too."""
        self._plans |= {plan.view.key: plan for plan in plans}
        longest_s = max((plan.keep_s for plan in self._plans.values()), default=0.0)
        self.repeats.keep_s = longest_s + self.source.dedupe_within_s

    def take(self, event: Any) -> None:
        """Take an event, unless it is a repeat; `fold` adds what was taken to the tiles."""
        at_s = available_s(self.source, event)
        if self.source.dedupe is not None and self.repeats.is_repeat(event, at_s):
            self.repeated += 1
            return
        self._taken.append(event)
        self._taken_at_s.append(at_s)
        if at_s > self.newest_s:
            self.newest_s = at_s

    def fold(self) -> None:
        """Add what was taken to its tiles, in order; an event that came too late for every one of them counts as late."""
        if not self._taken:
            return
        batch = Batch(self._taken, self._taken_at_s)
        self._taken, self._taken_at_s = [], []
        kept = np.full(len(batch.events), not self._plans)
        for view, plan in self._plans.items():
            self._fold_view(view, plan, batch, kept)
        self.late += int((~kept).sum())

    def _fold_view(self, view: str, plan: ViewPlan, batch: Batch, kept: NDArray[np.bool_]) -> None:
        entities = _entities(plan, batch.events)
        index = {entity: code for code, entity in enumerate(dict.fromkeys(entities))}
        states = [self._state(view, plan, entity) for entity in index]
        codes = np.array([index[entity] for entity in entities], dtype=np.int64)
        places = np.arange(len(entities))
        if None in index:
            places = np.flatnonzero(codes != index[None])
            codes = codes[places]
        folded = fold_batch(plan, batch, codes, places, states)
        kept[places[folded]] = True
        names = list(index)
        self._touched |= {(view, names[code]) for code in np.unique(codes[folded]).tolist()}

    def _state(self, view: str, plan: ViewPlan, entity: str | None) -> TileState:
        if entity is None:
            return TileState(len(plan.widths))
        state = self.tiles.get((view, entity))
        if state is None:
            state = self.tiles[view, entity] = TileState(len(plan.widths))
        return state

    def adopt(self, built: "SourceFold") -> None:
        """Take over the views of a fold that has folded exactly the same records."""
        self.repeats = built.repeats  # the whole history's: the running one may have begun when `dedupe` was added
        self.keep(built._plans.values())
        self.tiles |= built.tiles
        self._touched |= set(built.tiles)

    def restore(self, view: str, entity: str, state: TileState) -> None:
        """Put back a tile that was written before."""
        self.tiles[view, entity] = state

    def held_bytes(self) -> int:
        """What the tiles take, by estimate: as many panes per tile as the ones written last had."""
        return int(len(self.tiles) * (_TILE_BYTES + self._panes_per_tile * _PANE_BYTES))

    def plan(self, view: str) -> ViewPlan | None:
        """The plan of a kept view, by its key."""
        return self._plans.get(view)

    @property
    def views(self) -> tuple[str, ...]:
        """Keys of the views that are kept."""
        return tuple(sorted(self._plans))

    def take_touched(self) -> list[Touched]:
        """Tiles changed since the last call, each once."""
        touched, self._touched = self._touched, set()
        sample = [self.tiles[key] for key in islice(touched, _SAMPLED)]
        if sample:
            self._panes_per_tile = sum(len(panes) for tile in sample for panes in tile.panes) / len(sample)
        return [(self._plans[view], entity, self.tiles[view, entity]) for view, entity in sorted(touched)]


def _entities(plan: ViewPlan, events: Sequence[Any]) -> list[str | None]:
    """The entity that each event names. NB: texts take a short way, since nearly all entities are texts."""
    fields = plan.view.entity
    if not fields:
        return [""] * len(events)
    kinds = kinds_of(plan.source, fields)
    get = attrgetter(*fields)
    if len(fields) == 1:
        if kinds[0] == "text":
            found: list[Any] = [get(event) for event in events]
            return [value if value is None or len(value) <= LONGEST_PART else bounded(value) for value in found]
        return [part_of(kinds[0], get(event)) for event in events]
    if set(kinds) == {"text"}:
        return [_of_texts(get(event)) for event in events]
    return [entity_key(kinds, get(event)) for event in events]


def _of_texts(values: tuple[str | None, ...]) -> str | None:
    try:
        whole = "|".join(values)  # ty: ignore[no-matching-overload] - a null is what the except is for
    except TypeError:
        return None
    if len(whole) <= LONGEST_PART and whole.count("|") < len(values) and "\\" not in whole:
        return whole
    return entity_key(("text",) * len(values), values)


@dataclass(frozen=True)
class Duties:
    """What a shard does about the views of one source: `keep` and fold, `build` beside, `drop` for good."""

    keep: tuple[ViewPlan, ...]
    build: tuple[ViewPlan, ...]
    drop: tuple[str, ...]


def duties_of(
    defined: Mapping[str, ViewPlan],
    source: SourceDefinition,
    reached: Iterable[str] | None,
    adopted: Iterable[ViewAdopted],
) -> Duties:
    """What to do with a source's views. `reached`: keys of complete views, None when nothing was read of the source yet."""
    if reached is None:
        return Duties(tuple(defined.values()), (), ())
    complete = set(reached)
    old = {found.definition.key: found for found in adopted if found.definition.key not in defined}
    build = tuple(plan for key, plan in defined.items() if key not in complete)
    kept = [plan for key, plan in defined.items() if key in complete]
    if not build:
        return Duties(tuple(kept), (), tuple(sorted(old)))
    kept += [plan_definition(found.definition, source, found.settle_s) for found in old.values()]
    return Duties(tuple(kept), build, ())


def plans_of(projects: Iterable[ProjectDefinition]) -> dict[str, tuple[SourceDefinition, dict[str, ViewPlan]]]:
    """Per source its definition and the plans of its views, by key."""
    return {
        source.name: (
            source,
            {view.key: plan_view(project, view.name) for view in project.views if view.source == source.name},
        )
        for project in projects
        for source in project.sources
    }
