"""Which versions exist, what becomes of them, and how aliases move."""

import pytest

from headrace.events.registry import (
    AliasMoved,
    ApproveVersion,
    ArchiveVersion,
    CommandRefused,
    DeleteVersion,
    GateResult,
    RouteChanged,
    SetAlias,
    SetOverride,
    StartRollout,
    TagVersion,
    VersionApproved,
    VersionArchived,
    VersionDeleted,
    VersionRegistered,
    Waiver,
)
from headrace.registry.state import Registry
from headrace.testing.registry import PLACE, command, folded, registered, version_of
from headrace_registry.core import versions
from headrace_registry.core.machine import Warmed
from headrace_registry.core.registration import on_register
from headrace_registry.core.rollout import on_message

FAILED = GateResult("beats_prior", "FAIL", 0.7, 0.5, "m")


def serving(state: Registry) -> Registry:
    """Version 1 is champion."""
    state = on_message(state, "d", StartRollout("d", 1, "r", "me"), "s").state
    return on_message(state, "d", Warmed()).state


def test_versions_count_from_one() -> None:
    assert sorted(registered(3).entry("d").versions) == [1, 2, 3]


def test_a_repeated_command_registers_once() -> None:
    state = registered()
    assert on_register(state, command(), "c1", is_declared=True, has_artifact=True, now_s=0.0).facts == ()


@pytest.mark.parametrize(
    ("changes", "declared", "artifact", "reason"),
    [
        ({}, False, True, "no applied project declares"),
        ({}, True, False, "is not complete"),
        (
            {"gates": (GateResult("beats_prior", "FAIL", 0.7, 0.5, "m"),)},
            True,
            True,
            "gate beats_prior failed: measured 0.7, limit 0.5",
        ),
    ],
)
def test_what_may_not_be_registered_is_refused_with_the_reason(
    changes: dict, declared: bool, artifact: bool, reason: str
) -> None:
    (refused,) = on_register(
        Registry(), command(**changes), "c", is_declared=declared, has_artifact=artifact, now_s=0.0
    ).facts
    assert isinstance(refused, CommandRefused)
    assert reason in refused.reason


def test_of_two_operators_at_once_one_wins_and_the_other_is_told_why() -> None:
    state = registered(2)
    state = versions.on_set_alias(state, SetAlias("d", "baseline", 1, None, "r", "a"), "x").state
    (refused,) = versions.on_set_alias(state, SetAlias("d", "baseline", 2, None, "r", "b"), "y").facts
    assert isinstance(refused, CommandRefused)
    assert "baseline stands at 1, not at None" in refused.reason


def test_champion_moves_by_rollouts_only() -> None:
    (refused,) = versions.on_set_alias(registered(), SetAlias("d", "champion", 1, None, "r", "a"), "x").facts
    assert isinstance(refused, CommandRefused)


def test_a_failed_gate_passes_only_by_a_waiver_with_a_name_and_a_reason() -> None:
    def registering(*waivers: Waiver) -> object:
        asked = command(gates=(FAILED,), waivers=waivers)
        return on_register(Registry(), asked, "c", is_declared=True, has_artifact=True, now_s=0.0).facts[0]

    assert isinstance(registering(Waiver("beats_prior", "ann", "an experiment")), VersionRegistered)
    for waiver in (Waiver("beats_prior", "", "x"), Waiver("beats_prior", "ann", " "), Waiver("another", "ann", "x")):
        assert isinstance(registering(waiver), CommandRefused)


def test_the_baseline_is_set_in_the_route_too() -> None:
    state = serving(registered(2))
    moved, changed = versions.on_set_alias(state, SetAlias("d", "baseline", 2, None, "r", "a"), "x").facts
    assert isinstance(moved, AliasMoved)
    assert isinstance(changed, RouteChanged)
    assert (changed.route.baseline, changed.route.shares) == (2, {1: 1.0})


def test_a_tenant_gets_a_version_of_its_own_and_the_route_again() -> None:
    state = serving(registered(2))
    (changed,) = versions.on_set_override(state, SetOverride("d", "acme", 2, "r", "me"), "x").facts
    assert (changed.route.overrides, changed.route.warm) == ({"acme": 2}, (1, 2))
    state = folded(state, [changed])
    (changed,) = versions.on_set_override(state, SetOverride("d", "acme", None, "r", "me"), "x").facts
    assert (changed.route.overrides, changed.route.warm) == ({}, (1,))
    (refused,) = versions.on_set_override(
        folded(state, [changed]), SetOverride("d", "acme", None, "r", "me"), "x"
    ).facts
    assert "follows the route already" in refused.reason


def test_a_version_is_approved_once() -> None:
    state = registered()
    facts = versions.on_approve(state, ApproveVersion("d", 1, "r", "ann"), "x").facts
    assert facts == (VersionApproved("d", 1, "r", "ann"),)
    (refused,) = versions.on_approve(folded(state, facts), ApproveVersion("d", 1, "r", "bob"), "y").facts
    assert "approved by ann already" in refused.reason


def test_an_empty_tag_takes_it_away() -> None:
    state = registered()
    for tags in ({"team": "ops", "kind": "trees"}, {"team": ""}):
        state = versions.on_tag(state, TagVersion("d", 1, tags, "me"), "x").state
    assert state.entry("d").model_version(1).tags == {"kind": "trees"}


@pytest.mark.parametrize(
    ("version", "reason"), [(1, "is champion: move that"), (2, "is named by the route"), (9, "has no version 9")]
)
def test_what_is_in_use_is_not_archived(version: int, reason: str) -> None:
    state = serving(registered(3))
    state = versions.on_set_override(state, SetOverride("d", "acme", 2, "r", "me"), "x").state
    (refused,) = versions.on_archive(state, ArchiveVersion("d", version, "r", "me"), "x").facts
    assert reason in refused.reason


def test_only_an_archived_version_is_deleted_and_only_with_artifacts_that_no_other_needs() -> None:
    own = version_of(2, place=PLACE.__class__("b" * 64, 0, 1, 1))
    state = folded(serving(registered(1)), [own, version_of(3)])
    (refused,) = versions.on_delete(state, DeleteVersion("d", 2, "r", "me"), "x").facts
    assert "archive it first" in refused.reason
    deleted = []
    for version in (2, 3):
        state = versions.on_archive(state, ArchiveVersion("d", version, "r", "me"), "x").state
        step = versions.on_delete(state, DeleteVersion("d", version, "r", "me"), "y")
        state, deleted = step.state, [*deleted, *step.facts]
    assert [fact.artifacts for fact in deleted if isinstance(fact, VersionDeleted)] == [("b" * 64,), ()]
    assert isinstance(versions.on_archive(state, ArchiveVersion("d", 3, "r", "me"), "z").facts[0], CommandRefused)
    assert not any(isinstance(fact, VersionArchived) for fact in deleted)
