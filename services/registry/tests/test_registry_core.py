"""Versions, aliases and the rollout machine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    ArtifactPlace,
    CommandRefused,
    GateResult,
    RegisterVersion,
    RolloutAborted,
    RolloutCompleted,
    RolloutStarted,
    RouteChanged,
    SetAlias,
    Signature,
    StartRollout,
    VersionRegistered,
)
from headrace.project.definition import RolloutDefinition
from headrace_registry.core import rollout, versions
from headrace_registry.core.state import Registry, apply

BLUE_GREEN = RolloutDefinition("blue_green")
PLACE = ArtifactPlace("a" * 64, 0, 1, 1)


def command(**changes: Any) -> RegisterVersion:
    fields = {
        "deployment": "d",
        "model": "d",
        "place": PLACE,
        "model_digest": "m",
        "signature": Signature((), "s"),
    } | changes
    return RegisterVersion(**fields)


def folded(state: Registry, facts: list[Any]) -> Registry:
    for fact in facts:
        state = apply(state, fact)
    return state


def registered(count: int = 1) -> Registry:
    state = Registry()
    for number in range(count):
        state = folded(
            state, versions.on_register(state, command(), f"c{number}", is_declared=True, has_artifact=True, now_s=0.0)
        )
    return state


def released(state: Registry, version: int) -> Registry:
    state = folded(state, rollout.on_start(state, StartRollout("d", version, "r", "me"), f"s{version}"))
    return folded(state, rollout.on_warmed(state, "d", {"i": True}, BLUE_GREEN))


def test_versions_count_from_one() -> None:
    assert sorted(registered(3).entry("d").versions) == [1, 2, 3]


def test_a_repeated_command_registers_once() -> None:
    state = registered()
    assert versions.on_register(state, command(), "c0", is_declared=True, has_artifact=True, now_s=0.0) == []


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
    (refused,) = versions.on_register(
        Registry(), command(**changes), "c", is_declared=declared, has_artifact=artifact, now_s=0.0
    )
    assert isinstance(refused, CommandRefused)
    assert reason in refused.reason


def test_of_two_operators_at_once_one_wins_and_the_other_is_told_why() -> None:
    state = registered(2)
    state = folded(state, versions.on_set_alias(state, SetAlias("d", "baseline", 1, None, "r", "a"), "x"))
    (refused,) = versions.on_set_alias(state, SetAlias("d", "baseline", 2, None, "r", "b"), "y")
    assert isinstance(refused, CommandRefused)
    assert "baseline stands at 1, not at None" in refused.reason


def test_champion_moves_by_rollouts_only() -> None:
    (refused,) = versions.on_set_alias(registered(), SetAlias("d", "champion", 1, None, "r", "a"), "x")
    assert isinstance(refused, CommandRefused)


def test_a_rollout_first_warms_the_version_and_leaves_the_route_alone() -> None:
    state = released(registered(2), 1)
    started, changed = rollout.on_start(state, StartRollout("d", 2, "r", "me"), "s2")
    assert isinstance(started, RolloutStarted)
    assert isinstance(changed, RouteChanged)
    assert (changed.route.shares, changed.route.warm) == ({1: 1.0}, (1, 2))


@pytest.mark.parametrize("instances", [{}, {"i": False}, {"i": True, "j": False}])
def test_no_switch_before_every_live_instance_is_warm(instances: dict[str, bool]) -> None:
    state = registered()
    state = folded(state, rollout.on_start(state, StartRollout("d", 1, "r", "me"), "s"))
    assert rollout.on_warmed(state, "d", instances, BLUE_GREEN) == []


def test_the_switch_makes_the_old_version_previous_and_shadow() -> None:
    state = released(released(registered(2), 1), 2)
    entry = state.entry("d")
    assert entry.aliases == {"champion": 2, "previous": 1}
    assert entry.route is not None
    assert (entry.route.shares, entry.route.shadows, entry.route.previous) == ({2: 1.0}, (1,), 1)
    assert (entry.stages, entry.rollout) == ({1: "retired", 2: "champion"}, None)


def test_a_version_that_cannot_be_loaded_is_rejected_and_never_released_again() -> None:
    state = registered()
    state = folded(state, rollout.on_start(state, StartRollout("d", 1, "r", "me"), "s"))
    facts = rollout.on_unloadable(state, "d", 1, "pickle")
    assert isinstance(facts[0], RolloutAborted)
    state = folded(state, facts)
    (refused,) = rollout.on_start(state, StartRollout("d", 1, "r", "me"), "again")
    assert "was rejected" in refused.reason
    assert state.entry("d").route is not None
    assert state.entry("d").route.warm == ()


def test_a_second_rollout_is_refused_while_one_is_under_way() -> None:
    state = registered(2)
    state = folded(state, rollout.on_start(state, StartRollout("d", 1, "r", "me"), "s"))
    (refused,) = rollout.on_start(state, StartRollout("d", 2, "r", "me"), "t")
    assert "a rollout of version 1 is under way" in refused.reason


moves = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(1, 3)),
        st.tuples(st.just("warmed"), st.booleans()),
        st.tuples(st.just("unloadable"), st.integers(1, 3)),
        st.tuples(st.just("abort"), st.just(0)),
    ),
    max_size=25,
)


@given(moves)
def test_no_history_leaves_two_champions_or_routes_to_a_rejected_version(history: list) -> None:
    state = registered(3)
    said: list[Any] = []
    for place, (kind, value) in enumerate(history):
        match kind:
            case "start":
                facts = rollout.on_start(state, StartRollout("d", value, "r", "me"), f"h{place}")
            case "warmed":
                facts = rollout.on_warmed(state, "d", {"i": value}, BLUE_GREEN)
            case "unloadable":
                facts = rollout.on_unloadable(state, "d", value, "r")
            case _:
                facts = rollout.on_abort(state, AbortRollout("d", "r", "me"), f"h{place}")
        state, said = folded(state, facts), said + facts
        entry = state.entry("d")
        assert list(entry.stages.values()).count("champion") <= 1
        if entry.route is not None:
            assert sum(entry.route.shares.values()) in (0, 1)
            assert not [v for v in entry.route.shares if entry.stages[v] == "rejected"]
    assert folded(registered(3), said) == state
    ended = [fact.rollout for fact in said if isinstance(fact, RolloutCompleted | RolloutAborted)]
    assert len(ended) == len(set(ended))
    assert all(isinstance(fact, VersionRegistered | AliasMoved) or fact.deployment == "d" for fact in said)
