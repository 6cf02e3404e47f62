"""The online store: the newest tiles in memory, applied lazily, looked up in microseconds."""

from collections.abc import Iterable

import numpy as np

from headrace.codec import Message
from headrace.events.features import FeatureShardAdvanced, Tile
from headrace.features.finalise import Floats, Panes, edge, finalise, merge_tiles
from headrace.features.plan import ViewPlan, plan_view
from headrace.project.definition import ProjectDefinition

_MOST_CACHED = 50_000


class OnlineStore:
    """Fed by a view of `features.online`; answers `lookup`."""

    def __init__(self) -> None:
        self._plans: dict[str, ViewPlan] = {}
        self._tiles: dict[tuple[str, str], dict[int, Tile]] = {}
        self._panes: dict[tuple[str, str], dict[int, Panes]] = {}
        self._values: dict[tuple[str, str], dict[tuple[int, ...], Floats]] = {}
        self.shards: dict[tuple[str, int], FeatureShardAdvanced] = {}
        self._applied: dict[str, int] = {}

    def define(self, projects: Iterable[ProjectDefinition]) -> None:
        """Know the views of these projects; cached values are dropped."""
        self._plans = {view.name: plan_view(project, view.name) for project in projects for view in project.views}
        self._panes.clear()
        self._values.clear()

    def apply(self, message: Message) -> None:
        """Take a tile or a shard's progress."""
        event = message.event
        if isinstance(event, Tile):
            key = (event.view, event.entity)
            self._tiles.setdefault(key, {})[event.source_partition] = event
            self._panes.pop(key, None)
            self._values.pop(key, None)
        elif isinstance(event, FeatureShardAdvanced):
            self.shards[event.source, event.partition] = event
            self._applied = {**self._applied, **event.applied}

    @property
    def applied(self) -> dict[str, int]:
        """Per `source topic/partition` the next offset that is not contained yet. Shared: do not change it."""
        return self._applied

    def origins(self) -> dict[str, int]:
        """Per raw `topic/partition` the highest offset whose effects are contained everywhere that they could lie."""
        lowest: dict[str, int] = {}
        for (source, _), shard in self.shards.items():
            for place in shard.origins:
                reached = [s.origins.get(place, -1) for (name, _), s in self.shards.items() if name == source]
                lowest[place] = min(lowest.get(place, 2**62), *reached)
        return lowest

    def lookup(self, view: str, entity: str | None, at_s: float, settle_s: float) -> Floats:
        """The view's values for an entity at an instant, float64 (n_features,); all NaN (counts 0) for an unknown one."""
        plan = self._plans[view]
        if entity is None:
            return np.full(len(plan.view.features), np.nan)
        edges = tuple([edge(at_s, settle_s, width.width_s) for width in plan.widths])
        known = self._values.get((view, entity))
        if known is not None and edges in known:
            return known[edges]
        values = finalise(plan, self._merged((view, entity)), at_s, settle_s)
        self._remember((view, entity), edges, values)
        return values

    def plan(self, view: str) -> ViewPlan:
        """The plan of a view; KeyError when no applied project has it."""
        return self._plans[view]

    def _merged(self, key: tuple[str, str]) -> dict[int, Panes]:
        panes = self._panes.get(key)
        if panes is None:
            tiles = self._tiles.get(key, {})
            panes = merge_tiles([tiles[partition] for partition in sorted(tiles)]) if tiles else {}
            self._panes[key] = panes
        return panes

    def _remember(self, key: tuple[str, str], edges: tuple[int, ...], values: Floats) -> None:
        if len(self._values) >= _MOST_CACHED:
            self._values.clear()
        self._values.setdefault(key, {})[edges] = values
