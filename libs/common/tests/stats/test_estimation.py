"""Estimates before labels: by hand, against simulated labels, and what their bounds cover."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, mean_absolute_error, roc_auc_score

from headrace.stats import estimation as e

KINDS = ("binary", "classes", "number")


def sigmoid(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def window(kind: str, rng: np.random.Generator, rows: int = 1000, twist: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are too sure of themselves, and labels: what an odds ratio is worth is less than the score says."""
    if kind == "binary":
        odds = rng.normal(-1, 1, rows)
        return sigmoid(twist * odds), (rng.random(rows) < sigmoid(odds)).astype(float)
    if kind == "classes":
        odds = rng.normal(0, 1, (rows, 3))
        chances, scores = (np.exp(k * odds) / np.exp(k * odds).sum(axis=1, keepdims=True) for k in (1.0, twist))
        return scores, (rng.random(rows)[:, None] > chances.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(float)
    mean = rng.random(rows) * 10
    return mean, mean + rng.normal(0, 0.5 + mean / 5)


def realised(kind: str, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if kind == "number":
        off = np.abs(scores - labels)
        return {"mae": float(mean_absolute_error(labels, scores)), "rmse": float((off**2).mean() ** 0.5)}
    if kind == "binary":
        return {
            "log_loss": log_loss(labels, scores), "brier": brier_score_loss(labels, scores),
            "accuracy": accuracy_score(labels, scores >= 0.5), "auc": roc_auc_score(labels, scores),
        }  # fmt: skip
    each = [roc_auc_score(labels == place, scores[:, place]) for place in range(3)]
    return {
        "log_loss": log_loss(labels, scores), "brier": brier_score_loss(labels, scores, labels=[0, 1, 2]),
        "accuracy": accuracy_score(labels, scores.argmax(axis=1)), "auc": float(np.mean(each)),
    }  # fmt: skip


def taught(kind: str, windows: int = 12, seed: int = 1) -> tuple[e.Experience, np.random.Generator]:
    found, rng = e.experience_of(kind, 3), np.random.default_rng(seed)
    for _ in range(windows):
        scores, labels = window(kind, rng)
        became = realised(kind, scores, labels)
        for name, expected in e.expected(found, scores).items():
            found = e.noted(found, name, expected, became[name])
        found = e.learnt(found, scores, labels)
    return found, rng


@pytest.mark.parametrize("kind", KINDS)
def test_an_expected_metric_is_the_mean_over_the_labels_that_may_come(kind: str) -> None:
    """The scores are too sure: taken at their word, the log-loss would be .08 lower."""
    found, rng = taught(kind)
    scores, _ = window(kind, rng, 3000)
    became = []
    for seed in range(40):
        if kind == "number":
            labels = scores + np.random.default_rng(seed).normal(0, 0.5 + scores / 5)
        else:
            odds = np.log(scores) if kind == "classes" else np.log(scores / (1 - scores))
            draw = np.random.default_rng(seed).random(len(scores))
            if kind == "binary":
                labels = (draw < sigmoid(odds / 1.5)).astype(float)
            else:
                chances = np.exp(odds / 1.5) / np.exp(odds / 1.5).sum(axis=1, keepdims=True)
                labels = (draw[:, None] > chances.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(float)
        became.append(realised(kind, scores, labels))
    for name, expected in e.expected(found, scores).items():
        values = np.array([one[name] for one in became])
        assert expected.value == pytest.approx(values.mean(), abs=0.015 if kind != "number" else 0.06), name
        # NB: the three areas of several classes do not go together as closely as their mean error supposes.
        assert expected.error == pytest.approx(values.std(), rel=0.35 if (kind, name) != ("classes", "auc") else 0.9), (
            name
        )


def test_calibration_is_isotonic_in_the_bins() -> None:
    found, rng = taught("binary", 30)
    scores = np.linspace(0.05, 0.95, 19)
    assert e.calibrated(found, scores) == pytest.approx(sigmoid(np.log(scores / (1 - scores)) / 1.5), abs=0.03)
    values, weights = rng.random(40), rng.random(40) + 0.1
    wanted = IsotonicRegression().fit_transform(np.arange(40), values, sample_weight=weights)
    assert e.isotonic(values, weights) == pytest.approx(wanted)
    several, _ = taught("classes")
    found = e.calibrated(several, np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]))
    assert found.sum(axis=1) == pytest.approx([1.0, 1.0])


def test_the_expected_auc_is_that_of_weighted_rows() -> None:
    rng = np.random.default_rng(0)
    scores, chances = rng.random(50).round(1), rng.random(50)
    wanted = roc_auc_score(
        np.repeat([1, 0], 50), np.tile(scores, 2), sample_weight=np.concatenate([chances, 1 - chances])
    )
    assert e.expected_auc(scores, chances).value == pytest.approx(wanted)
    assert e.expected_auc(np.full(9, 0.3), np.full(9, 0.2)).value == pytest.approx(0.5)
    assert e.expected_auc(scores, np.zeros(50)) == e.Expected(0.5, 0.5)


def test_bounds_cover_the_chance_of_labels_and_the_errors_of_the_past() -> None:
    """Every window has a shift of its own, which no score shows: only the errors of the past know of it."""
    found, rng = e.experience_of("binary"), np.random.default_rng(3)
    inside, widths = [], []
    for day in range(250):
        odds = rng.normal(-1, 1, 500)
        labels = (rng.random(500) < sigmoid(odds + rng.normal(0, 0.5))).astype(float)
        scores = sigmoid(odds)
        expected = e.expected(found, scores).get("log_loss")
        if expected is not None:
            value, bounds = log_loss(labels, scores), e.bounded(found, "log_loss", expected)
            if bounds is not None and day > 30:
                inside.append(bounds.low <= value <= bounds.high)
                widths.append((bounds.high - bounds.low) / expected.error)
            found = e.noted(found, "log_loss", expected, value)
        found = e.learnt(found, scores, labels)
    # 220 windows at 90 %: the standard error of the share is .02.
    assert (np.mean(inside), len(found.errors["log_loss"])) == (pytest.approx(0.9, abs=0.05), e.MOST_ERRORS)
    assert np.mean(widths) > 2 * 2 * 1.645


@pytest.mark.parametrize("kind", KINDS)
def test_without_experience_there_is_no_estimate_and_a_reason(kind: str) -> None:
    empty, (scores, labels) = e.experience_of(kind, 3), window(kind, np.random.default_rng(0), 100)
    assert (e.expected(empty, scores), e.learnt(empty, scores[:0], labels[:0])) == ({}, empty)
    assert e.why_not(empty, 100) == (
        "has 0 labelled rows in 0 closed windows: 500 in 5 are needed to calibrate its scores"
    )
    some, _ = taught(kind, 6)
    assert e.why_not(some, 100) == "has 1 windows with an estimate beside its labels: 5 are needed for bounds"
    assert e.bounded(some, "log_loss", e.Expected(0.5, 0.1)) is None
    full, _ = taught(kind)
    assert (e.why_not(full, 100), e.why_not(full, 3)) == ("", "has 3 requests: 10 are needed")
    assert e.expected(full, scores[:3]) == {}


def test_one_class_alone_gives_no_ranking_and_no_infinite_loss() -> None:
    found = e.experience_of("binary")
    for _ in range(6):
        found = e.learnt(found, np.full(200, 0.01), np.zeros(200))
    expected = e.expected(found, np.array([0.0, 1.0, 0.01] * 10))
    assert set(expected) == {"log_loss", "brier", "accuracy"}
    assert math.isfinite(expected["log_loss"].value)
    equal = e.expected(found, np.full(20, 0.01))
    assert equal["log_loss"].value == pytest.approx(-math.log(0.99), abs=1e-3)


def test_older_windows_fade() -> None:
    found = e.experience_of("number")
    for off in (1.0, 3.0):
        for _ in range(100):
            found = e.learnt(found, np.arange(50.0), np.arange(50.0) + off)
    assert e.expected(found, np.arange(50.0))["mae"].value == pytest.approx(3.0, abs=0.1)
    assert found.rows == pytest.approx(50 / (1 - e.FADES), rel=0.01)
