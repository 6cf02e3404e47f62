"""Saving and loading by skops: never pickle or joblib.

skops builds objects from a description and refuses every type that is not on the list below; each entry was read: it
holds numbers and calls nothing while it is being built.
"""

import io
import zipfile
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats
from headrace.models.trees import refuse_wild_trees

FORMAT = "skops"
MAX_UNPACKED_BYTES = 512 * 1024 * 1024

ALLOWED_TYPES = (
    "functools.partial",  # of check_array, inside HistGradientBoosting's preprocessor
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
)


def dump(model: Any) -> bytes:
    """The model as a skops file."""
    import skops.io

    return skops.io.dumps(model)


def load(data: bytes) -> Any:
    """The model of a skops file. Raises `Poison` for what must not or cannot be loaded."""
    import skops.io

    refuse_bomb(data)
    try:
        strangers = sorted(set(skops.io.get_untrusted_types(data=data)) - set(ALLOWED_TYPES))
        if not strangers:
            model = skops.io.loads(data, trusted=list(ALLOWED_TYPES))
            refuse_wild_trees(model)
            return model
    except MemoryError:
        raise
    except Poison:
        raise
    except Exception as error:
        # NB: crafted bytes make skops, zipfile and numpy raise anything; all of it means the same here.
        raise Poison(f"artifact cannot be loaded: {type(error).__name__}: {error}") from error
    raise Poison(f"artifact holds types that are not on the allow-list: {', '.join(strangers)}")


class SkopsEngine:
    """A scikit-learn estimator."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.columns: int | None = getattr(estimator, "n_features_in_", None)
        self.labels: tuple[str, ...] = ()
        self.output = NUMBER
        if hasattr(estimator, "predict_proba"):
            self.labels = tuple(str(found) for found in estimator.classes_)
            self.output = BINARY if len(self.labels) == 2 else CLASSES

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`."""
        raw = self.estimator.predict(rows) if output == NUMBER else self.estimator.predict_proba(rows)
        return np.asarray(raw, np.float64)


def engine(data: bytes) -> SkopsEngine:
    """The engine of a skops file. Raises `Poison`."""
    return SkopsEngine(load(data))


def refuse_bomb(data: bytes) -> None:
    """Raise `Poison` unless this is a zip archive whose stated size is within the limit."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile:
        raise Poison(
            "artifact is not a skops file (not a zip archive); save the model with skops.io.dump, never with pickle or joblib"
        ) from None
    if unpacked > MAX_UNPACKED_BYTES:
        raise Poison(f"artifact would unpack to {unpacked} bytes, the limit is {MAX_UNPACKED_BYTES}")
