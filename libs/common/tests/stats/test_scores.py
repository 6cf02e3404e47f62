"""Bounded scores and their differences, by hand, and the limits of what any label can make of them, by trying all labels."""

import numpy as np
import pytest

from headrace.stats.scores import constant_score, differences

NAN = float("nan")


def test_a_probability_is_scored_by_its_squared_distance_from_the_label() -> None:
    found = differences("binary", [0.9, 0.9, 0.2], [0.6, 0.6, 0.2], [1.0, 0.0, 1.0])
    assert found.seen == pytest.approx([0.01 - 0.16, 0.81 - 0.36, 0.0])
    assert found.control == pytest.approx([0.16, 0.36, 0.64])


def test_several_classes_are_scored_by_half_the_sum_of_squared_distances() -> None:
    new, control = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]
    found = differences("classes", new, control, [0.0, 1.0])
    assert found.control == pytest.approx([(0.25 + 0.09 + 0.04) / 2, (0.04 + 0.64 + 0.36) / 2])
    own = [(0.09 + 0.04 + 0.01) / 2, (0.01 + 0.81 + 0.64) / 2]
    assert found.seen == pytest.approx(own - found.control)


def test_two_classes_score_as_a_probability_does() -> None:
    new, control, labels = np.array([0.1, 0.8, 0.4]), np.array([0.3, 0.5, 0.9]), [0.0, 1.0, NAN]
    one = differences("binary", new, control, labels)
    both = differences("classes", *(np.stack([1 - p, p], axis=1) for p in (new, control)), labels)
    for name in ("seen", "low", "high", "control"):
        assert getattr(both, name) == pytest.approx(getattr(one, name), nan_ok=True)


def test_a_number_is_scored_by_its_distance_and_counts_as_the_nearest_one_of_the_range() -> None:
    found = differences("number", [0.5, 1.7, -0.3, 0.5, 0.5], [0.2, 0.9, 0.1, 1.5, -0.5], [0.3, 0.8, 0.4, 0.7, 0.7])
    assert found.control == pytest.approx([0.1, 0.1, 0.3, 0.3, 0.7])
    assert found.seen == pytest.approx([0.2 - 0.1, 0.2 - 0.1, 0.4 - 0.3, 0.2 - 0.3, 0.2 - 0.7])
    assert found.high == pytest.approx([0.3, 0.1, 0.1, 0.5, 0.5])
    assert found.low == pytest.approx([-0.3, -0.1, -0.1, -0.5, -0.5])


def test_a_failure_has_the_worst_score_whatever_the_label_is() -> None:
    found = differences("binary", [NAN, 0.5, NAN], [0.2, NAN, NAN], [1.0, 0.0, 1.0])
    assert found.seen == pytest.approx([1 - 0.64, 0.25 - 1, 0.0])
    assert found.control == pytest.approx([0.64, 1.0, 1.0])
    classes = differences("classes", [[NAN, 0.5], [0.5, 0.5]], [[0.2, 0.8], [NAN, NAN]], [1.0, 1.0])
    assert classes.seen == pytest.approx([1 - 0.04, 0.25 - 1])
    assert classes.control == pytest.approx([0.04, 1.0])
    numbers = differences("number", [NAN, 0.5, NAN], [0.2, NAN, NAN], [0.9, 0.4, 0.4])
    assert numbers.seen == pytest.approx([1 - 0.7, 0.1 - 1, 0.0])
    assert numbers.control == pytest.approx([0.7, 1.0, 1.0])


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_without_a_label_nothing_is_seen_and_the_limits_are_known_all_the_same(kind: str) -> None:
    scores = ([[0.7, 0.3]], [[0.4, 0.6]]) if kind == "classes" else ([0.7], [0.4])
    found = differences(kind, *scores, [NAN])
    assert np.isnan([found.seen[0], found.control[0]]).all()
    # Brier: .49 - .16 and .09 - .36 by either label.
    limits = (-0.3, 0.3) if kind == "number" else (-0.27, 0.33)
    assert (found.low[0], found.high[0]) == pytest.approx(limits)


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
@pytest.mark.parametrize("failing", [0.0, 0.4])
def test_the_limits_are_the_least_and_the_greatest_that_any_label_makes_of_it(kind: str, failing: float) -> None:
    rng = np.random.default_rng(1)
    new, control = (rng.dirichlet([1.0, 1.0, 1.0], 40) if kind == "classes" else rng.random(40) for _ in range(2))
    for scores in (new, control):
        scores[rng.random(40) < failing] = np.nan
    # The extreme differences of two absolute errors lie at a score itself, or at an end of the range.
    ends = [np.zeros(40), np.ones(40), np.nan_to_num(new), np.nan_to_num(control)]
    labels = ends if kind == "number" else [np.full(40, place) for place in range(3 if kind == "classes" else 2)]
    tried = np.array([differences(kind, new, control, own).seen for own in labels])
    found = differences(kind, new, control, np.full(40, np.nan))
    assert found.low == pytest.approx(tried.min(axis=0))
    assert found.high == pytest.approx(tried.max(axis=0))


def test_no_requests_have_no_differences() -> None:
    for kind, shape in (("binary", (0,)), ("classes", (0, 3)), ("number", (0,))):
        found = differences(kind, np.empty(shape), np.empty(shape), [])
        assert [len(one) for one in (found.seen, found.low, found.high, found.control)] == [0, 0, 0, 0]


@pytest.mark.parametrize(("kind", "counts"), [("binary", [7, 3]), ("classes", [5, 3, 2])])
def test_the_best_constant_answers_the_shares_of_the_classes(kind: str, counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts).astype(float)
    shares = np.array(counts) / 10
    answers = np.tile(shares, (10, 1)) if kind == "classes" else np.full(10, shares[1])
    assert constant_score(kind, counts) == pytest.approx(differences(kind, answers, answers, labels).control.mean())


def test_the_best_constant_of_numbers_is_their_median() -> None:
    # Parts of a quarter, with their middles at .125, .375, .625 and .875; the median of ten is in the second one.
    assert constant_score("number", [2, 4, 3, 1]) == pytest.approx((2 * 0.25 + 3 * 0.25 + 1 * 0.5) / 10)
    assert constant_score("number", [0, 0, 0, 5]) == 0.0
    rng = np.random.default_rng(2)
    for _ in range(20):
        counts = rng.integers(0, 9, 16)
        middles = (np.arange(16) + 0.5) / 16
        least = min(float((counts * np.abs(middles - one)).sum()) for one in middles) / counts.sum()
        assert constant_score("number", counts) == pytest.approx(least)


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_without_labels_the_constant_answer_costs_nothing(kind: str) -> None:
    assert constant_score(kind, [0, 0]) == 0.0
