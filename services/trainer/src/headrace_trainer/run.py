"""One training run: gather rows, fit, gate, refit, publish; says how far it is."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.project import ProjectApplied
from headrace.events.registry import ArtifactPlace, GateResult, Lineage, RegisterVersion
from headrace.events.training import GateJudged, RetrainAccepted, TrainingFinished, TrainingProgressed
from headrace.models import artifacts, skops_format
from headrace.models.proving import Answering
from headrace.project.load import Allowed, load_build
from headrace.project.raised import place_of
from headrace.project.service import Context
from headrace_trainer.adapters.onnx import convert
from headrace_trainer.building import built, written_at
from headrace_trainer.core.described import profile_of, slices_of
from headrace_trainer.core.fitting import Fitted, Gated, fit_gated, refit
from headrace_trainer.core.gates import standing, undecided, used
from headrace_trainer.core.proof import golden_of
from headrace_trainer.core.splits import masks
from headrace_trainer.core.target import Unfit
from headrace_trainer.gathering import Gatherer
from headrace_trainer.material import Material, prepared
from headrace_trainer.patience import beside, patiently, told_of

# A command to register must fit into a record of the log.
_COMMAND_BYTES = 900_000
_PACKAGES = ("headrace", "scikit-learn", "numpy", "skops")
Say = Callable[[Any], None]
T = TypeVar("T")


@dataclass
class TrainingRun:
    """A run; `say` takes facts as they come, and the command to register just before the last of them.

    `load`: finds the user's `build` (see `load_build`). `kept`: where what was read is kept, see `Gatherer`. `written`: where
    `build` is written.
    """

    context: Context
    accepted: RetrainAccepted
    say: Say
    load: Callable[[str, str, str, Allowed], Any] = load_build
    kept: Path | None = None
    command: RegisterVersion | None = None
    began_s: float = field(default_factory=time.monotonic)
    written: str = ""

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
        # NB: importing runs the user's code; what must not be imported here is better known before all is read.
        build = await beside(self._build_of, applied, found[1])
        self.written = written_at(build)
        gatherer = Gatherer(self.context, self.accepted, *found, self._patiently, self._progress, self.kept)
        rows, to_s, alike = await gatherer.rows()
        if alike is not None:
            self.say(GateJudged(name, self.accepted.run, alike))
            if stands := standing([alike], self.accepted.waivers):
                return self._reject(stands[0])
        signature = await beside(rows.signature, *found)
        champion = await gatherer.champion(await gatherer.versions(), signature)
        material = await beside(prepared, found[1], self.accepted, rows, to_s, signature, champion)
        if material.why_not:
            return self._wait(material)
        return await self._train(
            found[1], material, lambda: built(build, signature, material.seed, material.target), alike
        )

    async def _patiently(self, work: Callable[[], Awaitable[Any]]) -> Any:
        return await patiently(work, lambda reason: self._progress("waiting", 0.0, reason))

    async def _fitting(self, function: Callable[..., T], *given: Any) -> T:
        """Work on what the user's `build` returned; where it fails in a library, the reason says where `build` is written."""
        try:
            return await beside(function, *given)
        except Unfit as error:
            if error.__cause__ is None or place_of(error.__cause__) is not None:
                raise
            raise Unfit(f"{error} (while what build returns was fitted: {self.written})") from error

    async def _train(
        self,
        deployment: DeploymentDefinition,
        material: Material,
        build: Callable[[], Any],
        alike: GateResult | None,
    ) -> None:
        matrix, labels, at_s = material.matrix, material.rows.labels, material.rows.at_s
        target = material.target
        self._progress("fit", 0.5, f"{len(labels):,} labelled rows")
        gated = await self._fitting(
            fit_gated, deployment, target, material.span, build, matrix, labels, at_s, material.champion
        )
        self._progress("gates", 0.7)
        for result in gated.results:
            self.say(GateJudged(deployment.name, self.accepted.run, result))
        if stands := standing(gated.results, self.accepted.waivers, deployment.gates):
            return self._reject(stands[0], material)
        self._progress("refit", 0.75)
        fitted = await self._fitting(refit, target, build, matrix, labels, at_s, gated)
        self._progress("onnx", 0.85)
        answers = _answering(material, fitted)
        golden = await beside(golden_of, fitted.model, deployment, answers, target, matrix[_inside(material, gated)])
        onnx, parity = await beside(convert, fitted.model, target, fitted.digest, matrix, answers, golden)
        self.say(GateJudged(deployment.name, self.accepted.run, parity))
        gates = [*([alike] if alike is not None else []), *gated.results, parity]
        command = await self._publish(deployment, material, gated, fitted, gates)
        place = await self._publish_bytes(onnx, "onnx") if onnx is not None else None
        described = await beside(_described, material, gated)
        self.command = replace(command, onnx=place, golden=golden, **described)
        size = len(self.context.codec.encode(self.command))
        if size > _COMMAND_BYTES:
            raise Unfit(
                f"the version's description takes {size:,} bytes, at most {_COMMAND_BYTES:,} fit into a record:"
                " a category has too many values"
            )
        self.say(self.command)
        open_gate = undecided(gated.results, self.accepted.waivers, deployment.rollout.policy)
        told = "" if open_gate is None else _not_switched(open_gate, deployment.name)
        return self._finish("registered", told, fitted, material)

    async def _publish(
        self,
        deployment: DeploymentDefinition,
        material: Material,
        gated: Gated,
        fitted: Fitted,
        gates: list[GateResult],
    ) -> RegisterVersion:
        self._progress("publish", 0.9)
        place = await self._publish_bytes(await beside(skops_format.dump, fitted.model), "skops")
        twin = await self._publish_bytes(await beside(skops_format.dump, gated.twin), "skops")
        lineage = Lineage(
            offsets=material.rows.offsets,
            request_from_s=gated.span.from_s,
            request_to_s=gated.span.to_s,
            code_version=version("headrace"),
            definition_digest=deployment.digest,
            seed=material.seed,
            parent=material.parent,
            packages={name: version(name) for name in _PACKAGES},
            twin_to_s=gated.span.fit_to_s,
            changed_at_s=gated.changed_at_s,
        )
        is_released = undecided(gates, self.accepted.waivers, deployment.rollout.policy) is None
        return RegisterVersion(
            deployment=deployment.name,
            model=deployment.model,
            place=place,
            model_digest=fitted.digest,
            signature=material.signature,
            output=material.target.kind,
            classes=material.target.classes,
            class_places=material.target.places(fitted.model),
            lineage=lineage,
            metrics=fitted.metrics,
            gates=tuple(gates),
            waivers=used(gates, self.accepted.waivers),
            reason=f"{self.accepted.cause}: {self.accepted.reason}",
            trained_rows=fitted.rows,
            rollout=is_released,
            twin=twin,
        )

    async def _publish_bytes(self, data: bytes, format: str) -> ArtifactPlace:
        log, topics = self.context.log, self.context.topics
        return await self._patiently(
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
        self.say(TrainingProgressed(self.accepted.deployment, self.accepted.run, stage, share, detail))

    def _reject(self, result: GateResult, material: Material | None = None) -> None:
        self._finish("rejected", f"gate {result.gate}: {result.verdict}, {result.detail}", None, material)

    def _wait(self, material: Material) -> None:
        outcome, why_not = "waiting" if material.missing_rows else "rejected", material.why_not
        if outcome == "waiting" and self.accepted.cause == "manual":
            # NB: the monitor asks again for what it asked itself.
            why_not += "; ask again when they are there"
        self._finish(outcome, why_not, None, material)

    def _finish(
        self, outcome: str, reason: str, fitted: Fitted | None = None, material: Material | None = None
    ) -> None:
        digest, rows = (fitted.digest, fitted.rows) if fitted else ("", 0)
        finished = TrainingFinished(
            self.accepted.deployment,
            self.accepted.run,
            outcome,
            reason,
            digest,
            rows,
            time.monotonic() - self.began_s,
            is_released=self.command is None or self.command.rollout,
        )
        self.say(finished if material is None else material.told(finished))


def _not_switched(open_gate: GateResult, deployment: str) -> str:
    """Why a registered version takes no traffic by itself, and what gives it some."""
    return (
        f"not switched to, gate {open_gate.gate}: {open_gate.verdict}, {open_gate.detail};"
        f" `headrace rollout start {deployment} VERSION` releases it, and rollout=Canary(...) would compare it under traffic"
    )


def _answering(material: Material, fitted: Fitted) -> Answering:
    """How the version that is registered answers."""
    target = material.target
    return Answering(material.signature, target.kind, len(target.classes), target.places(fitted.model))


def _inside(material: Material, gated: Gated) -> np.ndarray:
    """Which rows lie in the span."""
    at_s, span = material.rows.at_s, gated.span
    return (at_s >= span.from_s) & (at_s < span.to_s)


def _described(material: Material, gated: Gated) -> dict[str, Any]:
    """Figures for the card, of all rows in the span and of the holdout by slice."""
    rows, span, target = material.rows, gated.span, material.target
    _, holdout = masks(span, rows.at_s)
    inputs = [rows.inputs[n] for n in np.flatnonzero(holdout)]
    return {
        "profile": profile_of(material.signature, material.matrix[_inside(material, gated)]),
        "slices": slices_of(material.signature, target, inputs, gated.scores, rows.labels[holdout]),
    }
