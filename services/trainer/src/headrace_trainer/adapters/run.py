"""One training run, in its process: gather rows, fit, gate, refit, publish, and report how far it is. What is decided stands in core."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.project import ProjectApplied
from headrace.events.registry import ArtifactPlace, GateResult, RegisterVersion
from headrace.events.training import GateJudged, RetrainAccepted, TrainingProgressed
from headrace.models import artifacts, skops_format
from headrace.project.load import Allowed, load_build
from headrace.project.raised import place_of
from headrace.project.service import Context
from headrace.stats.references import left_out
from headrace_trainer.adapters.estimators import build_estimator, written_at
from headrace_trainer.adapters.gathering import Gatherer, gather_training_set
from headrace_trainer.adapters.golden_rows import answering, golden_rows_of
from headrace_trainer.adapters.onnx import convert
from headrace_trainer.adapters.retrying import retried
from headrace_trainer.adapters.user_code import in_thread, sentence_of
from headrace_trainer.core import endings
from headrace_trainer.core.endings import Ending
from headrace_trainer.core.fitting import Fitted, fit_gated, refit
from headrace_trainer.core.gates import blocking, undecided
from headrace_trainer.core.out_of_time import windows_of
from headrace_trainer.core.reference import reference_of
from headrace_trainer.core.registration import Published, Trained, command_of, why_too_large
from headrace_trainer.core.target import Unfit
from headrace_trainer.core.training_set import TrainingSet

_PACKAGES = ("headrace", "scikit-learn", "numpy", "skops")
T = TypeVar("T")


@dataclass
class TrainingRun:
    """A run. `emit` receives its facts as they come, and the command to register just before the last of them.

    `load`: finds the user's `build` (see `load_build`). `cache`: where rows that were read are kept, see `Gatherer`. `written`: where
    `build` is written.
    """

    context: Context
    accepted: RetrainAccepted
    emit: Callable[[Any], None]
    load: Callable[[str, str, str, Allowed], Any] = load_build
    cache: Path | None = None
    command: RegisterVersion | None = None
    began_s: float = field(default_factory=time.monotonic)
    written: str = ""

    async def run(self) -> None:
        """Run to the end. Any failure becomes a `TrainingFinished` with the reason; only a cancellation is raised."""
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except Unfit as error:
            self._finish(Ending(endings.FAILED, str(error)))
        except Exception as error:
            # NB: users' code and data raised it: a failure is an outcome of the run, not of this process.
            traceback.print_exc()
            self._finish(Ending(endings.FAILED, sentence_of(error)))

    async def _run(self) -> None:
        name = self.accepted.deployment
        found = self.context.projects.deployment(name)
        applied = self.context.projects.project_of(name)
        if found is None or applied is None:
            return self._finish(Ending(endings.FAILED, f"no applied project declares {name!r} any more"))
        project, deployment = found
        # NB: importing runs the user's code; whether it may be imported here is better known before all rows are read.
        build = await in_thread(self._build_of, applied, deployment)
        self.written = written_at(build)
        gatherer = Gatherer(self.context, self.accepted, project, deployment, self._retried, self._progress, self.cache)
        rows, to_s, parity = await gatherer.rows()
        before = [] if parity is None else [parity]
        self._report(before)
        if blocked := blocking(before, self.accepted.waivers):
            return self._finish(endings.rejected(blocked[0]))
        signature = await in_thread(rows.signature, project, deployment)
        champion = await gatherer.champion(await gatherer.versions(), signature)
        training_set = await in_thread(gather_training_set, deployment, self.accepted, rows, to_s, signature, champion)
        if training_set.why_not:
            return self._finish(endings.lacking_rows(training_set, self.accepted.cause), training_set=training_set)
        return await self._train(deployment, training_set, build, before)

    async def _train(
        self,
        deployment: DeploymentDefinition,
        training_set: TrainingSet,
        build: Callable[..., Any],
        before: list[GateResult],
    ) -> None:
        """Fit, gate, refit and register. `before`: results of gates that were judged before the fit."""
        rows, target = training_set.rows, training_set.target

        def make() -> Any:
            return build_estimator(build, training_set.signature, training_set.seed, target)

        self._progress("fit", 0.5, f"{len(rows.labels):,} labelled rows")
        given = (make, rows.matrix, rows.labels, rows.at_s)
        gated = await self._fitting(fit_gated, deployment, target, training_set.span, *given, training_set.champion)
        self._progress("gates", 0.7)
        self._report(gated.results)
        if blocked := blocking(gated.results, self.accepted.waivers, deployment.gates):
            return self._finish(endings.rejected(blocked[0]), training_set=training_set)
        self._progress("refit", 0.75)
        fitted = await self._fitting(refit, target, *given, gated)
        self._progress("reference", 0.8, left_out(training_set.signature.columns))
        reference = await in_thread(reference_of, deployment, training_set, gated)
        if deployment.charts is not None:
            windows = await in_thread(windows_of, deployment, target, gated.span, *given)
            reference = replace(reference, windows=windows)
        self._progress("onnx", 0.85)
        answers = answering(fitted.model, target, training_set.signature)
        fitted_on = rows.matrix[training_set.in_span(gated.span)]
        golden = await in_thread(golden_rows_of, fitted.model, deployment, answers, target, fitted_on)
        onnx, parity = await in_thread(convert, fitted.model, target, fitted.digest, rows.matrix, answers, golden)
        self._report([parity])
        self._progress("publish", 0.9)
        model = await self._publish(await in_thread(skops_format.dump, fitted.model), "skops")
        twin = await self._publish(await in_thread(skops_format.dump, gated.twin), "skops")
        place = None if onnx is None else await self._publish(onnx, "onnx")
        trained = Trained(training_set, gated, fitted, [*before, *gated.results, parity], reference)
        await self._register(deployment, trained, Published(model, twin, place, golden))
        open_result = undecided(gated.results, self.accepted.waivers, deployment.rollout.policy)
        return self._finish(endings.registered(open_result, deployment.name), fitted, training_set)

    async def _register(self, deployment: DeploymentDefinition, trained: Trained, published: Published) -> None:
        packages = {name: version(name) for name in _PACKAGES}
        self.command = await in_thread(command_of, self.accepted, deployment, trained, published, packages)
        too_large = why_too_large(len(self.context.codec.encode(self.command)))
        if too_large is not None:
            raise Unfit(too_large)
        self.emit(self.command)

    def _report(self, results: list[GateResult]) -> None:
        for result in results:
            self.emit(GateJudged(self.accepted.deployment, self.accepted.run, result))

    async def _retried(self, step: Callable[[], Awaitable[Any]]) -> Any:
        return await retried(step, lambda reason: self._progress("waiting", 0.0, reason))

    async def _fitting(self, function: Callable[..., T], *given: Any) -> T:
        """Work on what the user's `build` returned; where it fails in a library, the reason names where `build` is written."""
        try:
            return await in_thread(function, *given)
        except Unfit as error:
            if error.__cause__ is None or place_of(error.__cause__) is not None:
                raise
            raise Unfit(f"{error} (while what build returns was fitted: {self.written})") from error

    async def _publish(self, data: bytes, format: str) -> ArtifactPlace:
        log, topics = self.context.log, self.context.topics
        return await self._retried(
            lambda: artifacts.publish(log, topics, data, format, self.accepted.clock_s, "trainer")
        )

    def _build_of(self, applied: ProjectApplied, deployment: DeploymentDefinition) -> Callable[..., Any]:
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
        self.emit(TrainingProgressed(self.accepted.deployment, self.accepted.run, stage, share, detail))

    def _finish(self, ending: Ending, fitted: Fitted | None = None, training_set: TrainingSet | None = None) -> None:
        took_s, is_released = time.monotonic() - self.began_s, self.command is None or self.command.rollout
        more: dict[str, Any] = {"fitted": fitted, "training_set": training_set}
        self.emit(endings.finished(self.accepted, ending, took_s, is_released=is_released, **more))
