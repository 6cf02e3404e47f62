"""Which tiles an event touches: one per view of its source, for the entity that the event names."""

from collections.abc import Iterable
from typing import Any

from headrace.features.plan import ViewPlan, available_s, entity_of, plan_view
from headrace.features.tiles import TileState
from headrace.project.definition import ProjectDefinition, SourceDefinition


class SourceFold:
    """The fold of one source's partition into the tiles of all its views."""

    def __init__(self, source: SourceDefinition, plans: list[ViewPlan]) -> None:
        self.source = source
        self._plans = plans
        self.tiles: dict[tuple[str, str], TileState] = {}
        self._touched: set[tuple[str, str]] = set()
        self._plan_of = {plan.view.name: plan for plan in plans}

    def fold(self, event: Any) -> bool:
        """Add an event to its tiles; False when it came too late for every one of them."""
        at_s = available_s(self.source, event)
        kept = not self._plans
        for plan in self._plans:
            entity = entity_of(plan.view.entity, event)
            if entity is None:
                continue
            key = (plan.view.name, entity)
            state = self.tiles.get(key)
            if state is None:
                state = self.tiles[key] = TileState(len(plan.widths))
            if state.fold(plan, event, at_s):
                kept = True
                self._touched.add(key)
        return kept

    def restore(self, view: str, entity: str, state: TileState) -> None:
        """Put back a tile that was written before."""
        self.tiles[view, entity] = state

    def plan(self, view: str) -> ViewPlan | None:
        """The plan of a view of this source."""
        return self._plan_of.get(view)

    def take_touched(self) -> Iterable[tuple[ViewPlan, str, TileState]]:
        """Tiles changed since the last call, each once."""
        touched, self._touched = self._touched, set()
        return [(self._plan_of[view], entity, self.tiles[view, entity]) for view, entity in sorted(touched)]


def folds_of(projects: Iterable[ProjectDefinition]) -> dict[str, SourceFold]:
    """An empty fold per source."""
    return {
        source.name: SourceFold(
            source, [plan_view(project, view.name) for view in project.views if view.source == source.name]
        )
        for project in projects
        for source in project.sources
    }
