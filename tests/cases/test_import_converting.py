"""Case 2 and its class: a converted file is compared with its pickle as the maker calls it: with a frame under its own names, up to its best iteration."""

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from headrace.errors import Misconfigured
from headrace_cli.models.conversion import convert

DICE = np.random.default_rng(2)
FRAME = pd.DataFrame({"b": DICE.normal(size=300), "sex": DICE.choice(["m", "f"], 300), "a": DICE.normal(size=300)})
FLAG = ((FRAME.b + (FRAME.sex == "f") + DICE.normal(size=300)) > 0.5).astype(int).to_numpy()
NUMBERS, WORDS = FRAME[["b", "a"]], FRAME.astype({"sex": "category"})
BY_WORD = make_column_transformer((OneHotEncoder(), ["sex"]), (StandardScaler(), ["a", "b"]))


def early(**more: Any) -> Any:
    model = xgboost.XGBClassifier(n_estimators=200, learning_rate=0.5, early_stopping_rounds=10, n_jobs=1, **more)
    frame = WORDS if more else NUMBERS
    return model.fit(frame[:200], FLAG[:200], eval_set=[(frame[200:], FLAG[200:])], verbose=False)


MODELS = {
    "stopped early": (lambda: early(), "xgboost"),
    "stopped early, with words": (lambda: early(enable_categorical=True), "xgboost"),
    "a bare booster": (lambda: early().get_booster(), "xgboost"),
    "lightgbm with words": (lambda: lightgbm.LGBMClassifier(n_estimators=9, verbose=-1).fit(WORDS, FLAG), "lightgbm"),
    "a pipeline of words": (lambda: make_pipeline(BY_WORD, LogisticRegression()).fit(FRAME, FLAG), "skops"),
    "a frame of numbers": (lambda: LogisticRegression().fit(NUMBERS, FLAG), "skops"),
    "a column of labels": (lambda: LinearRegression().fit(NUMBERS, FLAG.reshape(-1, 1)), "skops"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_pickle_is_compared_as_its_maker_asks_it(tmp_path: Path, name: str) -> None:
    make, format = MODELS[name]
    joblib.dump(make(), tmp_path / "model.pkl")
    done = convert(tmp_path / "model.pkl", None, None)
    assert (done.format, done.rows) == (format, 200)
    assert done.largest_difference <= 1e-6
    assert any("rounds answer" in note for note in done.notes) == (format == "xgboost")


def test_the_users_rows_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    joblib.dump(make_pipeline(BY_WORD, LogisticRegression()).fit(FRAME, FLAG), tmp_path / "model.pkl")
    FRAME[["a", "sex", "b"]].assign(more=1)[:7].to_csv(tmp_path / "rows.csv", index=False)
    assert convert(tmp_path / "model.pkl", None, tmp_path / "rows.csv").rows == 7
    (tmp_path / "other.csv").write_text("a,sex\n1,m\n")
    with pytest.raises(Misconfigured, match="has no column b"):
        convert(tmp_path / "model.pkl", None, tmp_path / "other.csv")


def test_rows_that_float32_cannot_hold_are_not_waved_through(tmp_path: Path) -> None:
    frame = pd.DataFrame({"at": 1.7e9 + np.arange(300.0)})
    joblib.dump(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, np.arange(300) > 150), tmp_path / "m.pkl"
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(Misconfigured, match="do the rows hold numbers that float32 cannot hold"):
        convert(tmp_path / "m.pkl", None, tmp_path / "rows.csv")


def test_what_cannot_be_served_is_reported_when_it_is_converted(tmp_path: Path) -> None:
    joblib.dump(LinearSVC().fit(NUMBERS, FLAG), tmp_path / "m.pkl")
    with pytest.raises(Misconfigured, match="gives labels and no probabilities: calibrate it"):
        convert(tmp_path / "m.pkl", None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pkl"]


def test_a_number_that_stands_for_a_missing_value_is_refused(tmp_path: Path) -> None:
    """No drawn row contains the value, so the file would be written and would treat it as a number."""
    model = xgboost.XGBClassifier(n_estimators=3, missing=-999.0, n_jobs=1).fit(NUMBERS, FLAG)
    joblib.dump(model, tmp_path / "model.pkl")
    with pytest.raises(Misconfigured, match=r"takes -999.0 for a missing value .*train it on NaN instead"):
        convert(tmp_path / "model.pkl", None, None)
    assert not (tmp_path / "model.ubj").exists()


def test_classes_that_a_file_does_not_name_are_declared_in_its_order(tmp_path: Path) -> None:
    named = np.where(FLAG == 1, "no", "yes")
    joblib.dump(lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(NUMBERS, named), tmp_path / "model.pkl")
    assert any(
        "register it with --classes no,yes" in note for note in convert(tmp_path / "model.pkl", None, None).notes
    )
    joblib.dump(lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(NUMBERS, FLAG), tmp_path / "plain.pkl")
    assert not convert(tmp_path / "plain.pkl", None, None).notes
