"""Windows out of time: which rows fit, which are scored, and what the windows show."""

from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace
from services.trainer.tests.test_training_set import DEPLOYMENT
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headrace_trainer.core.out_of_time import FOLDS, folds_of, windows_of
from headrace_trainer.core.splits import Span
from headrace_trainer.core.target import Target

DAY = 86_400.0
RNG = np.random.default_rng(4)
AT_S = np.sort(RNG.uniform(0.0, 90 * DAY, 9_000))
MATRIX = RNG.normal(size=(9_000, 2)).astype(np.float32)
LABELS = (RNG.random(9_000) < 1 / (1 + np.exp(-MATRIX[:, 0]))).astype(np.float64)
SPAN = Span(0.0, 82 * DAY, 83 * DAY, 90 * DAY)
DAILY = replace(DEPLOYMENT, evaluation_window_s=DAY)


def windows(labels: np.ndarray = LABELS, build=LogisticRegression, span: Span = SPAN):
    """The windows of the rows above."""
    return windows_of(DAILY, Target("binary"), span, build, MATRIX, labels, AT_S)


def test_every_row_is_scored_by_a_model_of_older_rows_less_the_embargo() -> None:
    for fits, stretch in folds_of(SPAN, AT_S, DAY):
        assert AT_S[fits].max() <= AT_S[stretch].min() - DAY


def test_all_fits_together_take_no_more_rows_than_one_fit() -> None:
    assert sum(len(fits) for fits, _ in folds_of(SPAN, AT_S, DAY)) <= len(AT_S)


def test_the_stretches_cover_the_last_two_thirds_of_the_time_once() -> None:
    scored = np.concatenate([stretch for _, stretch in folds_of(SPAN, AT_S, DAY)])
    assert scored.tolist() == np.flatnonzero(30 * DAY + AT_S[0] * 2 / 3 <= AT_S).tolist()


def test_each_day_has_its_figures() -> None:
    found = windows()
    assert [window.from_s for window in found] == [n * DAY for n in range(30, 90)]
    assert set(found[5].charts) == {"base_rate", "ranking", "calibration", "slope", "level"}
    rows = (AT_S >= 35 * DAY) & (AT_S < 36 * DAY)
    assert found[5].rows == rows.sum()
    assert found[5].charts["base_rate"].value == pytest.approx(LABELS[rows].mean())


def test_the_figures_are_those_of_the_models_of_the_stretches() -> None:
    fits, stretch = next(folds_of(SPAN, AT_S, DAY))
    model = LogisticRegression().fit(MATRIX[fits], LABELS[fits])
    day = stretch[AT_S[stretch] < 32 * DAY][AT_S[stretch[AT_S[stretch] < 32 * DAY]] >= 31 * DAY]
    expected = roc_auc_score(LABELS[day], model.predict_proba(MATRIX[day])[:, 1])
    assert windows()[1].charts["ranking"].value == pytest.approx(expected)


def test_a_short_history_has_no_windows() -> None:
    assert windows(span=Span(0.0, 0.5, 1.0, 2.0)) == ()
    assert windows(labels=np.zeros(9_000)) == ()


def test_a_model_that_cannot_be_fitted_on_few_rows_has_no_windows() -> None:
    def build() -> LogisticRegression:
        raise ValueError("too few rows")

    assert windows(build=build) == ()


def test_one_model_is_fitted_per_stretch() -> None:
    made = []

    def build() -> SimpleNamespace:
        made.append(LogisticRegression())
        return made[-1]

    windows(build=build)
    assert len(made) == FOLDS
