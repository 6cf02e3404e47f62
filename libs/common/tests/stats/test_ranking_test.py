"""The ranking test of a rollout: what it compares with, when it fails, and what it remembers over a restart."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.stats.ranking import BETS, CYCLES, ENOUGH, RankingTest

Floats = NDArray[np.float64]
ALPHA = 0.01


def ranking(kind: str = "binary", classes: int = 2, limit: float = 0.4, cycle: int = 3) -> RankingTest:
    return RankingTest(kind, classes, limit, cycle)


class Stream:
    """Blocks of a good control's scores with their labels; `rng` for versions that are made of them."""

    def __init__(self, blocks: int, size: int = 10, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.blocks = blocks
        self.control = self.rng.beta(1, 1, (blocks, size))
        self.labels = (self.rng.random((blocks, size)) < self.control).astype(float)

    def play(self, test: RankingTest, new: Floats, start: int = 0, stop: int | None = None) -> RankingTest:
        for block in range(start, self.blocks if stop is None else stop):
            test.take(block, new[block], self.control[block], self.labels[block])
        return test


def take(test: RankingTest, block: int, positives: int, negatives: int) -> None:
    """A block in which both versions are right."""
    scores = np.r_[np.full(positives, 0.9), np.full(negatives, 0.1)]
    test.take(block, scores, scores, np.r_[np.ones(positives), np.zeros(negatives)])


def kept(test: RankingTest) -> list[int]:
    return [rows.block for rows in test.reference]


# the stream


def test_the_figures_of_a_small_stream_by_hand() -> None:
    test = ranking()
    first = test.take(0, [0.1, 0.8], [0.2, 0.6], [0, 1])
    assert (len(first.weight), test.log_e, test.loss, test.skill) == (0, 0.0, None, None)
    # The positive .7 and .7 lies above the negative .1 of the new version and .2 of its control: both shares are 1.
    # The negative .9 lies above the positive .8, and the control's .3 below its .6: shares 0 and 1. Each has weight 1/2.
    test.take(1, [0.7, 0.9], [0.7, 0.3], [1, 0])
    gains = [0.5 * (0 - 0.4 * 0.5) / 1.2, 0.5 * (1 - 0.4 * 0.5) / 1.2]
    wealth = [math.prod(1 + bet * gain for gain in gains) for bet in BETS]
    assert test.log_e == pytest.approx(math.log(sum(wealth) / len(wealth)))
    assert (test.loss, test.skill) == (pytest.approx(0.5), pytest.approx(0.5))
    assert test.sums == pytest.approx([1.0, 0.5, 0.5])
    assert (test.labels, test.rarer, test.counts.tolist()) == (4, 2, [2.0, 2.0])
    # Of the negatives .1 and .9 one lies below the new .75; of .2 and .3 both lie below the control's.
    test.take(2, [0.75], [0.75], [1])
    assert test.sums == pytest.approx([1.5, 0.5 + 0.5 * 0.5, 0.5 + 0.5 * 0.5])


def test_a_block_is_compared_with_those_before_it_and_not_with_itself() -> None:
    test = ranking()
    assert len(test.take(0, [0.1, 0.9], [0.1, 0.9], [0, 1]).weight) == 0
    assert len(test.take(1, [0.1, 0.9], [0.1, 0.9], [0, 1]).weight) == 2


def test_what_a_stream_adds_up_to_is_the_sum_of_its_blocks() -> None:
    stream = Stream(8)
    test, found = ranking(cycle=100), []
    for block in range(stream.blocks):
        found.append(test.take(block, 1 - stream.control[block], stream.control[block], stream.labels[block]))
    weight, loss, skill = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("weight", "loss", "skill")
    )
    assert test.sums == pytest.approx([weight.sum(), weight @ loss, weight @ skill])
    assert (test.loss, test.skill) == (
        pytest.approx(weight @ loss / weight.sum()),
        pytest.approx(weight @ skill / weight.sum()),
    )
    gains = weight * (loss - 0.4 * skill) / 1.2
    assert test.log_e == pytest.approx(math.log(np.mean([np.prod(1 + bet * gains) for bet in BETS])))
    # What is turned around loses twice the skill.
    assert test.loss == pytest.approx(2 * (test.skill or 0.0))


# the verdict


def test_too_few_labels_are_no_verdict() -> None:
    for positives, negatives, enough in ((50, 50, True), (50, 49, False), (20, 80, True), (19, 200, False)):
        test = ranking()
        take(test, 0, positives, negatives)
        assert (test.labels, test.rarer) == (positives + negatives, min(positives, negatives))
        assert test.has_enough is enough
    several = RankingTest("classes", 3, 0.4, 3)
    several.take(0, np.full((110, 3), 1 / 3), np.full((110, 3), 1 / 3), [0] * 90 + [1] * 15 + [2] * 5)
    assert (several.labels, several.rarer, several.has_enough) == (110, 20, True)


@pytest.mark.parametrize("classes", [0, 1, 2, 5])
def test_a_number_is_one_label_whatever_classes_are_given(classes: int) -> None:
    test = ranking("number", classes)
    for block in range(3):
        numbers = np.random.default_rng(block).random(33)
        test.take(block, numbers, numbers, numbers)
    assert (test.labels, test.rarer, test.has_enough) == (99, 99, False)


def test_two_classes_need_no_names() -> None:
    test = ranking("binary", 0)
    take(test, 0, 3, 4)
    test.take(1, [], [], [])
    assert (test.labels, test.rarer) == (7, 3)


def test_numbers_have_no_rarer_class() -> None:
    test = RankingTest("number", 0, 0.4, 3)
    test.take(0, np.full(100, 0.5), np.full(100, 0.5), np.linspace(0, 1, 100))
    assert (test.labels, test.rarer, test.has_enough) == (100, 100, True)


def test_a_version_that_is_turned_around_fails_and_its_control_does_not() -> None:
    stream = Stream(20)
    assert stream.play(ranking(), 1 - stream.control).has_failed(ALPHA)
    assert not stream.play(ranking(), stream.control).has_failed(0.9)


def test_evidence_fails_at_its_threshold_and_not_below() -> None:
    stream = Stream(12)
    test = stream.play(ranking(), 1 - stream.control)
    alpha = math.exp(-test.log_e)
    assert test.has_failed(alpha * 1.001)
    assert not test.has_failed(alpha * 0.999)


def test_evidence_without_enough_labels_is_no_failure() -> None:
    stream = Stream(20)
    test = stream.play(ranking(), 1 - stream.control)
    test.counts = np.array([50.0, 49.0])
    assert not test.has_failed(ALPHA)


def test_evidence_without_a_mean_loss_over_the_limit_is_no_failure() -> None:
    stream = Stream(20)
    test = stream.play(ranking(), 1 - stream.control)
    assert test.log_e > -math.log(ALPHA)
    test.sums = np.array([100.0, 0.4 * 30.0, 30.0])
    assert not test.has_failed(ALPHA)
    test.sums = np.array([100.0, 0.4 * 30.0 + 1e-9, 30.0])
    assert test.has_failed(ALPHA)


def test_a_version_that_loses_less_than_half_of_the_limit_is_seldom_rejected_and_a_shuffled_one_soon() -> None:
    rejected, labels = 0, []
    for seed in range(60):
        stream = Stream(60, 20, seed)
        logits = np.log(stream.control / (1 - stream.control)) + 0.9 * stream.rng.normal(size=stream.control.shape)
        test = stream.play(ranking(cycle=12), 1 / (1 + np.exp(-logits)))
        assert 0 < (test.loss or 0.0) / (test.skill or 0.0) < 0.2
        rejected += test.has_failed(ALPHA)
        broken, shuffled = ranking(cycle=12), stream.rng.permutation(stream.control.ravel()).reshape(60, 20)
        block = next(block for block in range(60) if stream.play(broken, shuffled, block, block + 1).has_failed(ALPHA))
        labels.append(20 * (block + 1))
    assert rejected <= 1
    assert np.quantile(labels, 0.9) <= 500


# the reference


def test_the_reference_ends_after_seven_cycles_where_the_rarer_labels_are_few() -> None:
    test = ranking(cycle=3)
    for block in range(CYCLES * 3 + 5):
        take(test, block, 1, 5)
    assert kept(test) == list(range(5, CYCLES * 3 + 5))
    assert test.reference_from == 5


def test_the_reference_ends_after_one_cycle_where_the_rarer_labels_are_many() -> None:
    test = ranking(cycle=3)
    for block in range(9):
        take(test, block, ENOUGH, ENOUGH + 1)
    assert kept(test) == [6, 7, 8]


def test_the_reference_ends_where_enough_of_the_rarer_labels_are_left() -> None:
    test = ranking(cycle=3)
    for block in range(12):
        take(test, block, ENOUGH // 4, ENOUGH)
    # Four blocks have just enough of them.
    assert kept(test) == [8, 9, 10, 11]
    more = ranking(cycle=3)
    for block in range(12):
        take(more, block, ENOUGH // 4 - 1, ENOUGH)
    assert kept(more) == [7, 8, 9, 10, 11]


def test_empty_blocks_are_not_kept_and_time_passes_all_the_same() -> None:
    test = ranking(cycle=3)
    assert test.reference_from is None
    take(test, 0, 1, 1)
    test.take(5, [], [], [])
    assert kept(test) == [0]
    test.take(21, [], [], [])
    assert (kept(test), test.reference_from) == ([], None)


def test_numbers_count_as_rarer_labels_all_of_them() -> None:
    test = RankingTest("number", 0, 0.4, 2)
    numbers = np.linspace(0, 1, ENOUGH // 2)
    for block in range(6):
        test.take(block, numbers, numbers, numbers)
    assert kept(test) == [4, 5]
    assert len(test.reference[0].labels) == 32


# restarts


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_a_restored_test_that_reads_its_reference_again_goes_on_as_if_nothing_had_happened(kind: str) -> None:
    rng = np.random.default_rng(4)
    classes = 3 if kind == "classes" else 2
    labels = rng.random((40, 12)) if kind == "number" else rng.integers(0, classes, (40, 12)).astype(float)
    shape = (40, 12, 3) if kind == "classes" else (40, 12)
    new, control = rng.random(shape), rng.random(shape)
    whole, first = (RankingTest(kind, classes, 0.4, 2) for _ in range(2))
    for block in range(40):
        whole.take(block, new[block], control[block], labels[block])
    for block in range(25):
        first.take(block, new[block], control[block], labels[block])
    again = RankingTest(kind, classes, 0.4, 2)
    again.restore(first.state())
    assert (again.state(), again.reference_from) == (first.state(), None)
    from_block = first.reference_from
    assert from_block == 25 - CYCLES * 2
    for block in range(from_block, 25):
        again.remember(block, new[block], control[block], labels[block])
    assert again.state() == first.state()
    assert kept(again) == kept(first)
    for block in range(25, 40):
        again.take(block, new[block], control[block], labels[block])
    assert again.state() == whole.state()
    assert again.state() != first.state()


def test_its_state_is_plain_numbers() -> None:
    test = ranking()
    take(test, 0, 2, 3)
    assert test.state() == {"wealth": [0.0] * 5, "counts": [3.0, 2.0], "sums": [0.0, 0.0, 0.0]}
    assert RankingTest("number", 0, 0.4, 1).state()["counts"] == [0.0]
    assert RankingTest("classes", 4, 0.4, 1).state()["counts"] == [0.0] * 4
