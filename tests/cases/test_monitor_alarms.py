"""Alerts on what services report about themselves begin and end with the reported state."""

import pytest
from tests.cases.monitor_alone import DECISIONS, FACTS, NOW, ROUTES, Monitor, compiled, one

from headrace.events.alerts import AlertChanged
from headrace.events.inference import (
    BreakerChanged,
    DecisionMade,
    Invalid,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.events.ops import PartitionResumed, PartitionStopped
from headrace.events.registry import Route
from headrace.log.port import Record
from headrace_monitor.core.serving_alarms import InferenceFact


def stop_of(monitor: Monitor, event: object) -> None:
    record = Record("ops.stops.v1", 0, 0, b"feature/events.x.v1/1", None, (), int(NOW * 1000))
    monitor.liveness.on_record(event, record)


async def test_a_stopped_partition_alerts_until_it_goes_on() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    stop_of(monitor, PartitionStopped("feature", "events.x.v1", 1, 7, "too many"))
    monitor.beat("feature")
    await monitor.tick()
    await monitor.tick(600.0)
    assert monitor.alerts("PartitionStopped") == ["firing"]
    (fired,) = (
        e for e in monitor.events if isinstance(e, AlertChanged) and e.labels["alertname"] == "PartitionStopped"
    )
    assert fired.annotations["command"] == "headrace topic resume events.x.v1 --partition 1"
    stop_of(monitor, PartitionResumed("feature", "events.x.v1", 1, 7, "resume", "me"))
    await monitor.tick()
    assert monitor.alerts("PartitionStopped") == ["firing", "resolved"]


async def test_many_requests_of_the_future_alert_about_clocks_and_one_does_not() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    refused = Invalid("ce_time lies too far ahead", "ce_time")
    far = [monitor.message(DECISIONS, DecisionMade(f"r{n}", "d", "u", 1e10, refused, n), NOW) for n in range(10)]
    await monitor.read(far[0])
    assert monitor.alerts("ClockSkew") == []
    await monitor.read(*far[1:])
    assert monitor.alerts("ClockSkew") == ["firing"]
    await monitor.tick(400.0)
    assert monitor.alerts("ClockSkew") == ["firing", "resolved"]


async def test_dead_letters_for_their_instant_alert_about_clocks_too() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    headers = (("headrace.field", b"available_at"), ("__connect.errors.topic", b"events.x.v1"))
    await monitor.read(*[monitor.message("dlq.feature.v1", None, 0.0, headers) for _ in range(10)])
    (skew,) = [e for e in monitor.events if isinstance(e, AlertChanged) and e.labels["alertname"] == "ClockSkew"]
    assert skew.labels["topic"] == "events.x.v1"
    assert monitor.alerts("DeadLettered") == ["firing"]


async def test_the_alert_on_dead_letters_stays_while_their_service_consumes_nothing() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    monitor.beat("feature", handled_total=10, lag={"events.x.v1/0": 5})
    await monitor.read(monitor.message("dlq.feature.v1", None, 0.0))
    await monitor.tick(200.0)
    monitor.beat("feature", handled_total=10, lag={"events.x.v1/0": 5})
    await monitor.tick(200.0)
    assert monitor.alerts("DeadLettered") == ["firing"]
    monitor.beat("feature", handled_total=11, lag={"events.x.v1/0": 4})
    await monitor.tick()
    assert monitor.alerts("DeadLettered") == ["firing", "resolved"]


async def test_a_failed_load_alerts_until_the_version_is_warm_or_its_instance_is_gone() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    failed = VersionLoadFailed("d", 3, "i-1", "memory", "no room", 2, 30.0)
    await monitor.read(monitor.message(FACTS, failed, NOW))
    await monitor.read(monitor.message(FACTS, VersionWarmed("d", 3, "i-1", 0.1), NOW))
    assert monitor.alerts("VersionLoadFailed") == ["firing", "resolved"]
    await monitor.read(monitor.message(FACTS, failed, NOW))
    monitor.beat("inference", instance="i-2")
    await monitor.tick(60.0)
    monitor.beat("inference", instance="i-2")
    await monitor.tick()
    assert monitor.alerts("VersionLoadFailed") == ["firing", "resolved"] * 2
    await monitor.read(monitor.message(FACTS, failed, NOW))
    await monitor.read(monitor.message(FACTS, VersionUnloadable("d", 3, "i-1", "it crashed twice"), NOW))
    assert monitor.alerts("VersionLoadFailed") == ["firing", "resolved"] * 3


@pytest.mark.parametrize(
    ("fact", "alert"),
    [
        (VersionLoadFailed("d", 3, "i-1", "memory", "no room", 2, 30.0), "VersionLoadFailed"),
        (BreakerChanged("d", 3, "open", "closed", "it raised", "i-1"), "BreakerOpen"),
    ],
)
async def test_an_alert_on_a_version_ends_when_the_route_names_it_no_more(fact: InferenceFact, alert: str) -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    await monitor.read(monitor.message(ROUTES, Route("d", {2: 1.0}, "s", 1, warm=(3,)), NOW))
    await monitor.read(monitor.message(FACTS, fact, NOW))
    for _ in range(2):
        monitor.beat("inference", instance="i-1", degraded={"d": "version 3 is not loaded"}, breakers={"d/3": "open"})
        await monitor.tick(60.0)
    assert monitor.alerts(alert) == ["firing"]
    await monitor.read(monitor.message(ROUTES, Route("d", {2: 1.0}, "s", 2), NOW))
    monitor.beat("inference", instance="i-1", breakers={"d/3": "open"})
    await monitor.tick()
    assert monitor.alerts(alert) == ["firing", "resolved"]


async def test_a_degraded_deployment_an_open_transaction_and_a_full_state_alert_and_end() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    monitor.beat(
        "inference",
        degraded={"d": "version 3 is not loaded"},
        failing=("transaction:inference.requests.v1/0",),
        state_bytes={"repeats": 11},
        state_limits={"repeats": 10},
    )
    await monitor.tick()
    names = ("DeploymentDegraded", "TransactionOpen", "StateOverBound")
    assert [monitor.alerts(name) for name in names] == [["firing"]] * 3
    monitor.beat("inference")
    await monitor.tick()
    assert [monitor.alerts(name) for name in names] == [["firing", "resolved"]] * 3


async def test_a_monitor_that_was_frozen_knows_nothing_and_calls_nobody_down() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    services = ("gateway", "inference", "feature")
    for service in services:
        monitor.beat(service)
    await monitor.tick(51.0)
    assert monitor.alerts("ServiceDown") == []
    for service in services:
        monitor.beat(service)
    await monitor.tick()
    assert monitor.alerts("ServiceDown") == []


async def test_a_service_that_is_silent_while_the_log_goes_on_is_down_until_another_instance_reports() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    monitor.beat("feature", instance="old")
    await monitor.tick(20.0)
    monitor.beat("gateway")
    await monitor.tick()
    assert monitor.alerts("ServiceDown") == ["firing"]
    monitor.beat("feature", instance="new")
    await monitor.tick()
    assert monitor.alerts("ServiceDown") == ["firing", "resolved"]


async def test_a_service_that_is_restarted_again_and_again_alerts_though_each_instance_reports() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    for number in range(8):
        monitor.beat("inference", instance=f"i-{number}", started_s=float(number))
        await monitor.tick(5.0)
    assert monitor.alerts("ServiceDown") == ["firing"]
    for _ in range(60):
        monitor.beat("inference", instance="i-7", started_s=7.0)
        await monitor.tick(5.0)
    assert monitor.alerts("ServiceDown") == ["firing", "resolved"]
