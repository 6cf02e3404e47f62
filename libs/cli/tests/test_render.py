"""What others wrote is printed as it is: it is no markup, and no order to the terminal."""

import pytest

from headrace.bus.port import Record
from headrace_cli.commands import topic
from headrace_cli.render import say, show

HOSTILE = "[/b] [red]\x1b[2J\x07[link=x]"
SHOWN = r"[/b] [red]\x1b[2J\x07[link=x]"


def test_a_table_shows_texts_that_look_like_markup_or_orders_to_the_terminal(capsys: pytest.CaptureFixture) -> None:
    show([{"reason": HOSTILE, "key": "[/]"}], ["reason", "key"], as_json=False, empty="")
    printed = capsys.readouterr().out
    assert SHOWN in printed
    assert "[/]" in printed
    assert "\x1b" not in printed


def test_a_line_shows_texts_that_look_like_markup_or_orders_to_the_terminal(capsys: pytest.CaptureFixture) -> None:
    say({}, as_json=False, line=HOSTILE)
    assert SHOWN in capsys.readouterr().out


def test_a_record_whose_key_looks_like_markup_is_tailed(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {"time": "t", "type": "unreadable", "place": "0/0", "key": HOSTILE, "event": HOSTILE}
    monkeypatch.setattr(topic, "_described", lambda *_: line)
    topic._print(None, Record("t", 0, 0, HOSTILE.encode(), b"", (), 0), as_json=False)  # ty: ignore[invalid-argument-type]
    assert SHOWN in capsys.readouterr().out
