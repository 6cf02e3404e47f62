"""Case 1: columns are found by their names in every format, whatever their order; other names are refused with both lists."""

import json
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.cases.imported import Served, registered

from headrace.errors import Misconfigured
from headrace.project import Number

DICE = np.random.default_rng(0)
FRAME = pd.DataFrame(DICE.normal(size=(400, 2)).astype(np.float32).astype(float), columns=["b", "a"])
LABELS = (FRAME.b - 2 * FRAME.a > 0).astype(int).to_numpy()
ASKED = [{"a": -3.0, "b": 1.0}, {"a": 3.0, "b": 1.0}, {"a": 0.25, "b": -0.5}]
WANTED = pd.DataFrame(ASKED)[["b", "a"]]


def by_sklearn(frame: pd.DataFrame) -> tuple[bytes, str, Callable[[pd.DataFrame], np.ndarray]]:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, LABELS)
    return skops.io.dumps(model), "skops", lambda asked: model.predict_proba(asked)[:, 1]


def by_xgboost(frame: pd.DataFrame) -> tuple[bytes, str, Callable[[pd.DataFrame], np.ndarray]]:
    model = xgboost.XGBClassifier(n_estimators=20, n_jobs=1).fit(frame, LABELS)
    return bytes(model.get_booster().save_raw("json")), "xgboost", lambda asked: model.predict_proba(asked)[:, 1]


def by_lightgbm(frame: pd.DataFrame) -> tuple[bytes, str, Callable[[pd.DataFrame], np.ndarray]]:
    model = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1).fit(frame, LABELS)
    return model.booster_.model_to_string().encode(), "lightgbm", lambda asked: model.predict_proba(asked)[:, 1]


MAKERS = [by_sklearn, by_xgboost, by_lightgbm]


@pytest.mark.parametrize("maker", MAKERS)
def test_columns_in_another_order_are_found_by_name(maker: Any) -> None:
    data, format, own = maker(FRAME)
    served = registered(data, format, [Number("a"), Number("b")])
    scores = served.scores(ASKED)[:, 1]
    assert scores == pytest.approx(own(WANTED), abs=1e-6)
    assert scores[0] > 0.8 > 0.2 > scores[1]
    assert served.maker_scores(ASKED)[:, 1] == pytest.approx(own(WANTED), abs=1e-6)
    assert served.agreed.notes == ("its columns are in another order than those of d: they are matched by name",)


@pytest.mark.parametrize("maker", MAKERS)
def test_columns_in_their_order_need_no_word(maker: Any) -> None:
    data, format, own = maker(FRAME)
    served = registered(data, format, [Number("b"), Number("a")])
    assert served.scores(ASKED)[:, 1] == pytest.approx(own(WANTED), abs=1e-6)
    assert served.agreed.notes == ()


@pytest.mark.parametrize("maker", MAKERS)
def test_other_names_are_refused_with_both_lists(maker: Any) -> None:
    data, format, _ = maker(FRAME.rename(columns={"a": "speed"}))
    with pytest.raises(
        Misconfigured,
        match=r"trained on 2 columns \(b, speed\), a row of d has 2 \(a, b\); it lacks speed; too many: a",
    ):
        registered(data, format, [Number("a"), Number("b")])


@pytest.mark.parametrize("maker", MAKERS)
def test_too_few_columns_are_refused_by_name(maker: Any) -> None:
    data, format, _ = maker(FRAME)
    with pytest.raises(Misconfigured, match="it lacks a: declare the inputs by the model's names"):
        registered(data, format, [Number("b")])


def test_a_model_without_names_is_taken_by_position_with_a_note() -> None:
    model = LogisticRegression().fit(FRAME.to_numpy(), LABELS)
    served = registered(skops.io.dumps(model), "skops", [Number("b"), Number("a")])
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(WANTED.to_numpy()))
    assert served.agreed.notes == ("its file has no column names: columns are taken by position (b, a)",)


def test_a_name_with_a_blank_is_the_one_that_lightgbm_writes_with_an_underscore() -> None:
    frame = FRAME.rename(columns={"a": "air speed"})
    data, format, own = by_lightgbm(frame)
    assert b"air_speed" in data
    served: Served = registered(data, format, [Number("air speed"), Number("b")])
    asked = [{"air speed": found["a"], "b": found["b"]} for found in ASKED]
    assert served.scores(asked)[:, 1] == pytest.approx(own(pd.DataFrame(asked)[["b", "air speed"]]), abs=1e-6)


def test_a_model_with_names_is_served_without_a_warning_for_each_row() -> None:
    data, format, _ = by_sklearn(FRAME)
    served = registered(data, format, [Number("b"), Number("a")])
    assert len(served.scores(ASKED)) == 3  # a warning is an error here


def test_rows_of_a_frame_are_permuted_too() -> None:
    data, format, own = by_sklearn(FRAME)
    served = registered(data, format, [Number("a"), Number("b")], frame=True)
    assert served.signature.frame
    assert served.scores(ASKED)[:, 1] == pytest.approx(own(WANTED), abs=1e-6)


def test_the_order_of_columns_is_that_of_the_declaration_and_not_of_the_file() -> None:
    data, format, _ = by_xgboost(FRAME)
    assert json.loads(data)["learner"]["feature_names"] == ["b", "a"]
    served = registered(data, format, [Number("a"), Number("b")])
    assert [column.name for column in served.signature.columns] == ["a", "b"]


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=5, categorical_features=["a"]),
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    ],
)
def test_a_model_that_holds_a_class_is_served_by_names_too(model: Any) -> None:
    """An encoder's `dtype` is a class. When registration searched it for names to remove, it ended with a traceback."""
    frame = pd.DataFrame({"b": DICE.normal(size=300).round(), "a": DICE.integers(0, 3, 300)}, dtype=float)
    model.fit(frame, (frame.a + frame.b > 0).astype(int))
    served = registered(skops.io.dumps(model), "skops", [Number("a", 0, 2), Number("b")])
    asked = frame[:20]
    wanted = model.predict_proba(asked)
    assert served.scores(asked.to_dict("records")) == pytest.approx(wanted, abs=1e-6)
