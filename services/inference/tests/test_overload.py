"""Levels of load: when what is shed."""

import pytest

from headrace_inference.core.overload import Load, is_refused, on_pressure


def loaded_after(*looks: tuple[float, float]) -> int:
    """The level after looks at the queue: (second, pressure)."""
    load = Load()
    for now_s, pressure in looks:
        load = on_pressure(load, pressure, now_s).state
    return load.level


@pytest.mark.parametrize(
    ("looks", "level"),
    [
        ([(0, 0.24)], 0),
        ([(0, 0.25)], 1),
        ([(0, 0.40)], 2),
        ([(0, 0.55)], 3),
        ([(0, 0.9), (0.5, 0.0)], 3),
        ([(0, 0.9), (1.0, 0.0)], 2),
        ([(0, 0.9), (1.0, 0.0), (1.9, 0.0)], 2),
        ([(0, 0.9), (1.0, 0.0), (2.0, 0.0)], 1),
        ([(0, 0.9), (0.9, 0.3), (1.8, 0.0)], 3),
        ([(0, 0.3), (5, 0.2), (5.5, 0.0)], 1),
        ([(0, 0.3), (1, 0.0)], 0),
    ],
)
def test_levels_begin_at_once_and_end_one_by_one_when_it_is_calm(looks: list, level: int) -> None:
    assert loaded_after(*looks) == level


def test_only_requests_that_have_waited_are_refused_and_only_at_the_last_level() -> None:
    assert not is_refused(2, 0.9)
    assert not is_refused(3, 0.39)
    assert is_refused(3, 0.40)
