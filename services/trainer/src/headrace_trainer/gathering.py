"""Reads what a run needs from the log: rows, the newest of them as they were served, the versions that there are, the champion."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.registry import GateResult, Signature
from headrace.events.training import RetrainAccepted
from headrace.features.dataset import Gathered, Rows
from headrace.features.outcomes import SKEW_S
from headrace.features.own import is_foreign
from headrace.features.parity import parity
from headrace.features.row_cache.cache import bound
from headrace.features.row_cache.gathering import Gathering
from headrace.features.rows import bare_signature
from headrace.instants import MAX_AHEAD_S
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import pin_offsets, read_up_to
from headrace.project.service import Context
from headrace_trainer.adapters.champion import Champion, Versions, engine_at, read_versions
from headrace_trainer.core.closed import closed_to
from headrace_trainer.core.served import judge_parity
from headrace_trainer.patience import beside

# Per partition of decisions, how many of the newest are compared with what training makes of them.
_NEWEST_SERVED = 2000
# What all deployments' readings may take on disk together; beyond it the longest unused go.
KEPT_BYTES = 4 * 2**30
T = TypeVar("T")
Patiently = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Gatherer:
    """Of one run. `patiently`: does a step that only touches the log, again until the log is there. `kept`: where what was
    read is kept from run to run, a folder per deployment; None for nowhere."""

    context: Context
    accepted: RetrainAccepted
    project: ProjectDefinition
    deployment: DeploymentDefinition
    patiently: Patiently
    progress: Progress
    kept: Path | None = None

    @property
    def from_s(self) -> float:
        """The instant of the oldest row that may be used."""
        training = self.deployment.training
        return self.accepted.clock_s - (training.history_s if training else 0.0)

    async def rows(self) -> tuple[Rows, float, GateResult | None]:
        """Labelled rows of closed windows, ascending; where those windows end; and the gate on parity with what was served."""
        log, topics = self.context.log, self.context.topics
        # NB: the decisions first: features of one that is made from now on may hold events that are not read here.
        served = await self.patiently(lambda: pin_offsets(log, [topics.name("inference.decisions")]))
        gathered, ends = await self._read()
        offsets = {f"{topics.base(tp.topic)}/{tp.partition}": end for tp, end in sorted(ends.items())}
        self.progress("features", 0.4, "")
        rows, to_s = await beside(self._closed, gathered, offsets)
        self.progress("parity", 0.45, "")
        return rows, to_s, await self._parity(gathered, served)

    async def _read(self) -> tuple[Gathered, Mapping[TopicPartition, int]]:
        """What the rows are made of, and up to where it was read: what earlier runs kept, and what is new since."""
        folder = None if self.kept is None else self.kept / f"{self.deployment.name}.kept"
        gathering = Gathering(self.context.log, self.context.codec, self._nothing, folder, forgets=True)
        try:
            await self.patiently(gathering.begin)
            ends = await self.patiently(gathering.pin)
            self.progress("rows", 0.0, "")
            await gathering.read(ends, self._read_so_far)
        finally:
            gathering.close()
        if self.kept is not None:
            bound(self.kept, KEPT_BYTES)
        return gathering.gathered, ends

    def _nothing(self) -> Gathered:
        clock_s, from_s = self.accepted.clock_s, self.from_s
        return Gathered(self.project, self.deployment, self.context.topics, from_s, clock_s, clock_s, from_s - SKEW_S)

    async def versions(self) -> Versions:
        """What is registered."""
        context, name = self.context, self.deployment.name
        return await self.patiently(lambda: read_versions(context.log, context.codec, context.topics, name))

    async def champion(self, versions: Versions, signature: Signature) -> Champion | None:
        """The champion with what it takes to know its scores on rows of `signature`; None where there is none."""
        if versions.champion is None:
            return None
        log, topics, registered = self.context.log, self.context.topics, versions.champion
        found = Champion(registered)
        if found.may_be_asked(signature):
            found.engine = await self.patiently(lambda: engine_at(log, topics, registered.place, registered.signature))
            found.twin = await self.patiently(lambda: engine_at(log, topics, registered.twin, registered.signature))
        if found.engine is None:
            await self._read_logged(found)
        return found

    def _closed(self, gathered: Gathered, offsets: Mapping[str, int]) -> tuple[Rows, float]:
        rows = gathered.rows(offsets)
        to_s = closed_to(self.deployment, rows.at_s, rows.labels, self.accepted.clock_s)
        return rows.taken(np.flatnonzero(~np.isnan(rows.labels) & (rows.at_s < to_s))), to_s

    def _read_so_far(self, done: int, total: int) -> None:
        self.progress("rows", 0.4 * done / max(total, 1), f"{done:,} of {total:,} records")

    async def _parity(self, gathered: Gathered, ends: Mapping[TopicPartition, int]) -> GateResult | None:
        """The newest logged rows up to `ends` beside what training would make of them.

        NB: rows that were made by other views than today's, or before the history, are left out: nothing here could make them
        again.
        """
        project, deployment = self.project, self.deployment
        bare = bare_signature(project, deployment)
        alike = {bare.digest} | (await self.versions()).signatures_of(bare.views_digest)
        served: list[DecisionMade] = []

        def take(event: DecisionMade | ShadowScored) -> None:
            if not isinstance(event, DecisionMade) or event.signature not in alike:
                return
            # NB: events beyond the clock are not read: rows that look at them could not be made again.
            if self.from_s <= event.at_s <= self.accepted.clock_s:
                served.append(event)

        await self._decisions(take, ends, {tp: end - _NEWEST_SERVED for tp, end in ends.items()})
        names = {table.source.name: topic for topic, table in gathered.tables.items()}
        by_source = {table.source.name: table for table in gathered.tables.values()}
        return judge_parity(await beside(parity, project, deployment, by_source, names, served))

    async def _read_logged(self, champion: Champion) -> None:
        """What the champion said when it was asked."""
        log, topic = self.context.log, self.context.topics.name("inference.decisions")
        since_s = max(self.from_s, champion.registered.lineage.request_to_s)
        ends = await self.patiently(lambda: pin_offsets(log, [topic]))
        since_ms = max(0, int((since_s - MAX_AHEAD_S) * 1000))
        starts = await self.patiently(lambda: log.offsets_at(list(ends), since_ms))
        await self._decisions(champion.note, ends, starts)

    async def _decisions(
        self,
        take: Callable[[DecisionMade | ShadowScored], None],
        ends: Mapping[TopicPartition, int],
        starts: Mapping[TopicPartition, int],
    ) -> None:
        codec, name = self.context.codec, self.deployment.name

        def read(record: Record) -> None:
            if is_foreign(record, name):
                return
            event = codec.decode(record).event
            if isinstance(event, DecisionMade | ShadowScored) and event.deployment == name:
                take(event)

        await read_up_to(self.context.log, ends, read, starts=starts)
