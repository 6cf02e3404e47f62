"""Routing: which version a unit's requests go to."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.asking.routing import choose_version

UNITS = [f"unit-{n}" for n in range(4000)]


def routed(shares: dict[int, float], salt: str = "salt") -> list[int | None]:
    return [choose_version("d", salt, unit, shares) for unit in UNITS]


def test_the_same_unit_always_goes_to_the_same_version() -> None:
    assert routed({1: 0.5, 2: 0.5}) == routed({2: 0.5, 1: 0.5})


def test_a_route_once_chosen_is_chosen_for_ever() -> None:
    chosen = [choose_version("flight-delay", "s1", f"AA-{n}", {1: 0.6, 2: 0.3, 3: 0.1}) for n in range(12)]
    assert chosen == [2, 1, 1, 2, 1, 1, 1, 2, 1, 2, 1, 1]


def test_traffic_follows_the_shares() -> None:
    share = routed({1: 0.9, 2: 0.1}).count(2) / len(UNITS)
    assert abs(share - 0.1) < 4 * math.sqrt(0.1 * 0.9 / len(UNITS))


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_no_unit_leaves_a_version_whose_share_grows(one: float, other: float) -> None:
    small, large = sorted((one, other))
    before, after = routed({1: 1 - small, 2: small}), routed({1: 1 - large, 2: large})
    assert all(now == 2 for was, now in zip(before, after, strict=True) if was == 2)


def test_another_salt_is_another_draw() -> None:
    assert routed({1: 0.5, 2: 0.5}) != routed({1: 0.5, 2: 0.5}, "pepper")


def test_a_version_without_a_share_gets_nothing() -> None:
    assert set(routed({1: 0.0, 2: 1.0})) == {2}
