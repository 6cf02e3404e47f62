"""What others wrote is printed as it is: it is no markup, and no order to the terminal."""

from types import SimpleNamespace

import msgpack
import pytest

from headrace.log.codec import Codec
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace_cli.commands import explain, topic
from headrace_cli.terminal.render import show, show_result

HOSTILE = "[/b] [red]\x1b[2J\x07[link=x]"
SHOWN = r"[/b] [red]\x1b[2J\x07[link=x]"


def test_a_table_shows_texts_that_look_like_markup_or_orders_to_the_terminal(capsys: pytest.CaptureFixture) -> None:
    show([{"reason": HOSTILE, "key": "[/]"}], ["reason", "key"], as_json=False, empty="")
    printed = capsys.readouterr().out
    assert SHOWN in printed
    assert "[/]" in printed
    assert "\x1b" not in printed


def test_a_line_shows_texts_that_look_like_markup_or_orders_to_the_terminal(capsys: pytest.CaptureFixture) -> None:
    show_result({}, as_json=False, line=HOSTILE)
    assert SHOWN in capsys.readouterr().out


def test_a_record_whose_key_looks_like_markup_is_tailed(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {"time": "t", "type": "unreadable", "place": "0/0", "key": HOSTILE, "event": HOSTILE}
    monkeypatch.setattr(topic, "_described", lambda *_: line)
    topic._print(None, Record("t", 0, 0, HOSTILE.encode(), b"", (), 0), as_json=False)  # ty: ignore[invalid-argument-type]
    assert SHOWN in capsys.readouterr().out


def test_a_title_that_is_wider_than_its_table_stands_on_one_line(capsys: pytest.CaptureFixture) -> None:
    show([{"x": 1}], ["x"], as_json=False, empty="", title="the row that it was answered from")
    assert capsys.readouterr().out.splitlines()[0] == "the row that it was answered from"


def test_the_row_of_a_decision_is_headed_in_one_line_however_narrow_it_is(capsys: pytest.CaptureFixture) -> None:
    explain._show_decision({"answer": {"kind": "served"}, "row": {"x": 1.0}} | dict.fromkeys(explain._ABOUT))
    explain._show_chain([{"at": "t", "what": "w", "summary": "s", "place": "p"}], "d")
    printed = capsys.readouterr().out.splitlines()
    assert "the row that it was answered from" in printed
    assert "why this version, newest first" in printed


def test_a_record_that_the_codec_cannot_read_is_tailed_with_what_it_holds_and_why_it_is_not_read(
    capsys: pytest.CaptureFixture,
) -> None:
    topics = Topics.load()
    session = SimpleNamespace(topics=topics, codec=Codec(topics))
    record = Record(topics.name("inference.requests"), 0, 7, b"u", msgpack.packb({"unit": "u", "inputs": 5}), (), 1_000)
    topic._print(session, record, as_json=False)  # ty: ignore[invalid-argument-type]  what it reads of a session
    printed = capsys.readouterr().out
    assert '{"unit": "u", "inputs": 5}' in printed
    assert "Expected `object`, got `int` - at `$.inputs`" in printed
