"""Which events count, and which tiles an event touches.

Each origin counts once, and of a deduplicated source each identity. An event touches one tile per view of its source, for the
entity that it names; one that names none touches no tile of that view. Events are taken one by one and added to their tiles by
`fold`, many at once (see `batches`).
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import SourceDefinition
from headrace.events.features import FeatureShardAdvanced, PipelineAdvanced
from headrace.features.entities import LONGEST_PART, bounded, entity_key, part_of
from headrace.features.origins import Origins
from headrace.features.plan import ViewPlan, available_s, kinds_of
from headrace.features.repeats import Repeats
from headrace.features.tiles import TileState
from headrace_feature.core.batches import Batch, fold_batch
from headrace_feature.core.facts import Read

# A tile in memory, and a pane of it (a list of a few numbers), by estimate.
_TILE_BYTES, _PANE_BYTES = 600, 260
_SAMPLED = 50

Touched = tuple[ViewPlan, str, TileState]


class SourceFold:
    """The fold of one source's partition into the tiles of its views.

    NB: it changes in place. It is the state of all entities, and a copy per batch would cost more than the fold.
    `late`: events that came after all their panes had been dropped. `repeated`: events dropped as repeats of one another.
    `newest_s`: the newest instant from which an event that counted may be used, seconds since the epoch.
    """

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

    def on_record(self, read: Read) -> None:
        """Take a record of the source's topic: an event, once per origin, or a pipeline's progress marker."""
        event = read.event
        if isinstance(event, PipelineAdvanced):
            self.origins.advance(f"{event.topic}/{event.partition}", event.offset, event.topic_id)
        elif not self.origins.is_repeat(read.origin):
            self.on_event(event)

    def on_event(self, event: Any) -> None:
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
        # NB: an event that names no entity of any view is in no tile, and not late either.
        named, kept = np.zeros(len(batch.events), dtype=bool), np.zeros(len(batch.events), dtype=bool)
        for view, plan in self._plans.items():
            self._fold_view(view, plan, batch, named, kept)
        self.late += int((named & ~kept).sum())

    def _fold_view(
        self, view: str, plan: ViewPlan, batch: Batch, named: NDArray[np.bool_], kept: NDArray[np.bool_]
    ) -> None:
        """Fold the batch for one view. `named`, `kept`: events that name an entity, and those that its tile took, are marked there."""
        entities = _entities(plan, batch.events)
        index = {entity: code for code, entity in enumerate(dict.fromkeys(entities))}
        states = [self._state(view, plan, entity) for entity in index]
        codes = np.array([index[entity] for entity in entities], dtype=np.int64)
        places = np.arange(len(entities))
        if None in index:
            places = np.flatnonzero(codes != index[None])
            codes = codes[places]
        folded = fold_batch(plan, batch, codes, places, states)
        named[places] = True
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

    def go_on_from(self, reached: FeatureShardAdvanced) -> None:
        """Continue where the last committed transaction ended: its origins and its counts."""
        sparse = {place: set(codes) for place, codes in reached.sparse.items()}
        self.origins = Origins(dict(reached.origins), sparse, dict(reached.topic_ids))
        self.late, self.repeated, self.newest_s = reached.late, reached.repeated, reached.max_event_s

    def held_bytes(self) -> int:
        """What the tiles take, by estimate: as many panes per tile as the ones written last had."""
        return int(len(self.tiles) * (_TILE_BYTES + self._panes_per_tile * _PANE_BYTES))

    def is_over(self, limit_bytes: int) -> bool:
        """Whether the tiles, or the identities, take more than `limit_bytes`: there are too many entities."""
        return self.held_bytes() > limit_bytes or self.repeats.held_bytes > limit_bytes

    def plan(self, view: str) -> ViewPlan | None:
        """The plan of a kept view, by its key; None for a view that is not kept."""
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
