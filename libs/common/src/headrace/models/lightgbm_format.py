"""LightGBM's own text files: trees and numbers, no code."""

from typing import Any

from headrace.errors import Poison
from headrace.models.boosters import refuse_wild_lightgbm
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats, extra, numbered, shares


class LightgbmEngine:
    """A booster, on one thread."""

    def __init__(self, booster: Any, objective: str) -> None:
        self._booster = booster
        self.columns: int | None = booster.num_feature()
        classes = booster.num_model_per_iteration()
        self.output, self.labels = NUMBER, ()
        if objective.startswith(("binary", "cross_entropy")):
            self.output, self.labels = BINARY, numbered(2)
        elif objective.startswith("multiclass"):
            self.output, self.labels = CLASSES, numbered(classes)

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`. NaN is a missing value, as in training."""
        return shares(self._booster.predict(rows, num_threads=1), output)


def engine(data: bytes) -> LightgbmEngine:
    """The engine of a LightGBM file. Raises `Poison`."""
    library = extra("lightgbm")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    # NB: the library's parser trusts its input: what was cut short is refused here, before it.
    if not text.startswith("tree\n") or "end of trees" not in text:
        raise Poison("artifact is not a whole LightGBM model: save it by booster.save_model('model.txt')")
    objective = next((line[10:] for line in text.splitlines() if line.startswith("objective=")), "")
    try:
        refuse_wild_lightgbm(text)
        return LightgbmEngine(library.Booster(model_str=text), objective)
    except (Poison, MemoryError):
        raise
    except Exception as error:
        # NB: the library raises its own error type for whatever is wrong with a file.
        raise Poison(f"LightGBM cannot load it: {error}") from error
