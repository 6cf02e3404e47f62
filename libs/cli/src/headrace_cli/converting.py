"""From a pickle to a file that can be served, in the environment that the pickle was made in; nothing is published.

Loading a pickle runs whatever code stands in it: that is why no service ever does, and why this is said before.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import Misconfigured, Poison
from headrace.models import engine as engines
from headrace.models import skops_format

SAMPLE_ROWS = 200
WARNING = "loading {file} runs whatever code stands in it: do this only with files that you made or trust"


@dataclass(frozen=True)
class Converted:
    """What was written. `rows`: compared; `largest_difference`: between the scores of the pickle and of the file, 0 for equal ones."""

    file: Path
    format: str
    rows: int
    largest_difference: float


def convert(file: Path, out: Path | None, rows_file: Path | None) -> Converted:
    """Load a pickle, write it as skops (or the library's own format) and compare both. Raises `Misconfigured` with why not."""
    model = _unpickle(file)
    data, suffix = _dumped(model)
    format = engines.SUFFIXES[suffix]
    try:
        engine = engines.load(data, format)
    except Poison as poison:
        raise Misconfigured(f"{file} cannot be served as {format}: {poison}") from None
    rows = _rows(model, engine, rows_file)
    apart = np.abs(_scores(model, rows, engine.output, file) - engine.predict(rows, engine.output))
    largest = float(np.nanmax(apart)) if apart.size else 0.0
    if largest > 1e-6:
        raise Misconfigured(f"{file}: the converted model differs by up to {largest:.3g}: it is not written")
    target = out if out is not None else file.with_suffix(suffix)
    target.write_bytes(data)
    return Converted(target, format, len(rows), largest)


def _unpickle(file: Path) -> Any:
    if not file.is_file():
        raise Misconfigured(f"no file {file}")
    try:
        import joblib

        return joblib.load(file)
    except ModuleNotFoundError as error:
        raise Misconfigured(f"{file} needs the package {error.name}: run this where the model was made") from None
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, KeyError, IndexError) as error:
        raise Misconfigured(f"{file} cannot be loaded here: {type(error).__name__}: {error}") from None


def _dumped(model: Any) -> tuple[bytes, str]:
    """The bytes, and the ending of such files. Boosters and their scikit-learn wrappers go by their libraries' own format."""
    library = type(model).__module__.partition(".")[0]
    if library == "xgboost":
        booster = model if type(model).__name__ == "Booster" else model.get_booster()
        return bytes(booster.save_raw("ubj")), ".ubj"
    if library == "lightgbm":
        booster = model if type(model).__name__ == "Booster" else model.booster_
        return booster.model_to_string().encode(), ".txt"
    return skops_format.dump(model), ".skops"


def _rows(model: Any, engine: Any, file: Path | None) -> np.ndarray:
    """Rows to compare on: the user's, else seeded ones of a normal distribution."""
    if file is None:
        columns = engine.columns or getattr(model, "n_features_in_", None)
        if columns is None:
            raise Misconfigured("the model does not say how many columns it takes: give rows with --rows FILE.csv")
        return np.random.default_rng(0).normal(size=(SAMPLE_ROWS, columns)).astype(np.float32)
    try:
        rows = np.load(file) if file.suffix == ".npy" else np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{file}: give a .npy array, or a CSV of numbers with one line of names: {error}") from None
    return np.asarray(rows, np.float32)


def _scores(model: Any, rows: np.ndarray, output: str, file: Path) -> np.ndarray:
    """What the pickled model itself says of the rows, in the shape that is served."""
    asked: Callable[[Any], Any] = getattr(model, "predict_proba", model.predict)
    try:
        return engines.shares(asked(_as_wanted(model, rows)), output)
    except (ValueError, TypeError, KeyError) as error:
        raise Misconfigured(
            f"{file} cannot score the rows to compare on ({str(error).splitlines()[0]}): give some with --rows FILE.csv"
        ) from None


def _as_wanted(model: Any, rows: np.ndarray) -> Any:
    if type(model).__name__ != "Booster" or not type(model).__module__.startswith("xgboost"):
        return rows
    import xgboost

    return xgboost.DMatrix(rows)
