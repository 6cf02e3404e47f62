"""The state of one shard: the folds of its sources, how far each has come, and what follows from history and from batches.

A shard rebuilds itself from its own output (`apply`), decides what to do about the views of each source (`on_start`), and then
folds batches (`on_batch`), writing each touched tile once and how far it came last. Views that are not complete are built
beside the running ones, and taken over when they contain exactly the same records (`on_built`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.bus.port import Out
from headrace.codec import SourceEvent
from headrace.envelope import Envelope, read_headers
from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, Tile, ViewAdopted
from headrace.features.plan import ViewPlan
from headrace.features.tiles import TileState
from headrace.project.definition import SourceDefinition
from headrace.step import Step
from headrace_feature.core.records import VIEW, ShardRecords, deleted_by
from headrace_feature.core.source_fold import SourceFold
from headrace_feature.core.views import choose_duties

Defined = Mapping[str, tuple[SourceDefinition, Mapping[str, ViewPlan]]]


class Dropped(NamedTuple):
    """A view that no project defines any more, and how many of its tiles are deleted."""

    source: str
    view: str
    tiles: int


class ShardState:
    """Partition p of all sources. NB: it changes in place, as its folds do; the `state` of its steps is itself.

    `defined`: see `plans_of`. `topics`: the full topic name per source. `to_build`: after `on_start` per source a fold of the
    views that must be built from the beginning. `dropped`: the views that `on_start` deletes. `folded`: the sources that the last
    batch had records of.
    """

    def __init__(self, defined: Defined, topics: Mapping[str, str], shard: int, records: ShardRecords) -> None:
        self.folds = {name: SourceFold(source, ()) for name, (source, _) in defined.items()}
        self.to_build: dict[str, SourceFold] = {}
        self.dropped: list[Dropped] = []
        self.folded: tuple[str, ...] = ()
        self._defined, self._shard, self._records = defined, shard, records
        self._places = {name: f"{topics[name]}/{shard}" for name in defined}
        self._by_topic = {topics[name]: name for name in defined}
        self._reached: dict[str, FeatureShardAdvanced] = {}
        self._stored: dict[tuple[str, str], Tile] = {}
        self._adopted: dict[str, ViewAdopted] = {}

    # history

    def apply(
        self, event: Tile | FeatureShardAdvanced | ViewAdopted | IdentitiesSeen | None, key: bytes | None
    ) -> None:
        """Take a record of the shard's own output. None is a tombstone, of which the key says what it deletes."""
        match event:
            case Tile() as tile:
                self._stored[tile.view, tile.entity] = tile
            case FeatureShardAdvanced() as advanced if advanced.source in self.folds:
                self._reached[advanced.source] = advanced
            case ViewAdopted() as adopted:
                self._adopted[adopted.definition.key] = adopted
            case IdentitiesSeen() as seen if seen.source in self.folds:
                self.folds[seen.source].repeats.restore(seen)
            case None:
                self._forget(key)

    def _forget(self, key: bytes | None) -> None:
        kind, name = deleted_by(key)
        if kind == VIEW:
            self._adopted.pop(name, None)
        else:
            self._stored.pop((kind, name), None)

    def on_start(self) -> "Step[ShardState, Out]":
        """Take up the views that are complete, begin to build those that are not, and drop what nobody needs."""
        outs: list[Out] = []
        for name in self.folds:
            outs += self._start_source(name)
        self._restore_tiles()
        return Step(self, tuple(outs))

    def _start_source(self, name: str) -> list[Out]:
        fold, reached, (source, defined) = self.folds[name], self._reached.get(name), self._defined[name]
        adopted = [found for found in self._adopted.values() if found.source == name]
        duties = choose_duties(defined, source, None if reached is None else reached.views, adopted)
        fold.keep(duties.keep)
        if reached is not None:
            fold.go_on_from(reached)
        outs = [written for view in duties.drop for written in self._drop(name, view)]
        if duties.build:
            self.to_build[name] = SourceFold(source, duties.build)
        outs += self._adoptions(name, [key for key in fold.views if key not in self._adopted])
        if reached is None or set(reached.views) != set(fold.views):
            outs.append(self._advance(name, self.applied(name), None))
        return outs

    def _drop(self, source: str, view: str) -> list[Out]:
        entities = [entity for found, entity in self._stored if found == view]
        self.dropped.append(Dropped(source, view, len(entities)))
        return self._records.dropped(view, entities)

    def _restore_tiles(self) -> None:
        for (view, entity), tile in self._stored.items():
            for fold in self.folds.values():
                plan = fold.plan(view)
                if plan is not None:
                    fold.restore(view, entity, TileState.decode(plan, tile))
        self._stored.clear()

    # views that were built beside the running ones

    def on_built(self, name: str, built: SourceFold) -> "Step[ShardState, Out]":
        """Take over the views of a fold that has read as far as the running one, and write all of their tiles."""
        fold = self.folds[name]
        before = set(fold.views)
        fold.adopt(built)
        applied = self.applied(name)
        outs = [
            *self._adoptions(name, [key for key in fold.views if key not in before]),
            *self._touched(name, None, applied),
            self._advance(name, applied, None),
        ]
        return Step(self, tuple(outs))

    def _adoptions(self, name: str, views: Sequence[str]) -> list[Out]:
        plans = [self.folds[name].plan(view) for view in views]
        return [self._records.adopted(name, plan) for plan in plans if plan is not None]

    # the running fold

    def on_batch(self, batch: Sequence[SourceEvent]) -> "Step[ShardState, Out]":
        """Fold a fetched batch: each touched tile once, then how far each source came."""
        last: dict[str, SourceEvent] = {}
        for read in batch:
            name = self._by_topic[read.record.topic]
            last[name] = read
            self.folds[name].on_record(read)
        outs: list[Out] = []
        for name, read in last.items():
            self.folds[name].fold()
            cause = read_headers(read.record)
            outs += self._touched(name, cause, read.record.offset)
            outs.append(self._advance(name, read.record.offset + 1, cause))
        self.folded = tuple(last)
        return Step(self, tuple(outs))

    def applied(self, name: str) -> int:
        """The next offset of a source that is not contained in its tiles."""
        reached = self._reached.get(name)
        return 0 if reached is None else reached.applied.get(self._places[name], 0)

    def _touched(self, name: str, cause: Envelope | None, offset: int) -> list[Out]:
        """The touched tiles, and the touched identities of a deduplicated source."""
        fold, records = self.folds[name], self._records
        return [
            *records.tiles(fold.take_touched(), cause, offset),
            *records.identities(fold.repeats.take_touched(self._shard), cause, offset),
            *records.expired(name, fold.repeats.take_expired(), cause),
        ]

    def _advance(self, name: str, applied: int, cause: Envelope | None) -> Out:
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
        return self._records.advanced(reached, applied, cause)
