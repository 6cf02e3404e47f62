"""The state of one shard: the folds of its sources, how far each has come, and what follows from history and from batches.

A shard rebuilds itself from its own output (`apply`), decides what to do about the views of each source (`on_start`), and then
folds batches (`on_batch`): each touched tile is written once, and how far the shard came last. Views that are not complete are
built beside the running ones, and taken over when they contain exactly the same records (`on_built`).
"""

from collections.abc import Mapping, Sequence

from headrace.events.definition import SourceDefinition
from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, Tile, ViewAdopted
from headrace.features.plan import ViewPlan
from headrace.features.tiles import TileState
from headrace.log.port import Record
from headrace.step import Step
from headrace_feature.core.facts import Fact, IdentitiesExpired, Read, ViewDropped, Written
from headrace_feature.core.source_fold import SourceFold
from headrace_feature.core.views import choose_duties

Defined = Mapping[str, tuple[SourceDefinition, Mapping[str, ViewPlan]]]


class ShardState:
    """Partition `shard` of all sources. `defined`: see `plans_of`. `topics`: the full topic name per source.

    `to_build`: after `on_start` per source a fold of the views that must be built from the beginning. `folded`: the sources
    that the last batch had records of. NB: it changes in place, as its folds do; the state of its steps is itself.
    """

    def __init__(self, defined: Defined, topics: Mapping[str, str], shard: int) -> None:
        self.folds = {name: SourceFold(source, ()) for name, (source, _) in defined.items()}
        self.to_build: dict[str, SourceFold] = {}
        self.folded: tuple[str, ...] = ()
        self._defined, self._shard = defined, shard
        self._places = {name: f"{topics[name]}/{shard}" for name in defined}
        self._by_topic = {topics[name]: name for name in defined}
        self._reached: dict[str, FeatureShardAdvanced] = {}
        self._stored: dict[tuple[str, str], Tile] = {}
        self._adopted: dict[str, ViewAdopted] = {}

    # history

    def apply(self, fact: Tile | FeatureShardAdvanced | ViewAdopted | IdentitiesSeen) -> None:
        """Take a fact of the shard's own output."""
        match fact:
            case Tile() as tile:
                self._stored[tile.view, tile.entity] = tile
            case FeatureShardAdvanced() as advanced if advanced.source in self.folds:
                self._reached[advanced.source] = advanced
            case ViewAdopted() as adopted:
                self._adopted[adopted.definition.key] = adopted
            case IdentitiesSeen() as seen if seen.source in self.folds:
                self.folds[seen.source].repeats.restore(seen)

    def forget(self, view: str | None, name: str) -> None:
        """Take a tombstone of the shard's own output: of a tile by view and entity, or, for no view, of the adopted view `name`."""
        if view is None:
            self._adopted.pop(name, None)
        else:
            self._stored.pop((view, name), None)

    def on_start(self) -> "Step[ShardState, Written]":
        """Take up the views that are complete, begin to build those that are not, and drop what nobody needs."""
        written = [self._start_source(name) for name in self.folds]
        self._restore_tiles()
        return Step(self, tuple(found for found in written if found.facts))

    def _start_source(self, name: str) -> Written:
        fold, reached, (source, defined) = self.folds[name], self._reached.get(name), self._defined[name]
        adopted = [found for found in self._adopted.values() if found.source == name]
        duties = choose_duties(defined, source, None if reached is None else reached.views, adopted)
        fold.keep(duties.keep)
        if reached is not None:
            fold.go_on_from(reached)
        if duties.build:
            self.to_build[name] = SourceFold(source, duties.build)
        facts: list[Fact] = [self._drop(name, view) for view in duties.drop]
        facts += self._adoptions(name, [key for key in fold.views if key not in self._adopted])
        applied = self.applied(name)
        if reached is None or set(reached.views) != set(fold.views):
            facts.append(self._advance(name, applied))
        return Written(tuple(facts), applied)

    def _drop(self, source: str, view: str) -> ViewDropped:
        return ViewDropped(source, view, tuple(entity for found, entity in self._stored if found == view))

    def _restore_tiles(self) -> None:
        for (view, entity), tile in self._stored.items():
            for fold in self.folds.values():
                plan = fold.plan(view)
                if plan is not None:
                    fold.restore(view, entity, TileState.decode(plan, tile))
        self._stored.clear()

    # views that were built beside the running ones

    def on_built(self, name: str, built: SourceFold) -> "Step[ShardState, Written]":
        """Take over the views of a fold that has read as far as the running one, and write all of their tiles."""
        fold, applied = self.folds[name], self.applied(name)
        before = set(fold.views)
        fold.adopt(built)
        adopted = self._adoptions(name, [key for key in fold.views if key not in before])
        facts = (*adopted, *self._touched(name), self._advance(name, applied))
        return Step(self, (Written(facts, applied),))

    def _adoptions(self, name: str, views: Sequence[str]) -> list[ViewAdopted]:
        plans = [self.folds[name].plan(view) for view in views]
        return [ViewAdopted(name, self._shard, plan.view, plan.feature_delay_s) for plan in plans if plan is not None]

    # the running fold

    def on_batch(self, batch: Sequence[Read]) -> "Step[ShardState, Written]":
        """Fold a fetched batch: per source each touched tile once, then how far it came."""
        last: dict[str, Record] = {}
        for read in batch:
            name = self._by_topic[read.record.topic]
            last[name] = read.record
            self.folds[name].on_record(read)
        self.folded = tuple(last)
        return Step(self, tuple([self._fold(name, record) for name, record in last.items()]))

    def _fold(self, name: str, last: Record) -> Written:
        self.folds[name].fold()
        return Written((*self._touched(name), self._advance(name, last.offset + 1)), last.offset, last)

    def applied(self, name: str) -> int:
        """The next offset of a source that is not contained in its tiles."""
        reached = self._reached.get(name)
        return 0 if reached is None else reached.applied.get(self._places[name], 0)

    def _touched(self, name: str) -> list[Fact]:
        """The touched tiles, and of a deduplicated source the touched and the expired identities."""
        fold, shard = self.folds[name], self._shard
        facts: list[Fact] = [state.encode(plan, entity, shard) for plan, entity, state in fold.take_touched()]
        facts += fold.repeats.take_touched(shard)
        facts += [IdentitiesExpired(name, bucket, part) for bucket, part in fold.repeats.take_expired()]
        return facts

    def _advance(self, name: str, applied: int) -> FeatureShardAdvanced:
        fold = self.folds[name]
        reached = self._reached[name] = FeatureShardAdvanced(
            source=name,
            partition=self._shard,
            applied={self._places[name]: applied},
            origins=dict(fold.origins.marked),
            sparse={place: sorted(codes) for place, codes in fold.origins.sparse.items() if codes},
            late=fold.late,
            repeated=fold.repeated,
            views=fold.views,
            max_event_s=fold.newest_s,
            topic_ids=dict(fold.origins.topic_ids),
        )
        return reached
