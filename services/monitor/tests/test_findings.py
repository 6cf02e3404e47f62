"""Detectors, and what a closed window leads to."""

from collections.abc import Sequence

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from river.drift import PageHinkley as RiverPageHinkley
from services.monitor.tests.watched import (
    DAY,
    DEPLOYMENT,
    PLAN,
    Watched,
    days,
    figure_of,
    finished,
    watch,
    window,
    windows,
)

from headrace.events.monitor import FindingOpened, FindingResolved, SkewSeen
from headrace_monitor.core.drift import Detector, PageHinkleyDetector, restored
from headrace_monitor.core.loss_change import Figure, Rise


def fed(detector: Detector, figures: Sequence[Figure]) -> tuple[Detector, list[Rise | None]]:
    """A detector after these figures, and the rise that each of them led to."""
    rises: list[Rise | None] = []
    for figure in figures:
        step = detector.on_figure(figure)
        detector = step.state
        rises.append(step.facts[0] if step.facts else None)
    return detector, rises


def test_the_detector_alarms_at_the_same_figure_as_river() -> None:
    rng = np.random.default_rng(3)
    figures = np.concatenate([rng.normal(0.5, 0.02, 30), rng.normal(0.8, 0.02, 30)])
    river = RiverPageHinkley(min_instances=7, delta=0.02, threshold=0.8, mode="up")
    wanted = next(n for n, f in enumerate(figures) if (river.update(f), river.drift_detected)[1])
    _, rises = fed(PageHinkleyDetector(PLAN, 1), [figure_of(float(f)) for f in figures])
    found = next(n for n, rise in enumerate(rises) if rise is not None)
    assert found == wanted
    assert 30 < found < 40


@given(st.lists(st.floats(0.3, 1.2), max_size=40), st.integers(0, 40))
def test_a_detector_restored_in_the_middle_alarms_like_one_that_ran_through(figures: list[float], cut: int) -> None:
    whole = [Figure(float(day), loss) for day, loss in enumerate(figures)]
    _, alarms = fed(PageHinkleyDetector(PLAN, 1), whole)
    first, before = fed(PageHinkleyDetector(PLAN, 1), whole[:cut])
    _, after = fed(restored(PLAN, 1, first.numbers()), whole[cut:])
    assert before + after == alarms


def test_an_open_window_of_a_slow_deployment_keeps_what_it_needs() -> None:
    slow, fast = windows(), windows()
    fast.drop(0.0, DAY)
    assert (slow.open_from_s, fast.open_from_s) == (0.0, DAY)


def test_unmeasured_windows_and_those_of_another_version_do_not_feed_the_detector() -> None:
    found = watch()
    found.on_window(window(0, 0.5, verdict="UNMEASURED"), 1, 0.0)
    found.on_window(window(1, 0.5, version=2), None, 0.0)
    found.on_window(window(2, 0.5, version=3), 3, 0.0)
    assert found.state.detectors[0].numbers() == {}


def test_a_window_of_several_versions_feeds_the_champions_own_rows() -> None:
    """A canary or an A/B test must not blind the detector: the figure is that of fewer rows."""
    found = watch()
    mixed = window(1, 0.5)
    new = msgspec.structs.replace(mixed.qualities[0], version=2, log_loss=0.9, rows=50)
    own = msgspec.structs.replace(mixed.qualities[0], rows=50)
    found.on_window(msgspec.structs.replace(mixed, qualities=(own, new)), None, 0.0)
    assert found.state.detectors[0].fed[0].loss == 0.5
    assert found.state.detectors[0].fed[0].rows == 50


def test_a_deployment_without_a_version_asks_for_its_first_when_enough_windows_have_closed() -> None:
    found = watch(None)
    (request,) = days(found, dict.fromkeys(range(5), 0.5), None)
    assert (request.cause, request.clock_s) == ("first", 3 * DAY)
    finished(found, request, "rejected")
    assert [event.clock_s for event in days(found, dict.fromkeys(range(5, 20), 0.5), None)] == [12 * DAY]
    found.on_champion(1)
    assert found.state.requests.by_key == {}


def test_the_first_version_is_asked_for_as_soon_as_there_are_rows_enough() -> None:
    training = msgspec.structs.replace(DEPLOYMENT.training, first_after_s=90 * DAY, first_after_rows=250)
    found = Watched(msgspec.structs.replace(DEPLOYMENT, training=training))
    assert [event.clock_s for event in days(found, dict.fromkeys(range(9), 0.5), None)] == [3 * DAY]


def test_skew_opens_once_and_resolves_when_rows_are_equal_again() -> None:
    found = watch()
    bad = {
        "parity_rows": 100,
        "parity_tiles": 1.0,
        "parity_as_of": 0.9,
        "skew": SkewSeen("carrier.mean", 0.1, "lag: 1200 s"),
    }
    first = found.on_window(window(0, 0.5, **bad), 1, 0.0)
    assert [event.kind for event in first if isinstance(event, FindingOpened)] == ["skew"]
    assert "carrier.mean in 10.0% of them (lag: 1200 s)" in first[0].summary  # type: ignore[union-attr]
    assert found.on_window(window(1, 0.5, **bad), 1, 0.0) == []
    (resolved,) = found.on_window(window(2, 0.5, **(bad | {"parity_as_of": 1.0})), 1, 0.0)
    assert isinstance(resolved, FindingResolved)
