"""How many false pages reference windows lead to expect, and at the most in a year."""

import math

import numpy as np

from headrace.stats.e_detector import Reference, after_window, e_values, p_values, reference_of
from headrace.stats.page_bootstrap import measured_pages

PERIOD, WEEK, SIDES, LIMIT = 30.0, 7, (-1, 1), 60.0
# What a year without any page leaves open: a twentieth of years of this rate have none.
LEAST = -math.log(0.05) / 12


def moving(rng: np.random.Generator, days: int, rho: float) -> np.ndarray:
    """Normal figures that are correlated from day to day."""
    found = rng.normal(size=days)
    for n in range(1, days):
        found[n] = rho * found[n - 1] + math.sqrt(1 - rho**2) * found[n]
    return found


def reference(values: np.ndarray) -> Reference:
    found = reference_of(values, np.full(len(values), 1e-3), np.full(len(values), 900.0))
    assert found is not None
    return found


def pages_of(usual: Reference, values: np.ndarray) -> float:
    """False pages a month of days that follow the reference."""
    own, z = usual.own(), usual.standardised_all(values, np.full(len(values), 900.0))
    e = np.array([e_values(p_values(z * side, own * side)) for side in SIDES])
    statistics, pages = np.zeros(2), 0
    for day in e.T:
        statistics = np.array([after_window(m, float(one)) for m, one in zip(statistics, day, strict=True)])
        if statistics.sum() >= LIMIT:
            statistics, pages = np.zeros(2), pages + 1
    return pages * PERIOD / len(values)


def test_the_same_windows_give_the_same_figures():
    charts = [(reference(np.random.default_rng(1).normal(size=60)), SIDES)]
    assert measured_pages(charts, LIMIT, PERIOD, WEEK) == measured_pages(charts, LIMIT, PERIOD, WEEK)


def test_windows_that_never_differ_page_never_and_leave_open_what_a_year_leaves_open():
    assert measured_pages([(reference(np.ones(60)), SIDES)], LIMIT, PERIOD, WEEK) == (0.0, LEAST)


def test_too_few_windows_are_not_bootstrapped():
    assert measured_pages([(reference(np.arange(13.0)), SIDES)], LIMIT, PERIOD, WEEK) is None
    assert measured_pages([], LIMIT, PERIOD, WEEK) is None


def test_of_years_that_depend_from_day_to_day_nine_in_ten_keep_the_bound():
    rng, kept, expected, came = np.random.default_rng(4), 0, [], []
    for _ in range(20):
        figures = moving(rng, 84 + 365, 0.5)
        usual = reference(figures[:84])
        found = measured_pages([(usual, SIDES)], LIMIT, PERIOD, WEEK)
        assert found is not None
        expected.append(found[0])
        came.append(pages_of(usual, figures[84:]))
        kept += came[-1] <= found[1]
    assert kept >= 18
    assert 0.3 * np.mean(came) <= np.mean(expected) <= 3 * np.mean(came)
