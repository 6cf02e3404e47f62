"""Cases 2 and 5 to 9: the maker's own rounds, classes by their names, outputs that nothing tells apart, labels without probabilities."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from tests.cases.imported import registered

from headrace.errors import Misconfigured, Poison
from headrace.models.engine import load
from headrace.models.proving import Answering, Unproven, prove_file
from headrace.project import Binary, Multiclass, Number, Regression
from headrace_cli.models.answers import range_note

DICE = np.random.default_rng(3)
ROWS = DICE.normal(size=(300, 3)).astype(np.float32)
FLAG = (ROWS[:, 0] + DICE.normal(size=300) > 0).astype(int)
GRADE = np.digitize(ROWS[:, 0], [-0.5, 0.5])
AMOUNT = ROWS[:, 1].astype(float)
INPUTS = [Number("a"), Number("b"), Number("c")]
ASKED = [dict(zip("abc", row.tolist(), strict=True)) for row in ROWS[:40]]


def skops_of(model: Any, labels: Any) -> bytes:
    return skops.io.dumps(model.fit(ROWS, labels))


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
    assert served.says(ASKED) == pytest.approx(wanted, abs=1e-6)
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
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-6)


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
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, [1, 2, 0]])


def test_the_positive_class_is_the_labels_second() -> None:
    model = LogisticRegression().fit(ROWS, np.array(["default", "paid"])[FLAG])
    served = registered(skops.io.dumps(model), "skops", INPUTS, Binary("loan", "1h", classes=["paid", "default"]))
    assert served.agreed.answers.classes == ("paid", "default")
    assert served.says(ASKED)[:, 1] == pytest.approx(model.predict_proba(ROWS[:40])[:, 0])


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
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, [1, 2, 0]], abs=1e-6)


@pytest.mark.parametrize(
    ("label", "said", "told"),
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
def test_classes_and_outputs_that_do_not_fit_are_refused(label: Any, said: Any, told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        registered(skops_of(LogisticRegression(), WORDS[GRADE]), "skops", INPUTS, label, **said)


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
def test_an_onnx_classifier_is_told_by_its_graph(model: Any, labels: Any) -> None:
    data = to_onnx(model.fit(ROWS, labels), ROWS[:1], options={"zipmap": False}).SerializeToString()
    served = registered(data, "onnx", INPUTS)
    assert served.agreed.answers.classes == tuple(str(name) for name in model.classes_)
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-4)


def test_an_onnx_classifier_of_margins_is_refused() -> None:
    model = LogisticRegression().fit(ROWS, GRADE)
    data = to_onnx(model, ROWS[:1], options={"zipmap": False, "raw_scores": True}).SerializeToString()
    with pytest.raises(Poison, match="scores that are no probabilities"):
        load(data, "onnx")


def test_an_onnx_regressor_of_one_target_is_a_number() -> None:
    for model in (Ridge(), RandomForestRegressor(5)):
        data = to_onnx(model.fit(ROWS, AMOUNT), ROWS[:1]).SerializeToString()
        assert registered(data, "onnx", INPUTS).says(ASKED) == pytest.approx(model.predict(ROWS[:40]), abs=1e-4)


# -- case 7: one number is served, several are refused


def test_a_regression_that_was_fitted_on_a_column_is_served() -> None:
    model = LinearRegression().fit(ROWS, AMOUNT.reshape(-1, 1))
    served = registered(skops.io.dumps(model), "skops", INPUTS, Regression("y", -9, 9, "1h"))
    assert served.says(ASKED) == pytest.approx(model.predict(ROWS[:40])[:, 0])


@pytest.mark.parametrize(
    ("model", "labels", "told"),
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
def test_what_cannot_be_served_is_refused_in_our_words(model: Any, labels: Any, told: str) -> None:
    with pytest.raises(Poison, match=told):
        registered(skops_of(model, labels), "skops", INPUTS)


# -- case 9: what is on the reviewed list


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(),
        KNeighborsClassifier(algorithm="ball_tree", weights="distance"),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, scoring="roc_auc"),
        make_pipeline(SelectKBest(k=2), LogisticRegression()),
        make_pipeline(SplineTransformer(), LogisticRegression()),
        GaussianProcessClassifier(),
    ],
)
def test_ordinary_classifiers_are_served(model: Any) -> None:
    served = registered(skops_of(model, FLAG), "skops", INPUTS)
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-9)


FILLED = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())


@pytest.mark.parametrize(
    "model",
    [
        CalibratedClassifierCV(FILLED, cv=3),
        CalibratedClassifierCV(FILLED, cv=3, ensemble=False),
        BaggingClassifier(FILLED, 3),
        OneVsRestClassifier(FILLED),
        GridSearchCV(FILLED, {"logisticregression__C": [0.1, 1.0]}),
        FixedThresholdClassifier(FILLED, threshold=0.3),
        TunedThresholdClassifierCV(FILLED),
        StackingClassifier([("a", FILLED)]),
        VotingClassifier([("a", FILLED)], voting="soft"),
    ],
)
def test_a_pipeline_inside_of_another_estimator_is_served(model: Any) -> None:
    served = registered(skops_of(model, FLAG), "skops", INPUTS)
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-9)


@pytest.mark.parametrize("model", [KNeighborsRegressor(), GaussianProcessRegressor()])
def test_ordinary_regressors_are_served(model: Any) -> None:
    served = registered(skops_of(model, AMOUNT), "skops", INPUTS)
    assert served.says(ASKED) == pytest.approx(model.predict(ROWS[:40]), abs=1e-9)


def own_scaling(rows: Any) -> Any:
    return rows * 2


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (make_pipeline(FunctionTransformer(own_scaling), LogisticRegression()), "code of your own is never loaded"),
        (xgboost.XGBClassifier(n_estimators=2), "save the booster alone, in its library's own format"),
        (
            GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring=own_scaling, error_score=0),
            "`best_estimator_` alone",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_on_the_list_names_the_way_out(model: Any, told: str) -> None:
    with pytest.raises(Poison, match=told):
        load(skops_of(model, FLAG), "skops")


def crafted(model: Any, change: Any) -> bytes:
    """A file whose arrays were changed by somebody."""
    model.fit(ROWS, FLAG)
    change(model)
    return skops.io.dumps(model)


def point_outside(model: Any) -> None:
    state = list(model._tree.__getstate__())
    state[1] = np.where(np.arange(len(state[1])) == 7, 10**9, state[1])
    model._tree.__setstate__(tuple(state))


def vote_outside(model: Any) -> None:
    model._y = model._y + 7


def cut_knots(model: Any) -> None:
    for spline in model.steps[0][1].bsplines_:
        spline.__dict__["_c"] = spline.__dict__["_c"][:1]


@pytest.mark.parametrize(
    ("model", "change", "told"),
    [
        (KNeighborsClassifier(), point_outside, "search tree that points outside of its points"),
        (KNeighborsClassifier(algorithm="brute"), vote_outside, "votes outside of its 2 classes"),
        (make_pipeline(SplineTransformer(), LogisticRegression()), cut_knots, "spline of 1 coefficients"),
    ],
)
def test_crafted_arrays_are_refused_before_they_are_asked(model: Any, change: Any, told: str) -> None:
    with pytest.raises(Poison, match=told):
        load(crafted(model, change), "skops")


# -- the maker's word is found by another path than the served one


@pytest.mark.parametrize("maker", ["skops", "xgboost", "lightgbm", "onnx"])
def test_the_makers_own_scores_are_those_of_its_library(maker: str) -> None:
    frame = pd.DataFrame(ROWS, columns=list("cab"))
    if maker == "skops":
        model: Any = LogisticRegression().fit(frame, FLAG)
        data = skops.io.dumps(model)
    elif maker == "xgboost":
        model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(frame, FLAG)
        data = bytes(model.get_booster().save_raw("ubj"))
    elif maker == "lightgbm":
        model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(frame, FLAG)
        data = model.booster_.model_to_string().encode()
    else:
        model = LogisticRegression().fit(ROWS[:, [1, 2, 0]], FLAG)
        data = to_onnx(model, ROWS[:1], options={"zipmap": False}).SerializeToString()
    asked = pd.DataFrame(ASKED)[["c", "a", "b"]] if maker != "onnx" else pd.DataFrame(ASKED).to_numpy()
    served = registered(data, maker, INPUTS)
    assert served.maker_says(ASKED) == pytest.approx(model.predict_proba(asked), abs=1e-6)
    assert served.says(ASKED) == pytest.approx(model.predict_proba(asked), abs=1e-6)


def test_a_class_that_the_model_does_not_know_has_no_share() -> None:
    two = np.array(["high", "low"])[FLAG]
    label = Multiclass("grade", ["low", "mid", "high", "top"], "1h")
    model = LogisticRegression().fit(ROWS, np.where(GRADE == 1, "mid", two))
    served = registered(skops.io.dumps(model), "skops", INPUTS, label)
    wanted = np.c_[model.predict_proba(ROWS[:40])[:, [1, 2, 0]], np.zeros(40)]
    assert served.says(ASKED) == pytest.approx(wanted)
    assert "it does not know top: their probability is 0" in served.agreed.notes


# -- what a stranger found: names that contradict, classes that are few, numbers that are no probabilities


def test_classes_that_contradict_the_files_own_are_refused() -> None:
    data = skops_of(LogisticRegression(), FLAG + 1)
    with pytest.raises(Misconfigured, match="--classes says 2, 1, the model's file says 1, 2: leave --classes out"):
        registered(data, "skops", INPUTS, Binary("y", "1d", classes=("1", "2")), classes=("2", "1"))


@pytest.mark.parametrize("label", [Binary("y", "1d", classes=("0", "1")), Multiclass("y", ("0", "1", "2"), "1d")])
def test_classes_of_other_numbers_are_not_taken_by_position(label: Any) -> None:
    labels = (FLAG if isinstance(label, Binary) else GRADE) + 1
    data = skops_of(LogisticRegression(), labels)
    with pytest.raises(Misconfigured, match="say what they are called, in this order, with --classes"):
        registered(data, "skops", INPUTS, label)
    served = registered(data, "skops", INPUTS, label, classes=label.classes)
    assert served.agreed.answers.classes == tuple(label.classes)


def test_classes_of_words_are_not_those_of_numbers() -> None:
    data = skops_of(LogisticRegression(), np.array(["high", "low", "mid"])[GRADE])
    with pytest.raises(Misconfigured, match="declare the label's classes by the model's names"):
        registered(data, "skops", INPUTS, Multiclass("y", ("0", "1", "2"), "1d"))


def test_what_an_outcome_means_is_told_where_the_label_names_no_classes() -> None:
    served = registered(skops_of(LogisticRegression(), FLAG + 1), "skops", INPUTS, Binary("y", "1d"))
    assert served.agreed.answers.classes == ("1", "2")
    told = "outcomes of the label 'y' are 0 for the model's class 1 and 1 for its class 2"
    assert any(note.startswith(told) for note in served.agreed.notes)


def test_a_booster_of_classes_that_are_said_the_other_way_round() -> None:
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(ROWS, 1 - FLAG)
    served = registered(bytes(model.get_booster().save_raw()), "xgboost", INPUTS, Binary("y", "1d"), classes=("1", "0"))
    assert served.agreed.answers.classes == ("0", "1")
    assert served.says(ASKED)[:, 1] == pytest.approx(model.predict_proba(ROWS[:40])[:, 0], abs=1e-6)


def test_classes_that_were_fitted_as_floats_are_those_of_the_label() -> None:
    model = LogisticRegression()
    data = skops_of(model, FLAG + 1.0)
    served = registered(data, "skops", INPUTS, Binary("y", "1d", classes=("2", "1")))
    assert served.says(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, ::-1], abs=1e-6)


def test_a_model_of_two_of_several_classes_is_served() -> None:
    model = LogisticRegression()
    known = GRADE != 1
    model.fit(ROWS[known], np.array(["high", "mid", "low"])[GRADE[known]])
    served = registered(skops.io.dumps(model), "skops", INPUTS, Multiclass("y", ("low", "mid", "high"), "1d"))
    wanted = np.insert(model.predict_proba(ROWS[:40])[:, ::-1], 1, 0.0, axis=1)
    assert served.says(ASKED) == pytest.approx(wanted, abs=1e-6)


def test_a_model_of_one_class_is_told_so() -> None:
    data = skops_of(RandomForestClassifier(2), np.zeros(300, int))
    with pytest.raises(Misconfigured, match=r"the model knows one class only \(0\).*fit it on rows of each"):
        registered(data, "skops", INPUTS, Binary("y", "1d"))


def test_a_regressor_of_scikit_learn_is_not_sent_to_an_option_that_refuses_it() -> None:
    with pytest.raises(Misconfigured, match="register a classifier, or declare another label"):
        registered(skops_of(LinearRegression(), AMOUNT), "skops", INPUTS, Binary("y", "1d"))


def margins(kind: str) -> bytes:
    """A file whose numbers are no probabilities, whatever is said of them."""
    if kind == "onnx":
        wanted = LinearRegression().fit(ROWS, np.column_stack([AMOUNT, AMOUNT + 0.5]))
        return to_onnx(wanted, ROWS[:1]).SerializeToString()
    own = {"objective": lambda said, data: (said - data.get_label(), np.ones(len(said))), "verbose": -1}
    return lightgbm.train(own, lightgbm.Dataset(ROWS, 5 * AMOUNT), 20).model_to_string().encode()


@pytest.mark.parametrize("kind", ["onnx", "lightgbm"])
def test_numbers_that_are_called_probabilities_are_looked_at(kind: str) -> None:
    data = margins(kind)
    served = registered(data, kind, INPUTS, Binary("y", "1d"), output="binary")
    answers = Answering(served.signature, "binary", 2, served.agreed.answers.places)
    with pytest.raises(Unproven, match=r"of 200 rows get no probabilities \(0..1, adding up to 1\)"):
        prove_file(data, kind, served.deployment, answers)


@pytest.mark.parametrize(
    ("wide", "told"), [(False, "tensor.double.*to_numpy..float32.."), (True, "words become codes before it")]
)
def test_a_graph_of_other_inputs_names_the_way_out(wide: bool, told: str) -> None:
    kinds = [("x", StringTensorType([None, 2]))] if wide else [("x", DoubleTensorType([None, 3]))]
    model = OneHotEncoder().fit([["a", "b"]]) if wide else LinearRegression().fit(ROWS, AMOUNT)
    with pytest.raises(Poison, match=told):
        load(to_onnx(model, initial_types=kinds).SerializeToString(), "onnx")


@pytest.mark.parametrize(("times", "is_told"), [(1.0, False), (3600.0, True)])
def test_numbers_in_another_unit_than_the_labels_are_told(times: float, is_told: bool) -> None:
    """Hours were declared, seconds were trained on: each answer is one that no label can be."""
    data = skops_of(RandomForestRegressor(5, random_state=0), np.clip(AMOUNT + 3, 1, 9) * times)
    label = Regression("y", 0, 10, "1d")
    served = registered(data, "skops", INPUTS, label)
    golden = prove_file(data, "skops", served.deployment, Answering(served.signature, "number"))
    notes = range_note(served.deployment.label, golden)
    assert [note.partition(", such as")[0] for note in notes] == [
        f"{len(golden)} of {len(golden)} rows that the contract allows get numbers that the label 'y' cannot be (0 to 10)"
    ] * is_told
