"""Files of XGBoost and LightGBM (stopped early, with categories), their conversions by onnxmltools, and conversions of scikit-learn's models by skl2onnx."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from tests.zoo.exhibits import Exhibit, Table, as_fitted, bundled, fare, matrix_of, scoring, voyage
from tests.zoo.scikit import KEPT as SCIKIT

from headrace_trainer.adapters.hist_trees import has_categories, rewrite

Builder = Callable[[str], Exhibit]
STOPPED = {"n_estimators": 60, "max_depth": 3, "learning_rate": 0.3}


def _halves(table: Table) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """The rows and labels to fit on, and those to stop by."""
    codes = np.unique(table.labels, return_inverse=True)[1] if table.labels.dtype.kind in "OU" else table.labels
    return table.frame[::2], table.frame[1::2], codes[::2], codes[1::2]


def _xgboost(model: Any, table: Callable[[], Table], ending: str = "ubj") -> Builder:
    """A model that is fitted on one half of a frame of numbers and stopped by the other."""

    def build(name: str) -> Exhibit:
        found = table()
        fit, stop, labels, others = _halves(found)
        model.fit(fit, labels, eval_set=[(stop, others)], verbose=False)
        data = bytes(model.get_booster().save_raw("json" if ending == "json" else "ubj"))
        return Exhibit(
            name, found.inputs, data, lambda asked: scoring(model)(as_fitted(asked).astype(float)), "xgboost"
        )

    return build


def _lightgbm(model: Any, table: Callable[[], Table]) -> Builder:
    def build(name: str) -> Exhibit:
        found = table()
        fit, stop, labels, others = _halves(found)
        model.fit(fit, labels, eval_set=[(stop, others)], callbacks=[lightgbm.early_stopping(5, verbose=False)])
        own = scoring(model)
        return Exhibit(name, found.inputs, _text(model), lambda asked: own(as_fitted(asked).astype(float)), "lightgbm")

    return build


def _text(model: Any) -> bytes:
    """The model as `save_model` writes it: up to the best iteration."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.txt"
        model.booster_.save_model(file)
        return file.read_bytes()


def _categorical(asked: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Words as categories of pandas. Unknown words become missing."""
    frame = as_fitted(asked)
    for name in frame:
        known = sorted(table.words[name]) if name in table.words else None
        frame[name] = frame[name].astype(float) if known is None else pd.Categorical(frame[name], categories=known)
    return frame


def _xgboost_words(name: str) -> Exhibit:
    table = voyage().with_holes()
    frame, codes = _categorical(table.frame, table), (table.labels == "yes").astype(int)
    model = xgboost.XGBClassifier(**STOPPED, enable_categorical=True, early_stopping_rounds=5)
    model.fit(frame[::2], codes[::2], eval_set=[(frame[1::2], codes[1::2])], verbose=False)
    data = bytes(model.get_booster().save_raw("ubj"))
    words = {name: sorted(known) for name, known in table.words.items()}
    own = model.predict_proba
    return Exhibit(name, table.inputs, data, lambda asked: own(_categorical(asked, table)), "xgboost", words)


def _lightgbm_words(name: str) -> Exhibit:
    table = voyage().with_holes()
    frame, prices = _categorical(table.frame, table), fare(table)
    model = lightgbm.LGBMRegressor(**STOPPED, verbose=-1)
    stop = [lightgbm.early_stopping(5, verbose=False)]
    model.fit(frame[::2], prices[::2], eval_set=[(frame[1::2], prices[1::2])], callbacks=stop)
    words = {name: sorted(known) for name, known in table.words.items()}
    own = model.predict
    return Exhibit(name, table.inputs, _text(model), lambda asked: own(_categorical(asked, table)), "lightgbm", words)


def _by_xgboost(model: Any, table: Callable[[], Table]) -> Builder:
    """A model that is fitted on half of an array (onnxmltools reads no names of columns), stopped by the other, and converted."""

    def build(name: str) -> Exhibit:
        found = table()
        fit, stop, labels, others = _halves(Table(found.matrix, found.labels, found.inputs))  # type: ignore[arg-type]
        if found.words:
            model.set_params(feature_types=["c" if known.name in found.words else "float" for known in found.inputs])
        model.fit(fit, labels, eval_set=[(stop, others)], verbose=False)
        return _graph(name, found, scoring(model), convert_xgboost(model, initial_types=_columns(found)))

    return build


def _by_lightgbm(model: Any, table: Callable[[], Table]) -> Builder:
    def build(name: str) -> Exhibit:
        found = table()
        fit, stop, labels, others = _halves(Table(found.matrix, found.labels, found.inputs))  # type: ignore[arg-type]
        coded = [place for place, known in enumerate(found.inputs) if known.name in found.words]
        ends = [lightgbm.early_stopping(5, verbose=False)]
        model.fit(fit, labels, eval_set=[(stop, others)], callbacks=ends, categorical_feature=coded or "auto")
        return _graph(
            name,
            found,
            _off_thresholds(scoring(model), coded),
            convert_lightgbm(model, initial_types=_columns(found), zipmap=False),
        )

    return build


def _off_thresholds(own: Callable[[np.ndarray], np.ndarray], coded: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    """Scores that are NaN for a row with a value that is, in float32, a threshold of the trees. LightGBM splits in float64 and the
    graph in float32, so there the conversion itself takes the other branch.
    """

    def scores(rows: np.ndarray) -> np.ndarray:
        found = np.array(own(rows), np.float64)
        lower = np.nextafter(rows.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
        lower[:, coded] = rows[:, coded]
        below = own(lower)
        apart = np.abs(found - below) > 1e-9
        found[apart.any(axis=1) if apart.ndim == 2 else apart] = np.nan
        return found

    return scores


def _columns(table: Table) -> list[tuple[str, Any]]:
    return [("input", FloatTensorType([None, len(table.inputs)]))]


def _graph(name: str, table: Table, own: Callable[[np.ndarray], Any], graph: Any) -> Exhibit:
    words = table.words
    data = graph.SerializeToString()
    return Exhibit(name, table.inputs, data, lambda asked: own(matrix_of(asked, words)), "onnx", words)


def _guests() -> Table:
    return voyage().with_holes()


def _fares() -> Table:
    table = voyage().with_holes()
    return Table(table.frame, fare(table), table.inputs, table.words)


def _cancer() -> Table:
    return bundled("cancer", 10)


def _wine() -> Table:
    return bundled("wine").with_holes()


def _diabetes() -> Table:
    return bundled("diabetes").with_holes()


NATIVE: dict[str, Builder] = {
    "xgboost-binary": _xgboost(xgboost.XGBClassifier(**STOPPED, early_stopping_rounds=5), _cancer),
    "xgboost-classes-holes": _xgboost(xgboost.XGBClassifier(**STOPPED, early_stopping_rounds=5), _wine, "json"),
    "xgboost-number": _xgboost(xgboost.XGBRegressor(**STOPPED, early_stopping_rounds=5), _diabetes),
    "xgboost-words": _xgboost_words,
    "lightgbm-binary": _lightgbm(lightgbm.LGBMClassifier(**STOPPED, verbose=-1), _cancer),
    "lightgbm-classes-holes": _lightgbm(lightgbm.LGBMClassifier(**STOPPED, verbose=-1), _wine),
    "lightgbm-number": _lightgbm(lightgbm.LGBMRegressor(**STOPPED, verbose=-1), _diabetes),
    "lightgbm-words": _lightgbm_words,
}


def _converted(which: str) -> Builder:
    """The same model as an ONNX graph."""

    def build(name: str) -> Exhibit:
        made = SCIKIT[which](which)
        columns = np.zeros((1, len(made.inputs)), np.float32)
        options = {"zipmap": False} if hasattr(made.model, "predict_proba") else None
        graph = to_onnx(made.model, columns, options=options)
        if has_categories(made.model):  # as the trainer does, because skl2onnx itself is silently wrong there
            rewrite(made.model, graph.graph)
        data = graph.SerializeToString()
        own, words = scoring(made.model), made.words
        return Exhibit(name, made.inputs, data, lambda asked: own(matrix_of(asked, words)), "onnx", words)

    return build


CONVERTED: dict[str, Builder] = {
    f"onnx-{name}": _converted(name)
    for name in (
        "logistic",
        "scaled-logistic",
        "forest",
        "boosted",
        "hist-boosted-holes",
        "hist-boosted-codes",
        "tree",
        "gaussian-bayes",
        "svc-probability",
        "network",
        "pca",
        "imputed",
        "neighbours",
        "linear",
        "hist-boosted-number",
        "forest-number",
    )
}
_XGBOOST, _LIGHTGBM = STOPPED | {"early_stopping_rounds": 5}, STOPPED | {"verbose": -1}
TOOLS: dict[str, Builder] = {
    "onnx-xgboost-binary": _by_xgboost(xgboost.XGBClassifier(**_XGBOOST), _cancer),
    "onnx-xgboost-classes-holes": _by_xgboost(xgboost.XGBClassifier(**_XGBOOST), _wine),
    "onnx-xgboost-number": _by_xgboost(xgboost.XGBRegressor(**_XGBOOST), _diabetes),
    "onnx-xgboost-words": _by_xgboost(xgboost.XGBClassifier(**_XGBOOST, enable_categorical=True), _guests),
    "onnx-lightgbm-binary": _by_lightgbm(lightgbm.LGBMClassifier(**_LIGHTGBM), _cancer),
    "onnx-lightgbm-classes-holes": _by_lightgbm(lightgbm.LGBMClassifier(**_LIGHTGBM), _wine),
    "onnx-lightgbm-number": _by_lightgbm(lightgbm.LGBMRegressor(**_LIGHTGBM), _diabetes),
    "onnx-lightgbm-words": _by_lightgbm(lightgbm.LGBMRegressor(**_LIGHTGBM), _fares),
}
KEPT = NATIVE | CONVERTED | TOOLS
