"""The rollout machine: how it goes from step to step, and by what it ends."""

import pytest
from msgspec.structs import replace
from services.registry.tests.rollout_machine import (
    AB_TEST,
    BACK,
    BEGUN,
    BLUE_GREEN,
    SHADOW,
    SWITCHED,
    Machine,
    in_test,
    names,
    paused,
    shadowing,
    timed_out,
    unjudged,
    warming,
)

from headrace.events.registry import (
    AbortRollout,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RouteChanged,
    SetAlias,
    SetOverride,
    StartRollout,
    VersionApproved,
)
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence
from headrace.registry.state import apply
from headrace.testing.registry import CANARY, HOUR_S, registered, verdict
from headrace_registry.core.machine import Approved, Unloadable, Warmed
from headrace_registry.core.rollout import on_message
from headrace_registry.core.versions import on_set_alias, on_set_override


def test_a_rollout_first_warms_the_version_and_leaves_the_route_alone() -> None:
    machine = warming(Machine())
    assert (machine.route.shares, machine.route.warm, machine.route.rollout) == (
        {1: 1.0},
        (1, 2),
        machine.entry.rollout.id,
    )


def test_the_first_version_switches_as_soon_as_it_is_warm_whatever_the_policy() -> None:
    state = registered(1)
    state = on_message(state, "d", StartRollout("d", 1, "r", "me"), "s", CANARY).state
    state = on_message(state, "d", Warmed(), "", CANARY).state
    assert state.entry("d").aliases == {"champion": 1}


def test_the_switch_makes_the_old_version_previous_and_shadow() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.serve(2)
    assert machine.entry.aliases == {"champion": 2, "previous": 1}
    route = machine.route
    assert (route.shares, route.shadows, route.previous, route.warm, route.rollout) == ({2: 1.0}, (1,), 1, (2, 1), "")
    assert machine.entry.stages[1] == "retired"


def test_while_compared_each_of_the_two_scores_what_the_other_answers() -> None:
    machine = shadowing(Machine())
    assert (machine.route.shares, machine.route.shadows) == ({1: 1.0}, (1, 2))
    machine = Machine().canary()
    assert (machine.route.shares, machine.route.shadows) == ({1: 0.99, 2: 0.01}, (1, 2))


def test_the_clock_of_the_first_step_begins_with_its_first_verdict() -> None:
    machine = shadowing(Machine())
    assert machine.entry.rollout.since_s is None
    (begun,) = machine.judge(7.0)
    assert (begun.step, begun.clock_s, machine.entry.rollout.since_s) == ("shadowing", 7.0, 7.0)


def test_a_canary_goes_from_share_to_share_and_is_promoted() -> None:
    machine = Machine().canary()
    machine.judge(2 * HOUR_S)
    assert (machine.entry.rollout.share, machine.entry.rollout.number) == (0.25, 1)
    facts = machine.judge(3 * HOUR_S)
    assert names(facts) == SWITCHED
    assert (facts[-1].promoted, facts[-1].clock_s) == (True, 3 * HOUR_S)
    assert machine.entry.aliases == {"champion": 2, "previous": 1}
    assert (machine.route.shares, machine.route.shadows) == ({2: 1.0}, (1,))


@pytest.mark.parametrize(
    "changes",
    [
        {"guardrails": INCONCLUSIVE},
        {"guardrails": UNMEASURED},
        {"step_decisions": 9},
        {"clock_s": 2 * HOUR_S - 1},
        {"number": 1},
        {"rollout": "another"},
    ],
)
def test_not_knowing_holds_the_share(changes: dict) -> None:
    machine = Machine().canary()
    assert machine.take(replace(verdict(machine.state, 2 * HOUR_S), **changes)) == []


@pytest.mark.parametrize("labels", [INCONCLUSIVE, UNMEASURED])
def test_labels_that_do_not_know_let_a_share_grow_but_not_the_last_one(labels: str) -> None:
    machine = Machine().canary()
    assert machine.judge(2 * HOUR_S, labels=labels) != []
    assert machine.judge(30 * HOUR_S, labels=labels) == []


@pytest.mark.parametrize("changes", [{"guardrails": FAIL}, {"labels": FAIL}])
def test_harm_takes_all_traffic_away_at_once_and_names_the_evidence(changes: dict) -> None:
    machine = Machine().canary()
    aborted, _ = machine.judge(HOUR_S, **changes)
    assert (aborted.harmful, aborted.evidence[0].measured, aborted.evidence[0].limit) == (True, 1.0, 0.5)
    assert "1 against a limit of 0.5" in aborted.reason
    assert (machine.route.shares, machine.route.shadows, machine.route.warm) == ({1: 1.0}, (), (1,))
    assert machine.entry.stages[2] == "rejected"
    assert "never released again" in machine.start(2)[0].reason


def test_a_paused_rollout_stays_whatever_the_verdicts_say_harm_excepted() -> None:
    machine = paused(Machine())
    assert machine.judge(9 * HOUR_S) == []
    machine.take(ResumeRollout("d", "r", "me"))
    assert names(machine.judge(9 * HOUR_S)) == ["rollout.advanced", "route.changed"]


def test_a_held_rollout_goes_on_with_the_next_verdict_and_is_aborted_without_one() -> None:
    machine = unjudged(Machine())
    assert names(machine.judge(2 * HOUR_S)) == ["rollout.resumed", "rollout.advanced", "route.changed"]
    silent = unjudged(Machine())
    aborted, _ = silent.take(timed_out(silent, "silence"))
    assert (aborted.harmful, aborted.cause) == (False, "silence")


def test_a_trained_version_waits_for_the_running_rollout_and_the_newest_replaces_the_one_that_waited() -> None:
    machine = Machine(versions=4).canary()
    assert names(machine.start(3, "trainer")) == ["rollout.queued"]
    assert names(machine.start(4, "trainer")) == ["rollout.queued"]
    facts = machine.take(AbortRollout("d", "r", "me"))
    assert names(facts) == [*BACK, *BEGUN]
    assert (machine.entry.rollout.version, machine.entry.rollout.plan, machine.entry.queued) == (4, CANARY, None)


def test_a_trained_version_waits_for_its_approval() -> None:
    machine = Machine(plan=replace(CANARY, approval=True))
    (refused,) = machine.start(2)
    assert "headrace model approve d 2" in refused.reason
    assert names(machine.start(2, "trainer")) == ["rollout.queued"]
    assert machine.take(Approved()) == []
    machine.state = apply(machine.state, VersionApproved("d", 2, "r", "ann"))
    assert names(machine.take(Approved())) == BEGUN


def test_what_was_aborted_without_harm_can_be_tried_again_by_the_same_plan() -> None:
    machine = Machine().canary()
    machine.take(AbortRollout("d", "r", "me"))
    machine.plan = BLUE_GREEN
    started, _ = machine.take(RetryRollout("d", "again", "me"))
    assert (started.version, started.plan) == (2, CANARY)
    machine.take(Unloadable(2, "pickle"))
    assert "did harm" in machine.take(RetryRollout("d", "again", "me"))[0].reason


def test_another_policy_may_be_chosen_for_one_rollout() -> None:
    machine = Machine(plan=BLUE_GREEN)
    started, _ = machine.take(StartRollout("d", 2, "r", "me", "canary"))
    assert (started.policy, started.plan.shares) == ("canary", (0.01, 0.05, 0.25, 1.0))
    (refused,) = Machine().take(StartRollout("d", 2, "r", "me", "big_bang"))
    assert "must be blue_green, canary, ab_test or shadow" in refused.reason


@pytest.mark.parametrize(("superior", "outcome"), [(PASS, "promoted"), (INCONCLUSIVE, "completed")])
def test_a_test_is_won_by_superiority_only(superior: str, outcome: str) -> None:
    machine = in_test(Machine())
    assert machine.route.shares == {1: 0.5, 2: 0.5}
    machine.judge(0.0)
    evidence = (Evidence("superiority", "label", superior),)
    assert machine.judge(HOUR_S - 1, evidence=evidence) == []
    machine.judge(HOUR_S, evidence=evidence)
    assert machine.entry.last.outcome == outcome
    assert machine.route.shares == ({2: 1.0} if outcome == "promoted" else {1: 1.0})


def test_while_a_test_runs_its_shares_never_change_so_no_unit_changes_its_version() -> None:
    machine = in_test(Machine(versions=4))
    machine.judge(0.0)
    machine.take(PauseRollout("d", "r", "me"))
    machine.take(ResumeRollout("d", "r", "me"))
    machine.take(timed_out(machine, "pause"))
    machine.judge(100.0)
    machine.start(3, "trainer")
    for on_command, command in (
        (on_set_override, SetOverride("d", "acme", 3, "r", "me")),
        (on_set_alias, SetAlias("d", "baseline", 4, None, "r", "me")),
    ):
        step = on_command(machine.state, command, "c")
        machine.state, machine.facts = step.state, [*machine.facts, *step.facts]
    machine.judge(HOUR_S - 1)
    routes = [fact.route for fact in machine.facts if isinstance(fact, RouteChanged) and fact.route.shadows]
    assert len(routes) == 3
    assert {(tuple(route.shares.items()), route.salt) for route in routes} == {(((1, 0.5), (2, 0.5)), "d")}
    assert machine.route.shares == {1: 0.5, 2: 0.5}


def test_a_test_decided_by_hand_waits_for_its_operator() -> None:
    machine = shadowing(Machine(plan=replace(AB_TEST, winner="hand")))
    machine.judge(0.0)
    assert machine.judge(99 * HOUR_S, evidence=(Evidence("superiority", "label", PASS),)) == []
    machine.take(PromoteRollout("d", 2, "r", "me"))
    assert machine.entry.aliases["champion"] == 2


def test_a_shadow_ends_without_effect_and_with_its_evidence() -> None:
    machine = Machine(plan=SHADOW)
    shadowing(machine).judge(0.0)
    completed, _ = machine.judge(HOUR_S, evidence=(Evidence("level", "label", PASS, 0.1),))
    assert (completed.promoted, completed.evidence[0].metric) == (False, "level")
    assert (machine.route.shares, machine.route.shadows) == ({1: 1.0}, ())
    assert machine.entry.stages[2] == "registered"
