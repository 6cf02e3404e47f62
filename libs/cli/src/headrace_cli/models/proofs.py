"""How a file is asked: with rows where these are proven, with a frame where only that says what the maker says, else not at all.

| float32 rows           | a frame                 | then                                                       |
|------------------------|-------------------------|------------------------------------------------------------|
| as the maker says      |                         | rows                                                       |
| otherwise              | as the maker says       | a frame, and it is said                                    |
| otherwise              | otherwise, by rounding  | refused: what float32 holds is too little, however asked   |
| otherwise              | otherwise, or not taken | refused, with what rows would be served                    |

A scikit-learn pipeline counts in the precision that it is given: a scaler, bins or neighbours in float32 say something else than in float64.
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
_NOTE = "of float32 rows it says something else: it takes a frame in float64, some hundred times slower than a matrix (--frame)"
_NEITHER = (
    "{fault}; a frame (--frame) does not say what the model says either: convert it to ONNX, and compare the two there"
)


def proven(
    data: bytes,
    format: str,
    model: Engine,
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    declared: Declared,
) -> tuple[Agreed, Golden]:
    """What a file agrees on with a deployment, and the rows that prove it. Raises `Misconfigured` with the way out."""
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
    """How a version of what was agreed on answers."""
    answers = agreed.answers
    return Answering(agreed.signature, answers.output, len(answers.classes), answers.places)


def _prove(data: bytes, format: str, deployment: DeploymentDefinition, agreed: Agreed, declared: Declared) -> Golden:
    return prove_file(data, format, deployment, answering(agreed), declared.requests.inputs)
