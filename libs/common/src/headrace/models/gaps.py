"""Which inputs may be missing by the contract, and may not by the model: requests without them would fall back, one by one."""

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
    """A line for each nullable input without which the model scores none of the proven requests."""
    asked = [found.inputs for found in proven if found.inputs is not None]
    engine = matched(engine, answers.signature)

    def why_unscored(name: str) -> str | None:
        """Of whole requests: another input that is missing too would be the reason."""
        whole = next((inputs for inputs in asked if None not in inputs.values()), None)
        if whole is None:
            return None
        try:
            served(engine, answers, sampled(deployment, answers.signature, [{**whole, name: None}]).rows)
        except Exception as error:
            # NB: a model is foreign code, and so is what it raises.
            return " ".join(str(error).split())[:100]
        return None

    reasons = {field.name: why_unscored(field.name) for field in deployment.inputs if field.nullable}
    return tuple(
        f"{name!r} may be missing (nullable), and this model scores no request without it ({why}): such requests fall back;"
        " put an imputer into the pipeline, or declare the input without nullable=True"
        for name, why in reasons.items()
        if why is not None
    )
