"""Chooses how a file is asked: with rows if these are proven, with a frame if only that gives the answers of the library that made it.

| float32 rows           | a frame                 | then                                                       |
|------------------------|-------------------------|------------------------------------------------------------|
| the same answers       |                         | rows                                                       |
| different              | the same answers        | a frame, with a notice                                     |
| different              | different, by rounding  | refused: float32 has too few digits for either             |
| different              | different, or not taken | refused, with the answers that rows would get              |

A scikit-learn pipeline computes in the precision of its input: scalers, bins or neighbours differ between float32 and float64.
"""

from dataclasses import replace

from headrace.errors import Misconfigured, Poison
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import GoldenRow
from headrace.models.engine import Engine
from headrace.models.proving import Answering, TooFine, Unproven, prove_file
from headrace.models.skops_format import FORMAT
from headrace_cli.models.agreement import Agreed, Declared, agree

Golden = tuple[GoldenRow, ...]
_NOTE = "float32 rows give other answers: it takes a frame in float64, which is about a hundred times slower than a matrix (--frame)"
_NEITHER = (
    "{fault}; a frame (--frame) does not give the model's answers either: convert it to ONNX, and compare the two there"
)


def proven(
    data: bytes,
    format: str,
    model: Engine,
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    declared: Declared,
) -> tuple[Agreed, Golden]:
    """The agreement of a file with a deployment, and the rows that prove it. Raises `Misconfigured` with the way out."""
    agreed = agree(model, project, deployment, declared)
    try:
        return agreed, _prove(data, format, deployment, agreed, declared)
    except Unproven as fault:
        if format != FORMAT or agreed.signature.frame:
            raise
        reason = str(fault)
    try:
        framed = agree(model, project, deployment, replace(declared, frame=True))
        return replace(framed, notes=(*framed.notes, _NOTE)), _prove(data, format, deployment, framed, declared)
    except TooFine:
        raise
    except (Misconfigured, Poison):
        raise Unproven(_NEITHER.format(fault=reason)) from None


def answering(agreed: Agreed) -> Answering:
    """How a version with this agreement answers."""
    answers = agreed.answers
    return Answering(agreed.signature, answers.output, len(answers.classes), answers.places)


def _prove(data: bytes, format: str, deployment: DeploymentDefinition, agreed: Agreed, declared: Declared) -> Golden:
    return prove_file(data, format, deployment, answering(agreed), declared.requests.inputs)
