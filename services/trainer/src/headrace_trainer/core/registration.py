"""What the trainer asks the registry to register: the version with its lineage, metrics, gates and card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.references import VersionReference
from headrace.events.registry import ArtifactPlace, GateResult, GoldenRow, Lineage, RegisterVersion
from headrace.events.training import RetrainAccepted
from headrace_trainer.core.fitting import Fitted, Gated
from headrace_trainer.core.gates import undecided, used
from headrace_trainer.core.profiles import profile_of, slices_of
from headrace_trainer.core.splits import masks
from headrace_trainer.core.training_set import TrainingSet

# A command to register must fit into a record of the log.
COMMAND_BYTES = 900_000


@dataclass(frozen=True)
class Trained:
    """A version that passed its gates. `gates`: all results, in the order in which they were measured. `reference`: what is normal for it."""

    training_set: TrainingSet
    gated: Gated
    fitted: Fitted
    gates: Sequence[GateResult]
    reference: VersionReference


@dataclass(frozen=True)
class Published:
    """Where the artifacts of a version lie. `onnx`: None where the fitted one serves; `golden`: rows with the scores of the fitted one."""

    model: ArtifactPlace
    twin: ArtifactPlace
    onnx: ArtifactPlace | None
    golden: tuple[GoldenRow, ...]


def command_of(
    accepted: RetrainAccepted,
    deployment: DeploymentDefinition,
    trained: Trained,
    published: Published,
    packages: Mapping[str, str],
) -> RegisterVersion:
    """The command to register a version. `packages`: the versions of what it was trained with, by name; `headrace` among them."""
    training_set, gated, fitted = trained.training_set, trained.gated, trained.fitted
    target = training_set.target
    return RegisterVersion(
        deployment=deployment.name,
        model=deployment.model,
        place=published.model,
        model_digest=fitted.digest,
        signature=training_set.signature,
        output=target.kind,
        classes=target.classes,
        class_places=target.places(fitted.model),
        lineage=_lineage(deployment, training_set, gated, packages),
        metrics=fitted.metrics,
        gates=tuple(trained.gates),
        waivers=used(trained.gates, accepted.waivers),
        reason=f"{accepted.cause}: {accepted.reason}",
        trained_rows=fitted.rows,
        rollout=undecided(trained.gates, accepted.waivers, deployment.rollout.policy) is None,
        twin=published.twin,
        onnx=published.onnx,
        golden=published.golden,
        asked_by=accepted.asked_by,
        reference=trained.reference,
        **_card(training_set, gated),
    )


def why_too_large(size_bytes: int) -> str | None:
    """Why a command of this size cannot be sent; None when it can."""
    if size_bytes <= COMMAND_BYTES:
        return None
    return (
        f"the version's description takes {size_bytes:,} bytes, at most {COMMAND_BYTES:,} fit into a record:"
        " a category has too many values"
    )


def _lineage(
    deployment: DeploymentDefinition, training_set: TrainingSet, gated: Gated, packages: Mapping[str, str]
) -> Lineage:
    return Lineage(
        offsets=dict(training_set.rows.offsets),
        request_from_s=gated.span.from_s,
        request_to_s=gated.span.to_s,
        code_version=packages["headrace"],
        definition_digest=deployment.digest,
        seed=training_set.seed,
        parent=training_set.parent,
        packages=dict(packages),
        twin_to_s=gated.span.fit_to_s,
        changed_at_s=gated.changed_at_s,
    )


def _card(training_set: TrainingSet, gated: Gated) -> dict[str, Any]:
    """Figures for the card, of all rows in the span and of the holdout by slice."""
    rows = training_set.rows
    _, holdout = masks(gated.span, rows.at_s)
    inputs = [rows.inputs[n] for n in np.flatnonzero(holdout)]
    return {
        "profile": profile_of(training_set.signature, rows.matrix[training_set.in_span(gated.span)]),
        "slices": slices_of(training_set.signature, training_set.target, inputs, gated.scores, rows.labels[holdout]),
    }
