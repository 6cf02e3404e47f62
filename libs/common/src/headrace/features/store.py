"""The online store: the newest tiles, decoded when they are needed, and looked up in microseconds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from headrace.events.definition import ProjectDefinition
from headrace.events.features import FeatureShardAdvanced, Tile
from headrace.features.finalise import Floats, Panes, edge, finalise, finalise_many, merge_tiles
from headrace.features.plan import ViewPlan, plan_view
from headrace.log.codec import Message

_MOST_CACHED = 50_000
# The bound of values remembered per entity and instant; at the bound all are dropped. `_ROW_BYTES`: a row's overhead.
VALUES_BYTES = 32 * 1_048_576
_ROW_BYTES = 350
_NONE: Mapping[int, Tile] = {}
Key = tuple[str, str]


class Tiles(Protocol):
    """Storage of tiles, by (view, entity) and source partition. Implementations may block on a disk."""

    def put(self, key: Key, partition: int, tile: Tile | None) -> None:
        """Store a tile; None deletes it."""
        ...

    def get(self, key: Key) -> Mapping[int, Tile]:
        """The tiles of an entity by source partition; empty when there is none."""
        ...

    def count(self, view: str) -> int:
        """The number of entities of a view."""
        ...


class MemoryTiles:
    """All tiles in memory."""

    def __init__(self) -> None:
        self._tiles: dict[Key, dict[int, Tile]] = {}

    def put(self, key: Key, partition: int, tile: Tile | None) -> None:
        """Store a tile; None deletes it."""
        tiles = self._tiles.setdefault(key, {})
        if tile is not None:
            tiles[partition] = tile
        else:
            tiles.pop(partition, None)
            if not tiles:
                del self._tiles[key]

    def get(self, key: Key) -> Mapping[int, Tile]:
        """The tiles of an entity by source partition; empty when there is none."""
        return self._tiles.get(key, _NONE)

    def count(self, view: str) -> int:
        """The number of entities of a view."""
        return sum(found == view for found, _ in self._tiles)


class OnlineStore:
    """Fed by a view of `features.online`; answers `lookup`. `tiles`: their storage; decoded ones are cached up to a
    limit.
    """

    def __init__(self, tiles: Tiles | None = None) -> None:
        self._plans: dict[str, ViewPlan] = {}
        self._tiles = MemoryTiles() if tiles is None else tiles
        self._panes: dict[tuple[str, str], dict[int, Panes]] = {}
        self._values: dict[tuple[str, str], dict[tuple[int, ...], Floats]] = {}
        self.values_bytes = 0
        self.shards: dict[tuple[str, int], FeatureShardAdvanced] = {}
        self._applied: dict[str, int] = {}
        self._built: set[str] = set()

    def define(self, projects: Iterable[ProjectDefinition]) -> None:
        """Add the views of these projects to the known ones. Cached values are dropped."""
        self._plans |= {view.key: plan_view(project, view.name) for project in projects for view in project.views}
        self._panes.clear()
        self.forget_values()
        self._note_built()

    def apply(self, message: Message) -> None:
        """Take a tile, its deletion, or a shard's progress."""
        event = message.event
        if isinstance(event, Tile):
            self._put(event.view, event.entity, event.source_partition, event)
        elif isinstance(event, FeatureShardAdvanced):
            before = self.shards.get((event.source, event.partition))
            self.shards[event.source, event.partition] = event
            self._applied = {**self._applied, **event.applied}
            if before is None or before.views != event.views:
                self._note_built()
        elif event is None and message.record.key and not message.record.key.startswith(b"~"):
            view, _, rest = message.record.key.decode("utf-8", "replace").partition("/")
            entity, _, partition = rest.rpartition("/")
            self._put(view, entity, int(partition), None)

    def _put(self, view: str, entity: str, partition: int, tile: Tile | None) -> None:
        key = (view, entity)
        self._tiles.put(key, partition, tile)
        self._panes.pop(key, None)
        known = self._values.pop(key, None)
        if known:
            self.values_bytes -= sum(_ROW_BYTES + row.nbytes for row in known.values())

    def _note_built(self) -> None:
        self._built = {key for key, plan in self._plans.items() if self._is_built(key, plan)}

    def _is_built(self, key: str, plan: ViewPlan) -> bool:
        shards = [self.shards.get((plan.source.name, partition)) for partition in range(plan.source.partitions)]
        return all(shard is not None and key in shard.views for shard in shards)

    def is_built(self, view: str) -> bool:
        """Whether all shards of the view's source hold its complete tiles. `view`: its key."""
        return view in self._built

    def has(self, view: str, entity: str) -> bool:
        """Whether any event has named this entity. `view`: the view's key."""
        return bool(self._tiles.get((view, entity)))

    def entity_count(self, view: str) -> int:
        """The number of entities of a view. `view`: its key."""
        return self._tiles.count(view)

    def newest_s(self, source: str) -> float:
        """The newest instant of an event of the source that is contained; -inf before the first."""
        return max((shard.max_event_s for (name, _), shard in self.shards.items() if name == source), default=-math.inf)

    @property
    def applied(self) -> dict[str, int]:
        """Per `source topic/partition` the next offset that is not contained yet. It is shared: do not change it."""
        return self._applied

    def lookup(self, view: str, entity: str | None, at_s: float, feature_delay_s: float) -> Floats:
        """The view's values for an entity at an instant, float64 (n_features,). `view`: its key.

        An entity that no event named has no values (counts and sums are 0). All values are NaN where the entity is
        None, and while the view is not built: never zero by mistake.
        """
        plan = self._plans[view]
        if entity is None or view not in self._built:
            return np.full(len(plan.view.features), np.nan)
        edges = tuple([edge(at_s, feature_delay_s, width.width_s) for width in plan.widths])
        known = self._values.get((view, entity))
        if known is not None and edges in known:
            return known[edges]
        values = finalise(plan, self._merged((view, entity)), at_s, feature_delay_s)
        self._remember((view, entity), edges, values)
        return values

    def lookup_many(
        self, view: str, entities: Sequence[str | None], at_s: Sequence[float], feature_delay_s: float
    ) -> Floats:
        """The same for many entities, each at its own instant: float64 (n, n_features)."""
        plan = self._plans[view]
        values = np.full((len(entities), len(plan.view.features)), np.nan)
        if view not in self._built:
            return values
        wanted: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        edges_at: dict[float, tuple[int, ...]] = {}
        for place, (entity, at) in enumerate(zip(entities, at_s, strict=True)):
            if entity is not None:
                edges = edges_at.get(at)
                if edges is None:
                    edges = edges_at[at] = tuple([edge(at, feature_delay_s, width.width_s) for width in plan.widths])
                known = self._values.get((view, entity))
                if known is not None and edges in known:
                    values[place] = known[edges]
                else:
                    wanted.setdefault((entity, edges), []).append(place)
        if wanted:
            self._make(plan, wanted, at_s, feature_delay_s, values)
        return values

    def _make(
        self,
        plan: ViewPlan,
        wanted: Mapping[tuple[str, tuple[int, ...]], Sequence[int]],
        at_s: Sequence[float],
        feature_delay_s: float,
        values: Floats,
    ) -> None:
        """Compute the values that are not cached, each once, and fill them in."""
        view = plan.view.key
        panes = [self._merged((view, entity)) for entity, _ in wanted]
        made = finalise_many(plan, panes, [at_s[places[0]] for places in wanted.values()], feature_delay_s)
        for ((entity, edges), places), row in zip(wanted.items(), made, strict=True):
            values[list(places)] = row
            self._remember((view, entity), edges, row.copy())  # NB: a view of `made` would keep all of it in memory

    def forget_values(self) -> None:
        """Drop the cached values; the decoded tiles stay."""
        self._values.clear()
        self.values_bytes = 0

    def plan(self, view: str) -> ViewPlan:
        """The plan of a view by its key; KeyError when no applied project has had it."""
        return self._plans[view]

    def _merged(self, key: tuple[str, str]) -> dict[int, Panes]:
        panes = self._panes.get(key)
        if panes is None:
            tiles = self._tiles.get(key)
            panes = merge_tiles([tiles[partition] for partition in sorted(tiles)]) if tiles else {}
            if len(self._panes) >= _MOST_CACHED:
                self._panes.clear()
            self._panes[key] = panes
        return panes

    def _remember(self, key: tuple[str, str], edges: tuple[int, ...], values: Floats) -> None:
        size = _ROW_BYTES + values.nbytes
        if self.values_bytes + size > VALUES_BYTES:
            self.forget_values()
        known = self._values.setdefault(key, {})
        if edges not in known:
            self.values_bytes += size
        known[edges] = values
