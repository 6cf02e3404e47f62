"""Versions made of a champion's scores: each is worse by what was asked for, and in no other way."""

import numpy as np
import pytest

from headrace.stats.scores import differences
from headrace.stats.variants import flipped, jittered, noisy, shuffled, skill_lost, squared, with_less_skill, with_noise

COUNT = 4_000


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def champion(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels."""
    dice = np.random.default_rng(2)
    if kind == "number":
        labels = dice.random(COUNT)
        return np.clip(labels + 0.1 * dice.normal(size=COUNT), 0, 1), labels
    if kind == "binary":
        scores = dice.beta(1, 3, COUNT)
        return scores, (dice.random(COUNT) < scores).astype(float)
    scores = dice.dirichlet([1.0, 0.5, 0.5], COUNT)
    return scores, (dice.random(COUNT)[:, None] > scores.cumsum(axis=1)).sum(axis=1).astype(float)


KINDS = pytest.mark.parametrize("kind", ["binary", "classes", "number"])


@KINDS
def test_noise_makes_the_score_worse_by_the_target(kind: str) -> None:
    scores, labels = champion(kind)
    worse = with_noise(kind, scores, labels, 0.02, rng())
    assert differences(kind, worse, scores, labels).seen.mean() == pytest.approx(0.02, abs=1e-4)
    assert worse.shape == scores.shape
    if kind == "classes":
        assert worse.sum(axis=1) == pytest.approx(np.ones(COUNT))


@KINDS
def test_noise_takes_the_stated_part_of_the_skill(kind: str) -> None:
    scores, labels = champion(kind)
    worse = with_less_skill(kind, scores, labels, 0.2, rng())
    assert skill_lost(kind, worse, scores, labels) == pytest.approx(0.2, abs=0.005)


def test_what_no_noise_can_do_is_refused() -> None:
    scores, labels = champion("binary")
    with pytest.raises(ValueError, match="hardly better than noise"):
        with_noise("binary", scores, labels, 0.9, rng())
    with pytest.raises(ValueError, match="hardly better than noise"):
        with_less_skill("binary", np.full(COUNT, 0.5), labels, 0.2, rng())


@KINDS
def test_jitter_changes_every_score_a_little(kind: str) -> None:
    scores, _ = champion(kind)
    apart = np.abs(jittered(kind, scores, rng()) - scores)
    assert 0 < apart.max() < 0.05


@KINDS
def test_shuffled_scores_lose_all_skill_and_flipped_ones_twice_as_much(kind: str) -> None:
    scores, labels = champion(kind)
    assert skill_lost(kind, shuffled(scores, rng()), scores, labels) == pytest.approx(1.0, abs=0.1)
    assert skill_lost(kind, flipped(kind, scores), scores, labels) == pytest.approx(2.0, abs=1e-9)


def test_the_skill_lost_of_a_binary_version_is_that_of_the_area_under_the_curve() -> None:
    scores, labels = champion("binary")
    worse = with_noise("binary", scores, labels, 0.05, rng())
    own, theirs = ((one[labels == 1][:, None] > one[labels == 0]).mean() for one in (worse, scores))
    assert skill_lost("binary", worse, scores, labels) == pytest.approx((theirs - own) / (theirs - 0.5), abs=0.02)


def test_shuffling_moves_whole_rows() -> None:
    scores, _ = champion("classes")
    assert sorted(map(tuple, shuffled(scores, rng()))) == sorted(map(tuple, scores))


def test_squares_keep_the_order_and_lower_the_level() -> None:
    assert squared("binary", [0.5, 0.2]).tolist() == pytest.approx([0.25, 0.04])
    assert squared("classes", [[0.5, 0.25, 0.25]])[0].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    with pytest.raises(ValueError, match="leave this variant out"):
        squared("number", [0.5])


def test_flipped_classes_are_probabilities_again() -> None:
    assert flipped("classes", [[0.5, 0.3, 0.2]])[0].tolist() == pytest.approx([0.25, 0.35, 0.4])
    assert flipped("binary", [0.2]).tolist() == pytest.approx([0.8])


def test_failures_stay_failures() -> None:
    assert np.isnan(noisy("binary", [np.nan], [1.0])).all()
    assert np.isnan(noisy("number", [np.nan], [1.0])).all()
    assert np.isnan(noisy("classes", [[np.nan, np.nan]], [[0.5, 0.1]])).all()
    assert np.isnan(squared("binary", [np.nan])).all()
