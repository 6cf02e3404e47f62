"""One shard on the log: fold a fetched batch in memory, write each touched tile once, and how far it came last.

What follows from a batch is decided in `core.shard`. The shell reads the history of views that are built beside the running
ones, and reports.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from headrace.events.definition import ProjectDefinition
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message, SourceEvent
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace_feature.adapters.building import ViewBuild
from headrace_feature.adapters.history import History
from headrace_feature.adapters.records import SERVICE, ShardRecords, deleted_by
from headrace_feature.adapters.reporting import report_source
from headrace_feature.core.facts import ViewDropped, Written
from headrace_feature.core.shard import ShardState
from headrace_feature.core.source_fold import SourceFold
from headrace_feature.core.views import BuildStep, choose_build_step, plans_of

__all__ = ["SERVICE", "FeatureShard"]

_log = logging.getLogger("headrace.feature")

Histories = Callable[[TopicPartition], History]


class FeatureShard:
    """Partition p of all sources. `histories`: opens a source's partition from its beginning."""

    def __init__(
        self,
        topics: Topics,
        projects: Sequence[ProjectDefinition],
        shard: int,
        histories: Histories,
        health: Health,
    ) -> None:
        self._topics, self._shard, self._histories, self._health = topics, shard, histories, health
        self._output = topics.name("features.online")
        defined = plans_of(projects)
        by_source = {name: topics.of_source(name) for name in defined}
        self._state, self._records = ShardState(defined, by_source, shard), ShardRecords(self._output, shard)
        self._builds: dict[str, ViewBuild] = {}
        self._to_write: tuple[Written, ...] = ()

    def rebuild(self) -> Sequence[Rebuild]:
        """The shard's own output: all that it needs to go on."""
        return [Rebuild(self._output)]

    async def on_history(self, message: Message) -> None:
        """Take a record of the shard's own output."""
        if message.event is None:
            self._state.forget(*deleted_by(message.record.key))
        else:
            self._state.apply(message.event)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Start the folds and the building of views that are not complete; reading goes on where it was committed."""
        self._to_write = self._state.on_start().facts
        for fact in [fact for written in self._to_write for fact in written.facts]:
            if isinstance(fact, ViewDropped):
                _log.info("dropping view %s of %s: %s tiles", fact.view, fact.source, len(fact.entities))
        for name, fold in self._state.to_build.items():
            self._begin_building(name, fold)
        for name, fold in self._state.folds.items():
            if fold.newest_s:  # else nothing was folded yet
                report_source(self._health, name, self._shard, fold)
        return committed

    async def on_batch(self, batch: Sequence[SourceEvent]) -> Outputs:
        """Fold a batch: its tiles and progress, and those of views that were completed meanwhile."""
        step = self._state.on_batch(batch)
        for name in self._state.folded:
            report_source(self._health, name, self._shard, self._state.folds[name])
        return Outputs(outs=self._take_to_write() + self._records.of(step.facts) + await self._advance_builds())

    async def on_tick(self) -> Outputs:
        """What the start left to be written, and views that were completed meanwhile."""
        return Outputs(outs=self._take_to_write() + await self._advance_builds())

    async def on_close(self) -> None:
        """End the building of views."""
        for build in self._builds.values():
            await build.close()

    def fold_of(self, source: str) -> SourceFold:
        """The fold of one source, for inspection."""
        return self._state.folds[source]

    def _take_to_write(self) -> list[Out]:
        written, self._to_write = self._to_write, ()
        return self._records.of(written)

    def _begin_building(self, name: str, fold: SourceFold) -> None:
        place = TopicPartition(self._topics.of_source(name), self._shard)
        build = self._builds[name] = ViewBuild(fold, self._histories(place))
        _log.info("building %s from the beginning of %s/%s", ", ".join(fold.views), place.topic, self._shard)
        build.begin(self._state.applied(name))

    async def _advance_builds(self) -> list[Out]:
        """Adopt the views that have caught up: within this step they are brought to exactly where the running ones are."""
        outs: list[Out] = []
        for name, build in list(self._builds.items()):
            applied, place = self._state.applied(name), f"{name}/{self._shard}"
            self._health.building[place] = build.read_share(applied)
            match choose_build_step(build.is_reading(), build.behind(applied)):
                case BuildStep.READ_FURTHER:
                    build.begin(applied)
                case BuildStep.ADOPT:
                    await build.read_to(applied)
                    outs += self._records.of(self._state.on_built(name, build.fold).facts)
                    _log.info("built %s: %s tiles", ", ".join(build.fold.views), len(build.fold.tiles))
                    await build.close()
                    del self._builds[name], self._health.building[place]
                case BuildStep.WAIT:
                    pass
        return outs
