"""One link of a chain of causes, in words."""

from headrace.events.monitor import WindowClosed
from headrace.events.registry import RollBack, RolledBack, RolloutAborted, Route
from headrace.evidence.causes import cause_of, plain_words
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record


def test_a_link_says_what_happened_when_and_where() -> None:
    record = Record("registry.commands.v1", 0, 7, b"d", b"", timestamp_ms=90_500)
    cause = cause_of(Message(record, Envelope("a", "", "cli", 60.0), RollBack("d", 3, "too slow", "ada")))
    assert (cause.at_s, cause.what, cause.summary) == (60.0, "roll.back", "ada asks to roll back version 3: too slow")
    assert cause.place == "registry.commands.v1/0/7"
    assert (cause.wall_s, cause.state) == (90.5, "ok")


def test_a_link_has_the_state_of_its_event() -> None:
    record, envelope = Record("registry.facts.v1", 0, 8, b"d", b""), Envelope("a", "", "registry", 60.0)
    events = (RolledBack("d", 3, 2, "too slow", "ada"), RolloutAborted("d", "r1", 3, "no verdict"), None)
    assert [cause_of(Message(record, envelope, event)).state for event in events] == ["page", "attention", "unknown"]


def test_a_link_of_an_unknown_type_has_its_type_and_no_words() -> None:
    cause = cause_of(Message(Record("t", 0, 0, b"d", b""), Envelope("a", "rollout.cancelled", "x", 0.0), None))
    assert (cause.what, cause.summary) == ("rollout.cancelled", "")


def test_a_route_is_said_by_its_shares_and_its_reason() -> None:
    assert (
        plain_words(Route("d", {2: 0.95, 3: 0.05}, "s", 1, reason="a canary"))
        == "version 2 95%, version 3 5%: a canary"
    )
    assert plain_words(Route("d", {}, "s", 1, reason="deleted")) == "no version: deleted"


def test_a_window_says_how_much_it_saw() -> None:
    window = WindowClosed("d", 0.0, 3600.0, 1_200, 900, 0.5, "PASS")
    cause = cause_of(Message(Record("t", 0, 0, b"d", b""), Envelope("a", "", "monitor", 3600.0), window))
    words = "window to 1970-01-01T01:00:00Z: PASS, 1,200 requests, 900 with their outcome"
    assert (cause.what, cause.summary) == ("window.closed", words)
