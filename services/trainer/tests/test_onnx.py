"""A converted model is served only where it says the same as the fitted one."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression

from headrace.models.engine import load
from headrace_trainer.adapters.onnx import convert
from headrace_trainer.core.gates import judge_onnx

RNG = np.random.default_rng(0)
ROWS = np.hstack([RNG.normal(size=(2000, 3)), RNG.integers(0, 8, size=(2000, 1))]).astype(np.float32)
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
    data, result = convert(fitted, "digest", ROWS)
    assert (result.verdict, result.artifact) == ("PASS", "digest")
    assert load(data, "onnx").predict(ROWS, "binary") == pytest.approx(fitted.predict_proba(ROWS), abs=1e-4)


def test_categories_that_the_converter_gets_silently_wrong_are_caught_and_do_not_block() -> None:
    fitted = HistGradientBoostingClassifier(max_iter=20, categorical_features=[3]).fit(ROWS, LABELS)
    data, result = convert(fitted, "digest", ROWS)
    assert data is None
    assert result.verdict in ("INCONCLUSIVE", "UNMEASURED")
    assert "skops serves" in result.detail


def test_a_model_that_no_converter_knows_is_unmeasured_with_the_reason() -> None:
    class Own(GaussianProcessClassifier):
        """Nobody has a converter for it."""

    data, result = convert(Own().fit(ROWS[:50], LABELS[:50]), "digest", ROWS)
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
    assert judge_onnx("digest", scores, other).verdict == verdict


def test_flipped_labels_are_counted() -> None:
    assert "2000 labels flipped" in judge_onnx("digest", np.full(2000, 0.4), np.full(2000, 0.6)).detail
