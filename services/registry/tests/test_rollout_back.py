"""What is rolled back after a promotion, and what is previous then."""

from typing import Any

import pytest
from msgspec.structs import replace
from services.registry.tests.rollout_machine import BLUE_GREEN, Machine, names

from headrace.events.registry import (
    CommandRefused,
    PromoteRollout,
    RollBack,
    RollbackWindowBegun,
    RolledBack,
)
from headrace.events.verdicts import FAIL, INCONCLUSIVE, UNMEASURED
from headrace.testing.registry import CANARY, HOUR_S, folded
from headrace_registry.core.machine import Unloadable, Warmed


def test_harm_after_the_promotion_rolls_back_while_the_window_lasts() -> None:
    machine = Machine().promoted()
    rolled, moved, changed = machine.judge(5 * HOUR_S, labels=FAIL)
    assert isinstance(rolled, RolledBack)
    assert (rolled.version, rolled.to, rolled.by, rolled.evidence[0].metric) == (2, 1, "monitor", "a_label")
    assert (moved.alias, moved.version, moved.was) == ("champion", 1, 2)
    assert changed.route.shares == {1: 1.0}
    assert machine.entry.aliases == {"champion": 1}
    assert machine.entry.stages[2] == "rejected"


@pytest.mark.parametrize("changes", [{"guardrails": FAIL}, {"labels": FAIL}], ids=["guardrails", "labels"])
@pytest.mark.parametrize("shadow_previous", [True, False])
def test_a_blue_green_switch_is_taken_back_by_either_kind_of_evidence(shadow_previous: bool, changes: Any) -> None:
    machine = Machine(plan=replace(BLUE_GREEN, shadow_previous=shadow_previous))
    machine.start(2)
    machine.take(Warmed())
    assert (machine.route.shares, machine.route.shadows) == ({2: 1.0}, (1,) if shadow_previous else ())
    window = RollbackWindowBegun("d", machine.entry.last.rollout.id, 2, 1.0)
    assert machine.judge(1.0) == [window]
    assert machine.judge(2.0, labels=INCONCLUSIVE, guardrails=UNMEASURED) == []
    rolled, moved, changed = machine.judge(3.0, **changes)
    assert (rolled.version, rolled.to, moved.version, changed.route.shares) == (2, 1, 1, {1: 1.0})
    assert machine.entry.stages[2] == "rejected"


def test_a_window_without_a_clock_begins_with_the_first_verdict_that_has_one() -> None:
    """The version was imported: when it was trained is not known, and the deployment's clock stands at a day in 2026."""
    now_s, window_s = 1.78e9, BLUE_GREEN.rollback_window_s
    machine = Machine(plan=BLUE_GREEN)
    machine.start(2)
    *_, completed = machine.take(Warmed())
    assert (completed.clock_s, completed.has_clock) == (0.0, False)
    assert machine.judge(0.0, has_clock=False) == []
    assert not machine.entry.last.has_clock
    (begun,) = machine.judge(now_s)
    assert (begun.clock_s, machine.entry.last.clock_s, machine.entry.last.has_clock) == (now_s, now_s, True)
    late = RollbackWindowBegun("d", begun.rollout, 2, now_s + 9.0)
    assert folded(machine.state, [late]).entry("d").last == machine.entry.last
    assert isinstance(machine.judge(now_s + window_s, labels=FAIL)[0], RolledBack)


def test_harm_in_the_first_verdict_after_a_switch_rolls_back() -> None:
    for has_clock in (True, False):
        machine = Machine(plan=BLUE_GREEN)
        machine.start(2)
        machine.take(Warmed())
        facts = machine.judge(5.0, guardrails=FAIL, has_clock=has_clock)
        begun = ["rollback.window.begun"] if has_clock else []
        assert names(facts) == [*begun, "rolled.back", "alias.moved", "route.changed"]


def test_a_promotion_by_hand_has_its_whole_window() -> None:
    machine = Machine().canary()
    machine.take(PromoteRollout("d", 2, "r", "ann"))
    late_s = 400 * 24 * HOUR_S
    (begun,) = machine.judge(late_s)
    assert begun.clock_s == late_s
    assert isinstance(machine.judge(late_s + CANARY.rollback_window_s, labels=FAIL)[0], RolledBack)


def test_a_blue_green_switch_keeps_its_shadow_when_the_window_is_over_and_is_final() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.start(2)
    machine.take(Warmed())
    machine.judge(1.0)
    assert machine.judge(2.0 + BLUE_GREEN.rollback_window_s, labels=FAIL) == []
    assert (machine.route.shares, machine.route.shadows) == ({2: 1.0}, (1,))


def test_after_the_window_nothing_is_rolled_back_and_the_pairing_ends() -> None:
    machine = Machine().promoted()
    late_s = 3 * HOUR_S + CANARY.rollback_window_s + 1
    (changed,) = machine.judge(late_s, labels=FAIL)
    assert (changed.route.shares, changed.route.shadows) == ({2: 1.0}, ())
    assert machine.judge(late_s, labels=FAIL) == []


def test_a_rolled_back_version_is_never_previous_and_what_was_previous_is_again() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.serve(2)
    machine.serve(3)
    machine.take(RollBack("d", 3, "r", "me"))
    assert machine.entry.aliases == {"champion": 2, "previous": 1}
    assert (machine.route.shares, machine.route.previous, machine.route.warm) == ({2: 1.0}, 1, (2, 1))
    machine.take(RollBack("d", 2, "r", "me"))
    assert machine.entry.aliases == {"champion": 1}
    (refused,) = machine.take(RollBack("d", 1, "r", "me"))
    assert "no version before 1" in refused.reason


def test_what_was_previous_and_does_harm_on_its_way_back_is_previous_no_more() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.serve(2)
    machine.start(1)
    machine.take(Unloadable(1, "pickle"))
    assert (machine.entry.aliases, machine.route.previous, machine.route.shadows) == ({"champion": 2}, None, ())


def test_of_promote_and_rollback_at_once_one_wins_and_the_other_is_told_why() -> None:
    for promote_first in (True, False):
        machine = Machine(versions=4, plan=BLUE_GREEN)
        machine.serve(2)
        machine.plan = CANARY
        machine.canary(3)
        race = [PromoteRollout("d", 3, "r", "a"), RollBack("d", 2, "r", "b")]
        won, lost = (machine.take(command) for command in (race if promote_first else race[::-1]))
        refused = [fact for fact in [*won, *lost] if isinstance(fact, CommandRefused)]
        assert [fact.command for fact in refused] == ["roll.back"]
        assert ("champion is 3, not 2" if promote_first else "is under way") in refused[0].reason
        assert machine.entry.aliases == {"champion": 3, "previous": 2}
