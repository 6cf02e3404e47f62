"""Rollouts by hand: which requests count for what, when a verdict is given and what it waits for, what is remembered."""

import math
from typing import Any

import pytest
from msgspec.structs import replace
from services.monitor.tests.test_rollout_analysis import HOUR, NEW, OLD, deployment
from services.monitor.tests.watched import DAY, PROJECT

from headrace.events.definition import GuardrailDefinition
from headrace.events.failures import Busy, Failure, Raised
from headrace.events.inference import DecisionMade, Expired, Score, Served, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import (
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
)
from headrace.features.outcomes import OUTCOME_BYTES, KnownOutcome
from headrace.project import Guardrail
from headrace_monitor.core.arms import PENDING_BYTES
from headrace_monitor.core.blocks import Blocks
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.facts import MonitoringFailed, RolloutRemembered, VerdictReached
from headrace_monitor.core.guardrail_cases import GuardrailCases
from headrace_monitor.core.rollout_analysis import LIMITS, RolloutAnalysis, begin
from headrace_monitor.core.rollout_requests import UNIT_BYTES, RolloutRequests, Seen
from headrace_monitor.core.rollouts import Rollouts

RAILS = {metric: GuardrailDefinition(metric, 0.1) for metric in ("errors", "distribution")}
D = deployment(Guardrail("errors", 0.02))
assert D.label is not None


def decided(n: int, answered: int = OLD, shadow: int | None = None, **more: Any) -> DecisionMade:
    """Request `n` at minute `n`, of a unit of its own, in the arm of the version that answered unless another is named."""
    shadows = () if shadow is None else (Score(shadow, "", 0.4),)
    fields: dict[str, Any] = {"assigned": answered, "route_offset": 0, "shadows": shadows} | more
    answer = fields.pop("answer", Served(Score(answered, "", 0.6)))
    return DecisionMade(f"r{n}", "d", fields.pop("unit", f"u{n}"), 60.0 * n, answer, n, **fields)


def late(n: int, version: int, failure: Failure | None = None) -> ShadowScored:
    score = Score(version, "", 0.4) if failure is None else None
    return ShadowScored(f"r{n}", "d", f"u{n}", version, 60.0 * n, score, failure, 1.0)


STATE = RolloutJudged(
    "d", RolloutStarted("d", "r1", NEW, "canary", "", D.rollout, OLD), routes={0: 0.5}, share=0.5, step_clock_s=0.0
)


class Taken:
    """The requests of one rollout, read one after another."""

    def __init__(self, state: RolloutJudged = STATE) -> None:
        self.state, self.offset = state, 0
        self.blocks = Blocks(D.label, HOUR, 2 * HOUR, 0.02)  # type: ignore[arg-type]
        self.cases = GuardrailCases(RAILS, {}, has_control=True)
        self.requests = RolloutRequests(NEW, OLD, self.cases, self.blocks, HOUR, {})

    def take(self, *events: Any, place: str = "t/0", again: bool = False) -> "Taken":
        for event in events:
            self.state = self.requests.take([Seen(place, 0 if again else self.offset, event)], self.state)
            self.offset += not again
        return self

    @property
    def pairs(self) -> int:
        """Pairs of the open blocks."""
        return self.blocks.pairs_bytes // self.blocks.pair_bytes

    @property
    def missing(self) -> int:
        """Requests that should have been pairs."""
        return sum(self.blocks._missing.values())

    @property
    def errors(self) -> tuple[list[float], list[float], int]:
        test: Any = self.cases.tests["errors"]
        return test.new.tolist(), test.control.tolist(), test.streak.length

    @property
    def compared(self) -> int:
        """Pairs of scores that the guardrails have seen."""
        test: Any = self.cases.tests["distribution"]
        return test.rows


def test_each_decision_counts_for_its_arm_and_its_step() -> None:
    found = Taken().take(decided(0, NEW, OLD), decided(1, OLD, NEW), decided(2, OLD), decided(3, NEW, unit="u0"))
    state = found.state
    assert (state.step_seen, state.decisions, state.step_decisions, state.step_units) == (4, 2, 2, (1, 2))
    assert state.step_unasked == (0, 2, 0, 2)
    assert (found.pairs, found.missing, found.compared, found.errors) == (2, 0, 2, ([2, 0], [2, 0], 0))
    assert found.requests.folded == {"t/0": 4}
    assert found.requests.units_bytes == 3 * UNIT_BYTES
    found.requests.begin_step()
    assert found.requests.units_bytes == 0


def test_previews_are_in_no_arm_and_other_shares_in_no_step() -> None:
    found = Taken().take(decided(0, NEW, OLD, override="preview"))
    assert (found.state.step_seen, found.state.decisions, found.state.step_decisions, found.state.step_units) == (
        1,
        1,
        0,
        (0, 0),
    )
    assert (found.pairs, found.compared, found.errors) == (1, 0, ([0, 0], [0, 0], 0))
    other = Taken(replace(STATE, routes={0: 0.5, 7: 0.1})).take(
        decided(0, NEW, route_offset=7), decided(1, NEW, route_offset=9)
    )
    assert (other.state.decisions, other.state.step_decisions, other.state.step_units) == (2, 1, (0, 0))
    early = Taken(replace(STATE, step_clock_s=60.0)).take(decided(0, NEW), decided(1, NEW))
    assert (early.state.decisions, early.state.step_decisions) == (2, 1)
    nobody = Taken().take(decided(0, answer=Expired(1), assigned=None))
    assert (nobody.state.step_seen, nobody.state.step_unasked) == (1, (0, 0, 0, 0))


def test_what_was_not_asked_is_counted_and_is_missing_as_a_pair() -> None:
    found = Taken().take(decided(0, NEW, OLD, answer=Expired(1), failures={str(NEW): Busy("b")}))
    assert (found.state.step_unasked, found.pairs, found.missing) == ((1, 1, 0, 0), 0, 1)
    found.take(decided(1, OLD, failures={str(NEW): Busy("b")}))
    assert (found.state.step_unasked, found.pairs, found.missing) == ((1, 1, 0, 1), 0, 2)
    both = Taken().take(decided(0, NEW, answer=Expired(1), failures={str(NEW): Busy("b"), str(OLD): Busy("b")}))
    assert (both.pairs, both.missing) == (0, 0)
    failed = Taken().take(decided(0, OLD, failures={str(NEW): Raised("r")}))
    assert (failed.pairs, failed.compared) == (1, 0)


def test_a_shadow_that_comes_late_makes_the_pair_and_one_that_never_comes_misses_it() -> None:
    found = Taken().take(decided(0, OLD, shadows_due=(NEW,)), decided(1, OLD, shadows_due=(NEW,)))
    assert (found.pairs, found.requests.pending_bytes, found.requests.due_from_s) == (0, 2 * PENDING_BYTES, 0.0)
    found.take(late(0, NEW), late(0, NEW), late(7, NEW), late(1, 9))
    assert (found.pairs, found.compared, found.requests.pending_bytes) == (1, 1, PENDING_BYTES)
    found.requests.end_blocks(0)
    assert found.missing == 0
    found.requests.end_blocks(1)
    assert (found.pairs, found.missing, found.requests.due_from_s) == (1, 1, None)


def test_a_late_failure_of_the_version_counts_while_it_is_in_shadow() -> None:
    shadow = replace(STATE, share=0.0, routes={0: 0.0})
    found = Taken(shadow).take(decided(0, OLD, shadows_due=(NEW,)), late(0, NEW, Raised("r")))
    assert found.errors == ([1, 1], [1, 0], 1)
    both_late = Taken(shadow).take(decided(0, 9, assigned=OLD, shadows_due=(NEW, OLD)), late(0, NEW, Raised("r")))
    assert both_late.errors == ([1, 1], [0, 0], 0)
    assert both_late.take(late(0, OLD)).errors == ([1, 1], [0, 0], 1)
    good = Taken(shadow).take(decided(0, OLD, shadows_due=(NEW,)), late(0, NEW))
    assert good.errors == ([1, 0], [1, 0], 0)
    own = Taken().take(decided(0, OLD, shadows_due=(NEW,)), late(0, NEW, Raised("r")))
    assert own.errors == ([0, 0], [1, 0], 0)


def test_a_failure_of_the_version_waits_for_what_the_control_returns_late() -> None:
    found = Taken().take(decided(0, NEW, answer=Expired(1), failures={str(NEW): Raised("r")}, shadows_due=(OLD,)))
    assert found.errors == ([1, 1], [0, 0], 0)
    assert found.take(late(0, OLD)).errors == ([1, 1], [0, 0], 1)
    assert (found.pairs, found.compared) == (1, 0)


def test_what_is_read_again_counts_for_the_blocks_alone() -> None:
    found = Taken().take(decided(0, NEW, OLD))
    found.take(decided(0, NEW, OLD), again=True)
    assert (found.state.step_seen, found.pairs, found.compared, found.errors) == (1, 2, 1, ([1, 0], [0, 0], 0))


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
        ("brier", "UNMEASURED"),
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
    assert watched.report_late() == (5, 7)
    watched.windows.late_requests, watched.windows.late_outcomes = 6, 10
    assert [watched.report_late() for _ in range(2)] == [(1, 3), (0, 0)]
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
    assert (again.watched["d"].report_late(), again.watched["d"].windows.closed_to_s) == ((0, 0), 10 * DAY)
    gone = again.redeclare([])
    assert (gone.gone, gone.set_up, again.watched, list(again.memories)) == (("d",), (), {}, ["d"])
