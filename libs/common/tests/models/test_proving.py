"""What is served equals the model's own score, or is refused with the request, both scores, and the way out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import GoldenRow, Signature
from headrace.features.rows import pin_signature
from headrace.features.samples import Sample, sample
from headrace.models.engine import load
from headrace.models.golden import KEPT_BYTES, fitting
from headrace.models.proving import Answering, NoneScored, Unproven, prove, prove_file
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project

RNG = np.random.default_rng(0)
X = RNG.uniform(0, 10, (400, 2))


def declared(*inputs: Any, vocabularies: Any = None, frame: bool = False) -> tuple[DeploymentDefinition, Signature]:
    project = compile_project(Project("p", [Deployment("d", unit="u", inputs=list(inputs))]))
    return project.deployment("d"), pin_signature(project, project.deployment("d"), vocabularies or {}, frame=frame)


def proven(
    model: Any, about: tuple[DeploymentDefinition, Signature], given: Sequence[Any] = ()
) -> tuple[GoldenRow, ...]:
    data = skops.io.dumps(model)
    return prove_file(data, "skops", about[0], Answering(about[1], load(data, "skops").output), given)


NUMBERS = declared(Number("a", 0, 10), Number("b", 0, 10))


@pytest.mark.parametrize(
    ("model", "probabilities"),
    [
        (LogisticRegression().fit(X, X[:, 0] > 5), 0),
        (LogisticRegression().fit(X, np.digitize(X[:, 0], [3, 6])), 3),
        (LinearRegression().fit(X, X[:, 0]), 0),
    ],
    ids=["binary", "classes", "number"],
)
def test_rows_of_every_kind_are_kept_with_their_requests(model: Any, probabilities: int) -> None:
    golden = proven(model, NUMBERS)
    assert len(golden) == 64
    assert {len(found.probabilities) for found in golden} == {probabilities}
    assert golden[0].inputs == {"a": 0.0, "b": 0.0}
    row = np.array([[golden[5].inputs["a"], golden[5].inputs["b"]]])
    own = model.predict_proba(row)[0] if hasattr(model, "predict_proba") else model.predict(row)
    assert (golden[5].probabilities or (golden[5].value,)) == pytest.approx(own[-max(1, probabilities) :], abs=1e-6)


def test_trees_with_thresholds_on_values_that_float32_rounds_are_served_exactly() -> None:
    x = np.repeat([0.1, 0.3], 200).reshape(-1, 1)
    model = HistGradientBoostingClassifier(max_iter=5).fit(x, x[:, 0] > 0.2)
    for predictors in model._predictors:
        nodes = predictors[0].nodes
        nodes["num_threshold"][nodes["is_leaf"] == 0] = 0.1  # as of a value that many rows have
    about = declared(Number("x", 0, 1))
    golden = proven(model, about, [{"x": 0.1}, {"x": 0.3}])
    scores = {found.inputs["x"]: found.value for found in golden}
    assert scores[0.1] == pytest.approx(model.predict_proba([[0.1]])[0, 1], abs=1e-6)


def test_a_small_change_by_float32_alone_is_no_fault() -> None:
    model = LogisticRegression(C=1e9, max_iter=1000).fit(X, X[:, 0] > 5)
    golden = proven(model, NUMBERS, [{"a": 5.0001, "b": 0.1}, {"a": 4.9999, "b": 3.3}, {"a": 1, "b": 1}])
    assert {"a": 1, "b": 1} in [found.inputs for found in golden]


def test_free_text_is_refused_since_all_unseen_texts_would_be_one() -> None:
    import pandas as pd

    frame = pd.DataFrame({"text": ["good day", "bad day", "good", "bad"] * 20})
    model = make_pipeline(make_column_transformer((CountVectorizer(), "text")), MultinomialNB())
    model.fit(frame, ["yes", "no", "yes", "no"] * 20)
    vocabularies = {"text": ["good day", "bad day", "good", "bad"]}
    with pytest.raises(Unproven, match=r"would be served wrongly: for \{text='"):
        proven(model, declared(Category("text"), vocabularies=vocabularies, frame=True))


def test_a_model_that_knows_few_numbers_is_proven_by_those_or_asks_for_a_sample() -> None:
    months = RNG.integers(1, 13, 400).reshape(-1, 1)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(months, months[:, 0] > 6)
    golden = proven(model, declared(Number("month", 1, 12)))
    assert {found.inputs["month"] for found in golden} <= set(range(1, 13))
    odd = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(months + 0.5, months[:, 0] > 6)
    with pytest.raises(NoneScored, match=r"none of 200 rows .* --sample FILE"):
        proven(odd, declared(Number("month", 20, 30)))
    assert len(proven(odd, declared(Number("month", 20, 30)), [{"month": 1.5}])) == 1


def test_golden_rows_fit_into_a_record_however_wide_they_are() -> None:
    wide = [GoldenRow(bytes(40_000), 0.5)] * 64
    assert len(fitting(wide)) == KEPT_BYTES // 40_016
    assert len(fitting([GoldenRow(bytes(400_000), 0.5)] * 64)) == 1
    assert fitting([]) == ()


def test_a_regression_that_adds_up_in_float32_is_proven_where_its_terms_cancel_out() -> None:
    data = load_diabetes()
    about = declared(*(Number(f"x{n}", -1, 1) for n in range(10)))
    model = Ridge(alpha=0.1).fit(data.data.astype(np.float32), data.target)
    assert model.coef_.dtype == np.float32
    golden = proven(model, about)
    assert len(golden) > 10
    answers, rows = Answering(about[1], "number"), sample(about[0], about[1])
    engine = load(skops.io.dumps(model), "skops")
    usual = float(np.median(np.abs(model.predict(rows.rows))))
    for off, is_proven in ((0.5e-6 * usual, True), (1e-3 * usual, False)):

        def own(asked: Sample, off: float = off) -> np.ndarray:
            return model.predict(asked.rows) + off

        if is_proven:
            assert prove(engine, answers, rows, own, "skops")
        else:
            with pytest.raises(Unproven, match="would be served wrongly"):
                prove(engine, answers, rows, own, "skops")
