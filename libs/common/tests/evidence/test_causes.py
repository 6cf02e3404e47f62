"""Chains of causes, from the newest record back to the first."""

from typing import Any

from headrace.events.registry import RollBack, Route, RouteChanged
from headrace.events.training import RetrainRequested
from headrace.evidence.causes import by_id_of, chain_of_route, walk
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record


def message(
    event: Any, ident: str, cause: str | None = None, topic: str = "registry.facts.v1", offset: int = 0
) -> Message:
    return Message(Record(topic, 0, offset, b"d", b""), Envelope(ident, "", "test", 60.0, causation_id=cause), event)


ROUTE = Route("d", {2: 1.0}, "s", 1, reason="rolled back")


def test_a_chain_ends_at_the_first_record_or_at_a_record_that_was_passed() -> None:
    asked, changed = message(RollBack("d", 3, "too slow", "ada"), "a", "c"), message(RouteChanged("d", ROUTE), "b", "a")
    steps = walk(changed, by_id_of([asked, message(RouteChanged("d", ROUTE), "c", "b", offset=7), changed]))
    assert [step.what for step in steps] == ["route.changed", "roll.back", "route.changed"]
    assert steps[1].summary == "too slow, by ada"
    assert steps[2].place == "registry.facts.v1/0/7"


def test_a_route_that_compaction_removed_is_explained_by_its_fact() -> None:
    messages = [message(RouteChanged("d", ROUTE), "f", topic="registry.facts.v1")]
    assert [step.what for step in chain_of_route(messages, "d", offset=3)] == ["route.changed"]
    assert chain_of_route(messages, "other") == []


def test_the_route_at_an_offset_is_followed_and_not_a_newer_one() -> None:
    older = message(ROUTE, "r1", "cause", "registry.routes.v1", 1)
    newer = message(Route("d", {3: 1.0}, "s", 2, reason="promoted"), "r2", None, "registry.routes.v1", 2)
    cause = message(RetrainRequested("d", "drift", "it drifted", "monitor"), "cause")
    steps = chain_of_route([older, newer, cause], "d", 1)
    assert steps[0].summary == "version 2 100%: rolled back"
    assert len(steps) == 2
    assert chain_of_route([older, newer, cause], "d")[0].summary == "version 3 100%: promoted"
