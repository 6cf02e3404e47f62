"""The figures of the charts: by hand, and against scikit-learn and scipy."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from headrace.stats.charts import CHARTS, SIDES, auc_of, chart_of, figures_of

rng = np.random.default_rng(3)
SCORES = expit(rng.normal(-1.0, 1.2, 2_000))
LABELS = (rng.random(2_000) < SCORES).astype(float)


def test_the_base_rate_is_the_share_of_positives():
    found = figures_of("binary", [0.5] * 10, [1.0, 1.0, 1.0] + [0.0] * 7)
    assert found["base_rate"].value == pytest.approx(0.3)
    assert found["base_rate"].error == pytest.approx(math.sqrt(3.5 / 11 * 7.5 / 11 / 10))


def test_one_class_alone_tells_the_base_rate_and_nothing_else():
    assert list(figures_of("binary", SCORES[:50], np.zeros(50))) == ["base_rate"]
    assert figures_of("binary", SCORES[:50], np.zeros(50))["base_rate"].error > 0


def test_constant_scores_rank_nothing_and_have_no_slope():
    assert list(figures_of("binary", np.full(2_000, 0.3), LABELS)) == ["base_rate", "calibration"]


def test_no_rows_have_no_figures():
    assert figures_of("binary", [], []) == {}
    assert figures_of("binary", [math.nan], [1.0]) == {}


def test_auc_is_that_of_scikit_learn_with_ties():
    coarse = SCORES.round(1)
    assert auc_of(coarse, LABELS == 1).value == pytest.approx(roc_auc_score(LABELS, coarse))


def test_delongs_error_is_that_of_its_definition():
    """By all pairs of a small sample: the variances of the shares of pairs per positive and per negative."""
    scores, labels = SCORES[:60], LABELS[:60]
    ours, theirs = scores[labels == 1], scores[labels == 0]
    pairs = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    expected = math.sqrt(pairs.mean(1).var(ddof=1) / len(ours) + pairs.mean(0).var(ddof=1) / len(theirs))
    assert auc_of(scores, labels == 1).error == pytest.approx(expected)


def test_delongs_error_is_how_much_auc_varies():
    draws = []
    for _ in range(300):
        scores = expit(rng.normal(-1.0, 1.2, 400))
        draws.append(auc_of(scores, rng.random(400) < scores))
    spread = np.std([found.value for found in draws])
    assert np.mean([found.error for found in draws]) == pytest.approx(spread, rel=0.1)


def test_the_intercept_is_the_shift_that_was_made():
    shifted = expit(logit(SCORES) + 0.7)
    found = figures_of("binary", shifted, LABELS)["calibration"]
    assert found.value == pytest.approx(-0.7, abs=3 * found.error)
    assert LABELS.mean() == pytest.approx(expit(logit(shifted) + found.value).mean())


def test_the_slope_is_that_of_a_logistic_regression():
    found = figures_of("binary", SCORES, LABELS)["slope"]
    regression = LogisticRegression(C=1e9, tol=1e-10).fit(logit(SCORES)[:, None], LABELS)
    assert found.value == pytest.approx(regression.coef_[0, 0], rel=1e-4)
    assert 0 < found.error < 0.1


def test_the_level_is_the_excess_loss_behind_the_refitted_intercept():
    shift = figures_of("binary", SCORES, LABELS)["calibration"].value
    refitted = expit(logit(SCORES) + shift)
    entropy = -(refitted * np.log(refitted) + (1 - refitted) * np.log(1 - refitted)).mean()
    found = figures_of("binary", SCORES, LABELS)["level"]
    assert found.value == pytest.approx(log_loss(LABELS, refitted) - entropy, abs=1e-9)


def test_a_shift_of_all_logits_moves_the_calibration_and_nothing_else():
    """A hard week is no change of ranking, slope or level."""
    before, after = (figures_of("binary", expit(logit(SCORES) + shift), LABELS) for shift in (0.0, 1.0))
    assert after["calibration"].value == pytest.approx(before["calibration"].value - 1.0)
    for chart in ("ranking", "slope", "level"):
        assert after[chart].value == pytest.approx(before[chart].value, abs=1e-6)


def test_flipped_labels_move_ranking_slope_and_level():
    found = figures_of("binary", SCORES, 1 - LABELS)
    assert found["ranking"].value == pytest.approx(1 - roc_auc_score(LABELS, SCORES))
    assert found["slope"].value < 0 < found["level"].value


def test_squared_probabilities_move_calibration_and_slope():
    found = figures_of("binary", SCORES**2, LABELS)
    assert found["slope"].value < 0.8
    assert found["calibration"].value > 5 * found["calibration"].error


def test_separable_rows_have_no_slope():
    found = figures_of("binary", np.repeat([0.1, 0.9], 50), np.repeat([0.0, 1.0], 50))
    assert "slope" not in found
    assert found["ranking"].value == 1.0
    assert found["ranking"].error == pytest.approx(1 / 2_500)


CLASS_SCORES = rng.dirichlet([2.0, 1.0, 0.5], 1_500)
CLASS_LABELS = (rng.random(1_500)[:, None] > CLASS_SCORES.cumsum(axis=1)).sum(axis=1).astype(float)


def test_classes_have_a_base_rate_each():
    found = figures_of("classes", CLASS_SCORES, CLASS_LABELS)
    shares = [found[f"base_rate.{index}"].value for index in range(3)]
    assert shares == pytest.approx((np.bincount(CLASS_LABELS.astype(int)) / len(CLASS_LABELS)).tolist())


def test_classes_are_ranked_one_against_the_rest_as_in_scikit_learn():
    found = figures_of("classes", CLASS_SCORES, CLASS_LABELS)["ranking"]
    expected = roc_auc_score(CLASS_LABELS, CLASS_SCORES, multi_class="ovr", average="weighted")
    assert found.value == pytest.approx(expected)
    assert 0.003 < found.error < 0.02


def test_the_slope_of_classes_is_the_factor_of_greatest_likelihood():
    logs = np.log(np.clip(CLASS_SCORES, 1e-6, 1.0))
    places = CLASS_LABELS.astype(int)

    def loss(factor):
        return -log_softmax(factor[0] * logs, axis=1)[np.arange(len(places)), places].sum()

    best = minimize(loss, [1.0], tol=1e-10).x[0]
    assert figures_of("classes", CLASS_SCORES, CLASS_LABELS)["slope"].value == pytest.approx(best, rel=1e-4)


def test_classes_that_are_calibrated_have_no_excess():
    found = figures_of("classes", CLASS_SCORES, CLASS_LABELS)
    assert abs(found["level"].value) < 3 * found["level"].error
    assert abs(found["calibration"].value) < 3 * found["calibration"].error
    permuted = figures_of("classes", CLASS_SCORES, rng.permutation(CLASS_LABELS))
    assert permuted["level"].value > 5 * permuted["level"].error


def test_numbers_have_mean_rank_and_scale_of_the_residual():
    scores = rng.normal(0.0, 2.0, 3_000)
    labels = scores + rng.normal(0.5, 1.0, 3_000)
    found = figures_of("number", scores, labels, span=10.0)
    assert found["base_rate"].value == pytest.approx(labels.mean() / 10)
    assert found["calibration"].value == pytest.approx((labels - scores).mean() / 10)
    assert found["ranking"].value == pytest.approx(spearmanr(scores, labels).statistic)
    assert found["slope"].value == pytest.approx(np.polyfit(scores, labels, 1)[0])
    left = labels - scores
    assert found["level"].value == pytest.approx(math.log(np.abs(left - np.median(left)).mean() / 10))


def test_few_numbers_tell_their_mean_alone():
    assert list(figures_of("number", [1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])) == ["base_rate"]


def test_every_chart_has_its_harmful_sides():
    assert set(SIDES) == set(CHARTS)
    assert {chart_of(key) for key in figures_of("classes", CLASS_SCORES, CLASS_LABELS)} == set(CHARTS)


@pytest.mark.parametrize("odd", [1e200, -1e308, 5e-324])
def test_numbers_beyond_what_a_float_holds_leave_figures_out_and_the_others_whole(odd: float) -> None:
    """A label of 1e200 has no square, and scores that differ by 5e-324 no slope."""
    rng = np.random.default_rng(2)
    labels = rng.normal(size=50)
    labels[7] = odd
    far = figures_of("number", labels / 2, labels)
    near = figures_of("number", np.where(np.arange(50) == 7, odd, 0.0), rng.normal(size=50))
    for found in (far, near):
        assert np.isfinite([(figure.value, figure.error) for figure in found.values()]).all()
    assert "base_rate" in near
    assert "slope" not in near
