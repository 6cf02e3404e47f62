"""Sixty decisions a day: the monitor finds what such a stream can show, says how much that is, and invents nothing."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest
from services.monitor.tests.inputs_scene import HOUR, Inputs, decisions
from services.monitor.tests.test_charts import DAY, Charted

from headrace.events.monitor import FindingOpened
from headrace.events.references import ReferenceWindow, VersionReference
from headrace.stats.charts import figures_of
from headrace_monitor.core.chart_figures import Seen

A_DAY, COMMON, RARE = 60, -1.0, -5.0


def seen(rng: np.random.Generator, base: float, flipped: float = 0.0) -> Seen:
    """A day of a calibrated model, harder or easier than others. `base`: of the logits; `flipped`: the share of wrong labels."""
    logit = base + 1.5 * rng.normal(size=A_DAY)
    labels = rng.random(A_DAY) < 1 / (1 + np.exp(-logit - rng.normal(0, 0.3)))
    wrong = rng.random(A_DAY) < flipped
    return Seen(figures_of("binary", 1 / (1 + np.exp(-logit)), (labels != wrong).astype(float)), {"": A_DAY})


@lru_cache
def usual(base: float) -> VersionReference:
    """Forty such days."""
    rng = np.random.default_rng(1)
    days = [ReferenceWindow(day * DAY, (day + 1) * DAY, A_DAY, dict(seen(rng, base).figures)) for day in range(-40, 0)]
    return VersionReference(40 * A_DAY, -40 * DAY, 0.0, DAY, A_DAY, windows=tuple(days))


def charted(seed: int, base: float = COMMON) -> tuple[Charted, np.random.Generator]:
    """A deployment with these days behind it, and what draws its live ones."""
    return Charted(usual(base)), np.random.default_rng([2, seed])


def pages(live: Charted, rng: np.random.Generator, days: int, base: float = COMMON, flipped: float = 0.0) -> int:
    facts = [fact for _ in range(days) for fact in live.see(seen(rng, base, flipped))]
    return sum(isinstance(fact, FindingOpened) and fact.severity == "page" for fact in facts)


def test_two_months_of_usual_days_raise_no_more_pages_than_were_stated() -> None:
    found = [pages(*charted(seed), days=60) for seed in range(2)]
    assert sum(found) <= 1  # the budget would allow four


def found_within_a_week(flipped: float) -> Iterator[bool]:
    for seed in range(10):
        live, rng = charted(seed)
        yield pages(live, rng, 7, flipped=flipped) > 0


def test_what_is_said_to_be_found_within_a_week_is_found_and_half_of_it_mostly_is_not() -> None:
    live, rng = charted(0)
    live.see(seen(rng, COMMON))
    point = live.point("ranking")
    assert point.detectable == pytest.approx(0.106, abs=0.03)
    assert point.within_windows == 7
    # Flipped labels take an AUC a towards .5, by 2 (a - .5) times their share.
    share = point.detectable / (2 * (point.expected - 0.5))
    assert np.mean(list(found_within_a_week(share))) >= 0.5
    assert np.mean(list(found_within_a_week(share / 2))) < 0.5


def test_where_positives_are_rare_only_the_base_rate_is_followed_and_says_how_little_it_sees() -> None:
    live, rng = charted(3, RARE)
    assert pages(live, rng, 60, RARE) == 0
    assert [point.chart for point in live.points] == ["base_rate"]
    assert live.points[0].detectable > live.points[0].expected  # less than a doubling is not seen


def test_two_requests_an_hour_move_no_input_and_a_broken_one_is_found_after_more_hours() -> None:
    few, broken = Inputs(), Inputs()
    for hour in range(6 * 24):
        taken = decisions(hour * HOUR, (hour + 1) * HOUR)[::20]
        few.take(taken)
        few.look((hour + 1) * HOUR)
    assert few.found() == []

    def nulled(matrix: np.ndarray) -> None:
        matrix[:, 1] = np.nan

    for hour in range(48):
        broken.take(decisions(hour * HOUR, (hour + 1) * HOUR, nulled if hour >= 24 else None)[::20])
        broken.look((hour + 1) * HOUR)
    (found,) = broken.opened
    assert (found.kind, found.about) == ("contract", "inputs.miles")
    assert 25 * HOUR <= found.at_s <= 32 * HOUR
