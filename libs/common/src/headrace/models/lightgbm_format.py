"""LightGBM's own text files: trees and numbers, no code."""

import json
from typing import Any

from headrace.errors import Poison
from headrace.features.precision import as_sent
from headrace.models.boosters import refuse_wild_lightgbm
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats, Vocabularies, as_served, extra, numbered


class LightgbmEngine:
    """A booster, on one thread."""

    def __init__(self, booster: Any, objective: str, text: str = "") -> None:
        self._booster = booster
        self.columns: int | None = booster.num_feature()
        given = tuple(booster.feature_name())
        # LightGBM's own names for unnamed columns.
        self.names = () if given == tuple(f"Column_{n}" for n in range(len(given))) else given
        self.vocabularies: Vocabularies = vocabularies_of(text, self.names)
        self.codes = codes_of(text)
        self.notes: tuple[str, ...] = ()
        classes = booster.num_model_per_iteration()
        self.output, self.labels = NUMBER, ()
        if objective.startswith(("binary", "cross_entropy")):
            self.output, self.labels = BINARY, numbered(2)
        elif objective.startswith("multiclass"):
            self.output, self.labels = BINARY if classes == 2 else CLASSES, numbered(classes)

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`. NaN is a missing value, as in training. Thresholds are float64, and lie on numbers as people
        write them.
        """
        return as_served(self._booster.predict(as_sent(rows), num_threads=1), output)


def vocabularies_of(text: str, names: tuple[str, ...]) -> Vocabularies:
    """Per column the values of a category in code order, as in the training frame; {} where the file does not hold
    them.

    The file lists the values of all columns of pandas' category type in the frame's order. Its parameter
    `categorical_feature` names these columns, unless it names others too.
    """
    held = _line_after(text, "pandas_categorical:")
    places = [
        int(place) for place in _line_after(text, "[categorical_feature:").rstrip("] ").split(",") if place.strip()
    ]
    try:
        lists: Any = json.loads(held) if held else None
    except ValueError:
        lists = None
    if not isinstance(lists, list) or len(lists) != len(places) or not all(place < len(names) for place in places):
        return {}
    return {names[place]: tuple(str(value) for value in values) for place, values in zip(places, lists, strict=True)}  # ty: ignore[not-iterable]  read as any


def codes_of(text: str) -> tuple[tuple[float, ...], ...]:
    """Per column the codes of the training data, () for numbers.

    `[-1:1] -1:0:2:1` is a number and a category (-1 stands for missing).
    """
    infos = _line_after(text, "feature_infos=").split()
    return tuple(
        tuple(sorted(float(code) for code in codes.split(":") if not code.startswith("-")))
        if codes.replace(":", "").replace("-", "").isdigit()
        else ()
        for codes in infos
    )


def _line_after(text: str, begin: str) -> str:
    _, found, rest = text.rpartition(f"\n{begin}")
    return rest.partition("\n")[0].strip() if found else ""


def engine(data: bytes) -> LightgbmEngine:
    """The engine of a LightGBM file. Raises `Poison`."""
    library = extra("lightgbm")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    # NB: the library's parser trusts its input, so a truncated file is refused here.
    if not text.startswith("tree\n") or "end of trees" not in text:
        raise Poison("artifact is not a whole LightGBM model: save it by booster.save_model('model.txt')")
    objective = next((line[10:] for line in text.splitlines() if line.startswith("objective=")), "")
    try:
        booster = library.Booster(model_str=text)
        refuse_wild_lightgbm(
            booster.model_to_string(num_iteration=-1), booster.num_feature(), booster.num_model_per_iteration()
        )
        return LightgbmEngine(booster, objective, text)
    except (Poison, MemoryError):
        raise
    except Exception as error:
        # NB: the library raises its own error type for any fault of a file.
        raise Poison(f"LightGBM cannot load it: {error}") from error
