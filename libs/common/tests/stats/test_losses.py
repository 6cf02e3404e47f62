"""Losses of each kind of label, computed by hand, and the losses of their priors."""

import math

import numpy as np
import pytest

from headrace.stats.figures import FIGURES, loss_of, windows_to_alarm, windows_to_first
from headrace.stats.losses import Yardstick, losses, prior_losses, prior_of, scale_of, yardstick_of


def test_a_probability_costs_the_logarithm_of_what_the_truth_was_given() -> None:
    found = losses("binary", np.array([0.8, 0.8, 0.5]), np.array([1.0, 0.0, 1.0]))
    assert found == pytest.approx([-math.log(0.8), -math.log(0.2), math.log(2)])


@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_a_certain_and_wrong_score_has_a_large_and_finite_loss(kind: str) -> None:
    scores = np.array([0.0, 1.0]) if kind == "binary" else np.array([[1.0, 0.0], [0.0, 1.0]])
    wrong, right = losses(kind, scores, np.array([1.0, 0.0])), losses(kind, scores, np.array([0.0, 1.0]))
    assert wrong == pytest.approx([-math.log(1e-15)] * 2, rel=0.01)
    assert right == pytest.approx([1e-15] * 2, rel=0.2)
    assert (right > 0).all()


def test_for_classes_the_probability_of_the_true_one_counts() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    assert losses("classes", scores, np.array([2.0, 1.0])) == pytest.approx([-math.log(0.1), -math.log(0.6)])


def test_a_number_costs_its_squared_error_in_scales() -> None:
    assert losses("number", np.array([3.0, 10.0]), np.array([7.0, 10.0]), 2.0).tolist() == [4.0, 0.0]
    assert losses("number", np.array([3.0]), np.array([7.0])).tolist() == [16.0]


def test_numbers_are_scaled_by_their_spread_and_nothing_else_is() -> None:
    assert scale_of("number", np.array([1.0, 3.0, 5.0, 7.0])) == pytest.approx(math.sqrt(5))
    assert scale_of("number", np.array([4.0, 4.0])) == 1.0
    assert scale_of("number", np.array([])) == 1.0
    assert scale_of("classes", np.array([0.0, 5.0])) == 1.0


def test_the_prior_is_the_mean_or_the_share_of_each_class_those_unseen_included() -> None:
    assert prior_of("binary", np.array([0.0, 0.0, 0.0, 1.0])).tolist() == 0.25
    assert prior_of("number", np.array([1.0, 4.0])).tolist() == 2.5
    assert prior_of("classes", np.array([0.0, 1.0, 1.0, 1.0]), 4).tolist() == [0.25, 0.75, 0.0, 0.0]
    assert prior_of("classes", np.array([0.0, 1.0])).tolist() == [0.5, 0.5]


def test_a_prior_costs_as_a_score_of_every_row() -> None:
    labels = np.array([0.0, 2.0, 2.0])
    probabilities = np.array([0.5, 0.25, 0.25])
    assert prior_losses("classes", probabilities, labels) == pytest.approx([math.log(2), math.log(4), math.log(4)])
    assert prior_losses("number", np.asarray(1.0), labels, 0.5).tolist() == [4.0, 4.0, 4.0]
    assert prior_losses("number", np.asarray(1.0), labels).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("binary", "log-loss"), ("classes", "log-loss"), ("number", "squared error in label variances")],
)
def test_a_yardstick_measures_as_its_parts_do(kind: str, name: str) -> None:
    labels = np.array([0.0, 1.0, 2.0, 2.0]) if kind != "binary" else np.array([0.0, 1.0, 1.0, 1.0])
    found = yardstick_of(kind, labels, 3)
    scores = np.array([[0.2, 0.3, 0.5]] * 4) if kind == "classes" else np.array([0.2, 0.3, 0.4, 0.5])
    assert (found.name, found.kind, found.scale) == (name, kind, scale_of(kind, labels))
    assert found.prior.tolist() == prior_of(kind, labels, 3).tolist()
    assert found.losses(scores, labels).tolist() == losses(kind, scores, labels, found.scale).tolist()
    assert found.prior_losses(labels).tolist() == prior_losses(kind, found.prior, labels, found.scale).tolist()


def test_a_yardstick_of_classes_has_two_by_default() -> None:
    assert yardstick_of("classes", np.array([0.0, 0.0])).prior.tolist() == [1.0, 0.0]
    assert yardstick_of("classes", np.array([0.0, 0.0]), 3).prior.tolist() == [1.0, 0.0, 0.0]
    assert Yardstick("number", np.asarray(0.0)).scale == 1.0


# figures


def test_each_kind_has_one_default_figure() -> None:
    assert {kind: loss_of(kind) for kind in FIGURES} == {
        "binary": "log_loss",
        "classes": "log_loss",
        "number": "squared_error",
    }


@pytest.mark.parametrize(
    ("first_after_s", "windows"), [(0.0, 1), (59.0, 1), (60.0, 1), (61.0, 2), (120.0, 2), (120.1, 3)]
)
def test_a_first_version_waits_for_whole_windows(first_after_s: float, windows: int) -> None:
    assert windows_to_first(first_after_s, 60.0) == windows


def page_hinkley(rise: float, delta: float, threshold: float, least: int) -> int | None:
    """River's detector on thirty steady windows, and then on higher ones."""
    drift = pytest.importorskip("river.drift")
    detector = drift.PageHinkley(min_instances=max(least, 31), delta=delta, threshold=threshold, mode="up")
    for window in range(1, 1031):
        detector.update(rise if window > 30 else 0.0)
        if detector.drift_detected:
            return window - 30
    return None


@pytest.mark.parametrize("rise", [0.021, 0.05, 0.1, 0.3, 2.0])
@pytest.mark.parametrize("least", [7, 40])
def test_the_forecast_of_an_alarm_is_what_river_does(rise: float, least: int) -> None:
    assert windows_to_alarm(rise, 0.02, 0.8, least) == page_hinkley(rise, 0.02, 0.8, least)


def test_an_alarm_beyond_the_limit_is_none() -> None:
    needed = windows_to_alarm(0.1, 0.02, 0.8, 7)
    assert needed == 13
    assert windows_to_alarm(0.1, 0.02, 0.8, 7, most=13) == 13
    assert windows_to_alarm(0.1, 0.02, 0.8, 7, most=12) is None
    assert windows_to_alarm(9.0, 0.02, 0.8, 40) == 10
