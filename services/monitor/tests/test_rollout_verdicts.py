"""When a verdict on a rollout is given, what it holds, and what it waits for."""

import math
from typing import Any

from msgspec.structs import replace
from services.monitor.tests.rollouts_scene import D, decided
from services.monitor.tests.test_rollout_analysis import HOUR, NEW, OLD

from headrace.events.registry import (
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
)
from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome
from headrace_monitor.core.arms import PENDING_BYTES
from headrace_monitor.core.rollout_analysis import LIMITS, RolloutAnalysis, begin
from headrace_monitor.core.rollout_requests import UNIT_BYTES, Seen

# verdicts


def analysis(**changes: Any) -> RolloutAnalysis:
    plan = replace(D.rollout, **changes)
    started = RolloutStarted("d", "r1", NEW, plan.policy, "", plan, OLD, clock_s=0.0)
    found = begin(replace(D, rollout=plan), started, {"t/0": 0})
    found.on_route(Route("d", {OLD: 0.5, NEW: 0.5}, "s", 1), 0)
    found.on_advanced(RolloutAdvanced("d", "r1", NEW, "canary", 0.5, 0, clock_s=0.0))
    return found


def serve(found: RolloutAnalysis, count: int, first: int = 0) -> None:
    found.take(
        [Seen("t/0", n, decided(n, NEW if n % 2 else OLD, OLD if n % 2 else NEW)) for n in range(first, first + count)]
    )


def waits(found: RolloutAnalysis, clock_s: float) -> str:
    (verdict,) = found.look(clock_s, is_silent=True).facts
    return verdict.waiting_for


def test_a_step_waits_for_traffic_then_decisions_then_time_then_labels() -> None:
    found = analysis(min_decisions=3, step_s=HOUR, shadow_first_s=2 * HOUR, duration_s=9 * HOUR)
    assert waits(found, 0.0) == "traffic"
    serve(found, 4)
    assert waits(found, 240.0) == "decisions"
    without_clock = analysis()
    serve(without_clock, 4)
    assert waits(without_clock, -math.inf) == "traffic"
    serve(found, 2, 4)
    assert [waits(found, clock_s) for clock_s in (HOUR - 1, HOUR)] == ["time", "labels"]
    found.on_advanced(RolloutAdvanced("d", "r1", NEW, "shadowing", 0.0, 1, clock_s=HOUR))
    serve(found, 1, 6)
    assert [waits(found, clock_s) for clock_s in (3 * HOUR - 1, 3 * HOUR)] == ["time", "labels"]
    test = analysis(policy="ab_test", min_decisions=1, duration_s=9 * HOUR)
    serve(test, 4)
    assert [waits(test, clock_s) for clock_s in (9 * HOUR - 1, 9 * HOUR)] == ["time", "labels"]
    test.on_completed(RolloutCompleted("d", "r1", NEW, 9 * HOUR))
    assert waits(test, 9 * HOUR) == ""


def test_a_verdict_says_where_the_rollout_stands() -> None:
    found = analysis(min_decisions=3)
    serve(found, 6)
    (verdict,) = found.look(300.0).facts
    stands = (verdict.deployment, verdict.rollout, verdict.version, verdict.number, verdict.clock_s, verdict.has_clock)
    assert stands == ("d", "r1", NEW, 0, 300.0, True)
    assert (verdict.step_decisions, verdict.decisions, verdict.label_count, verdict.blocks) == (3, 3, 0, 0)
    assert [(one.metric, one.verdict) for one in verdict.evidence] == [
        ("errors", "PASS"),
        ("sample_ratio", "PASS"),
        ("level", "UNMEASURED"),
        ("ranking", "UNMEASURED"),
    ]
    assert (verdict.guardrails, verdict.labels, found.state.sequence, found.state.verdict) == (
        "PASS",
        "UNMEASURED",
        1,
        verdict,
    )
    unknown = analysis()
    (without,) = unknown.look(-math.inf).facts
    assert (without.clock_s, without.has_clock) == (0.0, False)


def test_a_verdict_is_given_when_something_changed_or_its_time_has_come() -> None:
    found = analysis(min_decisions=3, step_s=0.5 * HOUR, shadow_first_s=0.75 * HOUR, duration_s=9 * HOUR)

    def given(clock_s: float, **more: Any) -> bool:
        return bool(found.look(clock_s, **more).facts)

    assert [given(0.0), given(0.0), given(0.0, is_silent=True), given(-math.inf)] == [True, False, True, False]
    serve(found, 1)
    assert [given(0.0), given(1.0)] == [True, False]
    serve(found, 5, 1)
    assert [given(1.0), given(1.0)] == [True, False]
    assert [given(0.5 * HOUR - 1), given(0.5 * HOUR), given(0.5 * HOUR)] == [False, True, False]
    assert [given(0.75 * HOUR), given(0.75 * HOUR), given(1.75 * HOUR - 1), given(1.75 * HOUR)] == [
        True,
        False,
        False,
        True,
    ]
    found.on_advanced(RolloutAdvanced("d", "r1", NEW, "canary", 0.5, 0, clock_s=0.0))
    assert (given(1.75 * HOUR), found.state.step_seen) == (True, 6)
    found.on_advanced(RolloutAdvanced("d", "r1", NEW, "canary", 1.0, 1, clock_s=5.0))
    state = found.state
    assert (
        state.number,
        state.share,
        state.step_clock_s,
        state.step_seen,
        state.step_decisions,
        state.step_unasked,
    ) == (1, 1.0, 5.0, 0, 0, (0, 0, 0, 0))


def test_a_clock_that_goes_back_after_a_restart_does_not_take_a_verdict_back() -> None:
    found = analysis()
    found.look(500.0)
    (verdict,) = found.look(100.0, is_silent=True).facts
    assert verdict.clock_s == 500.0
    (silent,) = found.look(-math.inf, is_silent=True).facts
    assert (silent.clock_s, silent.has_clock) == (500.0, True)


def test_a_promoted_version_is_judged_until_its_window_is_over() -> None:
    found = analysis(rollback_window_s=HOUR)
    found.on_completed(RolloutCompleted("d", "r1", NEW, 500.0))
    assert (found.state.until_s, found.state.share, found.state.ended) == (500.0 + HOUR, 1.0, False)
    found.look(500.0 + HOUR)
    assert not found.state.ended
    found.look(501.0 + HOUR)
    assert (found.state.ended, found.look(999.0 + HOUR, is_silent=True).facts) == (True, ())
    for fact, window_s in (
        (RolloutCompleted("d", "r1", NEW, 500.0, False), HOUR),
        (RolloutCompleted("d", "r1", NEW, 500.0), 0.0),
    ):
        over = analysis(rollback_window_s=window_s)
        over.on_completed(fact)
        assert over.state.ended


def test_what_a_rollout_holds_and_remembers() -> None:
    found = analysis()
    found.take([Seen("t/0", 0, decided(0, OLD, NEW)), Seen("t/0", 1, decided(1, OLD, shadows_due=(NEW,)))])
    found.add_outcome(KnownOutcome("u0", 1.0, 100.0))
    held = found.held_bytes()
    assert held == {
        "rollout_pairs": 40,
        "rollout_labels": OUTCOME_BYTES,
        "rollout_shadows_due": PENDING_BYTES,
        "rollout_units": 2 * UNIT_BYTES,
    }
    assert held.keys() == LIMITS.keys()
    memory = found.memory({"t/0": 7})
    assert (memory.folded, memory.open_from_s, memory.replay_from, found.open_from_s) == (
        {"t/0": 2},
        0.0,
        {"t/0": 7},
        0.0,
    )
    assert set(memory.tests) >= {"errors", "once.new", "once.control", "once.streak"}
    bare = begin(replace(D, label=None), found.state.started)
    assert (bare.held_bytes(), bare.open_from_s) == (dict.fromkeys(LIMITS, 0), None)
    bare.take([Seen("t/0", 0, decided(61, OLD, shadows_due=(NEW,)))])
    assert bare.open_from_s == HOUR
    bare.look(2 * HOUR)
    assert bare.open_from_s is None


def test_the_last_routes_are_known() -> None:
    found = analysis()
    for offset in range(30):
        found.on_route(Route("d", {OLD: 1.0} if offset % 2 else {NEW: 0.25, OLD: 0.75}, "s", 1), offset)
    assert (len(found.state.routes), found.state.routes[29], found.state.routes[28], min(found.state.routes)) == (
        21,
        0.0,
        0.25,
        9,
    )
