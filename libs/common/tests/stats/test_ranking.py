"""How a request is ranked among those before it, pair by pair, and the bets on what a version loses."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.stats.ranking import BETS, NOTHING, Ranked, Rows, ranked, sampled, stakes

Floats = NDArray[np.float64]
NAN = float("nan")


def rows(kind: str, block: int, new, control, labels, classes: int = 2) -> Rows:
    truth = np.array(labels, dtype=float)
    counts = [float(len(truth))] if kind == "number" else np.bincount(truth.astype(int), minlength=classes)
    return Rows(block, np.array(new, dtype=float), np.array(control, dtype=float), truth, np.array(counts, dtype=float))


def drawn(kind: str, count: int, seed: int = 1, failing: float = 0.0) -> Rows:
    """Requests with ties among scores and labels, some of whose scores are failures."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3 if kind == "classes" else 2, count).astype(float)
    if kind == "number":
        labels = rng.integers(0, 6, count) / 5
    shape = (count, 3) if kind == "classes" else count
    scores = [rng.integers(0, 5, shape) / 4 for _ in range(2)]
    for one in scores:
        one[rng.random(count) < failing] = NAN
    return rows(kind, 0, *scores, labels, 3 if kind == "classes" else 2)


def against(kind: str, mine: Rows, *before: Rows) -> Ranked:
    """What a block is against a reference of these, as it is kept."""
    return ranked(kind, mine, [sampled(kind, one) for one in before])


def share(kind: str, own, label: float, scores: Floats, labels: Floats) -> float:
    """The share of the pairs with other labels that are in the right order, pair by pair; equal scores count by half."""
    if np.isnan(own).any():
        return 0.0
    right = pairs = 0.0
    for other, its in zip(scores, labels, strict=True):
        if its == label or np.isnan(other).any():
            continue
        if kind == "classes":
            ahead = own[int(label)] - other[int(label)]
        else:
            ahead = own - other if label > its else other - own
        right += 1.0 if ahead > 0 else 0.5 if ahead == 0 else 0.0
        pairs += 1
    return right / pairs if pairs else 0.5


def by_pairs(kind: str, mine: Rows, before: Rows) -> list[tuple[float, float, float]]:
    found = []
    for place, label in enumerate(mine.labels):
        apart = (before.labels != label).mean()
        if apart:
            new = share(kind, mine.new[place], label, before.new, before.labels)
            control = share(kind, mine.control[place], label, before.control, before.labels)
            found.append((1.0 if kind == "number" else apart, control - new, control - 0.5))
    return found


def columns(found: Ranked) -> list[tuple[float, float, float]]:
    return list(zip(found.weight.tolist(), found.loss.tolist(), found.skill.tolist(), strict=True))


# pairs


def test_a_request_is_compared_with_those_of_the_other_class() -> None:
    before = rows("binary", 0, [0.1, 0.4, 0.6, 0.9], [0.1, 0.2, 0.3, 0.9], [0, 0, 0, 1])
    mine = rows("binary", 1, [0.5, 0.5], [0.25, 0.95], [1, 0])
    # Of the negatives .1 and .4 lie below the new .5, and .1 and .2 below the control's .25. A positive has 3 of 4 as others.
    assert columns(against("binary", mine, before)) == [
        pytest.approx((0.75, 2 / 3 - 2 / 3, 2 / 3 - 0.5)),
        pytest.approx((0.25, 0.0 - 1.0, 0.0 - 0.5)),
    ]


def test_equal_scores_count_by_half() -> None:
    before = rows("binary", 0, [0.5, 0.5, 0.2], [0.1, 0.5, 0.9], [0, 0, 0])
    found = against("binary", rows("binary", 1, [0.5], [0.5], [1]), before)
    assert columns(found) == [pytest.approx((1.0, 0.5 - 2 / 3, 0.0))]


def test_a_failure_ranks_nothing_right_and_is_nothing_to_compare_with() -> None:
    before = rows("binary", 0, [NAN, 0.2], [0.1, 0.2], [0, 0])
    failed = against("binary", rows("binary", 1, [NAN], [0.15], [1]), before)
    assert columns(failed) == [pytest.approx((1.0, 0.5, 0.0))]
    fine = against("binary", rows("binary", 1, [0.3], [0.15], [1]), before)
    assert columns(fine) == [pytest.approx((1.0, 0.5 - 1.0, 0.0))]
    none = against("binary", rows("binary", 1, [0.3, NAN], [0.3, 0.3], [1, 1]), rows("binary", 0, [NAN], [0.5], [0]))
    assert columns(none) == [pytest.approx((1.0, 0.0 - 0.5, -0.5)), pytest.approx((1.0, 0.0, -0.5))]


def test_numbers_that_failed_are_treated_in_the_same_way() -> None:
    before = rows("number", 0, [NAN, 0.2], [0.1, 0.2], [0.0, 0.0])
    found = against("number", rows("number", 1, [NAN, 0.3, 0.1], [0.3, 0.15, NAN], [1.0, 1.0, 1.0]), before)
    assert columns(found) == [(1.0, 1.0, 0.5), (1.0, 0.5 - 1.0, 0.0), (1.0, 0.0, -0.5)]
    none = against("number", rows("number", 1, [0.3], [0.3], [1.0]), rows("number", 0, [NAN], [0.5], [0.0]))
    assert columns(none) == [(1.0, -0.5, -0.5)]


@pytest.mark.parametrize("failing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_every_kind_agrees_with_all_pairs_one_by_one(kind: str, failing: float) -> None:
    mine, before = drawn(kind, 40, 1, failing), drawn(kind, 90, 2, failing)
    found = against(kind, mine, before)
    assert len(found.weight) == 40
    for own, expected in zip(columns(found), by_pairs(kind, mine, sampled(kind, before)), strict=True):
        assert own == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_a_reference_of_several_blocks_is_one_of_all_their_requests(kind: str) -> None:
    mine, parts = drawn(kind, 20), [drawn(kind, 20, 2), drawn(kind, 10, 3)]
    names = ("new", "control", "labels")
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    whole = rows(kind, 0, *joined, 3 if kind == "classes" else 2)
    for several, one in zip(columns(against(kind, mine, *parts)), columns(against(kind, mine, whole)), strict=True):
        assert several == pytest.approx(one)


def test_a_request_without_any_of_another_label_is_left_out() -> None:
    before = rows("binary", 0, [0.1, 0.2], [0.1, 0.2], [0, 0])
    assert len(against("binary", rows("binary", 1, [0.5, 0.6], [0.5, 0.6], [0, 1]), before).weight) == 1
    equal = rows("number", 0, [0.1, 0.2], [0.1, 0.2], [0.5, 0.5])
    assert len(against("number", rows("number", 1, [0.5, 0.6], [0.5, 0.6], [0.5, 0.7]), equal).weight) == 1


def test_nothing_is_compared_without_requests_or_without_a_reference() -> None:
    some = drawn("binary", 5)
    assert ranked("binary", some, []) is NOTHING
    assert ranked("binary", rows("binary", 0, [], [], []), [some]) is NOTHING


# samples


def test_of_a_large_block_so_many_evenly_spaced_rows_of_each_class_are_kept() -> None:
    labels = np.array([0.0] * 280 + [0.0, 1.0] * 10)
    scores = np.arange(300) / 300
    found = sampled("binary", rows("binary", 7, scores, 1 - scores, labels))
    assert (found.block, found.counts.tolist()) == (7, [290.0, 10.0])
    assert np.bincount(found.labels.astype(int)).tolist() == [64, 10]
    kept = found.new * 300
    assert (kept[0], kept[-2], kept[-1]) == pytest.approx((0, 298, 299))
    assert (np.diff(kept) > 0).all()
    places = np.searchsorted(np.flatnonzero(labels == 0), kept[found.labels == 0] - 0.5)
    assert set(np.diff(places).tolist()) == {4, 5}
    assert found.control == pytest.approx(1 - found.new)


def test_of_numbers_fewer_rows_are_kept_and_small_blocks_are_kept_whole() -> None:
    numbers = np.arange(64) / 64
    found = sampled("number", rows("number", 3, numbers, numbers, numbers))
    assert len(found.labels) == 32
    assert (found.new[0], found.new[-1], found.counts.tolist()) == (0.0, 63 / 64, [64.0])
    whole = rows("number", 3, numbers[:32], numbers[:32], numbers[:32])
    assert sampled("number", whole).new.tolist() == whole.new.tolist()
    for kind in ("binary", "classes"):
        assert sampled(kind, drawn(kind, 60)).new.tolist() == drawn(kind, 60).new.tolist()
    assert len(sampled("binary", rows("binary", 0, [], [], [])).labels) == 0


@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_kept_rows_stand_for_all_rows_of_their_class_and_block(kind: str) -> None:
    classes = 3 if kind == "classes" else 2
    few = drawn(kind, 40, 2)
    tripled = rows(
        kind, 0, *(np.repeat(getattr(few, name), 3, axis=0) for name in ("new", "control", "labels")), classes
    )
    other, mine = drawn(kind, 30, 3), drawn(kind, 20, 4)
    third = Rows(0, few.new, few.control, few.labels, tripled.counts)
    sampled_one, whole = against(kind, mine, third, other), against(kind, mine, tripled, other)
    for own, expected in zip(columns(sampled_one), columns(whole), strict=True):
        assert own == pytest.approx(expected)
    unweighted = against(kind, mine, few, other)
    assert unweighted.weight != pytest.approx(whole.weight)
    assert unweighted.loss != pytest.approx(whole.loss)


# stakes


def test_the_gain_is_the_loss_less_a_part_of_what_there_is_to_lose() -> None:
    found = Ranked(np.array([0.8, 0.5]), np.array([0.5, -0.1]), np.array([0.3, 0.4]))
    gains = [0.8 * (0.5 - 0.4 * 0.3) / 1.2, 0.5 * (-0.1 - 0.4 * 0.4) / 1.2]
    expected = [sum(math.log(1 + bet * gain) for gain in gains) for bet in BETS]
    assert stakes(found, 0.4) == pytest.approx(expected)
    assert stakes(NOTHING, 0.4).tolist() == [0.0] * len(BETS)
