"""What is sent to which page: snapshots first, then what changed, and the whole again to those who were away too long."""

import json
from typing import Any

from headrace_console.core import feed as feeds
from headrace_console.core.feed import Feed, Sent


def shown(events: list[Sent]) -> list[tuple[str, str, Any]]:
    """Each event: its name, its document, and its value or patch."""
    found = [(event, json.loads(event.data)) for event in events]
    return [(event.name, event.key, data.get("patch", data.get("value"))) for event, data in found]


def fed(*values: dict[str, Any], key: str = "now") -> Feed:
    feed = Feed("e1")
    for value in values:
        feed.put(key, value, "", 1.0)
    return feed


def test_a_new_reader_gets_a_snapshot_whose_id_is_the_present() -> None:
    feed = fed({"n": 1}, {"n": 2})
    (event,) = feed.since(None, ["now"])
    assert shown([event]) == [("snapshot", "now", {"n": 2})]
    assert event.number == feed.number


def test_only_the_last_of_several_snapshots_has_an_id() -> None:
    feed = fed({"n": 1})
    feed.put("alerts", {"a": {}}, "", 1.0)
    assert [event.number for event in feed.since(None, ["now", "alerts"])] == [None, feed.number]


def test_a_reader_gets_the_changes_since_his_last_event() -> None:
    feed = fed({"n": 1})
    number = feed.number
    feed.put("now", {"n": 2}, "", 1.0)
    feed.put("now", {"n": 2, "m": 1}, "", 1.0)
    assert shown(feed.since(number, ["now"])) == [("delta", "now", {"n": 2}), ("delta", "now", {"m": 1})]
    assert feed.since(feed.number, ["now"]) == []


def test_a_value_that_is_the_same_is_no_event() -> None:
    feed = fed({"n": 1})
    assert not feed.put("now", {"n": 1}, "", 2.0)
    (sent,) = feed.snapshots(["now"])
    assert json.loads(sent.data)["as_of_s"] == 2.0


def test_a_reader_gets_no_changes_of_other_documents() -> None:
    feed = fed({"n": 1})
    feed.put("alerts", {"a": {}}, "", 1.0)
    number = feed.number
    feed.put("alerts", {"a": {"x": 1}}, "", 1.0)
    assert feed.since(number, ["now"]) == []


def test_a_reader_of_another_epoch_or_of_nonsense_gets_snapshots() -> None:
    feed = fed({"n": 1})
    assert feed.read_number(f"e1-{feed.number}") == feed.number
    assert [feed.read_number(text) for text in ("e0-1", "e1-", "e1-x", "", "e1-" + "9" * 30, "e1-٣")] == [None] * 6
    assert shown(feed.since(feed.number + 5, ["now"])) == [("snapshot", "now", {"n": 1})]


def test_a_reader_who_was_away_for_longer_than_the_history_gets_a_snapshot() -> None:
    feed = fed({"n": 0})
    number = feed.number
    for n in range(feeds.HISTORY_EVENTS + 2):
        feed.put("now", {"n": n + 1}, "", 1.0)
    assert [name for name, *_ in shown(feed.since(number, ["now"]))] == ["snapshot"]
    assert [name for name, *_ in shown(feed.since(feed.number - 3, ["now"]))] == ["delta"] * 3


def test_the_history_is_bounded_in_bytes() -> None:
    feed = fed({"text": ""})
    for n in range(40):
        feed.put("now", {"text": str(n % 10) * 400_000}, "", 1.0)
    assert feed.held_bytes <= feeds.HISTORY_BYTES


def test_a_document_that_was_forgotten_meanwhile_is_sent_whole() -> None:
    feed = fed({"n": 1})
    feed.put("alerts", {"a": 1}, "", 1.0)
    number = feed.number
    feed.forget("now")
    feed.put("now", {"n": 2}, "", 1.0)
    feed.put("alerts", {"a": 2}, "", 1.0)
    events = feed.since(number, ["now", "alerts"])
    assert shown(events) == [("snapshot", "now", {"n": 2}), ("delta", "alerts", {"a": 2})]
    assert events[0].number is None


def test_what_comes_and_goes_is_sent_whole_with_the_reason() -> None:
    feed = Feed("e1")
    feed.put("version/d/1", None, "never registered", 1.0)
    number = feed.number
    feed.put("version/d/1", {"n": 1}, "", 1.0)
    feed.put("version/d/1", None, "gone", 1.0)
    names = [(event.name, json.loads(event.data)["why"]) for event in feed.since(number, ["version/d/1"])]
    assert names == [("snapshot", ""), ("snapshot", "gone")]
