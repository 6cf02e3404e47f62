"""Feature rows: the contract of a request's inputs, and the float32 row that a version gets.

The columns are the deployment's inputs in declared order (without keys), then its derived columns, then the features of
each bound view, named `<view>.<feature>`. A category becomes the code of its value in the version's vocabulary; unknown
and null are NaN. A feature without a value becomes its default, else NaN. Values are checked in float32
(`features.precision`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition, InputDefinition, ProjectDefinition, digest_of
from headrace.events.inference import Invalid, Scalar
from headrace.events.registry import ColumnPin, Signature
from headrace.features.derived import evaluate, refuse_unknown
from headrace.features.entities import entity_key, text_of
from headrace.features.precision import LARGEST, as_seen, filled, gaps, seen
from headrace.features.store import OnlineStore

Vocabularies = Mapping[str, Sequence[str]]


def check_inputs(deployment: DeploymentDefinition, inputs: Mapping[str, Scalar]) -> Invalid | None:
    """What is wrong with a request's inputs; None when they keep the contract."""
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
    if field.kind == "key":
        return None if isinstance(value, str) or _is_number(value) else f"{field.name} must be text or a finite number"
    if field.kind != "number":
        return None if isinstance(value, str) else f"{field.name} must be text, got {type(value).__name__}"
    if isinstance(value, str):
        return f"{field.name} must be a number, got {value!r}"
    number = seen(value)
    if not math.isfinite(number):
        return f"{field.name} must be finite and within float32 (at most {LARGEST:.4g})"
    if field.low is not None and number < seen(field.low):
        return f"{field.name} must be at least {field.low:g}, got {_shown(value, field.low)}"
    if field.high is not None and number > seen(field.high):
        return f"{field.name} must be at most {field.high:g}, got {_shown(value, field.high)}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _shown(value: float, limit: float) -> str:
    """A value beyond a limit: short, unless the short form would read like the limit itself."""
    return repr(value) if f"{value:g}" == f"{limit:g}" else f"{value:g}"


def bare_signature(project: ProjectDefinition, deployment: DeploymentDefinition) -> Signature:
    """The signature before any version: categories have empty vocabularies."""
    return pin_signature(project, deployment, {})


def pin_signature(
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    vocabularies: Vocabularies,
    *,
    inputs_only: bool = False,
    frame: bool = False,
) -> Signature:
    """The columns of a deployment with their vocabularies, and the digest of these and of the views behind them.

    `inputs_only`: for a version without view features and derived columns, which survives a feature outage; its
    `views_digest` is empty. `frame`: for a model that takes names and category values.
    """
    columns = [_pin(field, vocabularies) for field in deployment.inputs if field.kind != "key"]
    if inputs_only:
        return Signature(tuple(columns), digest_of(tuple(columns), "inputs only", frame), frame=frame)
    views = [project.view(binding.view) for binding in deployment.features]
    columns += [ColumnPin(derived.name) for derived in deployment.derived]
    columns += [
        ColumnPin(f"{view.name}.{feature.name}", None, feature.default) for view in views for feature in view.features
    ]
    views_digest = digest_of(*(view.digest for view in views), deployment.feature_delay_s, *deployment.derived)
    asked_for = ("frame",) if frame else ()
    return Signature(tuple(columns), digest_of(tuple(columns), views_digest, *asked_for), views_digest, frame)


def misfit(signature: Signature, bare: Signature) -> str | None:
    """Why rows for `signature` cannot be made any more, None when they can. `bare`: the deployment's own, now.

    A version fits a deployment as long as its columns are the columns of the deployment and the views behind them have
    not changed. Otherwise a number would mean something else than the one that the version was trained on.

    >>> misfit(Signature((), "a", "v1"), Signature((), "b", "v2"))
    'its feature views have changed since it was trained'
    """
    had, has = [column.name for column in signature.columns], [column.name for column in bare.columns]
    if not needs_views(signature):
        return None if had == has[: len(had)] else "its columns are not the deployment's inputs any more"
    if had != has:
        odd = sorted(set(had) ^ set(has)) or ["their order"]
        return f"its columns are not the deployment's any more: {', '.join(odd)}"
    if signature.views_digest != bare.views_digest:
        return "its feature views have changed since it was trained"
    return None


def needs_views(signature: Signature) -> bool:
    """Whether a version sees more than the inputs of a request; one that does not survives an outage of the features."""
    return signature.views_digest != ""


def whole(signature: Signature, bare: Signature) -> Signature:
    """A signature with the columns behind the inputs, which a version of inputs only does not see. `bare`: the
    deployment's own.
    """
    if needs_views(signature):
        return signature
    return Signature((*signature.columns, *bare.columns[len(signature.columns) :]), signature.digest)


def _pin(field: InputDefinition, vocabularies: Vocabularies) -> ColumnPin:
    return ColumnPin(field.name, tuple(vocabularies.get(field.name, ())) if field.kind == "category" else None)


class RowMaker:
    """Makes rows of one deployment in the order of one signature."""

    def __init__(self, deployment: DeploymentDefinition, signature: Signature) -> None:
        self.signature = signature
        self._inputs = deployment.inputs
        self._fields = [field for field in deployment.inputs if field.kind != "key"]
        self._derived = deployment.derived
        for derived in self._derived:
            refuse_unknown(derived.expression)
        self._codes = [
            None if pin.vocabulary is None else {value: float(code) for code, value in enumerate(pin.vocabulary)}
            for pin in signature.columns[: len(self._fields)]
        ]
        self._has_codes = any(codes is not None for codes in self._codes)
        self._unknown = [
            float(len(pin.vocabulary or ())) if signature.frame else math.nan
            for pin in signature.columns[: len(self._fields)]
        ]
        self._features = signature.columns[len(self._fields) + len(self._derived) :]
        self._defaults = np.array([np.nan if pin.default is None else pin.default for pin in self._features])

    def encode(self, inputs: Sequence[Mapping[str, Scalar]]) -> NDArray[np.float64]:
        """The input columns of many rows, float64 (n, fields)."""
        names = [field.name for field in self._fields]
        values = [list(map(found.get, names)) for found in inputs]
        if not self._has_codes:
            return np.array(values, dtype=np.float64).reshape(len(inputs), len(names))  # None becomes NaN
        columns = [
            [row[place] if codes is None else _code(row[place], codes, self._unknown[place]) for row in values]
            for place, codes in enumerate(self._codes)
        ]
        return np.array(columns, dtype=np.float64).reshape(len(names), len(inputs)).T

    def fill(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features of shape (n, n_features), with the defaults where there is no value."""
        return filled(features, self._defaults)

    def defaulted(self, features: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Where a default stands for a feature without a value, of shape (n, n_columns); None where no feature has a default.

        `features`: as in `rows`.
        """
        has_default = ~np.isnan(self._defaults)
        if not has_default.any():
            return None
        found = np.zeros((len(features), len(self.signature.columns)), np.bool_)
        found[:, -len(has_default) :] = gaps(features) & has_default
        return found

    def rows(self, inputs: Sequence[Mapping[str, Scalar]], features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Rows of many requests, float32 (n, n_columns). `features`: shape (n, n_features)."""
        encoded = self.encode(inputs)
        if not self._features and not self._derived:
            return as_seen(encoded)
        whole = self.fill(features)
        return as_seen(np.hstack([encoded, *self._derive(inputs, whole), whole]))

    def _derive(
        self, inputs: Sequence[Mapping[str, Scalar]], features: NDArray[np.float64]
    ) -> list[NDArray[np.float64]]:
        """The derived columns, each of shape (n, 1)."""
        if not self._derived:
            return []
        columns: dict[str, NDArray[Any]] = {pin.name: features[:, n] for n, pin in enumerate(self._features)}
        for field in self._inputs:
            values = [found.get(field.name) for found in inputs]
            columns[field.name] = _numbers(values) if field.kind == "number" else _texts(values)
        for derived in self._derived:
            columns[derived.name] = evaluate(derived.expression, columns, len(inputs))
        return [columns[derived.name].reshape(-1, 1) for derived in self._derived]


def _numbers(values: Sequence[Scalar]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def _texts(values: Sequence[Scalar]) -> NDArray[Any]:
    """NB: a key may be text or a number, and numpy would make one array type of both."""
    found = np.empty(len(values), dtype=object)
    found[:] = [value if value is None or isinstance(value, str) else text_of(value) for value in values]
    return found


def _code(value: Scalar, codes: dict[str, float], unknown: float) -> float:
    return math.nan if value is None else codes.get(str(value), unknown)


def entities_of(deployment: DeploymentDefinition, inputs: Mapping[str, Scalar]) -> dict[str, str | None]:
    """The entity of each bound view that a request asks for; None where a field is missing.

    True for a Number is 1, as in its row.
    """
    return {
        binding.view: entity_key(
            binding.kinds or ("",) * len(binding.fields),
            [_naming(deployment, field, inputs.get(field)) for field in binding.fields],
        )
        for binding in deployment.features
    }


def _naming(deployment: DeploymentDefinition, field: str, value: Scalar) -> Scalar:
    is_flag = isinstance(value, bool)
    if is_flag and any(found.name == field and found.kind == "number" for found in deployment.inputs):
        return float(value)
    return value


def look_up_many(
    store: OnlineStore,
    deployment: DeploymentDefinition,
    entities: Sequence[Mapping[str, str | None]],
    at_s: Sequence[float],
) -> NDArray[np.float64]:
    """All view features of many requests from the online store, in row order: float64 (n_requests, n_features)."""
    found = [
        store.lookup_many(binding.key, [named[binding.view] for named in entities], at_s, deployment.feature_delay_s)
        for binding in deployment.features
    ]
    return np.hstack(found) if found else np.empty((len(at_s), 0))
