"""One shard: fold a fetched batch in memory, write each touched tile once, and how far it came last."""

from collections.abc import Mapping, Sequence

from headrace.bus.port import Out, TopicPartition
from headrace.bus.shards import Outputs, Rebuild
from headrace.codec import Message, out
from headrace.envelope import Envelope
from headrace.events.features import FeatureShardAdvanced, PipelineAdvanced, Tile
from headrace.features.origins import Origins
from headrace.features.plan import available_s
from headrace.features.tiles import TileState
from headrace.project.definition import ProjectDefinition, digest_of
from headrace.topics import Topics
from headrace_feature.core.views import SourceFold, folds_of

SERVICE = "feature"


class FeatureShard:
    """Partition p of all sources."""

    def __init__(self, topics: Topics, projects: Sequence[ProjectDefinition], shard: int) -> None:
        self._topics, self._shard = topics, shard
        self._folds = folds_of(projects)
        self._views_digest = digest_of(*(view.digest for project in projects for view in project.views))
        self._sources = {topics.of_source(name): name for name in self._folds}
        self._origins = {name: Origins() for name in self._folds}
        self._reached: dict[str, FeatureShardAdvanced] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._topics.name("features.online"))]

    async def on_history(self, message: Message) -> None:
        event = message.event
        if isinstance(event, Tile):
            self._restore(event)
        elif isinstance(event, FeatureShardAdvanced) and event.source in self._folds:
            self._reached[event.source] = event
            sparse = {place: set(codes) for place, codes in event.sparse.items()}
            self._origins[event.source] = Origins(dict(event.origins), sparse)

    def _restore(self, tile: Tile) -> None:
        for fold in self._folds.values():
            plan = fold.plan(tile.view)
            if plan is not None:
                fold.restore(tile.view, tile.entity, TileState.decode(plan, tile))

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return committed

    async def on_tick(self) -> Outputs:
        return Outputs()

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        seen: dict[str, Message] = {}
        newest: dict[str, float] = {}
        late: dict[str, int] = {}
        for message in batch:
            name = self._sources[message.record.topic]
            seen[name] = message
            self._take(name, message, newest, late)
        outs = [written for name, message in seen.items() for written in self._write(name, message, newest, late)]
        return Outputs(outs=outs)

    def _take(self, name: str, message: Message, newest: dict[str, float], late: dict[str, int]) -> None:
        event, origins = message.event, self._origins[name]
        if isinstance(event, PipelineAdvanced):
            origins.advance(f"{event.topic}/{event.partition}", event.offset)
            return
        if origins.is_repeat(message.envelope.origin):
            return
        fold = self._folds[name]
        if not fold.fold(event):
            late[name] = late.get(name, 0) + 1
        newest[name] = max(newest.get(name, 0.0), available_s(fold.source, event))

    def _write(self, name: str, last: Message, newest: dict[str, float], late: dict[str, int]) -> list[Out]:
        topic = self._topics.name("features.online")
        cause, time_s = last.envelope, last.envelope.time_s
        outs = []
        for plan, entity, state in self._folds[name].take_touched():
            key = f"{plan.view.name}/{entity}/{self._shard}"
            envelope = Envelope(f"{key}@{last.record.offset}", "tile", SERVICE, time_s, causation_id=cause.id)
            outs.append(out(topic, key, state.encode(plan, entity, self._shard), envelope, self._shard))
        advanced = self._advance(name, last, newest.get(name, 0.0), late.get(name, 0))
        key = f"~shard/{name}/{self._shard}"
        envelope = Envelope(
            f"{key}@{last.record.offset}", "feature.shard.advanced", SERVICE, time_s, causation_id=cause.id
        )
        return [*outs, out(topic, key, advanced, envelope, self._shard)]

    def _advance(self, name: str, last: Message, newest_s: float, late: int) -> FeatureShardAdvanced:
        before = self._reached.get(name)
        origins = self._origins[name]
        self._reached[name] = FeatureShardAdvanced(
            source=name,
            partition=self._shard,
            applied={f"{last.record.topic}/{self._shard}": last.record.offset + 1},
            origins=dict(origins.marked),
            sparse={place: sorted(codes) for place, codes in origins.sparse.items() if codes},
            late=late + (before.late if before else 0),
            views_digest=self._views_digest,
            max_event_s=max(newest_s, before.max_event_s if before else 0.0),
        )
        return self._reached[name]

    def fold_of(self, source: str) -> SourceFold:
        """The fold of one source, for inspection."""
        return self._folds[source]
