"""One training run: gather rows, fit, gate, refit, publish; says how far it is."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace

from headrace.bus import artifacts
from headrace.bus.port import Record, TopicPartition
from headrace.bus.reading import pin_offsets, read_up_to
from headrace.bus.runtime import Context
from headrace.errors import Misconfigured, Poison, Retryable
from headrace.events.inference import DecisionMade
from headrace.events.project import ProjectApplied
from headrace.events.registry import ArtifactPlace, GateResult, Lineage, RegisterVersion, Signature, VersionRegistered
from headrace.events.training import GateJudged, RetrainAccepted, TrainingFinished, TrainingProgressed
from headrace.features.dataset import Gathered, Rows, is_foreign
from headrace.features.parity import parity
from headrace.models import skops_format
from headrace.models.engine import Engine
from headrace.policy.backoff import delays_s
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.project.load import Allowed, load_build
from headrace_trainer.adapters.champion import load_champion
from headrace_trainer.adapters.onnx import convert
from headrace_trainer.core.described import profile_of, slices_of
from headrace_trainer.core.fitting import Fitted, Gated, fit_gated, has_enough, refit
from headrace_trainer.core.gates import may_register, standing, used
from headrace_trainer.core.proof import golden_of
from headrace_trainer.core.served import judge_parity
from headrace_trainer.core.splits import Span, masks, span_of

# Per partition of decisions, how many of the newest are compared with what training makes of them.
_NEWEST_SERVED = 2000
# A command to register must fit into a record of the log.
_COMMAND_BYTES = 900_000
_PACKAGES = ("headrace", "scikit-learn", "numpy", "skops")
# How often in a row the log may fail in a way that nobody knows.
_UNKNOWN_ERRORS = 8
Say = Callable[[Any], None]
T = TypeVar("T")


class Unfit(Exception):
    """The run cannot be done: the user's code, or what it made of the data. The message is the outcome's reason."""


async def patiently(work: Callable[[], Awaitable[T]], waiting: Callable[[str], None]) -> T:
    """A step that only touches the log, again until the log is there; `waiting` is told why not."""
    unknown = 0
    for delay_s in delays_s(0.5, 10.0):
        try:
            return await work()
        except Retryable as error:
            waiting(str(error))
        except Poison:
            raise
        except Exception as error:
            # NB: no user's code is in here; what the client raises beside the known errors may pass too, and a broker that
            # has just come back may say of a topic that it is not there.
            unknown += 1
            if unknown >= _UNKNOWN_ERRORS:
                raise
            waiting(f"{type(error).__name__}: {error}")
        await asyncio.sleep(delay_s)
    raise AssertionError("delays are endless")


async def beside(function: Callable[..., T], *given: Any) -> T:
    """A function in a thread: the loop has the log's connections to look after. Whatever it raises becomes `Unfit`, since
    a thread must not hand exits and the like on to the loop.
    """

    def work() -> T:
        try:
            return function(*given)
        except Unfit:
            raise
        except BaseException as error:
            traceback.print_exc()
            raise Unfit(told_of(error)) from error

    return await asyncio.to_thread(work)


def told_of(error: BaseException) -> str:
    """An exception in one line."""
    try:
        text = " ".join(str(error).split())[:500]
    except Exception:
        text = "(its message cannot be read)"
    if isinstance(error, SystemExit):
        return f"the code called sys.exit({text})"
    if isinstance(error, MemoryError):
        return f"MemoryError: {text or 'no more memory'}; the limit of a run is HEADRACE_TRAINING_MEMORY_BYTES"
    return f"{type(error).__name__}: {text}"


def built(build: Callable[[Signature], Any], signature: Signature) -> Any:
    """The user's estimator."""
    try:
        found = build(signature)
    except BaseException as error:
        traceback.print_exc()
        raise Unfit(f"build() failed: {told_of(error)}") from error
    lacking = [name for name in ("fit", "predict_proba") if not callable(getattr(found, name, None))]
    if lacking:
        raise Unfit(
            f"build() returned a {type(found).__name__} without {' and '.join(lacking)}: it must return an estimator that is not fitted yet"
        )
    return found


@dataclass
class TrainingRun:
    """A run; `say` takes facts as they come, and the command to register just before the last of them.

    `load`: finds the user's `build` (see `load_build`).
    """

    context: Context
    accepted: RetrainAccepted
    say: Say
    load: Callable[[str, str, str, Allowed], Any] = load_build
    command: RegisterVersion | None = None
    began_s: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """To the end; whatever goes wrong becomes a `TrainingFinished` with the reason."""
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except Unfit as error:
            self._finish("failed", str(error))
        except Exception as error:
            # NB: the user's code and data: a failure is an outcome of the run, not of this process.
            traceback.print_exc()
            self._finish("failed", told_of(error))

    async def _run(self) -> None:
        name = self.accepted.deployment
        found = self.context.projects.deployment(name)
        applied = self.context.projects.project_of(name)
        if found is None or applied is None:
            return self._finish("failed", f"no applied project declares {name!r} any more")
        project, deployment = found
        span = span_of(deployment, self.accepted.clock_s)
        # NB: importing runs the user's code; what must not be imported here is better known before all is read.
        build = await beside(self._build_of, applied, deployment)
        rows, alike = await self._gather(project, deployment, span)
        lacking = has_enough(span, rows.labels, rows.at_s, deployment.training.min_rows if deployment.training else 0)
        if lacking is not None:
            return self._finish("rejected", lacking)
        self.say(GateJudged(deployment.name, self.accepted.run, alike))
        if not may_register([alike], self.accepted.waivers):
            return self._finish("rejected", f"gate {alike.gate}: {alike.verdict}, {alike.detail}")
        await self._train(project, deployment, span, rows, build, alike)
        return None

    async def _gather(
        self, project: ProjectDefinition, deployment: DeploymentDefinition, span: Span
    ) -> tuple[Rows, GateResult]:
        log, topics = self.context.log, self.context.topics
        gathered = Gathered(project, deployment, topics, span.from_s, span.to_s, self.accepted.clock_s)
        # NB: the decisions first: features of one that is made from now on may hold events that are not read here.
        served = await self._patiently(lambda: pin_offsets(log, [topics.name("inference.decisions")]))
        ends = await self._patiently(lambda: pin_offsets(log, gathered.topic_names()))
        starts = await self._patiently(lambda: gathered.starts(log))
        self._progress("rows", 0.0)
        codec = self.context.codec
        await read_up_to(log, ends, lambda record: gathered.read(codec, record), self._read_so_far, starts)
        offsets = {f"{topics.base(tp.topic)}/{tp.partition}": end for tp, end in sorted(ends.items())}
        self._progress("features", 0.4)
        rows = await beside(lambda: gathered.rows(offsets).labelled())
        self._progress("parity", 0.45)
        return rows, await self._parity(gathered, served)

    def _read_so_far(self, done: int, total: int) -> None:
        self._progress("rows", 0.4 * done / max(total, 1), f"{done:,} of {total:,} records")

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        return await patiently(work, lambda reason: self._progress("waiting", 0.0, reason))

    async def _parity(self, gathered: Gathered, ends: Mapping[TopicPartition, int]) -> GateResult:
        """The newest logged rows up to `ends` beside what training would make of them."""
        log, codec = self.context.log, self.context.codec
        served: list[DecisionMade] = []
        name = gathered.deployment.name

        def take(record: Record) -> None:
            if is_foreign(record, name):
                return
            event = codec.decode(record).event
            if isinstance(event, DecisionMade) and event.deployment == name:
                served.append(event)

        await read_up_to(log, ends, take, starts={tp: end - _NEWEST_SERVED for tp, end in ends.items()})
        project, tables = gathered.project, gathered.tables
        names = {table.source.name: topic for topic, table in tables.items()}
        by_source = {table.source.name: table for table in tables.values()}
        return judge_parity(await beside(parity, project, gathered.deployment, by_source, names, served))

    async def _train(
        self,
        project: ProjectDefinition,
        deployment: DeploymentDefinition,
        span: Span,
        rows: Rows,
        user_build: Callable[[Signature], Any],
        alike: GateResult,
    ) -> None:
        signature = await beside(rows.signature, project, deployment)
        matrix = await beside(rows.matrix, deployment, signature)
        self._progress("fit", 0.5, f"{len(rows.labels):,} labelled rows")
        context = self.context
        champion = await self._patiently(
            lambda: load_champion(context.log, context.codec, context.topics, deployment.name)
        )
        against = None if champion is None else await beside(_champion_scores, *champion, deployment, rows)
        gated = await beside(
            fit_gated, deployment, span, lambda: built(user_build, signature), matrix, rows.labels, rows.at_s, against
        )
        self._progress("gates", 0.7)
        for result in gated.results:
            self.say(GateJudged(deployment.name, self.accepted.run, result))
        if stands := standing(gated.results, self.accepted.waivers):
            return self._finish("rejected", f"gate {stands[0].gate}: {stands[0].verdict}, {stands[0].detail}")
        self._progress("refit", 0.75)
        fitted = await beside(refit, span, lambda: built(user_build, signature), matrix, rows.labels, rows.at_s, gated)
        parent = None if champion is None else champion[0].version
        self._progress("onnx", 0.85)
        onnx, parity = await beside(convert, fitted.model, fitted.digest, matrix[np.argsort(rows.at_s)])
        self.say(GateJudged(deployment.name, self.accepted.run, parity))
        gates = [alike, *gated.results, parity]
        command = await self._publish(deployment, span, rows, signature, fitted, gates, parent)
        place = await self._publish_bytes(onnx, "onnx") if onnx is not None else None
        described = await beside(_described, deployment, command, span, rows, matrix, gated, fitted)
        self.command = replace(command, onnx=place, **described)
        size = len(self.context.codec.encode(self.command))
        if size > _COMMAND_BYTES:
            raise Unfit(
                f"the version's description takes {size:,} bytes, at most {_COMMAND_BYTES:,} fit into a record:"
                " a category has too many values"
            )
        self.say(self.command)
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
        data = await beside(skops_format.dump, fitted.model)
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
        return await self._patiently(
            lambda: artifacts.publish(log, topics, data, format, self.accepted.clock_s, "trainer")
        )

    def _build_of(self, applied: ProjectApplied, deployment: DeploymentDefinition) -> Callable[[Signature], Any]:
        """The user's `build`, from a project that this host allows."""
        if deployment.training is None:
            raise Unfit(f"deployment {deployment.name} declares no training=Training(...) any more")
        settings = self.context.settings
        allowed = Allowed(settings.allowed_projects, settings.applied_file)
        try:
            return self.load(applied.name, applied.reference, deployment.training.build, allowed)
        except Misconfigured as error:
            raise Unfit(str(error)) from error

    def _progress(self, stage: str, share: float, detail: str = "") -> None:
        self.say(TrainingProgressed(self.accepted.deployment, self.accepted.run, stage, share, detail))

    def _finish(self, outcome: str, reason: str, fitted: Fitted | None = None) -> None:
        digest, rows = (fitted.digest, fitted.rows) if fitted else ("", 0)
        took_s = time.monotonic() - self.began_s
        self.say(TrainingFinished(self.accepted.deployment, self.accepted.run, outcome, reason, digest, rows, took_s))


def _described(
    deployment: DeploymentDefinition,
    command: RegisterVersion,
    span: Span,
    rows: Rows,
    matrix: np.ndarray,
    gated: Gated,
    fitted: Fitted,
) -> dict[str, Any]:
    """Figures for the card, of all rows in the span and of the holdout by slice; and golden rows."""
    _, holdout = masks(span, rows.at_s)
    inside = (rows.at_s >= span.from_s) & (rows.at_s < span.to_s)
    inputs = [rows.inputs[n] for n in np.flatnonzero(holdout)]
    signature = command.signature
    return {
        "profile": profile_of(signature, matrix[inside]),
        "slices": slices_of(signature, inputs, gated.scores, rows.labels[holdout]),
        "golden": golden_of(fitted.model, deployment, signature, command.output, matrix[inside]),
    }


def _champion_scores(
    registered: VersionRegistered, model: Engine, deployment: DeploymentDefinition, rows: Rows
) -> np.ndarray:
    """The champion's scores; NaN on rows that it was trained on itself: a comparison there would flatter it."""
    scores = model.predict(rows.matrix(deployment, registered.signature), "binary")[:, 1]
    return np.where(rows.at_s < registered.lineage.request_to_s, np.nan, scores)
