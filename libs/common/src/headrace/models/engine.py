"""What every model file becomes: an engine that scores rows. One format, one module, chosen here by the format's name.

| format   | file         | read by                                             |
|----------|--------------|-----------------------------------------------------|
| skops    | .skops       | skops, from a list of reviewed types                |
| onnx     | .onnx        | ONNX Runtime; no external data, no custom operators |
| xgboost  | .json, .ubj  | XGBoost (an extra)                                  |
| lightgbm | .txt         | LightGBM (an extra)                                 |
"""

import importlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Misconfigured, Poison

BINARY, NUMBER, CLASSES = "binary", "number", "classes"
# Several values per row whose meaning the file does not state: it must be given at registration.
UNCLEAR = "unclear"
SUFFIXES = {".skops": "skops", ".onnx": "onnx", ".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm"}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
MAX_BYTES = 512 * 1024 * 1024

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Vocabularies = Mapping[str, tuple[str, ...]]


class Engine(Protocol):
    """A model that can score rows.

    - `columns`: how many it takes, None when it does not state it.
    - `output`: what it predicts, `binary`, `number` or `classes`; `unclear` where the file does not show it.
    - `labels`: names of the classes in order, empty for `number`.
    - `names`: of its columns in its own order, () when its file has none.
    - `vocabularies`: per column the values of a category in code order, as far as the file holds them.
    - `notes`: messages for whoever registers it.
    """

    columns: int | None
    output: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    vocabularies: Vocabularies
    notes: tuple[str, ...]

    def predict(self, rows: Any, output: str) -> Floats:
        """Probabilities of shape (n, classes) for `binary` and `classes`, numbers of shape (n,) for `number`.

        It computes on the calling thread, and may raise any error of the model's library.
        """
        ...


def format_of(name: str) -> str:
    """The format of a file by its name. Raises `Misconfigured`, which names the formats.

    >>> format_of("model.ubj")
    'xgboost'
    """
    found = SUFFIXES.get(PurePath(name).suffix.lower(), "skops" if "." not in name else "")
    if not found:
        raise Misconfigured(
            f"{name}: files that can be served end in {', '.join(SUFFIXES)}; save a scikit-learn model by skops.io.dump, never by pickle or joblib"
            f"{_of_pickle(name)}"
        )
    return found


def _of_pickle(name: str) -> str:
    is_pickle = PurePath(name).suffix.lower() in (".pkl", ".pickle", ".joblib")
    return f": `headrace model convert {name}` where it was made writes such a file" if is_pickle else ""


def load(data: bytes, format: str) -> Engine:
    """The engine of a file's bytes. Raises `Poison` for a file that must not or cannot be loaded."""
    if format not in FORMATS:
        raise Poison(f"format {format!r} is not served, only {', '.join(FORMATS)} are (never pickle or joblib)")
    if len(data) > MAX_BYTES:
        raise Poison(f"artifact has {len(data)} bytes, the limit is {MAX_BYTES}")
    return importlib.import_module(f"headrace.models.{format}_format").engine(data)


def footprint_bytes(data: bytes, format: str) -> int:
    """The approximate memory of a loaded model, by the size of its file (of a skops file, the uncompressed size).

    >>> footprint_bytes(b"{}", "xgboost")
    8
    """
    if format == "skops":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return 2 * sum(entry.file_size for entry in archive.infolist())
    return 4 * len(data)


def extra(name: str) -> ModuleType:
    """An optional package. Raises `Poison` with the way out when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Poison(f"{name} is not installed here: pip install 'headrace-inference[{name}]' ({error})") from None


def as_served(raw: Any, output: str) -> Floats:
    """A library's scores in the shape that is served: the single probability of a binary model becomes two.

    >>> as_served([[0.25]], "binary").tolist()
    [[0.75, 0.25]]
    """
    found = np.asarray(raw, np.float64)
    if output == NUMBER:
        return found.reshape(len(found)) if found.ndim == 2 and found.shape[1] == 1 else found
    if output == BINARY and (found.ndim == 1 or found.shape[1] == 1):
        positive = found.reshape(len(found))
        return np.column_stack([1 - positive, positive])
    return found


def by_class(raw: Floats, count: int, places: Sequence[int]) -> Floats:
    """Probabilities per class of a label, shape (n, count), from those of a model, shape (n, len(places)).

    `places`: the positions of the model's classes among the label's, () where they are the same. A class that the model
    does not know has probability 0.

    >>> by_class(np.array([[0.25, 0.75]]), 3, (2, 0)).tolist()
    [[0.75, 0.0, 0.25]]
    """
    if not places or raw.ndim != 2 or raw.shape[1] != len(places):
        return raw
    found = np.zeros((len(raw), count))
    found[:, list(places)] = raw
    return found


def numbered(count: int) -> tuple[str, ...]:
    """Names of unnamed classes: their numbers.

    >>> numbered(2)
    ('0', '1')
    """
    return tuple(str(number) for number in range(count))
