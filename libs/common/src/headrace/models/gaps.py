"""Inputs that may be missing by the contract but not for the model: requests without them would all fall back."""

from collections.abc import Sequence

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import GoldenRow
from headrace.features.samples import sampled
from headrace.models.engine import Engine
from headrace.models.matching import matched
from headrace.models.proving import Answering, served


def gap_notes(
    engine: Engine, deployment: DeploymentDefinition, answers: Answering, proven: Sequence[GoldenRow]
) -> tuple[str, ...]:
    """A note for each nullable input without which the model scores none of the requests of the load check."""
    asked = [found.inputs for found in proven if found.inputs is not None]
    engine = matched(engine, answers.signature)

    def why_unscored(name: str) -> str | None:
        """Why a request without this input is not scored. Only requests without other gaps are tried."""
        whole = next((inputs for inputs in asked if None not in inputs.values()), None)
        if whole is None:
            return None
        try:
            served(engine, answers, sampled(deployment, answers.signature, [{**whole, name: None}]).rows)
        except Exception as error:
            # NB: a model is foreign code, and may raise anything.
            return " ".join(str(error).split())[:100]
        return None

    reasons = {field.name: why_unscored(field.name) for field in deployment.inputs if field.nullable}
    return tuple(
        f"{name!r} may be missing (nullable), and this model scores no request without it ({why}): such requests fall back;"
        " put an imputer into the pipeline, or declare the input without nullable=True"
        for name, why in reasons.items()
        if why is not None
    )
