"""Feature rows: the contract of a request's inputs, and the float32 row that a version sees.

Columns: the deployment's inputs in declared order (keys left out), then each bound view's features, named
`<view>.<feature>`. A category is the code of its value in the version's vocabulary; unknown and null are NaN.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import Invalid, Scalar
from headrace.events.registry import ColumnPin, Signature
from headrace.features.plan import entity_key
from headrace.features.store import OnlineStore
from headrace.project.definition import DeploymentDefinition, InputDefinition, ProjectDefinition, digest_of

Vocabularies = Mapping[str, Sequence[str]]


def check_inputs(deployment: DeploymentDefinition, inputs: Mapping[str, Scalar]) -> Invalid | None:
    """What is wrong with a request's inputs, None when they keep the contract."""
    for field in deployment.inputs:
        reason = _refusal(field, inputs.get(field.name))
        if reason is not None:
            return Invalid(reason, field.name)
    known = {field.name for field in deployment.inputs}
    strangers = [name for name in inputs if name not in known]
    if strangers:
        return Invalid(
            f"{deployment.name} takes no input {strangers[0]!r}; it takes {', '.join(sorted(known))}", strangers[0]
        )
    return None


def _refusal(field: InputDefinition, value: Scalar) -> str | None:
    if value is None:
        return None if field.nullable else f"{field.name} is missing"
    if field.kind != "number":
        return None if isinstance(value, str) else f"{field.name} must be text, got {type(value).__name__}"
    if isinstance(value, str):
        return f"{field.name} must be a number, got {value!r}"
    if not _is_finite(value):
        return f"{field.name} must be finite and within float64"
    if field.low is not None and value < field.low:
        return f"{field.name} must be at least {field.low:g}, got {value:g}"
    if field.high is not None and value > field.high:
        return f"{field.name} must be at most {field.high:g}, got {value:g}"
    return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float64 can hold
        return False


def bare_signature(project: ProjectDefinition, deployment: DeploymentDefinition) -> Signature:
    """The signature before any version: categories have empty vocabularies."""
    return pin_signature(project, deployment, {})


def pin_signature(
    project: ProjectDefinition, deployment: DeploymentDefinition, vocabularies: Vocabularies
) -> Signature:
    """The columns of a deployment with their vocabularies, and the digest of both and of the views behind them."""
    columns = [_pin(field, vocabularies) for field in deployment.inputs if field.kind != "key"]
    views = [project.view(binding.view) for binding in deployment.features]
    columns += [ColumnPin(f"{view.name}.{feature.name}") for view in views for feature in view.features]
    views_digest = digest_of(*(view.digest for view in views), deployment.settle_s)
    return Signature(tuple(columns), digest_of(tuple(columns), views_digest), views_digest)


def _pin(field: InputDefinition, vocabularies: Vocabularies) -> ColumnPin:
    return ColumnPin(field.name, tuple(vocabularies.get(field.name, ())) if field.kind == "category" else None)


class RowMaker:
    """Makes rows of one deployment in the order of one signature."""

    def __init__(self, deployment: DeploymentDefinition, signature: Signature) -> None:
        self.signature = signature
        self._fields = [field for field in deployment.inputs if field.kind != "key"]
        self._codes = [
            None if pin.vocabulary is None else {value: float(code) for code, value in enumerate(pin.vocabulary)}
            for pin in signature.columns[: len(self._fields)]
        ]

    def encode(self, inputs: Mapping[str, Scalar]) -> list[float]:
        """The input columns of a row."""
        return [_encoded(inputs.get(field.name), codes) for field, codes in zip(self._fields, self._codes, strict=True)]

    def rows(self, inputs: Sequence[Mapping[str, Scalar]], features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Rows for many requests: their inputs, and their features of shape (n, n_features)."""
        encoded = np.array([self.encode(found) for found in inputs], dtype=np.float64).reshape(
            len(inputs), len(self._fields)
        )
        return np.hstack([encoded, features]).astype(np.float32)


def _encoded(value: Scalar, codes: dict[str, float] | None) -> float:
    if value is None:
        return math.nan
    return float(value) if codes is None else codes.get(str(value), math.nan)


def entities_of(deployment: DeploymentDefinition, inputs: Mapping[str, Scalar]) -> dict[str, str | None]:
    """Per bound view the entity that a request asks for; None where a field is missing."""
    return {
        binding.view: entity_key([inputs.get(field) for field in binding.fields]) for binding in deployment.features
    }


def look_up(
    store: OnlineStore, deployment: DeploymentDefinition, entities: Mapping[str, str | None], at_s: float
) -> NDArray[np.float64]:
    """All view features of one request from the online store, in row order."""
    found = [
        store.lookup(binding.view, entities[binding.view], at_s, deployment.settle_s) for binding in deployment.features
    ]
    return np.concatenate(found) if found else np.empty(0)
