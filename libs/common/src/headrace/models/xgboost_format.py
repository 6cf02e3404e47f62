"""XGBoost's own files, JSON or UBJSON: trees and numbers, no code."""

import json
from typing import Any

from headrace.errors import Poison
from headrace.models.boosters import refuse_wild_xgboost
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats, extra, numbered, shares

# Objectives that answer with labels or with raw margins, and the one to train with instead.
_MISTAKEN = {"multi:softmax": "multi:softprob", "binary:logitraw": "binary:logistic", "binary:hinge": "binary:logistic"}


class XgboostEngine:
    """A booster, on one thread."""

    def __init__(self, booster: Any, library: Any) -> None:
        self._booster, self._library = booster, library
        self.columns: int | None = booster.num_features()
        learner = json.loads(booster.save_config())["learner"]
        objective = learner["objective"]["name"]
        if objective in _MISTAKEN:
            raise Poison(f"objective {objective} gives no shares: train with {_MISTAKEN[objective]}")
        classes = int(learner["learner_model_param"]["num_class"])
        self.output, self.labels = NUMBER, ()
        if objective == "binary:logistic":
            self.output, self.labels = BINARY, numbered(2)
        elif classes > 1:
            self.output, self.labels = CLASSES, numbered(classes)

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`. NaN is a missing value, as in training."""
        return shares(self._booster.predict(self._library.DMatrix(rows, nthread=1), validate_features=False), output)


def engine(data: bytes) -> XgboostEngine:
    """The engine of an XGBoost file. Raises `Poison`."""
    library = extra("xgboost")
    if data[:1] != b"{":
        raise Poison("artifact is not an XGBoost model: save it by booster.save_model('model.ubj') (or .json)")
    try:
        if data[1:].lstrip()[:1] == b'"':  # JSON: what can be seen before the library reads it
            refuse_wild_xgboost(json.loads(data)["learner"])
        booster = library.Booster({"nthread": 1})
        booster.load_model(bytearray(data))
        booster.set_param({"nthread": 1})
        # NB: as the library has read it, whichever of its two notations the file is in. On a wild tree this may end the process:
        # that of the version's trial, which comes first.
        refuse_wild_xgboost(json.loads(bytes(booster.save_raw("json")))["learner"])
        return XgboostEngine(booster, library)
    except (Poison, MemoryError):
        raise
    except Exception as error:
        # NB: the library raises its own error type for whatever is wrong with a file.
        raise Poison(f"XGBoost cannot load it: {str(error).splitlines()[0]}") from error
