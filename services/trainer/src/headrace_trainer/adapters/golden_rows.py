"""The golden rows of a version: scores of the fitted model, which its file must reproduce in serving.

Half of the rows are rows that it was trained on, from all over; half are made of requests that the contract allows. Requests of users
are not kept: only the rows that were made of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import GoldenRow, Signature
from headrace.features.samples import ROWS, Sample, sample
from headrace.models.engine import Engine, load
from headrace.models.matching import matched
from headrace.models.proving import Answering, NoneScored, apart, fitting, prove, served, within
from headrace.models.skops_format import FORMAT, dump
from headrace_trainer.core.target import Target


def answering(model: Any, target: Target, signature: Signature) -> Answering:
    """How a version of a fitted model answers."""
    return Answering(signature, target.kind, len(target.classes), target.places(model))


def golden_rows_of(
    model: Any, deployment: DeploymentDefinition, answers: Answering, target: Target, matrix: NDArray[np.float32]
) -> tuple[GoldenRow, ...]:
    """Rows, with a fitted model's scores of them. Raises `Unproven` when its skops file scores them otherwise.

    `answers`: how its version does. `matrix`: what it was fitted on, float32 (n, columns).
    """
    engine = matched(load(dump(model), FORMAT), answers.signature)  # as the instance that warms it does

    def proven(asked: Sample) -> tuple[GoldenRow, ...]:
        return prove(engine, answers, asked, lambda part: target.scores(model, part.rows), FORMAT)

    places = np.unique(np.linspace(0, len(matrix) - 1, ROWS).astype(int))
    known = proven(Sample([{}] * len(places), np.empty((len(places), 0)), matrix[places]))
    try:
        drawn = proven(sample(deployment, answers.signature))
    except NoneScored:
        drawn = ()
    return fitting([*(replace(found, inputs=None) for found in known[::2]), *drawn[::2]])


def why_different(engine: Engine, answers: Answering, golden: Sequence[GoldenRow], format: str) -> str | None:
    """Where another file of the model scores its golden rows otherwise, by the measure of the instance that warms it; None where it does
    not.
    """
    if not golden:
        return None
    rows = np.frombuffer(b"".join(found.row for found in golden), "<f4").reshape(len(golden), -1)
    wanted = np.array([found.probabilities or (found.value,) for found in golden], np.float64)
    scores = served(engine, answers, rows)
    gaps = apart(scores, wanted)
    worst = int(gaps.argmax())
    if gaps[worst] <= within(format):
        return None
    column = int(np.nan_to_num(np.abs(scores[worst] - wanted[worst]), nan=np.inf).argmax())
    return f"golden row {worst} scores {scores[worst, column]:.6g}, where the model says {wanted[worst, column]:.6g}"
