"""The streams of `make bench ONLY=streams`: what they are drawn from, and that a seed draws them again."""

from itertools import islice, pairwise

import numpy as np
from bench.drifting import APART_DAYS, DAYS, NOISE, QUIET_DAYS, WARM_DAYS, drawn_changes, generators, streams
from bench.retraining import FREEZE, low_of, seed_of
from libs.backtest.tests.scene import stream
from river.datasets import synth


def test_a_seed_draws_the_same_stream_again_and_another_one_others() -> None:
    flown = stream(2, 2)  # the second stream uses no flights
    one, again, other = (streams([1], seed, flown)[0] for seed in (1, 1, 2))
    assert one.name == "Agrawal on image segments"
    assert one.changes == again.changes
    assert one.history.labels.tobytes() == again.history.labels.tobytes()
    assert one.history.labels.tobytes() != other.history.labels.tobytes()


def test_changes_come_after_the_first_days_apart_from_each_other_and_to_another_concept() -> None:
    for seed in range(50):
        found = drawn_changes(np.random.default_rng(seed), concepts=4)
        days, concepts = [change.day for change in found], [change.concept for change in found]
        assert days[0] == 0.0
        assert 1 <= len(days) - 1 <= 3
        assert all(WARM_DAYS + QUIET_DAYS <= day <= DAYS - QUIET_DAYS for day in days[1:])
        assert all(later - day >= APART_DAYS for day, later in pairwise(days))
        assert all(concept != other for concept, other in pairwise(concepts))


def test_a_concept_says_what_its_generator_says() -> None:
    sea, _, _, sine, _ = generators()
    for variant, concept in enumerate(sea.concepts):
        for row, label in islice(synth.SEA(variant=variant, seed=1), 200):
            assert concept(np.array([row[0] / 10, row[1] / 10, 0.0])) == label
    for number, concept in enumerate(sine.concepts):
        for row, label in islice(synth.Sine(classification_function=number, seed=1), 200):
            assert concept(np.array([row[0], row[1]])) == label


def test_labels_are_wrong_in_a_tenth_of_the_cases() -> None:
    [found] = streams([1], 3, stream(2, 2))
    assert abs((found.history.labels != found.truth).mean() - NOISE) < 0.01


def test_the_seed_follows_from_the_commit_and_the_bound_from_the_spread() -> None:
    assert seed_of("a") != seed_of("b")
    assert seed_of(FREEZE) == seed_of(FREEZE)
    # mean 50, standard error 10, t of one degree of freedom 6.314
    assert round(low_of([40.0, 60.0]), 1) == -13.1
