"""When a service is down."""

import pytest

from headrace.events.ops import HealthReported
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace_monitor.core.services import Services


def beat(instance: str, at_ms: int, service: str = "feature", **more: object) -> Message:
    report = HealthReported(service, instance, ready=True, **more)  # type: ignore[arg-type]
    return Message(Record("ops.health.v1", 0, 0, None, None, (), at_ms), Envelope("", "", "", 0.0), report)


def test_a_service_is_down_when_the_log_went_on_without_it_unless_it_stopped_by_design() -> None:
    services = Services()
    services.take(beat("old", 1_000, stopping=True))
    services.take(beat("m", 100_000, "monitor"))
    assert services.down()["feature"] is False
    services.take(beat("new", 101_000))
    services.take(beat("m", 105_000, "monitor"))
    assert services.down()["feature"] is False
    services.take(beat("m", 200_000, "monitor"))
    assert services.down()["feature"] is True
    services.take(beat("third", 201_000))
    assert services.down()["feature"] is False


def test_a_service_that_ended_by_a_failure_is_down_though_it_said_that_it_stops() -> None:
    services = Services()
    services.take(beat("old", 1_000, stopping=True, failing=("end",)))
    services.take(beat("m", 100_000, "monitor"))
    assert services.down()["feature"] is True


@pytest.mark.parametrize(
    ("last", "counted"), [({}, 5), ({"stopping": True, "failing": ("end",)}, 5), ({"stopping": True}, 0)]
)
@pytest.mark.parametrize("named", ["i-{}", "always"])
def test_processes_that_end_unasked_one_after_the_other_are_counted_for_some_minutes(
    last: dict[str, object], counted: int, named: str
) -> None:
    services = Services()
    for number in range(6):
        services.take(beat(named.format(number), 10_000 * number, started_s=number))
        services.take(beat(named.format(number), 10_000 * number + 3_000, started_s=number, **last))
    services.take(beat("m", 55_000, "monitor"))
    services.take(beat("m", 62_900, "monitor"))
    assert (services.ends("feature"), services.ends("monitor")) == (counted, 0)
    services.take(beat("m", 500_000, "monitor"))
    assert services.ends("feature") == 0
