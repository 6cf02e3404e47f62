"""Saves and loads models by skops, never by pickle or joblib.

skops builds objects from a description, and refuses every type that is not on the list of `headrace.models.allowed`.
"""

import io
import zipfile
from typing import Any

from headrace.errors import Poison
from headrace.models.allowed import ALLOWED_TYPES, why_strange
from headrace.models.answering import decision_notes, refuse_unanswerable
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats, Vocabularies, as_served
from headrace.models.trees import refuse_wild_trees, walk

FORMAT = "skops"
MAX_UNPACKED_BYTES = 512 * 1024 * 1024


def dump(model: Any) -> bytes:
    """The model as a skops file."""
    import skops.io

    return skops.io.dumps(model)


def load(data: bytes) -> Any:
    """The model of a skops file. Raises `Poison` for a file that must not or cannot be loaded."""
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
        # NB: crafted bytes make skops, zipfile and numpy raise anything, always with this meaning.
        raise Poison(f"artifact cannot be loaded: {type(error).__name__}: {error}") from error
    raise Poison(why_strange(tuple(strangers)))


class SkopsEngine:
    """A scikit-learn estimator."""

    def __init__(self, estimator: Any) -> None:
        refuse_unanswerable(estimator)
        self.estimator = estimator
        self.columns: int | None = getattr(estimator, "n_features_in_", None)
        self.names = tuple(str(found) for found in getattr(estimator, "feature_names_in_", ()))
        self.vocabularies: Vocabularies = {}
        self.notes: tuple[str, ...] = decision_notes(estimator)
        self.labels: tuple[str, ...] = ()
        self.output = NUMBER
        if hasattr(estimator, "predict_proba"):
            self.labels = tuple(str(found) for found in estimator.classes_)
            self.output = BINARY if len(self.labels) == 2 else CLASSES

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`. A frame is for an estimator that was fitted on one."""
        given = rows.to_numpy(object) if hasattr(rows, "columns") and not self.names else rows
        raw = self.estimator.predict(given) if output == NUMBER else self.estimator.predict_proba(given)
        return as_served(raw, output)

    def forget_names(self) -> None:
        """Make the estimator take rows by position without a warning, for matrices whose columns are in its order."""
        for found, _ in walk(self.estimator):
            getattr(found, "__dict__", {}).pop("feature_names_in_", None)


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
