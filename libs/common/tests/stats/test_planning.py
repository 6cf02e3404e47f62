"""How long label evidence takes, simulated with the test that judges rollouts."""

import numpy as np
import pytest

from headrace.stats.planning import blocks_to_show

SCORES = np.random.default_rng(1).beta(2, 5, 1000)


def blocks(noise: float, *, rows: int = 40, margin: float = 0.02, chains: int = 3, most: int = 500) -> float | None:
    apart = np.random.default_rng(2).normal(0, noise, len(SCORES))
    pairs = np.column_stack([SCORES, np.clip(SCORES + apart, 0.01, 0.99)])
    return blocks_to_show(pairs, rows, margin, chains, most, np.random.default_rng(0))


def test_versions_that_differ_more_take_longer() -> None:
    near, far = blocks(0.02), blocks(0.2)
    assert near is not None
    assert far is not None
    assert near < far


@pytest.mark.parametrize(("slower", "quicker"), [({"rows": 10}, {"rows": 100}), ({"chains": 9}, {"chains": 1})])
def test_fewer_requests_and_later_labels_take_longer(slower: dict, quicker: dict) -> None:
    assert (blocks(0.2, **slower) or 1e9) > (blocks(0.2, **quicker) or 1e9)


def test_no_number_is_given_for_what_takes_too_long() -> None:
    assert blocks(0.3, margin=0.0005, most=50) is None


def test_the_same_seed_gives_the_same_answer() -> None:
    assert blocks(0.1) == blocks(0.1)
