"""Which decision a message needs, and what is to be decided after it."""

from typing import Any

import pytest
from msgspec.structs import replace

from headrace.events.ops import HealthReported
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    CardWritten,
    CommandRefused,
    RegisterVersion,
    RouteChanged,
    StartRollout,
    TagVersion,
    TimedOut,
    VersionRegistered,
    VersionTagged,
)
from headrace.project import Binary, Deployment, Number
from headrace.project.compile import compile_project
from headrace.project.declare import Project
from headrace.registry.state import Registry
from headrace.testing.registry import command, folded, registered, version_of
from headrace_registry.core.intake import Known, WriteCard, follow_ups, is_command, on_message
from headrace_registry.core.machine import UNDECLARED, Approved
from headrace_registry.core.publication import changed_route, changed_versions, fact_id

PROJECT = compile_project(Project("p", [Deployment("d", "u", [Number("x")], label=Binary("late", "1d"))]))
KNOWN = Known(PROJECT.deployments[0], 5.0, has_artifact=True)


def take(state: Registry, message: Any, known: Known = KNOWN) -> tuple[Any, ...]:
    return on_message(state, "d", message, "c", known).facts


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (command(), True),
        (StartRollout("d", 1, "r", "me"), True),
        (TagVersion("d", 1, {}, "me"), True),
        (TimedOut("d", "r", "pause", 1.0, "r"), True),
        (RouteChanged("d", None), False),  # type: ignore[arg-type]
        (None, False),
    ],
)
def test_only_commands_are_refused(event: Any, expected: bool) -> None:
    assert is_command(event) is expected


def test_a_registration_is_followed_by_its_card_and_by_the_rollout_that_it_asks_for() -> None:
    asked = command(rollout=True, reason="better", by="trainer")
    facts = take(Registry(), asked)
    assert [(type(fact), fact.version, fact.registered_at_s) for fact in facts] == [(VersionRegistered, 1, 5.0)]
    card, start = follow_ups(asked, facts, KNOWN)
    assert card == WriteCard(facts[0], PROJECT.deployments[0])
    assert start == StartRollout("d", 1, "better", "trainer")
    (written,) = take(folded(Registry(), facts), card)
    assert isinstance(written, CardWritten)
    assert len(follow_ups(command(rollout=False), facts, KNOWN)) == 1


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (Known(None, 0.0, has_artifact=True), "no applied project declares"),
        (Known(KNOWN.definition, 0.0), "is not complete"),
    ],
)
def test_a_registration_that_is_refused_is_followed_by_nothing(known: Known, reason: str) -> None:
    asked: RegisterVersion = command(rollout=True)
    (refused,) = take(Registry(), asked, known)
    assert isinstance(refused, CommandRefused)
    assert reason in refused.reason
    assert follow_ups(asked, (refused,), known) == []


def test_an_approval_is_followed_by_a_look_at_what_waits() -> None:
    asked = ApproveVersion("d", 1, "r", "ann")
    assert follow_ups(asked, take(registered(), asked), KNOWN) == [Approved()]
    assert take(registered(), Approved()) == ()


def test_a_command_about_a_version_or_a_rollout_finds_its_decision_and_anything_else_changes_nothing() -> None:
    assert take(registered(), TagVersion("d", 1, {"a": "b"}, "me")) == (VersionTagged("d", 1, {"a": "b"}, "me"),)
    (refused,) = take(registered(), AbortRollout("d", "r", "me"))
    assert refused.command == "abort.rollout"
    assert take(registered(), HealthReported("inference", "i", True)) == ()


def test_without_a_definition_rollouts_go_by_the_plan_for_what_nobody_declares() -> None:
    assert Known().plan == UNDECLARED
    assert KNOWN.plan == PROJECT.deployments[0].rollout


def test_ids_of_facts_follow_the_state_and_those_of_refusals_the_command() -> None:
    one, two = registered(1), registered(2)
    tagged, refused = VersionTagged("d", 1, {}, "me"), CommandRefused("d", "tag.version", "c1", "r")
    assert fact_id(one, tagged) != fact_id(two, tagged)
    assert fact_id(one, refused) == fact_id(two, refused)
    others = [replace(refused, deployment="e"), replace(refused, command_id="c2")]
    assert len({fact_id(one, each) for each in [refused, *others]}) == 3
    assert fact_id(one, replace(tagged, deployment="e")) != fact_id(Registry(), tagged)


def test_only_what_facts_have_changed_is_published_again() -> None:
    before = registered(2)
    facts = (version_of(3), VersionTagged("d", 1, {"a": "b"}, "me"))
    after = folded(before, facts).entry("d")
    assert sorted(changed_versions(before.entry("d"), after)) == [1, 3]
    assert changed_route(after, facts) is None
