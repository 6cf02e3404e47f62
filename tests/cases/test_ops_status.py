"""What `headrace status` shows of an installation: which services should run, which are silent, and which state is over its bound."""

import msgspec

from headrace.events.ops import HealthReported, PartitionStopped
from headrace.hosting.faults import one_line
from headrace.hosting.stops import way_on
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace_cli.evidence.status import local_rows, service_rows, stopped_line


def _message(report: HealthReported, age_s: float) -> Message:
    record = Record("ops.health.v1", 0, 0, b"k", b"", (), int((1000.0 - age_s) * 1000))
    return Message(record, Envelope("i", "", "x", 0.0), report)


def _state(**services: dict) -> dict:
    base = {"pid": 1, "http_port": 2, "log": "/l", "restarts": 0, "last_code": None, "reason": "", "at": ""}
    return {"services": {name: base | given for name, given in services.items()}}


def test_what_should_run_and_does_not_keeps_its_row_with_the_reason() -> None:
    state = _state(monitor={"pid": None, "reason": "killed by SIGKILL", "at": "2026-01-01T00:00:00Z", "restarts": 4})
    (row,) = service_rows([], state, 1000.0)
    assert (row["service"], row["ready"], row["pid"], row["restarts"]) == ("monitor", False, None, 4)
    assert row["reason"] == "not running: killed by SIGKILL"
    assert row["last_end"] == "killed by SIGKILL at 2026-01-01T00:00:00Z"


def test_a_silent_instance_is_shown_with_its_silence_and_is_not_ready() -> None:
    report = HealthReported("monitor", "monitor-1", True, pid=7, http_port=9)
    (row,) = service_rows([_message(report, 34.0)], _state(monitor={"pid": 7}), 1000.0)
    assert (row["ready"], row["reason"], row["pid"], row["http_port"]) == (False, "silent for 34 s", 7, 9)
    (elsewhere,) = service_rows([_message(report, 34.0)], {}, 1000.0)
    assert elsewhere["reason"] == "silent for 34 s"
    assert service_rows([_message(report, 7200.0)], {}, 1000.0) == []
    assert service_rows([_message(msgspec.structs.replace(report, stopping=True), 1.0)], {}, 1000.0) == []


def test_the_report_of_a_process_that_was_replaced_does_not_count_for_its_successor() -> None:
    report = HealthReported("monitor", "monitor-1", True, pid=7)
    (row,) = service_rows([_message(report, 1.0)], _state(monitor={"pid": 8}), 1000.0)
    assert (row["ready"], row["reason"], row["pid"]) == (False, "starting", 8)


def test_a_state_over_its_bound_and_a_degraded_deployment_are_shown() -> None:
    report = HealthReported(
        "inference",
        "inference-1",
        True,
        degraded={"delay": "its champion is not loaded"},
        state_bytes={"repeats": 70, "tiles": 5},
        state_limits={"repeats": 64, "tiles": 10},
    )
    (row,) = service_rows([_message(report, 1.0)], {}, 1000.0)
    assert row["reason"] == (
        "delay is degraded: its champion is not loaded; state repeats holds 70 bytes, over its bound of 64"
    )


def test_a_stop_is_shown_once_with_the_whole_command_however_long_its_reason_is() -> None:
    stop = PartitionStopped("feature", "n.events.landings.v1", 0, 110, f"too many records cannot be read: {'x' * 500}")
    reason = f"{stop.topic}/0 is stopped at offset 110: {stop.reason}; {way_on('events.landings.v1')}"
    report = HealthReported("feature", "feature-1", False, reason=reason, failing=(f"stopped:{stop.topic}/0",))
    (row,) = service_rows([_message(report, 1.0)], {}, 1000.0)
    assert row["reason"] == "n.events.landings.v1/0 is stopped"
    line = stopped_line(Topics.load("n"), stop)
    assert line.startswith("feature has stopped reading events.landings.v1/0 at offset 110: too many records")
    assert line.endswith(f"xxx ...; {way_on('events.landings.v1')}")
    both = msgspec.structs.replace(report, failing=(*report.failing, "broker"), reason=f"{reason}; no answer")
    (row,) = service_rows([_message(both, 1.0)], {}, 1000.0)
    assert row["reason"].startswith("n.events.landings.v1/0 is stopped at offset 110")


def test_a_librarys_advice_is_one_line_in_a_cell() -> None:
    advice = "X has 3 features\n\nPlease read https://example.org\n" + "and this " * 200
    assert one_line(advice) == "X has 3 features"
    assert len(one_line("word " * 200)) <= 200


def test_without_a_broker_status_shows_what_the_supervisor_knows() -> None:
    rows = local_rows(_state(feature={}, monitor={"pid": None, "reason": "ended with 1"}))
    assert [(row["service"], row["ready"]) for row in rows] == [("feature", False), ("monitor", False)]
    assert rows[0]["reason"] == "its report cannot be read: the broker does not answer"
