"""What a command leaves behind, whole facts: who, which version, why, and the way out where it is refused."""

from typing import Any

import pytest
from services.registry.tests.rollout_machine import BLUE_GREEN, Machine

from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    ApproveVersion,
    ArchiveVersion,
    CommandRefused,
    DeleteVersion,
    RetryRollout,
    RollBack,
    RolledBack,
    RolloutAborted,
    SetAlias,
    SetOverride,
    TagVersion,
    VersionApproved,
    VersionTagged,
)
from headrace.testing.registry import registered
from headrace_registry.core.versions import on_approve, on_archive, on_delete, on_set_alias, on_set_override, on_tag

UNKNOWN = "d has no version 9: `headrace model list` shows those that there are"
REFUSALS = {
    "set alias": (on_set_alias, SetAlias("d", "baseline", 9, None, "r", "ann"), "set.alias"),
    "override": (on_set_override, SetOverride("d", "acme", 9, "r", "ann"), "set.override"),
    "approve": (on_approve, ApproveVersion("d", 9, "r", "ann"), "approve.version"),
    "tag": (on_tag, TagVersion("d", 9, {"a": "b"}, "ann"), "tag.version"),
    "archive": (on_archive, ArchiveVersion("d", 9, "r", "ann"), "archive.version"),
    "delete": (on_delete, DeleteVersion("d", 9, "r", "ann"), "delete.version"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_version_that_there_is_not_is_refused_with_its_name(name: str) -> None:
    on_command, command, kind = REFUSALS[name]
    step = on_command(registered(3), command, "c1")
    assert step.facts == (CommandRefused("d", kind, "c1", UNKNOWN),)
    before, after = registered(3).entry("d"), step.state.entry("d")
    assert (after.stages, after.aliases, after.route) == (before.stages, before.aliases, before.route)


def test_a_version_in_use_is_not_deleted_and_the_way_is_named() -> None:
    (refused,) = on_delete(registered(3), DeleteVersion("d", 2, "r", "ann"), "c1").facts
    way = "archive it first: `headrace model archive d 2`"
    assert refused == CommandRefused("d", "delete.version", "c1", f"version 2 is registered; {way}")


def test_a_tenant_that_follows_the_route_has_nothing_to_give_back() -> None:
    (refused,) = on_set_override(registered(3), SetOverride("d", "acme", None, "r", "ann"), "c1").facts
    assert refused == CommandRefused("d", "set.override", "c1", "tenant 'acme' follows the route already")


def test_an_approval_is_given_once() -> None:
    step = on_approve(registered(3), ApproveVersion("d", 2, "looked at", "ann"), "c1")
    assert step.facts == (VersionApproved("d", 2, "looked at", "ann"),)
    (refused,) = on_approve(step.state, ApproveVersion("d", 2, "me too", "bob"), "c2").facts
    assert refused == CommandRefused("d", "approve.version", "c2", "version 2 was approved by ann already")


def test_tags_are_merged_and_empty_ones_taken_away() -> None:
    first = on_tag(registered(3), TagVersion("d", 2, {"a": "1", "b": "2"}, "ann"), "c1")
    step = on_tag(first.state, TagVersion("d", 2, {"b": "", "c": "3"}, "bob"), "c2")
    assert step.facts == (VersionTagged("d", 2, {"a": "1", "c": "3"}, "bob"),)


def test_tags_have_a_limit() -> None:
    full = on_tag(registered(3), TagVersion("d", 2, {f"t{i}": "x" for i in range(100)}, "ann"), "c1")
    assert isinstance(full.facts[0], VersionTagged)
    (refused,) = on_tag(full.state, TagVersion("d", 2, {"more": "x"}, "ann"), "c2").facts
    assert refused == CommandRefused("d", "tag.version", "c2", "a version has at most 100 tags, got 101")


def only(facts: list[Any], kind: type) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]


def test_an_abort_names_the_operator_as_its_cause() -> None:
    machine = Machine().canary()
    (aborted,) = only(machine.take(AbortRollout("d", "too risky", "ann")), RolloutAborted)
    assert (aborted.version, aborted.reason, aborted.cause) == (2, "aborted by ann: too risky", "operator")
    assert not aborted.harmful


def test_a_rollback_and_each_alias_that_it_moves_say_who_and_why() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.serve(2)
    machine.serve(3)
    facts = machine.take(RollBack("d", 3, "slow", "ann"))
    (rolled,) = only(facts, RolledBack)
    why = "rolled back by ann: slow"
    assert (rolled.version, rolled.to, rolled.reason, rolled.by) == (3, 2, why, "ann")
    moved = [(fact.alias, fact.version, fact.reason) for fact in only(facts, AliasMoved)]
    assert moved == [("champion", 2, why), ("previous", 1, why)]


def test_what_was_not_aborted_is_not_tried_again() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.serve(2)
    (refused,) = machine.take(RetryRollout("d", "r", "ann"), "c9")
    assert refused == CommandRefused(
        "d", "retry.rollout", "c9", "the last rollout was not aborted: there is nothing to try again"
    )


def test_a_version_that_was_taken_out_of_use_is_not_tried_again_and_the_reason_is_told() -> None:
    machine = Machine().canary()
    machine.take(AbortRollout("d", "r", "ann"))
    machine.state = on_archive(machine.state, ArchiveVersion("d", 2, "r", "ann"), "c1").state
    (refused,) = machine.take(RetryRollout("d", "r", "ann"), "c9")
    assert refused == CommandRefused("d", "retry.rollout", "c9", "version 2 was archived, and is never released again")
