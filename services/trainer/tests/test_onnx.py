"""A converted model is served only where it says the same as the fitted one."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from headrace.features.rows import pin_signature
from headrace.models.engine import load
from headrace.models.proving import Answering, golden_row
from headrace.project import Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_trainer.adapters.onnx import convert
from headrace_trainer.core.gates import judge_onnx
from headrace_trainer.core.target import Target

RNG = np.random.default_rng(0)
ROWS = np.hstack([RNG.normal(size=(2000, 3)), RNG.integers(0, 8, size=(2000, 1))]).astype(np.float32)
TWO = Target("binary")
PROJECT = compile_project(Project("p", [Deployment("d", unit="u", inputs=[Number(name) for name in "abcd"])]))
LABELS = ((ROWS[:, 0] > 0) ^ (ROWS[:, 3] % 3 == 0)).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        RandomForestClassifier(n_estimators=10, random_state=0),
        HistGradientBoostingClassifier(max_iter=20),
    ],
)
def test_models_that_convert_truly_pass(model: object) -> None:
    fitted = model.fit(ROWS, LABELS)
    data, result = convert(fitted, TWO, "digest", ROWS)
    assert (result.verdict, result.artifact) == ("PASS", "digest")
    assert load(data, "onnx").predict(ROWS, "binary") == pytest.approx(fitted.predict_proba(ROWS), abs=1e-4)


NUMBERS = 1e5 * ROWS[:, 0] + 1e4 * ROWS[:, 1]
THREE = np.digitize(ROWS[:, 0], [-0.5, 0.5])


@pytest.mark.parametrize("model", [LinearRegression(), HistGradientBoostingRegressor(max_iter=20)])
def test_a_number_is_compared_in_the_spread_of_what_is_said(model: Any) -> None:
    fitted = model.fit(ROWS, NUMBERS)
    data, result = convert(fitted, Target("number"), "digest", ROWS)
    assert result.verdict == "PASS", result.detail
    assert data is not None
    assert load(data, "onnx").predict(ROWS, "number") == pytest.approx(fitted.predict(ROWS), abs=10.0)


@pytest.mark.parametrize("labels", [THREE, THREE * 2])
def test_each_probability_of_several_classes_is_compared(labels: np.ndarray) -> None:
    target = Target("classes", tuple("abcde"[: labels.max() + 1]))
    fitted = RandomForestClassifier(n_estimators=10, random_state=0).fit(ROWS, labels)
    data, result = convert(fitted, target, "digest", ROWS)
    assert result.verdict == "PASS", result.detail
    assert data is not None
    assert load(data, "onnx").predict(ROWS, "classes") == pytest.approx(fitted.predict_proba(ROWS), abs=1e-4)


@pytest.mark.parametrize(("off", "verdict", "flips"), [(0.9e-4, "PASS", 0), (0.2, "INCONCLUSIVE", 1000)])
def test_the_likeliest_class_that_changes_is_a_flip(off: float, verdict: str, flips: int) -> None:
    scores = np.tile([0.2, 0.35, 0.45], (1000, 1))
    result = judge_onnx("digest", Target("classes", ("a", "b", "c")), scores, scores + np.array([0.0, off, -off]))
    assert result.verdict == verdict
    assert f"{flips} labels flipped" in result.detail


GAPS = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS).astype(np.float32)
# Categories that were not fitted on, and many: of more than one word of bits.
STRANGE = np.column_stack([GAPS[:, :3], np.arange(2000) % 70]).astype(np.float32)
MANY = np.column_stack([GAPS[:, :3], RNG.integers(0, 60, 2000) * 2]).astype(np.float32)


@pytest.mark.parametrize("categories", [[3], [1, 3]])
@pytest.mark.parametrize(
    ("target", "labels"),
    [(TWO, LABELS), (Target("classes", ("a", "b", "c")), THREE), (Target("number"), NUMBERS / 1e4)],
)
def test_trees_with_categories_say_the_same_with_gaps_and_values_that_they_never_saw(
    target: Target, labels: np.ndarray, categories: list[int]
) -> None:
    rows = MANY.copy()
    rows[:, 1] = np.round(rows[:, 1] * 3)
    kind = HistGradientBoostingRegressor if target.kind == "number" else HistGradientBoostingClassifier
    fitted = kind(max_iter=20, categorical_features=categories).fit(rows, labels)
    data, result = convert(fitted, target, "digest", rows)
    assert result.verdict == "PASS", result.detail
    assert data is not None
    asked = STRANGE.copy()
    asked[:, 1] = np.round(asked[:, 1] * 5)
    onnx = target.ask(load(data, "onnx"), asked, ())
    assert onnx == pytest.approx(target.scores(fitted, asked), abs=1e-4)


def test_trees_with_categories_at_the_end_of_a_pipeline_say_the_same() -> None:
    trees = HistGradientBoostingClassifier(max_iter=20, categorical_features=[3])
    fitted = make_pipeline(FunctionTransformer(), trees).fit(ROWS, LABELS)
    assert convert(fitted, TWO, "digest", ROWS)[1].verdict == "PASS"


def test_categories_that_the_converter_gets_silently_wrong_are_caught_and_do_not_block() -> None:
    trees = HistGradientBoostingClassifier(max_iter=20, categorical_features=[3])
    fitted = VotingClassifier([("one", trees), ("two", trees)], voting="soft").fit(ROWS, LABELS)
    data, result = convert(fitted, TWO, "digest", ROWS)
    assert data is None
    assert result.verdict in ("INCONCLUSIVE", "UNMEASURED")
    assert "skops serves" in result.detail


def test_a_model_that_no_converter_knows_is_unmeasured_with_the_reason() -> None:
    class Own(GaussianProcessClassifier):
        """Nobody has a converter for it."""

    data, result = convert(Own().fit(ROWS[:50], LABELS[:50]), TWO, "digest", ROWS)
    assert (data, result.verdict) == (None, "UNMEASURED")
    assert "cannot be converted" in result.detail


@pytest.mark.parametrize(
    ("rows", "off", "count", "verdict"),
    [
        (1000, 0.9e-4, 1000, "PASS"),
        (1000, 1.1e-4, 1, "PASS"),
        (1000, 1.1e-4, 2, "INCONCLUSIVE"),
        (999, 0.0, 0, "UNMEASURED"),
        (100_000, 0.06, 1, "INCONCLUSIVE"),
    ],
)
def test_the_limits_of_parity(rows: int, off: float, count: int, verdict: str) -> None:
    scores = np.full(rows, 0.45)
    other = scores.copy()
    other[:count] += off
    assert judge_onnx("digest", TWO, scores, other).verdict == verdict


def test_flipped_labels_are_counted() -> None:
    assert "2000 labels flipped" in judge_onnx("digest", TWO, np.full(2000, 0.4), np.full(2000, 0.6)).detail


def test_where_an_instance_would_refuse_it_for_a_golden_row_skops_serves_and_the_gate_says_so() -> None:
    """Numbers of a large spread: what the replay may pass over as a share of the spread, a warming instance does not of a small one."""
    fitted = LinearRegression().fit(ROWS, NUMBERS)
    near_zero = ROWS[:2].copy()
    near_zero[1] = 0.0
    near_zero[1, 0] = -fitted.intercept_ / fitted.coef_[0]
    answers = Answering(pin_signature(PROJECT, PROJECT.deployments[0], {}), "number")
    numbers = fitted.predict(near_zero)
    golden = [
        golden_row(row, np.array([value]), "number")
        for row, value in zip(near_zero, numbers + np.array([0.0, 0.01]), strict=True)
    ]
    data, result = convert(fitted, Target("number"), "digest", ROWS, answers, golden)
    assert (data, result.verdict) == (None, "INCONCLUSIVE")
    assert "; golden row 1 scores " in result.detail
    assert result.detail.endswith("; skops serves")
    same = [golden_row(near_zero[0], numbers[:1], "number")]
    data, result = convert(fitted, Target("number"), "digest", ROWS, answers, same)
    assert data is not None
    assert result.detail.endswith("; ONNX serves")
