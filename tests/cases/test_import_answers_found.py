"""The maker's own scores, and files that contradict their declaration. People who brought their own models found these."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.ensemble import (
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import OneHotEncoder
from tests.cases.answering_models import AMOUNT, ASKED, FLAG, GRADE, INPUTS, ROWS, skops_of
from tests.cases.imported import registered

from headrace.errors import Misconfigured, Poison
from headrace.models.engine import load
from headrace.models.proving import Answering, Unproven, prove_file
from headrace.project import Binary, Multiclass, Regression
from headrace_cli.models.answers import range_note

# -- the maker's scores are computed by another path than the served ones


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
    assert served.maker_scores(ASKED) == pytest.approx(model.predict_proba(asked), abs=1e-6)
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(asked), abs=1e-6)


def test_a_class_that_the_model_does_not_know_has_no_share() -> None:
    two = np.array(["high", "low"])[FLAG]
    label = Multiclass("grade", ["low", "mid", "high", "top"], "1h")
    model = LogisticRegression().fit(ROWS, np.where(GRADE == 1, "mid", two))
    served = registered(skops.io.dumps(model), "skops", INPUTS, label)
    wanted = np.c_[model.predict_proba(ROWS[:40])[:, [1, 2, 0]], np.zeros(40)]
    assert served.scores(ASKED) == pytest.approx(wanted)
    assert "it does not know top: their probability is 0" in served.agreed.notes


# -- found by strangers: contradicting names, too few classes, numbers that are no probabilities


def test_classes_that_contradict_the_files_own_are_refused() -> None:
    data = skops_of(LogisticRegression(), FLAG + 1)
    with pytest.raises(Misconfigured, match="--classes says 2, 1, the model's file says 1, 2: leave --classes out"):
        registered(data, "skops", INPUTS, Binary("y", "1d", classes=("1", "2")), classes=("2", "1"))


@pytest.mark.parametrize("label", [Binary("y", "1d", classes=("0", "1")), Multiclass("y", ("0", "1", "2"), "1d")])
def test_classes_of_other_numbers_are_not_taken_by_position(label: Any) -> None:
    labels = (FLAG if isinstance(label, Binary) else GRADE) + 1
    data = skops_of(LogisticRegression(), labels)
    with pytest.raises(Misconfigured, match="name them in this order with --classes"):
        registered(data, "skops", INPUTS, label)
    served = registered(data, "skops", INPUTS, label, classes=label.classes)
    assert served.agreed.answers.classes == tuple(label.classes)


def test_classes_of_words_are_not_those_of_numbers() -> None:
    data = skops_of(LogisticRegression(), np.array(["high", "low", "mid"])[GRADE])
    with pytest.raises(Misconfigured, match="declare the label's classes by the model's names"):
        registered(data, "skops", INPUTS, Multiclass("y", ("0", "1", "2"), "1d"))


def test_what_an_outcome_means_is_noted_where_the_label_names_no_classes() -> None:
    served = registered(skops_of(LogisticRegression(), FLAG + 1), "skops", INPUTS, Binary("y", "1d"))
    assert served.agreed.answers.classes == ("1", "2")
    meaning = "outcomes of the label 'y' are 0 for the model's class 1 and 1 for its class 2"
    assert any(note.startswith(meaning) for note in served.agreed.notes)


def test_a_booster_of_classes_that_are_declared_the_other_way_round() -> None:
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(ROWS, 1 - FLAG)
    served = registered(bytes(model.get_booster().save_raw()), "xgboost", INPUTS, Binary("y", "1d"), classes=("1", "0"))
    assert served.agreed.answers.classes == ("0", "1")
    assert served.scores(ASKED)[:, 1] == pytest.approx(model.predict_proba(ROWS[:40])[:, 0], abs=1e-6)


def test_classes_that_were_fitted_as_floats_are_those_of_the_label() -> None:
    model = LogisticRegression()
    data = skops_of(model, FLAG + 1.0)
    served = registered(data, "skops", INPUTS, Binary("y", "1d", classes=("2", "1")))
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, ::-1], abs=1e-6)


def test_a_model_of_two_of_several_classes_is_served() -> None:
    model = LogisticRegression()
    known = GRADE != 1
    model.fit(ROWS[known], np.array(["high", "mid", "low"])[GRADE[known]])
    served = registered(skops.io.dumps(model), "skops", INPUTS, Multiclass("y", ("low", "mid", "high"), "1d"))
    wanted = np.insert(model.predict_proba(ROWS[:40])[:, ::-1], 1, 0.0, axis=1)
    assert served.scores(ASKED) == pytest.approx(wanted, abs=1e-6)


def test_a_model_of_one_class_is_refused() -> None:
    data = skops_of(RandomForestClassifier(2), np.zeros(300, int))
    with pytest.raises(Misconfigured, match=r"the model knows one class only \(0\).*fit it on rows of each"):
        registered(data, "skops", INPUTS, Binary("y", "1d"))


def test_a_regressor_of_scikit_learn_is_not_sent_to_an_option_that_refuses_it() -> None:
    with pytest.raises(Misconfigured, match="register a classifier, or declare another label"):
        registered(skops_of(LinearRegression(), AMOUNT), "skops", INPUTS, Binary("y", "1d"))


def margins(kind: str) -> bytes:
    """A file whose numbers are no probabilities, whatever is declared about them."""
    if kind == "onnx":
        wanted = LinearRegression().fit(ROWS, np.column_stack([AMOUNT, AMOUNT + 0.5]))
        return to_onnx(wanted, ROWS[:1]).SerializeToString()
    own = {"objective": lambda scores, data: (scores - data.get_label(), np.ones(len(scores))), "verbose": -1}
    return lightgbm.train(own, lightgbm.Dataset(ROWS, 5 * AMOUNT), 20).model_to_string().encode()


@pytest.mark.parametrize("kind", ["onnx", "lightgbm"])
def test_numbers_that_are_called_probabilities_are_looked_at(kind: str) -> None:
    data = margins(kind)
    served = registered(data, kind, INPUTS, Binary("y", "1d"), output="binary")
    answers = Answering(served.signature, "binary", 2, served.agreed.answers.places)
    with pytest.raises(Unproven, match=r"of 200 rows get no probabilities \(0..1, adding up to 1\)"):
        prove_file(data, kind, served.deployment, answers)


@pytest.mark.parametrize(
    ("wide", "message"), [(False, "tensor.double.*to_numpy..float32.."), (True, "texts become codes before it")]
)
def test_a_graph_of_other_inputs_names_the_way_out(wide: bool, message: str) -> None:
    kinds = [("x", StringTensorType([None, 2]))] if wide else [("x", DoubleTensorType([None, 3]))]
    model = OneHotEncoder().fit([["a", "b"]]) if wide else LinearRegression().fit(ROWS, AMOUNT)
    with pytest.raises(Poison, match=message):
        load(to_onnx(model, initial_types=kinds).SerializeToString(), "onnx")


@pytest.mark.parametrize(("times", "is_noted"), [(1.0, False), (3600.0, True)])
def test_numbers_in_another_unit_than_the_labels_are_noted(times: float, is_noted: bool) -> None:
    """The contract declares hours and the model was trained on seconds, so each answer lies outside the range of the label."""
    data = skops_of(RandomForestRegressor(5, random_state=0), np.clip(AMOUNT + 3, 1, 9) * times)
    label = Regression("y", 0, 10, "1d")
    served = registered(data, "skops", INPUTS, label)
    golden = prove_file(data, "skops", served.deployment, Answering(served.signature, "number"))
    notes = range_note(served.deployment.label, golden)
    assert [note.partition(", such as")[0] for note in notes] == [
        f"{len(golden)} of {len(golden)} rows that the contract allows get numbers that the label 'y' cannot be (0 to 10)"
    ] * is_noted
