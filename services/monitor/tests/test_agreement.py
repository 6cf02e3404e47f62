"""Whether two versions give the same answers: within half of the margin, after enough pairs."""

import math

import pytest

from headrace.events.inference import Score
from headrace_monitor.core.agreement import Agreement


def value(number: float | None) -> Score:
    return Score(1, "m", number)


def classes(*probabilities: float) -> Score:
    return Score(1, "m", None, probabilities)


def of(pairs: list[tuple[Score | None, Score | None]], times: int = 1) -> Agreement:
    found = Agreement()
    for new, control in pairs * times:
        found.add(new, control)
    return found


def test_the_largest_difference_of_all_pairs_counts() -> None:
    found = of([(value(0.5), value(0.502)), (value(0.25), value(0.2)), (value(0.1), value(0.1))])
    assert (found.pairs, found.most) == (3, pytest.approx(0.05))
    several = of([(classes(0.2, 0.3, 0.5), classes(0.25, 0.35, 0.4)), (classes(1.0, 0.0, 0.0), classes(1.0, 0.0, 0.0))])
    assert (several.pairs, several.most) == (2, pytest.approx(0.1))


def test_a_hundred_pairs_are_needed() -> None:
    pair = (value(0.5), value(0.5))
    assert not of([pair], 99).is_within(0.01)
    assert of([pair], 100).is_within(0.01)
    assert Agreement().most == 0.0


def test_probabilities_may_differ_by_half_of_the_margin() -> None:
    found = of([(value(0.5), value(0.5078125))], 100)
    assert found.is_within(2 * 0.0078125)
    assert not found.is_within(2 * 0.0078124)
    assert not found.is_within(0.0078125)


def test_the_margin_is_a_hundredth_where_none_is_declared() -> None:
    assert of([(value(0.25), value(0.2451))], 100).is_within(None)
    assert not of([(value(0.25), value(0.2449))], 100).is_within(None)
    assert not of([(value(0.25), value(0.2451))], 100).is_within(0.0)


@pytest.mark.parametrize("outside", [1.5, -0.5])
def test_numbers_that_are_no_probabilities_must_be_equal(outside: float) -> None:
    assert of([(value(outside), value(outside))], 100).is_within(0.01)
    for pair in ((value(outside), value(outside + 0.001)), (value(0.5), value(0.501))):
        found = of([pair, (value(outside), value(outside)), (value(0.5), value(0.5))], 100)
        assert found.most == pytest.approx(0.001)
        assert not found.is_within(0.01)
    one = of([(value(1.0), value(1.0))], 100)
    one.add(value(1.0), value(1.001))
    assert not one.is_within(0.01)


@pytest.mark.parametrize(
    "pair",
    [
        (None, value(0.5)),
        (value(0.5), None),
        (None, None),
        (value(None), value(0.5)),
        (value(None), value(None)),
        (classes(0.5, 0.5), value(0.5)),
        (classes(0.5, 0.5), classes(0.2, 0.3, 0.5)),
    ],
)
def test_a_version_without_a_score_agrees_with_nobody(pair: tuple[Score | None, Score | None]) -> None:
    found = of([pair, *[(value(0.5), value(0.5))] * 120])
    assert (found.pairs, found.most) == (121, math.inf)
    assert not found.is_within(10.0)


@pytest.mark.parametrize("number", [0.5, 7.0])
def test_it_goes_on_after_a_restart(number: float) -> None:
    first = of([(value(number), value(number + 0.001))], 60)
    assert first.state() == {"sums": [60.0, pytest.approx(0.001), float(number > 1)]}
    again = Agreement(first.state())
    for _ in range(40):
        again.add(value(0.5), value(0.5))
    assert (again.pairs, again.most) == (100, first.most)
    assert again.is_within(0.01) is (number < 1)
    assert isinstance(again.pairs, int)
