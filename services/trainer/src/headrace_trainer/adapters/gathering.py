"""What a run reads of the log: rows, the newest of them as they were served, the registered versions, and the champion."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from headrace_trainer.adapters.user_code import in_thread
from headrace_trainer.core.closed_windows import closed_until
from headrace_trainer.core.gates import judge_parity
from headrace_trainer.core.target import target_of
from headrace_trainer.core.training_set import ChampionScores, LabelledRows, TrainingSet, choose_training_set

# Per partition of decisions, how many of the newest are compared with what training makes of them.
_NEWEST_SERVED = 2000
# What the cached rows of all deployments may take on disk together; beyond it the longest unused are removed.
CACHE_BYTES = 4 * 2**30
Retried = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Gatherer:
    """Reads for one run. Its methods wait for the log as long as it takes.

    `retried`: runs a step that only touches the log, until the log is there. `cache`: where rows that were read are kept from run to run,
    a folder per deployment; None for nowhere.
    """

    context: Context
    accepted: RetrainAccepted
    project: ProjectDefinition
    deployment: DeploymentDefinition
    retried: Retried
    progress: Progress
    cache: Path | None = None

    @property
    def from_s(self) -> float:
        """The instant of the oldest row that may be used."""
        training = self.deployment.training
        return self.accepted.clock_s - (training.history_s if training else 0.0)

    async def rows(self) -> tuple[Rows, float, GateResult | None]:
        """Labelled rows of closed windows, by ascending instant; where those windows end; and the result of the gate on parity with served rows."""
        log, topics = self.context.log, self.context.topics
        # NB: the ends of the decisions first: the features of a later decision may contain events that are not read here.
        served = await self.retried(lambda: pin_offsets(log, [topics.name("inference.decisions")]))
        gathered, ends = await self._read()
        offsets = {f"{topics.base(tp.topic)}/{tp.partition}": end for tp, end in sorted(ends.items())}
        self.progress("features", 0.4, "")
        rows, to_s = await in_thread(self._closed, gathered, offsets)
        self.progress("parity", 0.45, "")
        return rows, to_s, await self._parity(gathered, served)

    async def _read(self) -> tuple[Gathered, Mapping[TopicPartition, int]]:
        """What rows are made of, and up to where it was read: from the cache of earlier runs, and from the log what is new since."""
        folder = None if self.cache is None else self.cache / f"{self.deployment.name}.kept"
        gathering = Gathering(self.context.log, self.context.codec, self._empty, folder, forgets=True)
        try:
            await self.retried(gathering.begin)
            ends = await self.retried(gathering.pin)
            self.progress("rows", 0.0, "")
            await gathering.read(ends, self._read_so_far)
        finally:
            gathering.close()
        if self.cache is not None:
            bound(self.cache, CACHE_BYTES)
        return gathering.gathered, ends

    def _empty(self) -> Gathered:
        clock_s, from_s = self.accepted.clock_s, self.from_s
        return Gathered(self.project, self.deployment, self.context.topics, from_s, clock_s, clock_s, from_s - SKEW_S)

    async def versions(self) -> Versions:
        """The registered versions of the deployment."""
        context, name = self.context, self.deployment.name
        return await self.retried(lambda: read_versions(context.log, context.codec, context.topics, name))

    async def champion(self, versions: Versions, signature: Signature) -> Champion | None:
        """The champion with its engines, or with its logged scores where rows of `signature` are not its own; None where there is none."""
        if versions.champion is None:
            return None
        log, topics, registered = self.context.log, self.context.topics, versions.champion
        found = Champion(registered)
        if found.can_predict(signature):
            found.engine = await self.retried(lambda: engine_at(log, topics, registered.place, registered.signature))
            found.twin = await self.retried(lambda: engine_at(log, topics, registered.twin, registered.signature))
        if found.engine is None:
            await self._read_logged(found)
        return found

    def _closed(self, gathered: Gathered, offsets: Mapping[str, int]) -> tuple[Rows, float]:
        rows = gathered.rows(offsets)
        to_s = closed_until(self.deployment, rows.at_s, rows.labels, self.accepted.clock_s)
        return rows.taken(np.flatnonzero(~np.isnan(rows.labels) & (rows.at_s < to_s))), to_s

    def _read_so_far(self, done: int, total: int) -> None:
        self.progress("rows", 0.4 * done / max(total, 1), f"{done:,} of {total:,} records")

    async def _parity(self, gathered: Gathered, ends: Mapping[TopicPartition, int]) -> GateResult | None:
        """The gate that compares the newest logged rows up to `ends` with what training makes of them.

        NB: rows that were made by other views than today's, or before the history, are left out: they could not be made again here.
        """
        project, deployment = self.project, self.deployment
        bare = bare_signature(project, deployment)
        alike = {bare.digest} | (await self.versions()).signatures_of(bare.views_digest)
        served: list[DecisionMade] = []

        def take(event: DecisionMade | ShadowScored) -> None:
            if not isinstance(event, DecisionMade) or event.signature not in alike:
                return
            # NB: events beyond the clock are not read, so that rows with such events could not be made again.
            if self.from_s <= event.at_s <= self.accepted.clock_s:
                served.append(event)

        await self._decisions(take, ends, {tp: end - _NEWEST_SERVED for tp, end in ends.items()})
        names = {table.source.name: topic for topic, table in gathered.tables.items()}
        by_source = {table.source.name: table for table in gathered.tables.values()}
        found = await in_thread(parity, project, deployment, by_source, names, served)
        return judge_parity(found.rows, found.tiles, found.as_of, found.skew)

    async def _read_logged(self, champion: Champion) -> None:
        """Note the scores that the champion gave in serving."""
        log, topic = self.context.log, self.context.topics.name("inference.decisions")
        since_s = max(self.from_s, champion.registered.lineage.request_to_s)
        ends = await self.retried(lambda: pin_offsets(log, [topic]))
        since_ms = max(0, int((since_s - MAX_AHEAD_S) * 1000))
        starts = await self.retried(lambda: log.offsets_at(list(ends), since_ms))
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


def gather_training_set(
    deployment: DeploymentDefinition,
    accepted: RetrainAccepted,
    rows: Rows,
    to_s: float,
    signature: Signature,
    champion: Champion | None,
) -> TrainingSet:
    """What a run trains on, of labelled rows, ascending, up to `to_s`. The champion scores them, which may take long."""
    assert deployment.label is not None  # a run of a deployment without one has ended before
    target = target_of(deployment.label, rows.labels)
    scores = None
    # NB: where the label has changed since the champion was trained, there is nothing to compare with.
    if champion is not None and target.is_answered_by(champion.registered):
        scores = ChampionScores(champion.registered, champion.scores(target, deployment, rows), champion.known_to_s)
    matrix, defaulted = rows.matrix(deployment, signature), rows.defaulted(deployment, signature)
    labelled = LabelledRows(matrix, rows.labels, rows.at_s, rows.inputs, rows.offsets, defaulted)
    return choose_training_set(deployment, accepted, target, labelled, to_s, signature, scores)
