"""Commands about silences, without a log: what is refused before one is written, and which records count."""

import msgspec
import pytest
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.events.alerts import AlertChanged, SilenceEnded, SilenceSet
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace_cli.commands import alert
from headrace_cli.commands.alert import folded, row_of
from headrace_cli.main import app
from headrace_cli.terminal import render

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
        (("--for", "0s", "d"), "--for must be above 0, such as 2h, got '0s'"),
        (("--for", "1h", "--match", "=a"), "--match takes name=value, got no name before the = of '=a'"),
        (("--for", "1h", "--match", "foo="), "--match foo= has no value, which no alert has: --match foo=VALUE"),
        (("--for", "1h", "--match", "a=1", "--match", "a=2"), "--match names a twice, as '1' and as '2': give it once"),
        (
            ("--for", "1h", "d", "--match", "deployment=e"),
            "two deployments are named, 'd' and --match deployment=e: an alert is about one",
        ),
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


def test_in_80_columns_an_alert_has_a_line_for_what_it_says_and_a_silence_its_id_whole(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render.console, "width", 80)
    alert._show_alerts([row_of(ALERT, {"s1": ANN}, NOW_S)], with_status=False)
    alert._show_silences(
        [{"id": "silence-0123abcd", "labels": ["a=" + "x" * 90], "from": "f", "until": "u", "by": "ann", "reason": "r",
          "covers": 1}]
    )  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "warning  ModelDrift  deployment=d  since 2026-05-28T20:00:00Z",
        "  silenced until 2026-05-28 21:26:40 by ann: a test",
        "  it is so",
        "  headrace status",
        "  docs/runbooks/ModelDrift.md",
        "silence-0123abcd  f .. u UTC  covers 1",
        f"  a={'x' * 90}",
        "  by ann: r",
    ]


def test_an_alert_is_listed_with_its_severity_and_the_silence_that_covers_it_now() -> None:
    row = row_of(ALERT, {"s1": ANN}, NOW_S)
    assert (row["severity"], row["about"]) == ("warning", "deployment=d")
    assert row["silenced"] == "until 2026-05-28 21:26:40 by ann: a test"
    assert row_of(ALERT, {"s1": ANN}, NOW_S + 3600)["silenced"] == ""
    resolved = msgspec.structs.replace(ALERT, status="resolved")
    assert row_of(resolved, {"s1": ANN}, NOW_S)["silenced"] == ""
