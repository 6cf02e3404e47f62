"""What instances have reported, what that says of a version, and what is remembered of it: on values."""

from typing import Any

import pytest

from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.ops import HealthReported
from headrace_registry.core import instances
from headrace_registry.core.instances import (
    FAILURES_KEPT,
    FRESH_S,
    GAP_S,
    LOAD_BYTES,
    LOADS_KEPT,
    REJECTION_BYTES,
    REJECTIONS_KEPT,
    REPORT_BYTES,
    REPORTS_KEPT,
    Instances,
    lag_of,
    names_of,
)
from headrace_registry.core.machine import Unloadable, Warmed
from headrace_registry.core.warming import observed


def report(instance: str = "i", service: str = "inference", **more: Any) -> HealthReported:
    return HealthReported(service, instance, more.pop("ready", True), **more)


def failed(instance: str = "i", version: int = 2, **more: Any) -> VersionLoadFailed:
    return VersionLoadFailed(
        more.pop("deployment", "d"), version, instance, more.pop("cause", "memory"), more.pop("reason", "r"), **more
    )


def reported(*reports: HealthReported, seen_s: float = 100.0) -> Instances:
    found = Instances()
    for one in reports:
        found.take(one, seen_s)
    return found


def test_a_version_is_warm_on_an_instance_that_is_ready_and_says_so() -> None:
    found = reported(
        report("a", warmed=("d/2",)),
        report("b", warmed=("d/2",), ready=False),
        report("c", warmed=("d/3",)),
        report("m", "monitor", warmed=("d/2",)),
    )
    assert found.warmed("d/2", 100.0 + FRESH_S) == {"a": True, "b": False, "c": False}
    assert found.warmed("d/2", 100.1 + FRESH_S) == {}
    found.take(report("a", stopping=True, warmed=("d/2",)), 101.0)
    assert found.warmed("d/2", 101.0) == {"b": False, "c": False}


def test_a_version_waits_in_line_on_a_live_instance() -> None:
    found = reported(report("a", in_line=("d/2",)), report("b"))
    assert [found.in_line(name, now_s) for name, now_s in (("d/2", 100.0), ("d/3", 100.0), ("d/2", 111.0))] == [
        True,
        False,
        False,
    ]


def test_a_version_was_observed_once_all_instances_have_it_or_one_rejected_it() -> None:
    assert observed(reported(), "d", 2, 100.0) == []
    assert observed(reported(report("a", warmed=("d/2",)), report("b")), "d", 2, 100.0) == []
    found = reported(report("a", warmed=("d/2",)), report("b", warmed=("d/2", "d/3")))
    assert observed(found, "d", 2, 100.0) == [Warmed()]
    found.take(VersionUnloadable("d", 2, "a", "p" * 400), 100.0)
    assert observed(found, "d", 2, 100.0) == [Unloadable(2, "p" * 300), Warmed()]
    assert observed(found, "d", 3, 100.0) == []
    assert (found.unloadable("d", 3), found.unloadable("e", 2)) == (None, None)


def test_time_is_counted_between_heartbeats_that_follow_each_other() -> None:
    found = Instances()
    seconds = []
    for seen_s, more in (
        (100.0, {}),
        (101.0, {}),
        (103.0, {"service": "monitor"}),
        (104.0, {"stopping": True}),
        (102.5, {}),
        (102.0, {}),
        (200.0, {}),
    ):
        found.take(report(**more), seen_s)  # type: ignore[arg-type]
        seconds.append(found.living_s)
    assert seconds == [0.0, 1.0, 1.0, 1.0, 2.5, 2.5, 2.5 + GAP_S]
    found.take(report(), 200.5)
    assert found.living_s == 3.0 + GAP_S


def test_the_live_instance_with_most_failures_since_then_is_named() -> None:
    found = reported(report("a"), report("b"))
    for instance, seen_s in (("a", 90.0), ("a", 100.0), ("b", 100.0), ("b", 101.0), ("gone", 101.0)):
        found.take(failed(instance, reason=f"{seen_s}"), seen_s)
    found.take(failed("b", goes_on=True), 101.0)
    found.take(failed("b", version=3), 101.0)
    instance, count, failing = found.failing("d", 2, 100.0, 101.0) or ("", 0, None)
    assert (instance, count) == ("b", 2)
    assert failing is not None
    assert (failing.cause, failing.reason, failing.at_s) == ("memory", "101.0", [100.0, 101.0])
    assert [
        found.failing(*given) for given in (("d", 2, 101.5, 101.0), ("e", 2, 0.0, 101.0), ("d", 2, 0.0, 200.0))
    ] == [None] * 3
    earlier = found.failing("d", 2, 0.0, 101.0)
    assert earlier is not None
    assert earlier[:2] == ("b", 2)


def test_a_failure_is_forgotten_when_the_version_is_warm_there() -> None:
    for event in (VersionWarmed("d", 2, "a", 1.0), report("a", warmed=("d/2",))):
        found = reported(report("a"), report("b"))
        found.take(failed("a"), 100.0)
        found.take(failed("b"), 100.0)
        found.take(event, 101.0)
        rest = found.failing("d", 2, 0.0, 101.0)
        assert rest is not None
        assert rest[0] == "b"
    other = reported(report("a"))
    other.take(failed("a"), 100.0)
    other.take(report("a", warmed=("d/3", "e/2")), 101.0)
    assert other.failing("d", 2, 0.0, 101.0) is not None


def test_so_many_failures_of_one_version_are_remembered() -> None:
    found = reported(report("a"))
    for n in range(FAILURES_KEPT + 4):
        found.take(failed("a", reason="r" * 400), 100.0 + n / 100)
    kept = found.failing("d", 2, 0.0, 101.0)
    assert kept is not None
    assert (kept[1], kept[2].at_s[0], len(kept[2].reason)) == (FAILURES_KEPT, 100.04, 300)


def test_warmings_are_counted_per_version() -> None:
    found = reported()
    for version in (2, 2, 3):
        found.take(VersionWarmed("d", version, "a", 1.0), 1.0)
    assert [found.warmings("d", version) for version in (2, 3, 4)] == [2, 1, 0]


def test_what_inference_has_served_and_which_monitor_counts() -> None:
    found = reported(
        report("a", handled_total=3),
        report("b", handled_total=4),
        report("m", "monitor", handled_total=9),
        report("n", "monitor", shards=(0,), handled_total=1),
    )
    assert found.served() == 7
    monitor = found.monitor(100.0)
    assert monitor is not None
    assert monitor.instance == "n"
    assert (found.monitor(111.0), reported(report("g", "gateway", handled_total=9)).served()) == (None, 0)


def test_what_is_held_is_bounded_and_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = REPORTS_KEPT * REPORT_BYTES + LOADS_KEPT * LOAD_BYTES + 2 * REJECTIONS_KEPT * REJECTION_BYTES
    found = reported(report("a"), report("b"))
    found.take(failed("a"), 100.0)
    found.take(VersionUnloadable("d", 2, "a", "r"), 100.0)
    found.take(VersionWarmed("d", 3, "a", 1.0), 100.0)
    assert found.held_bytes() == (2 * REPORT_BYTES + LOAD_BYTES + 2 * REJECTION_BYTES, bound)
    monkeypatch.setattr(instances, "REJECTIONS_KEPT", 2)
    for version in (2, 3, 2, 4):
        found.take(VersionUnloadable("d", version, "a", "r"), 100.0)
    assert [found.unloadable("d", version) for version in (2, 3, 4)] == ["r", None, "r"]


def test_names_and_lags_for_people() -> None:
    assert lag_of(report(lag={"t/0": 3, "t/1": 4})) == 7
    assert [names_of(given) for given in ([], ["b", "a"], "abc", "abcde")] == [
        "",
        "a, b",
        "a, b, c",
        "a, b, c and 2 more",
    ]
