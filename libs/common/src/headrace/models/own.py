"""Scores of requests by the model's own library, computed independently of how rows are served.

The file is read by its library, and gets a frame with the model's own names, or a matrix where it has none. This module
does not use the codes, orders or rows of serving, since those are compared with its result.
"""

from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import ColumnPin, Signature
from headrace.features.precision import as_sent
from headrace.models import onnx_format, skops_format, xgboost_format
from headrace.models.engine import NUMBER, Floats, as_served, extra
from headrace.models.matching import model_names

Inputs = Sequence[Mapping[str, Any]]


def own_scores(
    data: bytes, format: str, signature: Signature, output: str, inputs: Inputs, rows: NDArray[np.float32]
) -> Floats:
    """Scores of requests, (n, classes) in the model's own order, or (n,) for `number`. Raises what the library raises.

    `inputs`: as they were sent, numbers in float64. `rows`: the same requests as rows; columns that are no inputs are
    taken from them.
    """
    columns = {pin.name: _column(pin, place, signature, inputs, rows) for place, pin in enumerate(signature.columns)}
    return as_served(_ASKED[format](data, columns, signature, output), output)


def _column(
    pin: ColumnPin, place: int, signature: Signature, inputs: Inputs, rows: NDArray[np.float32]
) -> NDArray[Any]:
    if not any(pin.name in found for found in inputs):
        return as_sent(rows[:, place])
    values = [found.get(pin.name) for found in inputs]
    if pin.vocabulary is None:
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)
    return np.array([np.nan if value is None else str(value) for value in values], object)


Columns = Mapping[str, NDArray[Any]]


def _by_skops(data: bytes, columns: Columns, signature: Signature, output: str) -> Any:
    estimator = _read(data, "skops")
    given = columns if signature.frame else _coded(columns, signature)
    frame = _named(given, tuple(getattr(estimator, "feature_names_in_", ())), signature)
    asked = frame if hasattr(estimator, "feature_names_in_") else frame.to_numpy(object if signature.frame else float)
    return estimator.predict(asked) if output == NUMBER else estimator.predict_proba(asked)


def _by_xgboost(data: bytes, columns: Columns, signature: Signature, output: str) -> Any:
    library, booster = extra("xgboost"), _read(data, "xgboost")
    best = booster.attr("best_iteration")
    names = tuple(booster.feature_names or ())
    kinds = dict(zip(model_names(names, signature), booster.feature_types or (), strict=False))
    categories = {name for name, kind in kinds.items() if kind == "c"}
    held = dict(zip(names, xgboost_format.values_of(bytes(booster.save_raw("json"))), strict=False))
    frame = _categorical(_named(_coded(columns, signature, categories), names, signature), signature, held)
    matrix = library.DMatrix(frame if names else frame.to_numpy(float), nthread=1, enable_categorical=True)
    return booster.predict(
        matrix, iteration_range=(0, 0) if best is None else (0, int(best) + 1), validate_features=bool(names)
    )


def _by_lightgbm(data: bytes, columns: Columns, signature: Signature, output: str) -> Any:
    booster = _read(data, "lightgbm")
    categories = {pin.name for pin in signature.columns if pin.vocabulary} if booster.pandas_categorical else set()
    frame = _named(_coded(columns, signature, categories), _lightgbm_names(booster, signature), signature)
    places = [name for name in frame.columns if model_names([name], signature)[0] in categories]
    held = dict(zip(places, booster.pandas_categorical or (), strict=False))
    return booster.predict(_categorical(frame, signature, held), num_threads=1)


def _lightgbm_names(booster: Any, signature: Signature) -> tuple[str, ...]:
    given = tuple(booster.feature_name())
    return given if set(model_names(given, signature)) == {pin.name for pin in signature.columns} else ()


def _by_onnx(data: bytes, columns: Columns, signature: Signature, output: str) -> Any:
    engine = _read(data, "onnx")
    return engine.predict(np.column_stack(list(_coded(columns, signature).values())).astype(np.float32), output)


@lru_cache(maxsize=1)
def _read(data: bytes, format: str) -> Any:
    """The file as its library reads it. The last one is cached, since rows may be scored one by one."""
    if format == "skops":
        return skops_format.load(data)
    if format == "onnx":
        return onnx_format.engine(data)
    if format == "lightgbm":
        return extra("lightgbm").Booster(model_str=data.decode())
    booster = extra("xgboost").Booster({"nthread": 1})
    booster.load_model(bytearray(data))
    return booster


_ASKED = {"skops": _by_skops, "xgboost": _by_xgboost, "lightgbm": _by_lightgbm, "onnx": _by_onnx}


def _coded(columns: Columns, signature: Signature, categories: Set[str] = frozenset()) -> Columns:
    """Columns with codes instead of category values, except for those in `categories`."""
    places = {pin.name: {value: float(n) for n, value in enumerate(pin.vocabulary or ())} for pin in signature.columns}
    return {
        name: np.array([places[name].get(value, np.nan) for value in values], np.float64)
        if values.dtype == object and name not in categories
        else values
        for name, values in columns.items()
    }


def _named(columns: Columns, names: tuple[str, ...], signature: Signature) -> Any:
    """A frame with the model's own names, in its own order; unchanged where it has none."""
    pandas = extra("pandas")
    if not names:
        return pandas.DataFrame(columns)
    return pandas.DataFrame(
        {own: columns[name] for own, name in zip(names, model_names(names, signature), strict=True)}
    )


def _categorical(frame: Any, signature: Signature, held: Mapping[str, Sequence[Any]]) -> Any:
    """Category values as pandas categories of the type in the file (`held`), which may have numbers for a request's
    texts.
    """
    pandas = extra("pandas")
    pins = {pin.name: pin.vocabulary for pin in signature.columns}
    for name in [name for name, values in frame.items() if not pandas.api.types.is_numeric_dtype(values)]:
        # NB: in code order, for files that hold codes only; files with values are read by their values.
        known = list(held.get(name) or pins[model_names([name], signature)[0]] or ())
        by_text = {str(value): value for value in known}
        frame[name] = pandas.Categorical([by_text.get(value) for value in frame[name]], categories=known)
    return frame
