"""Profiles of rows: parts merge to the whole, and every count is what a slow count gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.references import ColumnReference
from headrace.stats.bins import places_of, places_of_codes
from headrace.stats.profiles import Frame, Profile

COLUMNS = (
    ColumnReference("c", "category", (0.5, 0.4, 0.1, 0.0), codes=(1, 4)),
    ColumnReference("x", "number", (0.2,) * 5, edges=(-1.0, 0.0, 0.5, 2.0), low=-2.0, high=3.0),
    ColumnReference("y", "number", (0.5, 0.5), edges=(1.0,), low=0.5, high=4.0, log_mean=0.0, log_std=1.0),
    ColumnReference("z", "number", (1.0,)),
)
FRAME = Frame(COLUMNS)


def rows_of(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(0, 4, (count, 4))
    numbers[:, 0] = rng.integers(0, 9, count)
    numbers[rng.random((count, 4)) < 0.2] = np.nan
    return numbers.astype(np.float32)


def profile_of(*parts: np.ndarray, is_sketched: bool = False) -> Profile:
    found = Profile(FRAME, is_sketched=is_sketched)
    for part in parts:
        found.fold(FRAME.binned(part))
    return found


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 99))
def test_the_profiles_of_two_parts_merge_to_that_of_the_whole(first: int, second: int, seed: int) -> None:
    one, two = rows_of(first, seed), rows_of(second, seed + 1)
    merged, whole = profile_of(one), profile_of(np.concatenate([one, two]))
    merged.merge(profile_of(two))
    assert (merged.rows, merged.counts.tolist(), merged.outside.tolist()) == (
        whole.rows, whole.counts.tolist(), whole.outside.tolist(),
    )  # fmt: skip
    np.testing.assert_allclose(merged.sizes, whole.sizes, rtol=1e-9, atol=1e-9)


def test_every_count_is_that_of_the_bins() -> None:
    rows = rows_of(500, 1)
    found = profile_of(rows[:200], rows[200:])
    assert found.nulls.tolist() == np.isnan(rows).sum(axis=0).tolist()
    assert found.bins_of(0).tolist() == np.bincount(places_of_codes(rows[:, 0], (1, 4)), minlength=4).tolist()
    for place in (1, 2, 3):
        edges = COLUMNS[place].edges
        places = places_of(rows[:, place], edges)
        assert found.bins_of(place).tolist() == np.bincount(places[places >= 0], minlength=len(edges) + 1).tolist()
    x, y = rows[:, 1], rows[:, 2]
    assert found.outside.tolist() == [0, int(((x < -7) | (x > 8)).sum()), int(((y < -3) | (y > 7.5)).sum()), 0]
    assert found.sizes[0].tolist() == [0, 0, (y > 0).sum(), 0]
    np.testing.assert_allclose(found.sizes[1, 2], np.log(y[y > 0], dtype=np.float64).sum())


def test_sketches_are_of_the_values_and_merge() -> None:
    rows = rows_of(80, 2)
    one, two = profile_of(rows[:40], is_sketched=True), profile_of(rows[40:], is_sketched=True)
    one.merge(two)
    assert one.sketches is not None
    assert len(one.sketches.of(1)) > len(profile_of(rows[:40], is_sketched=True).sketches.of(1))  # type: ignore[union-attr]
    assert one.held_bytes > profile_of(rows).held_bytes
    assert Profile(FRAME, is_sketched=True).sketches.of(1) == b""  # type: ignore[union-attr]


def test_an_infinite_number_is_counted_in_the_last_bin_of_its_column() -> None:
    rows = np.full((3, 4), np.inf, np.float32)
    rows[2] = -np.inf
    found = profile_of(rows)
    assert [found.bins_of(place).tolist() for place in (1, 2, 3)] == [[1, 0, 0, 0, 2], [1, 2], [3]]
    assert (found.nulls.tolist(), found.outside.tolist()) == ([0, 0, 0, 0], [0, 3, 3, 0])
