"""The golden rows of a version: what the fitted model says, compared with what its file will say in serving.

Half of them are rows that it was trained on, from all over; half are requests that the contract allows, drawn. Requests of users are
not kept: only the rows that were made of them.
"""

from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.registry import GoldenRow, RegisterVersion
from headrace.features.samples import ROWS, Sample, sample
from headrace.models.engine import load
from headrace.models.proving import Answering, NoneScored, fitting, prove
from headrace.models.skops_format import FORMAT, dump
from headrace.project.definition import DeploymentDefinition
from headrace_trainer.core.target import Target


def golden_of(
    model: Any, deployment: DeploymentDefinition, command: RegisterVersion, target: Target, matrix: NDArray[np.float32]
) -> tuple[GoldenRow, ...]:
    """Rows, and what a fitted model says of them. Raises `Unproven` when its skops file says otherwise.

    `command`: how its version answers. `matrix`: what it was fitted on, float32 (n, columns).
    """
    engine = load(dump(model), FORMAT)
    answers = Answering(command.signature, command.output, len(command.classes), command.class_places)

    def proven(asked: Sample) -> tuple[GoldenRow, ...]:
        return prove(engine, answers, asked, lambda part: target.scores(model, part.rows), FORMAT)

    places = np.unique(np.linspace(0, len(matrix) - 1, ROWS).astype(int))
    known = proven(Sample([{}] * len(places), np.empty((len(places), 0)), matrix[places]))
    try:
        drawn = proven(sample(deployment, command.signature))
    except NoneScored:
        drawn = ()
    return fitting([*(replace(found, inputs=None) for found in known[::2]), *drawn[::2]])
