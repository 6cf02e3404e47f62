"""XGBoost's own files, JSON or UBJSON: trees and numbers, no code."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from headrace.errors import Poison
from headrace.models.boosters import refuse_wild_xgboost
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats, Vocabularies, as_served, extra, numbered

# Objectives that answer with labels or raw margins, and the objective to train with instead.
_MISTAKEN = {"multi:softmax": "multi:softprob", "binary:logitraw": "binary:logistic", "binary:hinge": "binary:logistic"}


class XgboostEngine:
    """A booster, on one thread. After early stopping only the trees up to the best iteration score, as in
    `predict_proba`.
    """

    def __init__(self, booster: Any, library: Any, vocabularies: Sequence[tuple[str, ...]] = ()) -> None:
        self._booster, self._library = booster, library
        self.columns: int | None = booster.num_features()
        self.names: tuple[str, ...] = tuple(booster.feature_names or ())
        self.vocabularies: Vocabularies = {
            name: found for name, found in zip(self.names, vocabularies, strict=False) if found
        }
        learner = json.loads(booster.save_config())["learner"]
        objective = learner["objective"]["name"]
        if objective in _MISTAKEN:
            raise Poison(f"objective {objective} gives no probabilities: train with {_MISTAKEN[objective]}")
        self._rounds, self.notes = _rounds(booster)
        classes = int(learner["learner_model_param"]["num_class"])
        self.output, self.labels = NUMBER, ()
        if objective == "binary:logistic" or classes == 2:
            self.output, self.labels = BINARY, numbered(2)
        elif classes > 1:
            self.output, self.labels = CLASSES, numbered(classes)
        elif (targets := int(learner["learner_model_param"].get("num_target", 1))) > 1:
            raise Poison(f"the booster predicts {targets} numbers at once, and an answer has one: train one per target")

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`. NaN is a missing value, as in training."""
        matrix = self._library.DMatrix(rows, nthread=1)
        return as_served(self._booster.predict(matrix, validate_features=False, iteration_range=self._rounds), output)


def _rounds(booster: Any) -> tuple[tuple[int, int], tuple[str, ...]]:
    """The rounds that are used, (0, 0) for all, and a note on it. Raises `Poison` for a best iteration that does not
    exist.
    """
    best, count = booster.attr("best_iteration"), booster.num_boosted_rounds()
    if best is None:
        return (0, 0), ()
    if not best.isdigit() or int(best) >= count:
        raise Poison(f"artifact states that its best iteration is {best[:20]!r} of {count}")
    used = int(best) + 1
    note = f"stopped early: the first {used} of its {count} rounds answer, as in the maker's own predict_proba"
    return (0, used), (note,) if used < count else ()


def vocabularies_of(saved: bytes) -> list[tuple[str, ...]]:
    """Per column the values of a category in code order, as text; see `values_of`."""
    return [tuple(str(value) for value in column) for column in values_of(saved)]


def values_of(saved: bytes) -> list[list[Any]]:
    """Per column the values of a category in code order, [] for others.

    Files of XGBoost before 3.1 do not hold them.
    """
    booster = json.loads(saved)["learner"]["gradient_booster"]
    held = booster.get("gbtree", booster).get("model", {}).get("cats", {}).get("enc", ())
    return [_column_values(found) for found in held]


def _column_values(found: dict[str, Any]) -> list[Any]:
    edges, values = found.get("offsets", ()), found.get("values", ())
    if not edges:
        return [int(value) if float(value).is_integer() else value for value in values]
    text = bytes(value & 0xFF for value in values)
    if not text.isascii():
        # NB: XGBoost 3.2 writes as many bytes as the texts have letters, so that the rest may read as other texts.
        raise Poison(
            "XGBoost's file cuts texts with letters beyond ASCII, so that they cannot be read: fit it on texts in ASCII,"
            " or on codes, and give their texts with --categories FILE"
        )
    return [text[start:end].decode() for start, end in itertools.pairwise(edges)]


def engine(data: bytes) -> XgboostEngine:
    """The engine of an XGBoost file. Raises `Poison`."""
    library = extra("xgboost")
    if data[:1] != b"{":
        raise Poison("artifact is not an XGBoost model: save it by booster.save_model('model.ubj') (or .json)")
    try:
        booster = library.Booster({"nthread": 1})
        booster.load_model(bytearray(data))
        booster.set_param({"nthread": 1})
        saved = bytes(booster.save_raw("json"))
        refuse_wild_xgboost(saved, booster.num_features())
        return XgboostEngine(booster, library, vocabularies_of(saved))
    except (Poison, MemoryError):
        raise
    except Exception as error:
        # NB: the library raises its own error type for any fault of a file.
        raise Poison(
            f"XGBoost cannot load it, save it by booster.save_model('model.ubj') (or .json): {str(error).splitlines()[0]}"
        ) from error
