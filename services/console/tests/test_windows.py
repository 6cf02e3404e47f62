"""Whose figures are shown: around a switch a window has several versions, and one of them twice."""

from typing import Any

from services.console.tests.known import DAY_S, Known

from headrace.events.monitor import VersionQuality, WindowClosed

OLD = VersionQuality(2, "champion", 129, 0.41, 0.4, 0.71, 0.3, over_prior=-0.1)
NEW = VersionQuality(3, "champion", 843, 0.52, 0.5, 0.83, 0.3, over_prior=-0.05)
SHADOW = VersionQuality(3, "shadow", 900, 0.6, 0.5, 0.6, 0.3, over_prior=0.0)


def quality(known: Known) -> dict[str, Any]:
    return known.now()["deployments"]["d"]["quality"]


def test_after_a_switch_the_figure_is_that_of_the_registrys_champion_with_its_own_limit() -> None:
    found = quality(Known().champion(3).window(qualities=(OLD, SHADOW, NEW)))
    assert (found["value"], found["limit"], found["n"], found["why"]) == (0.52, 0.52 + 0.05, 843, "")
    assert found["spark"] == (0.52,)


def test_a_version_counts_as_champion_before_as_shadow_and_then_by_its_rows() -> None:
    for qualities in ((SHADOW, NEW), (NEW, SHADOW)):
        windows = Known().champion(3).window(qualities=(OLD, *qualities)).document("series/d")["windows"]
        (point,) = windows.values()
        assert (point["champion"], point["figures"]["3"]["auc"], point["figures"]["2"]["auc"]) == (3, 0.83, 0.71)
    few = VersionQuality(3, "champion", 2, 9.0, 0.5, None, 0.3)
    assert quality(Known().champion(3).window(qualities=(few, NEW)))["value"] == 0.52
    assert quality(Known().champion(3).window(qualities=(NEW, few)))["value"] == 0.52


def test_a_shadow_that_became_champion_has_its_figure_until_a_window_of_its_own_closes() -> None:
    assert quality(Known().champion(3).window(qualities=(OLD, SHADOW)))["value"] == 0.6


def test_where_the_newest_window_has_no_figure_the_window_that_has_one_is_named() -> None:
    known = (
        Known().champion(3).window(1, qualities=(OLD, NEW)).window(2, labelled=0, qualities=(), verdict="UNMEASURED")
    )
    found = quality(known)
    assert (found["value"], found["limit"], found["to_s"]) == (0.52, 0.52 + 0.05, 2 * DAY_S)
    assert found["why"] == (
        "of the window to 1970-01-03T00:00:00Z: the newest one has no figure of version 3 "
        "(0 of 110 requests have their outcome)"
    )
    assert known.now()["deployments"]["d"]["mark"] == "unknown"


def test_a_champion_that_no_window_shows_has_no_figure_of_another_version() -> None:
    found = quality(Known().champion(3).window(qualities=(OLD,)))
    assert (found.get("value"), found["why"]) == (None, "no window has a figure of version 3 yet")


def test_without_a_registry_the_version_with_the_most_rows_counts() -> None:
    known = Known()
    known.take("monitor.windows", WindowClosed("d", 0.0, DAY_S, 1000, 972, 0.3, "PASS", (OLD, NEW)))
    assert quality(known)["value"] == 0.52
