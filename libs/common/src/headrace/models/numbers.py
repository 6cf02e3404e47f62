"""Requests with numbers that a model knows, as its data had them: 0.1, whose float32 in a row is 0.10000000149.

Encoders know their numbers. Trees and bins that compute in float64 have thresholds, which lie on values of the data or
halfway between two. Random numbers hardly ever are one of these, so the load check of a model that knows 0.1, 0.2 and
0.3 would only use numbers that are strange to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace.events.registry import Signature
from headrace.features.precision import LARGEST, seen
from headrace.features.samples import WHOLE_BELOW, Inputs
from headrace.models.encoders import known_to
from headrace.models.engine import Engine
from headrace.models.golden import spread
from headrace.models.matching import model_names
from headrace.models.skops_format import SkopsEngine
from headrace.models.thresholds import written_thresholds

Numbers = Mapping[str, Sequence[float]]


def known_numbers(engine: Engine, deployment: DeploymentDefinition, signature: Signature) -> Numbers:
    """Per numeric input the numbers that the model's encoders know of it, else all thresholds; within its limits.

    Call it before `matched`.
    """
    if not isinstance(engine, SkopsEngine):
        return {}
    names = model_names(engine.names, signature) or tuple(column.name for column in signature.columns)
    known = known_to(engine.estimator, names).numbers
    fields = {field.name: field for field in deployment.inputs if field.kind == "number"}
    thresholds = written_thresholds(engine.estimator)
    allowed = {name: [one for one in known.get(name, thresholds) if _is_allowed(one, fields[name])] for name in fields}
    return {name: found for name, found in allowed.items() if found}


def _is_allowed(number: float, field: InputDefinition) -> bool:
    held = seen(number)
    is_above = field.low is None or held >= seen(field.low)
    return bool(np.isfinite(held)) and is_above and (field.high is None or held <= seen(field.high))


def as_known(inputs: Sequence[Inputs], numbers: Numbers) -> list[Inputs]:
    """Requests in which a number is replaced by one that the model knows, where both have the same float32."""
    by_held = {name: {seen(number): number for number in known} for name, known in numbers.items()}
    return [{name: _as_sent_number(by_held.get(name, {}), value) for name, value in asked.items()} for asked in inputs]


def _as_sent_number(by_held: Mapping[float, float], value: Any) -> Any:
    return by_held.get(seen(value), value) if isinstance(value, int | float) else value


def with_known(inputs: Sequence[Inputs], numbers: Numbers) -> list[Inputs]:
    """Requests with numbers that the model knows, in turn; evenly spaced ones where there are more than requests."""
    tried = {name: [known[place] for place in spread(len(known), len(inputs))] for name, known in numbers.items()}
    return [
        {**asked, **{name: known[row % len(known)] for name, known in tried.items()}}
        for row, asked in enumerate(inputs)
    ]


def wide_names(deployment: DeploymentDefinition) -> tuple[str, ...]:
    """Inputs whose limits allow whole numbers that float32 does not distinguish, such as seconds since 1970."""
    return tuple(
        field.name
        for field in deployment.inputs
        if field.kind == "number"
        and field.low is not None
        and field.high is not None
        and WHOLE_BELOW < max(abs(field.low), abs(field.high)) < LARGEST
    )


def with_wide(inputs: Sequence[Inputs], deployment: DeploymentDefinition) -> list[Inputs]:
    """Requests with whole numbers from all over the limits of `wide_names`, before float32 changes them."""
    rng = np.random.default_rng(0)
    limits = {field.name: (field.low or 0.0, field.high or 0.0) for field in deployment.inputs}
    drawn = {name: np.round(rng.uniform(*limits[name], len(inputs))).tolist() for name in wide_names(deployment)}
    return [{**asked, **{name: found[row] for name, found in drawn.items()}} for row, asked in enumerate(inputs)]
