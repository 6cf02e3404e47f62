"""Which events count, which tiles an event touches, and which views a shard keeps, builds, or drops.

An event touches one tile per view of its source, for the entity that it names. A view is known by its key, name and
digest: a changed view is another one. What a shard finds defined but does not keep yet is built from the beginning of
the source, beside the others; what it keeps though nobody defines it any more is kept on until everything defined is
complete, and dropped at the next start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.events.features import ViewAdopted
from headrace.features.origins import Origins
from headrace.features.plan import ViewPlan, available_s, entity_of, plan_definition, plan_view
from headrace.features.repeats import Repeats
from headrace.features.tiles import TileState
from headrace.project.definition import ProjectDefinition, SourceDefinition

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
        self._steps: list[tuple[str, tuple[str, ...], ViewPlan]] = []
        self.keep(plans)

    def keep(self, plans: Iterable[ViewPlan]) -> None:
        """Fold for these views too."""
        self._plans |= {plan.view.key: plan for plan in plans}
        self._steps = [(key, plan.view.entity, plan) for key, plan in self._plans.items()]
        longest_s = max((plan.keep_s for plan in self._plans.values()), default=0.0)
        self.repeats.keep_s = longest_s + self.source.dedupe_within_s

    def fold(self, event: Any) -> bool:
        """Add an event to its tiles, unless it is a repeat; False when it came too late for every one of them."""
        at_s = available_s(self.source, event)
        if self.source.dedupe is not None and self.repeats.is_repeat(event, at_s):
            self.repeated += 1
            return True
        kept = not self._steps
        tiles, touched = self.tiles, self._touched
        for view, fields, plan in self._steps:
            entity = getattr(event, fields[0]) if len(fields) == 1 else entity_of(fields, event)
            if entity is not None and type(entity) is not str:
                entity = str(entity)
            if entity is None:
                continue
            key = (view, entity)
            state = tiles.get(key)
            if state is None:
                state = tiles[key] = TileState(len(plan.widths))
            if state.fold(plan, event, at_s):
                kept = True
                touched.add(key)
        if not kept:
            self.late += 1
        if at_s > self.newest_s:
            self.newest_s = at_s
        return kept

    def adopt(self, built: "SourceFold") -> None:
        """Take over the views of a fold that has folded exactly the same records."""
        self.repeats = built.repeats  # the whole history's: the running one may have begun when `dedupe` was added
        self.keep(built._plans.values())
        self.tiles |= built.tiles
        self._touched |= set(built.tiles)

    def restore(self, view: str, entity: str, state: TileState) -> None:
        """Put back a tile that was written before."""
        self.tiles[view, entity] = state

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
        return [(self._plans[view], entity, self.tiles[view, entity]) for view, entity in sorted(touched)]


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
