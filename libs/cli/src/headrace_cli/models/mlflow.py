"""Imported models: MLflow directories with a file that can be served (skops, ONNX, native XGBoost or LightGBM).

Only the `MLmodel` description and that file are read; nothing in the directory is run, and MLflow is not needed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import Misconfigured
from headrace.models.engine import format_of

DESCRIPTION = "MLmodel"
MAX_DESCRIPTION_BYTES = 1_048_576
PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")
_WAY_OUT = (
    "run `headrace model convert {file}` in the environment where it was made, then import the file that it writes"
)
# Flavours in the order of the search: the key that names the file, and its format (None: by its ending).
_FLAVOURS = {
    "onnx": ("data", "onnx"),
    "xgboost": ("data", "xgboost"),
    "lightgbm": ("data", "lightgbm"),
    "sklearn": ("pickled_model", None),
}


@dataclass(frozen=True)
class Found:
    """A file to register. `columns`: the names of the inputs in its signature, in order; () if it has none. `tags`: its origin."""

    file: Path
    format: str
    columns: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


def find(path: Path) -> Found:
    """The model to register from a file or an MLflow directory. Raises `Misconfigured` with the way out."""
    if not path.exists():
        raise Misconfigured(f"no file or directory {path}")
    if path.is_file():
        _refuse_pickle(path)
        return Found(path, format_of(path.name))
    return _of_mlflow(path)


def _of_mlflow(folder: Path) -> Found:
    described = _description(folder)
    flavours = described.get("flavors")
    if not isinstance(flavours, dict):
        raise Misconfigured(f"{folder / DESCRIPTION} names no flavors: is it an MLflow model?")
    for name, (key, format) in _FLAVOURS.items():
        flavour = flavours.get(name)
        if isinstance(flavour, dict) and isinstance(flavour.get(key), str):
            file = _inside(folder, flavour[key])
            _refuse_pickle(file)
            return Found(file, format or format_of(file.name), _columns(described), _tags(described, name))
    known = ", ".join(_FLAVOURS)
    raise Misconfigured(f"{folder} holds {', '.join(sorted(flavours)) or 'nothing'}; what can be served is {known}")


def _description(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    if not file.is_file():
        raise Misconfigured(f"{folder} has no file {DESCRIPTION}: give an MLflow model's directory, or a model file")
    if file.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise Misconfigured(f"{file} is larger than {MAX_DESCRIPTION_BYTES} bytes")
    try:
        described = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(described, dict):
        raise Misconfigured(f"{file} does not describe a model")
    return described


def _inside(folder: Path, name: str) -> Path:
    """The file of that name, or the one file that is a model in a directory of that name; never outside `folder`."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise Misconfigured(f"{folder / DESCRIPTION} points outside of the directory: {name!r}")
    if not file.is_file():
        raise Misconfigured(f"{folder} lacks the file {name!r} that its {DESCRIPTION} names")
    return file


def _refuse_pickle(file: Path) -> None:
    with file.open("rb") as opened:
        first = opened.read(2)
    # A pickle of protocol 2 or later begins with this opcode and its number.
    is_pickle = len(first) == 2 and first[0] == 0x80 and 2 <= first[1] <= 5
    if file.suffix.lower() in PICKLES or is_pickle:
        raise Misconfigured(f"{file} is a pickle, which runs code when it is loaded: {_WAY_OUT.format(file=file)}")


def _columns(described: dict[str, Any]) -> tuple[str, ...]:
    """The input names of an MLflow signature; () if it has none."""
    signature = described.get("signature")
    text = signature.get("inputs") if isinstance(signature, dict) else None
    try:
        inputs = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return ()
    names = [found.get("name") for found in inputs if isinstance(found, dict)] if isinstance(inputs, list) else []
    return tuple(names) if names and all(isinstance(name, str) for name in names) else ()


def _tags(described: dict[str, Any], flavour: str) -> tuple[tuple[str, str], ...]:
    known = {"mlflow_flavor": flavour, "mlflow_run": described.get("run_id")}
    return tuple((name, str(value)) for name, value in known.items() if value)
