"""One shard: fold a fetched batch in memory, write each touched tile once, and how far it came last."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from headrace.events.definition import ProjectDefinition
from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, PipelineAdvanced, Tile, ViewAdopted
from headrace.features.origins import MOST_PLACES, MOST_SPARSE, Origins
from headrace.features.tiles import TileState
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message, SourceEvent, Stamp, out, tombstone
from headrace.log.envelope import Envelope, read_headers
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace_feature.adapters.history import History
from headrace_feature.core.views import SourceFold, duties_of, plans_of
from headrace_feature.settings import STATE_BYTES

_log = logging.getLogger("headrace.feature")

SERVICE = "feature"
# A view under construction that is this close to the running ones catches up within one step.
_NEAR = 5000

Histories = Callable[[TopicPartition], History]


class _Building:
    """Views of one source in the making: their own fold, fed from the beginning, in a task of its own."""

    def __init__(self, fold: SourceFold, history: History) -> None:
        self.fold, self.history = fold, history
        self.task: asyncio.Task[None] | None = None

    def lag(self, applied: int) -> int:
        """How many offsets the running views are ahead."""
        return applied - self.history.position

    async def read_to(self, offset: int) -> None:
        """Fold everything before `offset`."""
        async for messages in self.history.up_to(offset):
            for message in messages:
                take(self.fold, message)
            self.fold.fold()
            await asyncio.sleep(0)


class FeatureShard:
    """Partition p of all sources."""

    def __init__(
        self,
        topics: Topics,
        projects: Sequence[ProjectDefinition],
        shard: int,
        histories: Histories,
        health: Health,
    ) -> None:
        self._topics, self._shard, self._histories, self._health = topics, shard, histories, health
        self._defined = plans_of(projects)
        self._sources = {topics.of_source(name): name for name in self._defined}
        self._folds = {name: SourceFold(source, ()) for name, (source, _) in self._defined.items()}
        self._building: dict[str, _Building] = {}
        self._reached: dict[str, FeatureShardAdvanced] = {}
        self._stored: dict[tuple[str, str], Tile] = {}
        self._adopted: dict[str, ViewAdopted] = {}
        self._to_write: list[Out] = []

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("features.online"))]

    async def on_history(self, message: Message) -> None:
        match message.event:
            case Tile() as tile:
                self._stored[tile.view, tile.entity] = tile
            case FeatureShardAdvanced() as advanced if advanced.source in self._folds:
                self._reached[advanced.source] = advanced
            case ViewAdopted() as adopted:
                self._adopted[adopted.definition.key] = adopted
            case IdentitiesSeen() as seen if seen.source in self._folds:
                self._folds[seen.source].repeats.restore(seen)
            case None:
                self._forget(message)

    def _forget(self, message: Message) -> None:
        """A tombstone: of a tile, or of an adopted view."""
        kind, _, rest = (message.record.key or b"").decode("utf-8", "replace").partition("/")
        if kind == "~view":
            self._adopted.pop(rest.rpartition("/")[0], None)
        else:
            self._stored.pop((kind, rest.rpartition("/")[0]), None)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Take up the views that are complete, begin to build those that are not, and drop what nobody needs."""
        for name, fold in self._folds.items():
            source, defined = self._defined[name]
            reached = self._reached.get(name)
            adopted = [found for found in self._adopted.values() if found.source == name]
            duties = duties_of(defined, source, None if reached is None else reached.views, adopted)
            fold.keep(duties.keep)
            if reached is not None:
                self._go_on(fold, reached)
            for key in duties.drop:
                self._drop(name, key)
            if duties.build:
                self._begin_building(name, SourceFold(source, duties.build))
            self._to_write += self._adoptions(name, [key for key in fold.views if key not in self._adopted])
            if reached is None or set(reached.views) != set(fold.views):
                self._to_write.append(self._advanced(name, 0 if reached is None else self._applied(name), None))
        self._restore_tiles()
        return committed

    def _go_on(self, fold: SourceFold, reached: FeatureShardAdvanced) -> None:
        sparse = {place: set(codes) for place, codes in reached.sparse.items()}
        fold.origins = Origins(dict(reached.origins), sparse, dict(reached.topic_ids))
        fold.late, fold.repeated, fold.newest_s = reached.late, reached.repeated, reached.max_event_s

    def _restore_tiles(self) -> None:
        for (view, entity), tile in self._stored.items():
            for fold in self._folds.values():
                plan = fold.plan(view)
                if plan is not None:
                    fold.restore(view, entity, TileState.decode(plan, tile))
        self._stored.clear()

    def _drop(self, source: str, view: str) -> None:
        """Delete a view that no project defines any more, tile by tile."""
        entities = [entity for found, entity in self._stored if found == view]
        keys = [f"{view}/{entity}/{self._shard}" for entity in entities] + [f"~view/{view}/{self._shard}"]
        _log.info("dropping view %s of %s: %s tiles", view, source, len(entities))
        topic = self._topics.name("features.online")
        self._to_write += [
            tombstone(topic, key, Envelope(f"{key}@gone", "tile", SERVICE, 0.0), self._shard) for key in keys
        ]

    # building views beside the running ones

    def _begin_building(self, name: str, fold: SourceFold) -> None:
        place = TopicPartition(self._topics.of_source(name), self._shard)
        building = self._building[name] = _Building(fold, self._histories(place))
        _log.info("building %s from the beginning of %s/%s", ", ".join(fold.views), place.topic, self._shard)
        building.task = asyncio.create_task(building.read_to(self._applied(name)))

    async def _advance_building(self) -> list[Out]:
        """Switch to the views that are caught up: in this step they are brought to exactly where the running ones are."""
        outs: list[Out] = []
        for name, building in list(self._building.items()):
            applied = self._applied(name)
            self._health.building[f"{name}/{self._shard}"] = min(building.history.position / max(applied, 1), 1.0)
            if building.task is not None and not building.task.done():
                continue
            if building.task is not None:
                building.task.result()
            if building.lag(applied) > _NEAR:
                building.task = asyncio.create_task(building.read_to(applied))
                continue
            await building.read_to(applied)
            outs += self._adopt(name, building)
            await building.history.close()
            del self._building[name], self._health.building[f"{name}/{self._shard}"]
        return outs

    def _adopt(self, name: str, building: _Building) -> list[Out]:
        fold = self._folds[name]
        before = set(fold.views)
        fold.adopt(building.fold)
        _log.info("built %s: %s tiles", ", ".join(building.fold.views), len(building.fold.tiles))
        new = [key for key in fold.views if key not in before]
        return [
            *self._adoptions(name, new),
            *self._tiles(name, None, self._applied(name)),
            self._advanced(name, self._applied(name), None),
        ]

    def _adoptions(self, name: str, views: Sequence[str]) -> list[Out]:
        outs = []
        for view in views:
            plan = self._folds[name].plan(view)
            assert plan is not None
            key = f"~view/{view}/{self._shard}"
            event = ViewAdopted(name, self._shard, plan.view, plan.settle_s)
            outs.append(
                out(self._topics.name("features.online"), key, event, Envelope(key, "", SERVICE, 0.0), self._shard)
            )
        return outs

    async def on_close(self) -> None:
        """End what runs beside."""
        for building in self._building.values():
            if building.task is not None:
                building.task.cancel()
                await asyncio.gather(building.task, return_exceptions=True)
            await building.history.close()

    # the running fold

    async def on_tick(self) -> Outputs:
        outs, self._to_write = self._to_write, []
        return Outputs(outs=outs + await self._advance_building())

    async def on_batch(self, batch: Sequence[SourceEvent]) -> Outputs:
        last: dict[str, SourceEvent] = {}
        for message in batch:
            name = self._sources[message.record.topic]
            last[name] = message
            take(self._folds[name], message)
        outs, self._to_write = self._to_write, []
        for name, read in last.items():
            self._folds[name].fold()
            cause = read_headers(read.record)
            outs += self._tiles(name, cause, read.record.offset)
            outs.append(self._advanced(name, read.record.offset + 1, cause))
            self._tell(name)
        return Outputs(outs=outs + await self._advance_building())

    def _tiles(self, name: str, cause: Envelope | None, offset: int) -> list[Out]:
        """The touched tiles, and the touched identities of a deduplicated source."""
        topic, fold = self._topics.name("features.online"), self._folds[name]
        stamp = Stamp(topic, self._envelope("", "tile", cause), self._shard)
        outs = []
        for plan, entity, state in fold.take_touched():
            key = f"{plan.view.key}/{entity}/{self._shard}"
            outs.append(stamp.out(key, state.encode(plan, entity, self._shard), f"{key}@{offset}"))
        for seen in fold.repeats.take_touched(self._shard):
            key = self._seen_key(name, seen.bucket, seen.part)
            outs.append(out(topic, key, seen, self._envelope(f"{key}@{offset}", "", cause), self._shard))
        for bucket, part in fold.repeats.take_expired():
            key = self._seen_key(name, bucket, part)
            outs.append(tombstone(topic, key, self._envelope(f"{key}@gone", "identities.seen", cause), self._shard))
        return outs

    def _seen_key(self, name: str, bucket: int, part: int) -> str:
        # NB: the first part has the key that the whole bucket had before there were parts.
        return f"~seen/{name}/{bucket}/{part}/{self._shard}" if part else f"~seen/{name}/{bucket}/{self._shard}"

    def _advanced(self, name: str, applied: int, cause: Envelope | None) -> Out:
        fold = self._folds[name]
        self._reached[name] = FeatureShardAdvanced(
            source=name,
            partition=self._shard,
            applied={self._place(name): applied},
            origins=dict(fold.origins.marked),
            sparse={place: sorted(codes) for place, codes in fold.origins.sparse.items() if codes},
            late=fold.late,
            repeated=fold.repeated,
            views=fold.views,
            max_event_s=fold.newest_s,
            topic_ids=dict(fold.origins.topic_ids),
        )
        key = f"~shard/{name}/{self._shard}"
        envelope = self._envelope(f"{key}@{applied - 1}", "", cause)
        return out(self._topics.name("features.online"), key, self._reached[name], envelope, self._shard)

    def _envelope(self, ident: str, kind: str, cause: Envelope | None) -> Envelope:
        if cause is None:
            return Envelope(ident, kind, SERVICE, 0.0)
        return Envelope(ident, kind, SERVICE, cause.time_s, causation_id=cause.id)

    def _place(self, name: str) -> str:
        return f"{self._topics.of_source(name)}/{self._shard}"

    def _applied(self, name: str) -> int:
        reached = self._reached.get(name)
        return 0 if reached is None else reached.applied.get(self._place(name), 0)

    def _tell(self, name: str) -> None:
        fold, place = self._folds[name], f"{name}/{self._shard}"
        self._health.newest_event_s[place] = fold.newest_s
        self._health.late[place] = fold.late
        self._health.repeated[place] = fold.repeated
        health, limit = self._health, STATE_BYTES
        health.holds(f"tiles {place}", tiles := fold.held_bytes(), limit)
        health.holds(f"origins {place}", fold.origins.held_bytes, (MOST_SPARSE + 4 * MOST_PLACES) * 100)
        if fold.source.dedupe is not None:
            health.holds(f"identities {place}", fold.repeats.held_bytes, limit)
        if tiles > limit or fold.repeats.held_bytes > limit:
            health.fail(
                f"state:{place}",
                f"{name}/{self._shard} keeps more than {limit:,} bytes of tiles or identities: too many entities",
            )
        else:
            health.clear(f"state:{place}")

    def fold_of(self, source: str) -> SourceFold:
        """The fold of one source, for inspection."""
        return self._folds[source]


def take(fold: SourceFold, read: SourceEvent) -> None:
    """Take a record of the source's topic: an event once per origin, or a pipeline's marker."""
    event = read.event
    if isinstance(event, PipelineAdvanced):
        fold.origins.advance(f"{event.topic}/{event.partition}", event.offset, event.topic_id)
    elif not fold.origins.is_repeat(read.origin):
        fold.take(event)
