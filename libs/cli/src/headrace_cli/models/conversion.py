"""Converts a pickle into a file that can be served, in the environment where the pickle was made; nothing is published.

Loading a pickle runs the code in it. Therefore no service ever does it, and a warning comes first.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import Misconfigured, Poison
from headrace.models import engine as engines
from headrace.models import skops_format
from headrace.models.matching import is_plain
from headrace_cli.models.comparison_rows import Rows, is_framed, rows_for

WITHIN = 1e-6
WARNING = "loading {file} runs the code in it: do this only with files that you made or trust"


@dataclass(frozen=True)
class Converted:
    """A converted model. `rows`: how many were compared; `largest_difference`: between the scores of the pickle and of the file, 0 if they are equal.

    `notes`: messages about how it is served.
    """

    file: Path
    format: str
    rows: int
    largest_difference: float
    notes: tuple[str, ...] = ()


def convert(file: Path, out: Path | None, rows_file: Path | None) -> Converted:
    """Load a pickle, write it as skops (or the library's own format) and compare both. Raises `Misconfigured` with the reason."""
    model = _unpickle(file)
    _refuse_stand_in(model, file)
    data, suffix = _dumped(model)
    format = engines.SUFFIXES[suffix]
    try:
        engine = engines.load(data, format)
    except Poison as poison:
        raise Misconfigured(f"{file} cannot be served as {format}: {poison}") from None
    rows = _fitting_rows(model, engine, rows_file, file)
    wanted = _own(model, rows, engine.output, file)
    largest = _apart(wanted, rows.served(engine, is_frame=is_framed(engine, rows)), file)
    target = out if out is not None else file.with_suffix(suffix)
    target.write_bytes(data)
    return Converted(target, format, rows.count, largest, (*engine.notes, *_classes_note(model, engine)))


def _refuse_stand_in(model: Any, file: Path) -> None:
    """Refuse a wrapper of XGBoost that takes a number for a missing value (`missing=-1`), because its file does not contain this."""
    stand_in = getattr(model, "missing", None)
    if type(model).__module__.partition(".")[0] == "xgboost" and stand_in is not None and stand_in == stand_in:
        raise Misconfigured(
            f"{file} takes {stand_in!r} for a missing value (missing={stand_in!r}), but its own file cannot express that and would take it"
            " for a number: train it on NaN instead, and send null in requests"
        )


def _classes_note(model: Any, engine: engines.Engine) -> tuple[str, ...]:
    """A note on the pickle's class names, if the file made from it does not contain them."""
    classes = tuple(str(found) for found in np.ravel(getattr(model, "classes_", ())))
    if not engine.labels or len(classes) != len(engine.labels) or classes == engine.labels or is_plain(classes):
        return ()
    return (
        f"its classes are {', '.join(classes)}, which this file does not contain: register it with --classes {','.join(classes)}",
    )


def _fitting_rows(model: Any, engine: engines.Engine, rows_file: Path | None, file: Path) -> Rows:
    try:
        return rows_for(model, engine, rows_file)
    except Poison as poison:
        raise Misconfigured(f"{file} cannot be served: {poison.reason}") from None


def _apart(wanted: np.ndarray, scores: np.ndarray, file: Path) -> float:
    if wanted.shape != scores.shape:
        raise Misconfigured(
            f"{file} answers an array of shape {wanted.shape}, its file one of {scores.shape}: it is not written"
        )
    both = np.abs(wanted - scores)
    largest = float(np.nanmax(both)) if both.size and not np.isnan(both).all() else 0.0
    if largest > WITHIN or np.any(np.isnan(wanted) != np.isnan(scores)):
        raise Misconfigured(
            f"{file}: of {len(both)} rows the converted model differs by up to {largest:.3g}: it is not written; do the rows hold numbers"
            " that float32 cannot hold?"
        )
    return largest


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
    """The bytes and the suffix of the file. Boosters and their scikit-learn wrappers use their libraries' own formats."""
    library = type(model).__module__.partition(".")[0]
    if library == "xgboost":
        booster = model if type(model).__name__ == "Booster" else model.get_booster()
        return bytes(booster.save_raw("ubj")), ".ubj"
    if library == "lightgbm":
        booster = model if type(model).__name__ == "Booster" else model.booster_
        return booster.model_to_string().encode(), ".txt"
    return skops_format.dump(model), ".skops"


def _own(model: Any, rows: Rows, output: str, file: Path) -> np.ndarray:
    """The scores of the pickled model itself, in the shape that is served."""
    try:
        return engines.as_served(_asked(model, rows), output)
    except (ValueError, TypeError, KeyError) as error:
        raise Misconfigured(
            f"{file} cannot score the rows to compare on ({str(error).splitlines()[0]}): give some with --rows FILE.csv"
        ) from None


def _asked(model: Any, rows: Rows) -> Any:
    library = type(model).__module__.partition(".")[0]
    given = rows.categorical() if library in ("xgboost", "lightgbm") else rows.frame()
    if (library, type(model).__name__) != ("xgboost", "Booster"):
        return getattr(model, "predict_proba", model.predict)(given)
    import xgboost

    # NB: by default a bare booster's `predict` also uses rounds after the best one; its wrappers and its file do not.
    best = model.attr("best_iteration")
    matrix = xgboost.DMatrix(given, nthread=1, enable_categorical=True)
    return model.predict(matrix, iteration_range=(0, 0) if best is None else (0, int(best) + 1))
