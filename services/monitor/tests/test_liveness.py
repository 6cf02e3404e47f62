"""When a service is down."""

import pytest

from headrace.events.ops import HealthReported
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace_monitor.core.liveness import Liveness


def read(liveness: Liveness, message: Message) -> None:
    liveness.on_record(message.event, message.record)


def beat(instance: str, at_ms: int, service: str = "feature", **more: object) -> Message:
    report = HealthReported(service, instance, ready=True, **more)  # type: ignore[arg-type]
    return Message(Record("ops.health.v1", 0, 0, None, None, (), at_ms), Envelope("", "", "", 0.0), report)


def test_a_service_is_down_when_the_log_went_on_without_it_unless_it_stopped_by_design() -> None:
    liveness = Liveness()
    read(liveness, beat("old", 1_000, stopping=True))
    read(liveness, beat("m", 100_000, "monitor"))
    assert liveness.down()["feature"] is False
    read(liveness, beat("new", 101_000))
    read(liveness, beat("m", 105_000, "monitor"))
    assert liveness.down()["feature"] is False
    read(liveness, beat("m", 200_000, "monitor"))
    assert liveness.down()["feature"] is True
    read(liveness, beat("third", 201_000))
    assert liveness.down()["feature"] is False


def test_a_service_that_ended_by_a_failure_is_down_although_it_reported_that_it_stops() -> None:
    liveness = Liveness()
    read(liveness, beat("old", 1_000, stopping=True, failing=("end",)))
    read(liveness, beat("m", 100_000, "monitor"))
    assert liveness.down()["feature"] is True


@pytest.mark.parametrize(
    ("last", "counted"), [({}, 5), ({"stopping": True, "failing": ("end",)}, 5), ({"stopping": True}, 0)]
)
@pytest.mark.parametrize("named", ["i-{}", "always"])
def test_processes_that_end_unasked_one_after_the_other_are_counted_for_some_minutes(
    last: dict[str, object], counted: int, named: str
) -> None:
    liveness = Liveness()
    for number in range(6):
        read(liveness, beat(named.format(number), 10_000 * number, started_s=number))
        read(liveness, beat(named.format(number), 10_000 * number + 3_000, started_s=number, **last))
    read(liveness, beat("m", 55_000, "monitor"))
    read(liveness, beat("m", 62_900, "monitor"))
    assert (liveness.ends("feature"), liveness.ends("monitor")) == (counted, 0)
    read(liveness, beat("m", 500_000, "monitor"))
    assert liveness.ends("feature") == 0
