"""`headrace finding show`: a finding as a story, to what its retrain gained."""

import io

import pytest
from rich.console import Console

from headrace.evidence.findings import Findings
from headrace.testing.history import History
from headrace_cli.evidence import history as shown


def printed(history: History, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed of the only finding, with single blanks."""
    findings = Findings()
    for message in history.messages:
        findings.take(message)
    (found,) = findings.of("d")
    wide = Console(width=170, record=True, file=io.StringIO())
    monkeypatch.setattr(shown, "console", wide)
    shown.show_finding(found)
    return [" ".join(line.split()) for line in wide.export_text().splitlines()]


def test_the_retrain_that_a_finding_asked_for_says_what_it_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    history.drift_to_switch()
    history.gained(2, 0.0123, 0.001, days=14, is_final=True)
    lines = printed(history, monkeypatch)
    assert "retrain 2013-04-01 00:00 accepted as run drun2, registered as version 2 monitor.windows/0/1" in lines
    gained = "version 2 gains .0123 per request against version 1 (+.001 to +.0236) over 14 days and 21,000 requests"
    assert f"gained {gained}" in lines


def test_without_a_report_nothing_is_said_of_a_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    history.drift_to_switch()
    assert not any(line.startswith("gained") for line in printed(history, monkeypatch))
