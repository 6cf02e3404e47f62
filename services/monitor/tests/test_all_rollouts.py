"""All rollouts of a shard: when each is looked at, what is remembered of it, and how it ends."""

import math
from typing import Any

import pytest
from msgspec.structs import replace
from services.monitor.tests.rollouts_scene import STATE, D, decided
from services.monitor.tests.test_rollout_analysis import HOUR, NEW, OLD
from services.monitor.tests.watched import DAY, PROJECT

from headrace.events.registry import (
    RollbackWindowBegun,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    Route,
    VersionApproved,
)
from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.facts import MonitoringFailed, RolloutRemembered, VerdictReached
from headrace_monitor.core.rollout_analysis import LIMITS, RolloutAnalysis
from headrace_monitor.core.rollout_requests import UNIT_BYTES
from headrace_monitor.core.rollouts import Rollouts

# all rollouts


def rollouts() -> Rollouts:
    found = Rollouts({"d": D})
    found.on_route(Route("d", {OLD: 0.5, NEW: 0.5}, "s", 1), 0)
    found.on_registry_fact(STATE.started, "corr")
    found.on_registry_fact(RolloutAdvanced("d", "r1", NEW, "canary", 0.5, 0, clock_s=0.0), "corr")
    return found


def look(found: Rollouts, now_s: float = 0.0, clock_s: float = 0.0, *, is_idle: bool = True) -> list[Any]:
    return list(found.look(lambda _: clock_s, now_s, lambda at_s: {"t/0": 5, "o/0": 3}, is_idle=is_idle).facts)


def kinds(facts: list[Any]) -> list[type]:
    return [type(fact) for fact in facts]


def test_a_verdict_goes_with_its_memory_and_is_asked_for_again_when_all_is_silent() -> None:
    found = rollouts()
    found.on_record("t/0", 2, decided(0, NEW))
    assert found.fold().facts == ()
    reached, remembered = look(found)
    assert (type(reached), reached.sequence, reached.correlation_id) == (VerdictReached, 1, "corr")
    assert (type(remembered), remembered.clock_s, remembered.correlation_id) == (RolloutRemembered, 0.0, "corr")
    assert remembered.memory.replay_from == {"t/0": 3, "o/0": 3}
    silence_s = D.rollout.silence_s / 4
    assert (found.is_waiting(silence_s - 1), look(found, silence_s - 1)) == (False, [])
    assert found.is_waiting(silence_s)
    assert kinds(look(found, silence_s)) == [VerdictReached, RolloutRemembered]
    assert not found.is_waiting(2 * silence_s - 1)


def test_an_approval_asks_for_a_verdict_at_once() -> None:
    found = rollouts()
    look(found)
    assert (found.is_waiting(1.0), look(found, 1.0)) == (False, [])
    found.on_registry_fact(VersionApproved("e", NEW, "r", "ann"), "corr")
    assert not found.is_waiting(1.0)
    found.on_registry_fact(VersionApproved("d", NEW, "r", "ann"), "corr")
    assert found.is_waiting(1.0)
    assert kinds(look(found, 1.0)) == [VerdictReached, RolloutRemembered]
    assert not found.is_waiting(2.0)


def test_decisions_from_before_a_rollout_are_none_of_its() -> None:
    found = Rollouts({"d": D})
    found.on_record("t/0", 6, decided(0, NEW))
    found.on_registry_fact(STATE.started, "corr")
    for offset in (6, 7):
        found.on_record("t/0", offset, decided(offset, NEW))
    found.fold()
    (_, remembered) = look(found)
    assert (remembered.memory.decisions, remembered.memory.folded) == (1, {"t/0": 8})


def test_units_are_counted_anew_after_a_restart() -> None:
    assert RolloutAnalysis(D, replace(STATE, step_units=(5, 7))).state.step_units == (0, 0)


def test_what_was_read_makes_a_look_due_until_the_inputs_are_idle() -> None:
    found = rollouts()
    look(found)
    found.on_record("t/0", 0, decided(0, NEW))
    found.fold()
    assert found.is_waiting(0.0)
    look(found, is_idle=False)
    assert found.is_waiting(0.0)
    look(found)
    assert not found.is_waiting(0.0)


def test_a_memory_is_written_after_many_decisions_without_a_verdict() -> None:
    found = rollouts()
    look(found)
    for n in range(4_999):
        found.on_record("t/0", n, decided(0, 9, assigned=9, route_offset=9))
    found.fold()
    look(found)
    assert look(found) == []
    for n in range(4_999):
        found.on_record("t/0", 4_999 + n, decided(0, 9, assigned=9, route_offset=9))
    found.fold()
    assert look(found) == []
    found.on_record("t/0", 9_998, decided(0, 9, assigned=9, route_offset=9))
    found.fold()
    assert kinds(look(found)) == [RolloutRemembered]


@pytest.mark.parametrize(
    ("fact", "ends"),
    [
        (RolloutAborted("d", "r1", NEW, "r"), True),
        (RolledBack("d", NEW, OLD, "r", "ann"), True),
        (RolloutAborted("d", "another", NEW, "r"), False),
        (RolloutAborted("e", "r1", NEW, "r"), False),
        ("another", False),
    ],
)
def test_a_rollout_ends_by_its_own_facts_and_its_end_is_remembered(fact: Any, ends: bool) -> None:
    found = rollouts()
    look(found)
    found.on_registry_fact(fact, "corr")
    facts = look(found)
    assert (bool(facts) and facts[-1].memory.ended) is ends
    assert (found.open_from_s, found.replay_from()) == ([], [] if ends else [{}])
    assert look(found, 1e9) == [] if ends else look(found, 1e9) != []


def test_a_memory_of_before_goes_on_unless_it_ended_or_nobody_declares_it() -> None:
    for memory, count in ((STATE, 1), (replace(STATE, ended=True), 0), (replace(STATE, deployment="e"), 0)):
        found = Rollouts({"d": D})
        found.on_history(memory)
        assert len(found.replay_from()) == count
    found.on_history(STATE)
    found.on_history(replace(STATE, ended=True))
    assert found.replay_from() == []


def test_a_failure_stops_one_analysis_and_no_other() -> None:
    found = rollouts()
    found.on_record("t/0", 0, replace(decided(0, NEW), shadows=None))  # type: ignore[arg-type]
    (failed,) = found.fold().facts
    assert (type(failed), failed.deployment, failed.part) == (MonitoringFailed, "d", "rollout")
    assert kinds(look(found)) == [VerdictReached, RolloutRemembered]


def test_what_all_rollouts_hold() -> None:
    found = rollouts()
    found.on_record("t/0", 0, decided(0, NEW, OLD))
    found.fold()
    found.on_outcome("d", KnownOutcome("u0", 1.0, 100.0))
    found.on_outcome("e", KnownOutcome("u0", 1.0, 100.0))
    held = found.holds()
    assert {name: at for name, (at, _) in held.items()} == {
        "rollout_pairs": 40,
        "rollout_labels": OUTCOME_BYTES,
        "rollout_shadows_due": 0,
        "rollout_units": UNIT_BYTES,
    }
    assert {name: bound for name, (_, bound) in held.items()} == LIMITS
    assert {name: bound for name, (_, bound) in Rollouts({}).holds().items()} == LIMITS


# deployments


def test_what_came_too_late_is_reported_once() -> None:
    found = Deployments()
    found.declare([PROJECT])
    assert found.set_up_all().set_up == ("d",)
    watched = found.watched["d"]
    watched.windows.late_requests, watched.windows.late_outcomes = 5, 7
    assert watched.report_late() == (5, 7, 0)
    watched.windows.late_requests, watched.windows.late_outcomes, watched.windows.corrections.count = 6, 10, 2
    assert [watched.report_late() for _ in range(2)] == [(1, 3, 2), (0, 0, 0)]
    memory = watched.memory({"t/0": 3}, 5.0)
    assert (memory.late_requests, memory.late_outcomes, memory.needed_from_s, memory.replay_from) == (
        6,
        10,
        5.0,
        {"t/0": 3},
    )
    assert found.needed_from_s([]) == -math.inf
    watched.windows.closed_to_s = 10 * DAY
    back_s = 3 * HOUR + HOUR
    assert (found.needed_from_s([]), found.needed_from_s([5 * DAY])) == (10 * DAY - back_s, 5 * DAY - back_s)
    again = Deployments()
    again.memories["d"] = watched.memory({}, None)
    again.declare([PROJECT])
    again.set_up_all()
    assert (again.watched["d"].report_late(), again.watched["d"].windows.closed_to_s) == ((0, 0, 0), 10 * DAY)
    gone = again.redeclare([])
    assert (gone.gone, gone.set_up, again.watched, list(again.memories)) == (("d",), (), {}, ["d"])


# after a switch


def test_after_a_switch_without_a_clock_the_window_begins_with_the_clock_of_the_first_verdict() -> None:
    found, window_s = rollouts(), D.rollout.rollback_window_s
    look(found)
    found.on_registry_fact(RolloutAdvanced("d", "r1", NEW, "switched", 1.0, 1, None), "corr")
    found.on_registry_fact(RolloutCompleted("d", "r1", NEW, 0.0, has_clock=False), "corr")
    far_s = 3 * window_s
    reached, remembered = look(found, 1.0, far_s)
    assert (reached.verdict.clock_s, remembered.memory.until_s, remembered.memory.ended) == (far_s, None, False)
    found.on_registry_fact(RollbackWindowBegun("d", "another", NEW, 1.0), "corr")
    found.on_registry_fact(RollbackWindowBegun("d", "r1", NEW, far_s), "corr")
    look(found, 2.0, far_s + window_s)
    (remembered,) = [one for one in look(found, 1e6, far_s + window_s) if isinstance(one, RolloutRemembered)]
    assert (remembered.memory.until_s, remembered.memory.share, remembered.memory.ended) == (
        far_s + window_s,
        1.0,
        False,
    )


def test_the_last_verdict_comes_when_the_window_is_over() -> None:
    found = rollouts()
    look(found)
    found.on_registry_fact(RolloutCompleted("d", "r1", NEW, 10.0), "corr")
    over_s = 10.0 + D.rollout.rollback_window_s
    look(found, 1.0, over_s)
    assert look(found, 2.0, over_s) == []
    reached, remembered = look(found, 3.0, over_s + 1.0)
    assert (reached.verdict.clock_s, remembered.memory.ended) == (over_s + 1.0, True)
    assert look(found, 1e6, over_s + 2.0) == []
