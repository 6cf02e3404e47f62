"""Commands about silences, without a log: what is refused before one is written, and which records count."""

import msgspec
import pytest
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.events.alerts import AlertChanged, SilenceEnded, SilenceSet
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace_cli.commands.alert import folded, row_of
from headrace_cli.main import app

NOW_S = 1_780_000_000.0
ANN = SilenceSet("s1", {"deployment": "d"}, NOW_S, NOW_S + 3600, "ann", "a test")
ALERT = AlertChanged(
    "firing",
    {"alertname": "ModelDrift", "severity": "warning", "deployment": "d"},
    {"summary": "it is so", "command": "headrace status", "runbook_url": "docs/runbooks/ModelDrift.md"},
    "2026-05-28T20:00:00Z",
    "",
    "fp",
)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--for", "1h"), "which alerts? Name a deployment, or --match alertname=Overload"),
        (("--for", "1h", "--match", "alertname"), "--match takes name=value, got 'alertname'"),
        (("--for", "soon", "d"), "a duration is written like 15m, 3h or 180d, got 'soon'"),
    ],
)
def test_a_silence_of_nothing_in_particular_or_for_no_time_is_refused(words: tuple[str, ...], reason: str) -> None:
    ran = CliRunner().invoke(app, ["alert", "silence", "--reason", "a test", *words])
    assert isinstance(ran.exception, Misconfigured)
    assert str(ran.exception) == reason


def message(event: object, key: str, at_s: float = NOW_S) -> Message:
    record = Record("alerts.silences.v1", 0, 0, key.encode(), b"", (), int(at_s * 1000))
    return Message(record, Envelope("i", "", "cli", at_s), event)


def test_records_that_the_monitor_refuses_count_for_nothing_here_either() -> None:
    wide = msgspec.structs.replace(ANN, id="s2", matchers={})
    assert folded([message(ANN, "s1"), message(wide, "s2"), message(ANN, "other")]) == {"s1": ANN}
    assert folded([message(ANN, "s1"), message(SilenceEnded("s1", "bob", "done"), "s1")]) == {}
    assert folded([message(ANN, "s1"), message(None, "s1")]) == {}


def test_an_alert_is_listed_with_its_severity_and_the_silence_that_covers_it_now() -> None:
    row = row_of(ALERT, {"s1": ANN}, NOW_S)
    assert (row["severity"], row["about"]) == ("warning", "deployment=d")
    assert row["silenced"] == "until 2026-05-28 21:26:40 by ann: a test"
    assert row_of(ALERT, {"s1": ANN}, NOW_S + 3600)["silenced"] == ""
    resolved = msgspec.structs.replace(ALERT, status="resolved")
    assert row_of(resolved, {"s1": ANN}, NOW_S)["silenced"] == ""
