"""Metrics by name: their values against scikit-learn, and what has no value."""

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from headrace.stats.metric_names import FOREIGN, OWN, known_for, quantile_of
from headrace_monitor.core.metrics import auc_of, values_of

RNG = np.random.default_rng(7)
N = 400
BINARY = ((RNG.random(N) < 0.3).astype(float), RNG.random(N).round(2))
CLASSES = (RNG.integers(0, 3, N).astype(float), RNG.dirichlet(np.ones(3), N))
NUMBERS = (RNG.random(N) * 10 + 1, RNG.random(N) * 10 + 1)
ROWS = {"binary": BINARY, "classes": CLASSES, "number": NUMBERS}
PLACES = [0, 1, 2]


def by_definition(kind: str, name: str) -> Any:
    labels, scores = ROWS[kind]
    own = {
        ("binary", "auc"): lambda: sk.roc_auc_score(labels, scores),
        ("classes", "auc"): lambda: sk.roc_auc_score(labels, scores, multi_class="ovr"),
        ("binary", "log_loss"): lambda: sk.log_loss(labels, scores),
        ("classes", "log_loss"): lambda: sk.log_loss(labels, scores),
        ("binary", "brier"): lambda: sk.brier_score_loss(labels, scores),
        ("classes", "brier"): lambda: sk.brier_score_loss(labels, scores, labels=PLACES),
        ("binary", "accuracy"): lambda: sk.accuracy_score(labels, scores >= 0.5),
        ("classes", "accuracy"): lambda: sk.accuracy_score(labels, scores.argmax(axis=1)),
        ("number", "mae"): lambda: sk.mean_absolute_error(labels, scores),
        ("number", "rmse"): lambda: sk.root_mean_squared_error(labels, scores),
        ("number", "pinball@.9"): lambda: sk.mean_pinball_loss(labels, scores, alpha=0.9),
    }
    return own[kind, name]()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, name) for kind in ("binary", "classes") for name in ("auc", "log_loss", "brier", "accuracy")),
        *(("number", name) for name in ("mae", "rmse", "pinball@.9")),
    ],
)
def test_own_metrics_agree_with_scikit_learn(kind: str, name: str) -> None:
    assert values_of([name], kind, *ROWS[kind]) == {name: pytest.approx(by_definition(kind, name), rel=1e-9)}


class Answers:
    """An estimator that gives these scores, for the scorers of scikit-learn."""

    _estimator_type = "classifier"

    def __init__(self, kind: str) -> None:
        self.kind, (self.labels, self.scores) = kind, ROWS[kind]
        self.classes_ = np.unique(self.labels) if kind != "number" else None

    def fit(self, rows: object, labels: object = None) -> "Answers":
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        kind = "regressor" if self.kind == "number" else "classifier"
        return Tags(estimator_type=kind, target_tags=TargetTags(required=True))

    def predict_proba(self, rows: object) -> np.ndarray:
        return np.column_stack([1 - self.scores, self.scores]) if self.kind == "binary" else self.scores

    def predict(self, rows: object) -> np.ndarray:
        if self.kind == "number":
            return self.scores
        return (self.scores >= 0.5).astype(float) if self.kind == "binary" else self.scores.argmax(axis=1) * 1.0


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for name, found in FOREIGN.items() for kind in found.kinds if kind in ROWS]
)
def test_every_metric_of_scikit_learn_has_the_value_that_it_has_there(kind: str, name: str) -> None:
    labels, scores = ROWS[kind]
    answers = Answers(kind)
    if name in sk.get_scorer_names():
        wanted = sk.get_scorer(name)(answers, None, labels)
    elif FOREIGN[name].takes == "labels":
        wanted = getattr(sk, name)(labels, answers.predict(None))
    else:
        wanted = getattr(sk, name)(labels, scores)
    assert values_of([name], kind, labels, scores) == {name: pytest.approx(wanted, rel=1e-9)}


def test_every_scorer_of_scikit_learn_for_these_labels_has_a_name() -> None:
    """Scorers of clusters and of several labels at once are of no deployment."""
    others = {
        name
        for name in sk.get_scorer_names()
        if "cluster" in inspect.getmodule(sk.get_scorer(name)._score_func).__name__ or name.endswith("_samples")
    }
    assert set(sk.get_scorer_names()) - others - set(FOREIGN) - set(OWN) == set()


def test_the_calibration_error_is_the_distance_to_the_reliability_curve() -> None:
    labels, scores = BINARY
    edges = np.quantile(scores, np.linspace(0, 1, 11)[1:-1])
    rows = np.bincount(np.searchsorted(edges, scores))
    true, predicted = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    wanted = float((np.abs(true - predicted) * rows[rows > 0]).sum() / N)
    assert values_of(["calibration_error"], "binary", labels, scores)["calibration_error"] == pytest.approx(wanted)
    sure = np.tile([0.8, 0.1, 0.1], (10, 1))
    right = np.array([0.0] * 6 + [1.0] * 4)
    assert values_of(["calibration_error"], "classes", right, sure)["calibration_error"] == pytest.approx(0.2)
    even = np.full(4, 0.5)
    assert values_of(["calibration_error"], "binary", np.array([0, 1, 0, 1.0]), even) == {"calibration_error": 0.0}


def test_what_is_not_defined_on_the_rows_has_no_value() -> None:
    ones = np.ones(5)
    found = values_of(known_for("binary"), "binary", ones, np.full(5, 0.2))
    undefined = {"auc", "average_precision", "matthews_corrcoef", "precision", "roc_auc", "cohen_kappa_score"}
    assert undefined & set(found) == set()
    assert (found["accuracy"], found["recall"], found["log_loss"]) == (0.0, 0.0, pytest.approx(-np.log(0.2)))
    assert values_of(["r2", "mae"], "number", np.ones(1), np.zeros(1)) == {"mae": 1.0}
    assert values_of(["mae", "auc"], "number", np.empty(0), np.empty(0)) == {}
    assert values_of(["f1", "nonsense", "r2"], "binary", ones, ones) == {"f1": 1.0}
    assert auc_of(np.array([0.0, 1.0]), np.array([0.5, 0.5])) == 0.5


def test_a_class_that_no_row_has_is_left_out_of_the_mean() -> None:
    labels, scores = np.array([0.0, 1.0, 1.0]), np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]])
    assert values_of(["auc", "roc_auc_ovr"], "classes", labels, scores) == {"auc": pytest.approx(1.0)}


def test_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ROWS:
            values_of(known_for(kind), kind, np.zeros(3), ROWS[kind][1][:3])
    assert (quantile_of("pinball@.25"), quantile_of("pinball@x")) == (0.25, None)
