"""Alarms of instances: services that are down, and what their reports say of their state."""

from typing import Any

import pytest
from services.monitor.tests.alarms_scene import beat, service

from headrace.events.ops import PartitionResumed, PartitionStopped
from headrace.hosting.alerts import Alarm
from headrace.log.port import Record
from headrace_monitor.core.liveness import ENDS_WITHIN_S, FORGOTTEN_S, MOST_ENDS, SILENT_S, Liveness


def test_a_service_is_down_after_ten_seconds_of_the_log_without_it() -> None:
    liveness = Liveness()
    beat(liveness, 100.0)
    beat(liveness, 100.0 + SILENT_S, "monitor")
    assert (liveness.down(), [found.service for found in liveness.live()]) == (
        {"feature": False, "monitor": False},
        ["feature", "monitor"],
    )
    beat(liveness, 100.1 + SILENT_S, "monitor")
    down = service("feature", "no instance of feature has reported for 10 s")
    assert liveness.service_alarms() == ([down], [service("monitor", "no instance of monitor has reported for 10 s")])
    assert [found.service for found in liveness.live()] == ["monitor"]
    assert (liveness.live("feature"), len(liveness.newest("feature")), liveness.newest("another")) == ([], 1, [])
    beat(liveness, 50.0, "monitor")
    assert liveness.read_to_s == 100.1 + SILENT_S


def test_of_two_instances_that_report_at_the_same_instant_either_is_enough() -> None:
    liveness = Liveness()
    for instance in ("i", "j"):
        beat(liveness, 100.0, instance=instance)
    assert liveness.down() == {"feature": False}
    beat(liveness, 101.0, instance="k", stopping=True)
    assert [found.instance for found in liveness.live("feature")] == ["i", "j"]


def test_a_service_that_ends_again_and_again_is_down() -> None:
    liveness = Liveness()
    for number in range(MOST_ENDS):
        beat(liveness, 100.0 + number, started_s=float(number))
    beat(liveness, 104.0, started_s=99.0)
    beat(liveness, 103.1 + SILENT_S, started_s=99.0)
    again = service("feature", "feature ended 4 times in 5 minutes, unasked: it is restarted again and again")
    assert (liveness.ends("feature"), liveness.service_alarms()) == (4, ([again], []))
    beat(liveness, 100.0 + ENDS_WITHIN_S, started_s=99.0)
    assert liveness.ends("feature") == 4
    beat(liveness, 100.1 + ENDS_WITHIN_S, started_s=99.0)
    assert liveness.ends("feature") == 3


def test_old_processes_are_forgotten_when_a_new_one_comes() -> None:
    liveness = Liveness()
    for number in range(5):
        beat(liveness, 100.0 + number * ENDS_WITHIN_S, started_s=float(number))
    assert len(liveness._lives["feature"]) == 2
    beat(liveness, 100.0 + 9 * ENDS_WITHIN_S, started_s=4.0)
    assert len(liveness._lives["feature"]) == 2


def test_an_instance_that_was_replaced_long_ago_is_forgotten() -> None:
    liveness = Liveness()
    beat(liveness, 100.0, instance="old")
    beat(liveness, 100.0 + FORGOTTEN_S, instance="new")
    assert len(liveness.newest("feature")) == 2
    beat(liveness, 100.1 + FORGOTTEN_S, instance="new")
    assert [found.instance for found in liveness.newest("feature")] == ["new"]


def test_what_reports_say_of_their_state_is_an_alarm_each() -> None:
    liveness = Liveness()
    state = {"state_bytes": {"keys": 1_001, "rows": 5, "free": 9}, "state_limits": {"keys": 1_000, "rows": 5}}
    beat(
        liveness,
        100.0,
        degraded={"d": "its breaker is open"},
        failing=("transaction:t/3", "other"),
        reason="held",
        **state,
    )
    stop = PartitionStopped("feature", "t", 3, 42, "it broke")
    liveness.on_record(stop, Record("ops.stops.v1", 0, 0, b"feature/t/3", b"", (), 0))
    assert liveness.state_alarms() == [
        Alarm("PartitionStopped", {"service": "feature", "partition": "t/3"}, "critical", "feature reads t/3 no further than offset 42: it broke", "headrace topic resume t --partition 3"),
        Alarm("DeploymentDegraded", {"deployment": "d"}, "critical", "d is answered by its fallback: its breaker is open", "headrace status"),
        Alarm("TransactionOpen", {"service": "feature", "partition": "t/3"}, "critical", "an unfinished transaction holds t/3 back: held", "headrace status"),
        Alarm("StateOverBound", {"service": "feature", "state": "keys"}, "warning", "feature holds 1,001 bytes of keys, its bound is 1,000", "headrace status"),
    ]  # fmt: skip
    assert (liveness.stopped, liveness.has_stopped_partition("feature"), liveness.has_stopped_partition("other")) == (
        {"t/3"},
        True,
        False,
    )


@pytest.mark.parametrize(
    ("event", "key", "is_over"),
    [
        (PartitionResumed("feature", "t", 3, 42, "r", "ann"), b"x", True),
        (PartitionResumed("feature", "t", 4, 42, "r", "ann"), b"x", False),
        (None, b"feature/t/3", True),
        (None, b"feature/t/4", False),
        (None, None, False),
    ],
)
def test_a_stop_ends_by_a_fact_or_a_tombstone(event: Any, key: bytes | None, is_over: bool) -> None:
    liveness = Liveness()
    liveness.on_record(PartitionStopped("feature", "t", 3, 42, "r"), Record("ops.stops.v1", 0, 0, b"k", b"", (), 0))
    liveness.on_record(event, Record("ops.stops.v1", 0, 1, key, None, (), 0))
    assert liveness.has_stopped_partition("feature") is not is_over
