"""What instances have reported, what that says of a version, and what is remembered of it: on values."""

from typing import Any

import pytest

from headrace.events.ops import LOADS_REPORTED, FailedLoads, HealthReported
from headrace_registry.core import instances
from headrace_registry.core.instances import (
    FRESH_S,
    GAP_S,
    LOAD_BYTES,
    REPORT_BYTES,
    REPORTS_KEPT,
    WARMING_BYTES,
    WARMINGS_KEPT,
    Instances,
    lag_of,
    names_of,
)
from headrace_registry.core.machine import Unloadable, Warmed
from headrace_registry.core.warming import observed


def report(instance: str = "i", service: str = "inference", **more: Any) -> HealthReported:
    return HealthReported(service, instance, more.pop("ready", True), **more)


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
    found.take(report("b", warmed=("d/2",), rejected={"d/2": "it is a pickle"}), 100.0)
    assert observed(found, "d", 2, 100.0) == [Unloadable(2, "it is a pickle"), Warmed()]
    assert (observed(found, "d", 3, 100.0), observed(found, "d", 2, 200.0)) == ([], [Unloadable(2, "it is a pickle")])


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


def loads(*at_s: float, reason: str = "r") -> dict[str, FailedLoads]:
    return {"d/2": FailedLoads(at_s, "memory", reason), "d/3": FailedLoads((101.0,) * 9, "time", "slow")}


def test_the_live_instance_with_most_failures_since_then_is_named() -> None:
    found = reported(
        report("a", failed_loads=loads(90.0, 91.0, 100.0)),
        report("b", failed_loads=loads(100.0, 101.0, reason="why")),
        report("c"),
    )
    found.take(report("gone", failed_loads=loads(*[101.0] * 9)), 1.0)
    assert found.failing("d/2", 100.0, 101.0) == ("b", 2, FailedLoads((100.0, 101.0), "memory", "why"))
    assert (found.failing("d/2", 0.0, 101.0) or ("", 0))[:2] == ("a", 3)
    assert [found.failing(*given) for given in (("d/2", 101.5, 101.0), ("e/2", 0.0, 101.0), ("d/2", 0.0, 200.0))] == [
        None
    ] * 3


def test_each_instance_that_has_a_version_newly_warm_counts_once() -> None:
    found = reported(
        report("a", warmed=("d/2",)),
        report("a", warmed=("d/2", "d/3")),
        report("b", warmed=("d/2",)),
        report("m", "monitor", warmed=("d/2",)),
    )
    assert [found.warmings(name) for name in ("d/2", "d/3", "d/4")] == [2, 1, 0]
    found.take(report("a"), 101.0)
    found.take(report("a", warmed=("d/2",)), 102.0)
    assert found.warmings("d/2") == 3


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
    bound = REPORTS_KEPT * (REPORT_BYTES + 2 * LOADS_REPORTED * LOAD_BYTES) + WARMINGS_KEPT * WARMING_BYTES
    found = reported(
        report("a", warmed=("d/3",), failed_loads=loads(1.0), rejected={"d/4": "r"}), report("b", rejected={"d/4": "r"})
    )
    assert found.held_bytes() == (2 * REPORT_BYTES + 4 * LOAD_BYTES + WARMING_BYTES, bound)
    monkeypatch.setattr(instances, "REPORTS_KEPT", 2)
    for instance in ("a", "c"):
        found.take(report(instance), 100.0)
    assert list(found.warmed("d/3", 100.0)) == ["a", "c"]


def test_names_and_lags_for_people() -> None:
    assert lag_of(report(lag={"t/0": 3, "t/1": 4})) == 7
    assert [names_of(given) for given in ([], ["b", "a"], "abc", "abcde")] == [
        "",
        "a, b",
        "a, b, c",
        "a, b, c and 2 more",
    ]
