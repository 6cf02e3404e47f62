"""One training run: gather rows, fit, gate, refit, publish; says how far it is."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from msgspec.structs import replace

from headrace.bus import artifacts
from headrace.bus.port import Record, TopicPartition
from headrace.bus.reading import pin_offsets, read_up_to
from headrace.bus.runtime import Context
from headrace.errors import Retryable
from headrace.events.inference import DecisionMade
from headrace.events.registry import ArtifactPlace, GateResult, Lineage, RegisterVersion, Signature, VersionRegistered
from headrace.events.training import GateJudged, RetrainAccepted, TrainingFinished, TrainingProgressed
from headrace.features.dataset import Gathered, Rows
from headrace.features.parity import parity
from headrace.models import skops_format
from headrace.models.engine import Engine
from headrace.policy.backoff import delays_s
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.project.load import folder_of, load_function
from headrace_trainer.adapters.champion import load_champion
from headrace_trainer.adapters.onnx import convert
from headrace_trainer.core.described import golden_of, profile_of, slices_of
from headrace_trainer.core.fitting import Fitted, Gated, fit_gated, has_enough, refit
from headrace_trainer.core.gates import may_register, standing, used
from headrace_trainer.core.served import judge_parity
from headrace_trainer.core.splits import Span, masks, span_of

# Per partition of decisions, how many of the newest are compared with what training makes of them.
_NEWEST_SERVED = 2000
Say = Callable[[Any], None]
_PACKAGES = ("headrace", "scikit-learn", "numpy", "skops")


@dataclass
class TrainingRun:
    """A run; `say` takes facts as they come."""

    context: Context
    accepted: RetrainAccepted
    say: Say
    command: RegisterVersion | None = None
    began_s: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """To the end; whatever goes wrong becomes a `TrainingFinished` with the reason."""
        try:
            await self._until_reached()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # NB: the user's code and data: a failure is an outcome of the run, not of this service.
            self._finish("failed", f"{type(error).__name__}: {error}")

    async def _until_reached(self) -> None:
        """Again from the start when the broker went away: a run has no effect before its command is sent."""
        for delay_s in delays_s(1.0, 10.0):
            try:
                await self._run()
            except Retryable as error:
                self._progress("waiting", 0.0, str(error))
                await asyncio.sleep(delay_s)
            else:
                return

    async def _run(self) -> None:
        name = self.accepted.deployment
        found = self.context.projects.deployment(name)
        applied = self.context.projects.project_of(name)
        if found is None or applied is None:
            return self._finish("failed", f"no applied project declares {name!r} any more")
        project, deployment = found
        span = span_of(deployment, self.accepted.clock_s)
        rows, alike = await self._gather(project, deployment, span)
        lacking = has_enough(span, rows.labels, rows.at_s, deployment.training.min_rows if deployment.training else 0)
        if lacking is not None:
            return self._finish("rejected", lacking)
        self.say(GateJudged(deployment.name, self.accepted.run, alike))
        if not may_register([alike], self.accepted.waivers):
            return self._finish("rejected", f"gate {alike.gate}: {alike.verdict}, {alike.detail}")
        await self._train(project, deployment, span, rows, folder_of(applied.reference), alike)
        return None

    async def _gather(
        self, project: ProjectDefinition, deployment: DeploymentDefinition, span: Span
    ) -> tuple[Rows, GateResult]:
        log, topics = self.context.log, self.context.topics
        gathered = Gathered(project, deployment, topics, span.from_s, span.to_s, self.accepted.clock_s)
        # NB: the decisions first: features of one that is made from now on may hold events that are not read here.
        served = await pin_offsets(log, [topics.name("inference.decisions")])
        ends = await pin_offsets(log, gathered.topic_names())
        self._progress("rows", 0.0, f"reading {sum(ends.values()):,} records")
        codec = self.context.codec
        await read_up_to(
            log, ends, lambda record: gathered.read(codec, record), lambda share: self._progress("rows", 0.4 * share)
        )
        offsets = {f"{topics.base(tp.topic)}/{tp.partition}": end for tp, end in sorted(ends.items())}
        rows = await asyncio.to_thread(lambda: gathered.rows(offsets).labelled())
        return rows, await self._parity(gathered, served)

    async def _parity(self, gathered: Gathered, ends: Mapping[TopicPartition, int]) -> GateResult:
        """The newest logged rows up to `ends` beside what training would make of them."""
        log, codec = self.context.log, self.context.codec
        served: list[DecisionMade] = []

        def take(record: Record) -> None:
            event = codec.decode(record).event
            if isinstance(event, DecisionMade) and event.deployment == gathered.deployment.name:
                served.append(event)

        await read_up_to(log, ends, take, starts={tp: end - _NEWEST_SERVED for tp, end in ends.items()})
        project, tables = gathered.project, gathered.tables
        names = {table.source.name: topic for topic, table in tables.items()}
        by_source = {table.source.name: table for table in tables.values()}
        return judge_parity(await asyncio.to_thread(parity, project, gathered.deployment, by_source, names, served))

    async def _train(
        self,
        project: ProjectDefinition,
        deployment: DeploymentDefinition,
        span: Span,
        rows: Rows,
        folder: str,
        alike: GateResult,
    ) -> None:
        assert deployment.training is not None
        user_build = load_function(deployment.training.build, folder)
        # NB: whatever takes long runs in a thread: a loop that stands still sends no heartbeats.
        signature = await asyncio.to_thread(rows.signature, project, deployment)
        matrix = await asyncio.to_thread(rows.matrix, deployment, signature)
        self._progress("fit", 0.5, f"{len(rows.labels):,} labelled rows")
        champion = await load_champion(self.context.log, self.context.codec, self.context.topics, deployment.name)
        beside = None if champion is None else await asyncio.to_thread(_champion_scores, *champion, deployment, rows)
        gated = await asyncio.to_thread(
            fit_gated, deployment, span, lambda: user_build(signature), matrix, rows.labels, rows.at_s, beside
        )
        self._progress("gates", 0.7)
        for result in gated.results:
            self.say(GateJudged(deployment.name, self.accepted.run, result))
        if stands := standing(gated.results, self.accepted.waivers):
            return self._finish("rejected", f"gate {stands[0].gate}: {stands[0].verdict}, {stands[0].detail}")
        self._progress("refit", 0.75)
        fitted = await asyncio.to_thread(
            refit, span, lambda: user_build(signature), matrix, rows.labels, rows.at_s, gated
        )
        parent = None if champion is None else champion[0].version
        self._progress("onnx", 0.85)
        onnx, parity = await asyncio.to_thread(convert, fitted.model, fitted.digest, matrix[np.argsort(rows.at_s)])
        self.say(GateJudged(deployment.name, self.accepted.run, parity))
        gates = [alike, *gated.results, parity]
        command = await self._publish(deployment, span, rows, signature, fitted, gates, parent)
        place = await self._publish_bytes(onnx, "onnx") if onnx is not None else None
        described = await asyncio.to_thread(_described, signature, span, rows, matrix, gated, fitted)
        self.command = replace(command, onnx=place, **described)
        return self._finish("registered", "", fitted)

    async def _publish(
        self,
        deployment: DeploymentDefinition,
        span: Span,
        rows: Rows,
        signature: Signature,
        fitted: Fitted,
        gates: list[GateResult],
        parent: int | None,
    ) -> RegisterVersion:
        self._progress("publish", 0.9)
        data = await asyncio.to_thread(skops_format.dump, fitted.model)
        place = await self._publish_bytes(data, "skops")
        lineage = Lineage(
            offsets=rows.offsets,
            request_from_s=span.from_s,
            request_to_s=span.to_s,
            code_version=version("headrace"),
            definition_digest=deployment.digest,
            seed=deployment.training.seed if deployment.training else 0,
            parent=parent,
            packages={name: version(name) for name in _PACKAGES},
        )
        return RegisterVersion(
            deployment=deployment.name,
            model=deployment.model,
            place=place,
            model_digest=fitted.digest,
            signature=signature,
            output="binary",
            lineage=lineage,
            metrics=fitted.metrics,
            gates=tuple(gates),
            waivers=used(gates, self.accepted.waivers),
            reason=f"{self.accepted.cause}: {self.accepted.reason}",
            trained_rows=fitted.rows,
        )

    async def _publish_bytes(self, data: bytes, format: str) -> ArtifactPlace:
        log, topics = self.context.log, self.context.topics
        return await artifacts.publish(log, topics, data, format, self.accepted.clock_s, "trainer")

    def _progress(self, stage: str, share: float, detail: str = "") -> None:
        self.say(TrainingProgressed(self.accepted.deployment, self.accepted.run, stage, share, detail))

    def _finish(self, outcome: str, reason: str, fitted: Fitted | None = None) -> None:
        digest, rows = (fitted.digest, fitted.rows) if fitted else ("", 0)
        took_s = time.monotonic() - self.began_s
        self.say(TrainingFinished(self.accepted.deployment, self.accepted.run, outcome, reason, digest, rows, took_s))


def _described(
    signature: Signature, span: Span, rows: Rows, matrix: np.ndarray, gated: Gated, fitted: Fitted
) -> dict[str, Any]:
    """Figures for the card, of all rows in the span and of the holdout by slice; and golden rows."""
    _, holdout = masks(span, rows.at_s)
    inside = (rows.at_s >= span.from_s) & (rows.at_s < span.to_s)
    inputs = [rows.inputs[n] for n in np.flatnonzero(holdout)]
    return {
        "profile": profile_of(signature, matrix[inside]),
        "slices": slices_of(signature, inputs, gated.scores, rows.labels[holdout]),
        "golden": golden_of(fitted.model, matrix[inside]),
    }


def _champion_scores(
    registered: VersionRegistered, model: Engine, deployment: DeploymentDefinition, rows: Rows
) -> np.ndarray:
    """The champion's scores; NaN on rows that it was trained on itself: a comparison there would flatter it."""
    scores = model.predict(rows.matrix(deployment, registered.signature), "binary")[:, 1]
    return np.where(rows.at_s < registered.lineage.request_to_s, np.nan, scores)
