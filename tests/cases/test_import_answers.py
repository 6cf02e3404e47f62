"""Cases 2 and 5 to 7: the rounds of a model that was stopped early, classes by name, outputs that cannot be distinguished, one number and several."""

from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from skl2onnx import to_onnx
from sklearn.ensemble import (
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tests.cases.answering_models import AMOUNT, ASKED, FLAG, GRADE, INPUTS, ROWS, skops_of
from tests.cases.imported import registered

from headrace.errors import Misconfigured, Poison
from headrace.models.engine import load
from headrace.project import Binary, Multiclass, Regression

# -- case 2: boosted trees that were stopped early


def stopped_early() -> Any:
    model = xgboost.XGBClassifier(n_estimators=300, learning_rate=0.5, early_stopping_rounds=20, n_jobs=1)
    return model.fit(ROWS[:200], FLAG[:200], eval_set=[(ROWS[200:], FLAG[200:])], verbose=False)


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_xgboost_is_asked_up_to_its_best_iteration(kind: str) -> None:
    model = stopped_early()
    data = bytes(model.get_booster().save_raw(kind))
    rounds = model.get_booster().num_boosted_rounds()
    assert model.best_iteration + 1 < rounds
    served = registered(data, "xgboost", INPUTS)
    wanted = model.predict_proba(ROWS[:40])
    assert served.scores(ASKED) == pytest.approx(wanted, abs=1e-6)
    every = model.get_booster().predict(xgboost.DMatrix(ROWS[:40]), iteration_range=(0, rounds))
    assert np.abs(every - wanted[:, 1]).max() > 0.01  # what was served before
    assert f"the first {model.best_iteration + 1} of its {rounds} rounds answer" in " ".join(served.agreed.notes)


def test_lightgbm_is_asked_up_to_its_best_iteration(tmp_path: Any) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=300, learning_rate=0.5, n_jobs=1, verbose=-1)
    stop = lightgbm.early_stopping(20, verbose=False)
    model.fit(ROWS[:200], FLAG[:200], eval_X=ROWS[200:], eval_y=FLAG[200:], callbacks=[stop])
    assert model.best_iteration_ < 300
    model.booster_.save_model(tmp_path / "m.txt")
    served = registered((tmp_path / "m.txt").read_bytes(), "lightgbm", INPUTS)
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-6)


def test_a_best_iteration_beyond_the_rounds_is_refused() -> None:
    booster = stopped_early().get_booster()
    booster.set_attr(best_iteration="5000")
    with pytest.raises(Poison, match="its best iteration is '5000' of"):
        load(bytes(booster.save_raw("ubj")), "xgboost")


# -- case 5: classes by their names

WORDS = np.array(["high", "low", "mid"])


def test_classes_are_found_by_name_whatever_the_labels_order() -> None:
    model = LogisticRegression().fit(ROWS, WORDS[GRADE])
    served = registered(skops.io.dumps(model), "skops", INPUTS, Multiclass("grade", ["low", "mid", "high"], "1h"))
    assert served.agreed.answers.classes == ("low", "mid", "high")
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, [1, 2, 0]])


def test_the_positive_class_is_the_labels_second() -> None:
    model = LogisticRegression().fit(ROWS, np.array(["default", "paid"])[FLAG])
    served = registered(skops.io.dumps(model), "skops", INPUTS, Binary("loan", "1h", classes=["paid", "default"]))
    assert served.agreed.answers.classes == ("paid", "default")
    assert served.scores(ASKED)[:, 1] == pytest.approx(model.predict_proba(ROWS[:40])[:, 0])


def test_a_version_carries_the_names_of_its_classes() -> None:
    data = skops_of(LogisticRegression(), np.array(["no", "yes"])[FLAG])
    assert registered(data, "skops", INPUTS).agreed.answers.classes == ("no", "yes")
    assert registered(data, "skops", INPUTS, Binary("y", "1h")).agreed.answers.classes == ("no", "yes")
    data = to_onnx(LogisticRegression().fit(ROWS, np.array(["no", "yes"])[FLAG]), ROWS[:1], options={"zipmap": False})
    assert registered(data.SerializeToString(), "onnx", INPUTS).agreed.answers.classes == ("no", "yes")


def test_a_booster_takes_the_labels_names_where_their_order_is_that_of_encoders() -> None:
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(ROWS, np.array(["no", "yes"])[FLAG])
    data = model.booster_.model_to_string().encode()
    served = registered(data, "lightgbm", INPUTS, Binary("y", "1h", classes=["no", "yes"]))
    assert served.agreed.answers.classes == ("no", "yes")
    assert "class 0 of the model is 'no', class 1 is 'yes'" in served.agreed.notes


def test_a_booster_whose_classes_may_stand_in_another_order_asks_for_it() -> None:
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(ROWS, WORDS[GRADE])
    data, label = model.booster_.model_to_string().encode(), Multiclass("grade", ["low", "mid", "high"], "1h")
    with pytest.raises(Misconfigured, match=r"does not name its classes.*such as --classes high,low,mid"):
        registered(data, "lightgbm", INPUTS, label)
    served = registered(data, "lightgbm", INPUTS, label, classes=("high", "low", "mid"))
    assert served.agreed.answers.classes == ("low", "mid", "high")
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, [1, 2, 0]], abs=1e-6)


@pytest.mark.parametrize(
    ("label", "declared", "message"),
    [
        (Multiclass("g", ["a", "b", "c"], "1h"), {}, "classes are high, low, mid, and the label 'g' has a, b, c"),
        (Multiclass("g", ["a", "b"], "1h"), {}, "gives 3 classes .*, and the label 'g' has 2"),
        (Binary("g", "1h"), {}, "gives the probabilities of several classes, and the label 'g' wants .* two"),
        (Regression("g", 0, 1, "1h"), {}, "the label 'g' wants a number: register a regressor"),
        (None, {"classes": ("x", "y", "z")}, "--classes says x, y, z, the model's file says high, low, mid"),
        (None, {"classes": ("x", "y")}, "the model gives 3 classes: name each once"),
        (None, {"output": "number"}, "gives the probabilities of several classes, it cannot be served with --output n"),
        (None, {"output": "words"}, "--output must be binary, classes or number"),
    ],
)
def test_classes_and_outputs_that_do_not_fit_are_refused(label: Any, declared: Any, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        registered(skops_of(LogisticRegression(), WORDS[GRADE]), "skops", INPUTS, label, **declared)


# -- case 6: what an ONNX graph gives


@pytest.mark.parametrize(("targets", "kind"), [(2, "binary"), (3, "classes")])
def test_an_onnx_regressor_of_several_targets_is_no_classifier(targets: int, kind: str) -> None:
    data = to_onnx(Ridge().fit(ROWS, ROWS[:, :targets]), ROWS[:1]).SerializeToString()
    with pytest.raises(
        Misconfigured, match=f"gives {targets} numbers a row, .*several targets cannot be served.*{kind}"
    ):
        registered(data, "onnx", INPUTS)
    with pytest.raises(
        Misconfigured, match=f"the model gives {targets} numbers, it cannot be served with --output number"
    ):
        registered(data, "onnx", INPUTS, output="number")
    assert registered(data, "onnx", INPUTS, output=kind).agreed.answers.output == kind


@pytest.mark.parametrize("labels", [FLAG, GRADE, WORDS[GRADE]])
@pytest.mark.parametrize("model", [LogisticRegression(), RandomForestClassifier(5), KNeighborsClassifier()])
def test_an_onnx_classifier_is_recognised_by_its_graph(model: Any, labels: Any) -> None:
    data = to_onnx(model.fit(ROWS, labels), ROWS[:1], options={"zipmap": False}).SerializeToString()
    served = registered(data, "onnx", INPUTS)
    assert served.agreed.answers.classes == tuple(str(name) for name in model.classes_)
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-4)


def test_an_onnx_classifier_of_margins_is_refused() -> None:
    model = LogisticRegression().fit(ROWS, GRADE)
    data = to_onnx(model, ROWS[:1], options={"zipmap": False, "raw_scores": True}).SerializeToString()
    with pytest.raises(Poison, match="scores that are not probabilities"):
        load(data, "onnx")


def test_an_onnx_regressor_of_one_target_is_a_number() -> None:
    for model in (Ridge(), RandomForestRegressor(5)):
        data = to_onnx(model.fit(ROWS, AMOUNT), ROWS[:1]).SerializeToString()
        assert registered(data, "onnx", INPUTS).scores(ASKED) == pytest.approx(model.predict(ROWS[:40]), abs=1e-4)


# -- case 7: one number is served, several are refused


def test_a_regression_that_was_fitted_on_a_column_is_served() -> None:
    model = LinearRegression().fit(ROWS, AMOUNT.reshape(-1, 1))
    served = registered(skops.io.dumps(model), "skops", INPUTS, Regression("y", -9, 9, "1h"))
    assert served.scores(ASKED) == pytest.approx(model.predict(ROWS[:40])[:, 0])


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (LinearRegression(), ROWS[:, :2], "LinearRegression predicts 2 numbers at once"),
        (RandomForestRegressor(3), ROWS[:, :2], "RandomForestRegressor predicts 2 numbers at once"),
        (MultiOutputRegressor(Ridge()), ROWS[:, :2], "MultiOutputRegressor predicts 2 numbers at once"),
        (make_pipeline(StandardScaler(), Ridge()), ROWS[:, :2], "Ridge predicts 2 numbers at once"),
        (MultiOutputClassifier(LogisticRegression()), np.c_[FLAG, GRADE], "predicts several labels at once"),
        (RandomForestClassifier(3), np.c_[FLAG, GRADE], "RandomForestClassifier predicts several labels at once"),
        (MLPClassifier(max_iter=200), np.c_[FLAG, 1 - FLAG], "MLPClassifier predicts several labels at once"),
        (OneVsRestClassifier(LogisticRegression()), np.c_[FLAG, FLAG], "predicts several labels at once"),
        (LinearSVC(), FLAG, r"LinearSVC gives labels and no probabilities: calibrate it, CalibratedClassifierCV"),
        (RidgeClassifier(), WORDS[GRADE], r"RidgeClassifier gives labels and no probabilities"),
        (make_pipeline(StandardScaler(), SVC()), FLAG, r"SVC gives labels and no probabilities"),
        (StandardScaler(), FLAG, "StandardScaler has no predict"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_cannot_be_served_is_refused_in_our_words(model: Any, labels: Any, message: str) -> None:
    with pytest.raises(Poison, match=message):
        registered(skops_of(model, labels), "skops", INPUTS)
