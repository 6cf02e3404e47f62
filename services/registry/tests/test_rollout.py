"""The rollout machine: what follows from a message in a phase, and what no history may lead to."""

from dataclasses import replace as replaced
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from headrace.events import type_name
from headrace.events.registry import (
    AbortRollout,
    ArchiveVersion,
    CommandRefused,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    StartRollout,
    TimedOut,
    VersionApproved,
)
from headrace.events.verdicts import Evidence
from headrace.policy.verdict import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.project.definition import RolloutDefinition
from headrace.registry.state import Fold, Registry, apply
from headrace.testing.registry import CANARY, HOUR_S, folded, registered, verdict, version_of
from headrace_registry.core import versions
from headrace_registry.core.case import Approved, Unloadable, Warmed, phase_of
from headrace_registry.core.rollout import decide

BLUE_GREEN = RolloutDefinition("blue_green")
AB_TEST = RolloutDefinition("ab_test", shares=(0.5,), duration_s=HOUR_S, winner="rule")
SHADOW = RolloutDefinition("shadow", duration_s=HOUR_S)


class Machine:
    """A deployment `d` with versions, and what was said of it."""

    def __init__(self, versions: int = 3, plan: RolloutDefinition = CANARY) -> None:
        self.state, self.plan, self.said = registered(versions), plan, []
        self.serve(1)

    @property
    def entry(self) -> Any:
        return self.state.entry("d")

    @property
    def route(self) -> Any:
        return self.entry.route

    def tell(self, message: Any, ident: str = "") -> list[Any]:
        facts = decide(self.state, "d", message, ident or f"m{len(self.said)}", self.plan)
        self.state, self.said = folded(self.state, facts), self.said + facts
        return facts

    def serve(self, version: int) -> None:
        plan, self.plan = self.plan, BLUE_GREEN
        self.start(version)
        self.tell(Warmed())
        self.plan = plan

    def start(self, version: int, by: str = "me") -> list[Any]:
        return self.tell(StartRollout("d", version, "r", by))

    def judge(self, clock_s: float, **said: Any) -> list[Any]:
        return self.tell(verdict(self.state, clock_s, **said))

    def canary(self, version: int = 2) -> "Machine":
        """Version under canary with its first share, since hour 1."""
        self.start(version)
        self.tell(Warmed())
        self.judge(0.0)
        self.judge(HOUR_S, labels=UNMEASURED, guardrails=UNMEASURED)
        return self

    def promoted(self) -> "Machine":
        """Version 2 promoted by its canary, at hour 3."""
        self.canary().judge(2 * HOUR_S)
        self.judge(3 * HOUR_S)
        return self


def timed_out(machine: Machine, what: Any) -> TimedOut:
    running = machine.entry.rollout
    return TimedOut("d", running.id if running else "none", what, 600.0, f"waited for {what}")


def names(facts: list[Any]) -> list[str]:
    return [type_name(type(fact)) for fact in facts]


def paused(machine: Machine) -> Machine:
    machine.canary().tell(PauseRollout("d", "r", "me"))
    return machine


def held(machine: Machine) -> Machine:
    machine.canary()
    machine.tell(timed_out(machine, "hold"))
    return machine


def warming(machine: Machine) -> Machine:
    machine.start(2)
    return machine


def shadowing(machine: Machine) -> Machine:
    warming(machine).tell(Warmed())
    return machine


def in_test(machine: Machine) -> Machine:
    machine.plan = AB_TEST
    return shadowing(machine)


PHASES = {
    "idle": lambda machine: machine,
    "warming": warming,
    "shadowing": shadowing,
    "canary": Machine.canary,
    "testing": in_test,
    "paused": paused,
    "held": held,
}
MESSAGES = {
    "start": lambda _: StartRollout("d", 3, "r", "me"),
    "abort": lambda _: AbortRollout("d", "r", "me"),
    "pause": lambda _: PauseRollout("d", "r", "me"),
    "resume": lambda _: ResumeRollout("d", "r", "me"),
    "promote": lambda _: PromoteRollout("d", 2, "r", "me"),
    "retry": lambda _: RetryRollout("d", "r", "me"),
    "roll back": lambda _: RollBack("d", 1, "r", "me"),
    "warmed": lambda _: Warmed(),
    "unloadable": lambda _: Unloadable(2, "r"),
    "silent": lambda m: timed_out(m, "hold"),
    "silent for long": lambda m: timed_out(m, "silence"),
    "not warm": lambda m: timed_out(m, "warming"),
    "not loaded": lambda m: timed_out(m, "load"),
    "harm": lambda m: verdict(m.state, 1.5 * HOUR_S, labels=FAIL) if m.entry.rollout else timed_out(m, "hold"),
}
REFUSED = ["command.refused"]
BEGUN = ["rollout.started", "route.changed"]
BACK = ["rollout.aborted", "route.changed"]
SWITCHED = ["rollout.advanced", "alias.moved", "alias.moved", "route.changed", "rollout.completed"]
ROWS: dict[str, dict[str, list[str]]] = {
    #             idle           warming         moving                   paused                held
    "start":      {"idle": BEGUN, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "held": REFUSED},
    "abort":      {"idle": REFUSED, "warming": BACK, "moving": BACK, "paused": BACK, "held": BACK},
    "pause":      {"idle": REFUSED, "warming": ["rollout.paused"], "moving": ["rollout.paused"], "paused": REFUSED, "held": ["rollout.paused"]},
    "resume":     {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": ["rollout.resumed"], "held": ["rollout.resumed"]},
    "promote":    {"idle": REFUSED, "warming": REFUSED, "moving": SWITCHED, "paused": SWITCHED, "held": SWITCHED},
    "retry":      {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "held": REFUSED},
    "roll back":  {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "held": REFUSED},
    "warmed":     {"idle": [], "warming": ["rollout.advanced", "route.changed"], "moving": [], "paused": [], "held": []},
    "unloadable": {"idle": [], "warming": BACK, "moving": BACK, "paused": BACK, "held": BACK},
    "silent":     {"idle": [], "warming": [], "moving": ["rollout.paused"], "paused": [], "held": []},
    "silent for long": {"idle": [], "warming": [], "moving": [], "paused": [], "held": BACK},
    "not warm":   {"idle": [], "warming": BACK, "moving": [], "paused": [], "held": []},
    "not loaded": {"idle": [], "warming": BACK, "moving": BACK, "paused": BACK, "held": BACK},
    "harm":       {"idle": [], "warming": [], "moving": BACK, "paused": BACK, "held": ["rollout.resumed", *BACK]},
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("message", MESSAGES)
def test_what_follows_from_a_message_in_a_phase(message: str, phase: str) -> None:
    machine = PHASES[phase](Machine())
    assert phase_of(machine.entry) == phase
    row = ROWS[message]
    facts = machine.tell(MESSAGES[message](machine))
    assert names(facts) == row.get(phase, row["moving"])
    for fact in facts:
        assert not isinstance(fact, CommandRefused) or len(fact.reason) > 15


def test_a_rollout_first_warms_the_version_and_leaves_the_route_alone() -> None:
    machine = warming(Machine())
    assert (machine.route.shares, machine.route.warm, machine.route.rollout) == (
        {1: 1.0},
        (1, 2),
        machine.entry.rollout.id,
    )


def test_the_first_version_switches_as_soon_as_it_is_warm_whatever_the_policy() -> None:
    state = registered(1)
    state = folded(state, decide(state, "d", StartRollout("d", 1, "r", "me"), "s", CANARY))
    state = folded(state, decide(state, "d", Warmed(), "", CANARY))
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
    "said",
    [
        {"guardrails": INCONCLUSIVE},
        {"guardrails": UNMEASURED},
        {"step_decisions": 9},
        {"clock_s": 2 * HOUR_S - 1},
        {"number": 1},
        {"rollout": "another"},
    ],
)
def test_not_knowing_holds_the_share(said: dict) -> None:
    machine = Machine().canary()
    assert machine.tell(replace(verdict(machine.state, 2 * HOUR_S), **said)) == []


@pytest.mark.parametrize("labels", [INCONCLUSIVE, UNMEASURED])
def test_labels_that_do_not_know_let_a_share_grow_but_not_the_last_one(labels: str) -> None:
    machine = Machine().canary()
    assert machine.judge(2 * HOUR_S, labels=labels) != []
    assert machine.judge(30 * HOUR_S, labels=labels) == []


@pytest.mark.parametrize("said", [{"guardrails": FAIL}, {"labels": FAIL}])
def test_harm_takes_all_traffic_away_at_once_and_says_by_what(said: dict) -> None:
    machine = Machine().canary()
    aborted, _ = machine.judge(HOUR_S, **said)
    assert (aborted.harmful, aborted.evidence[0].measured, aborted.evidence[0].limit) == (True, 1.0, 0.5)
    assert "1 against a limit of 0.5" in aborted.reason
    assert (machine.route.shares, machine.route.shadows, machine.route.warm) == ({1: 1.0}, (), (1,))
    assert machine.entry.stages[2] == "rejected"
    assert "never released again" in machine.start(2)[0].reason


def test_a_paused_rollout_stays_whatever_the_verdicts_say_harm_excepted() -> None:
    machine = paused(Machine())
    assert machine.judge(9 * HOUR_S) == []
    machine.tell(ResumeRollout("d", "r", "me"))
    assert names(machine.judge(9 * HOUR_S)) == ["rollout.advanced", "route.changed"]


def test_a_held_rollout_goes_on_with_the_next_verdict_and_is_aborted_without_one() -> None:
    machine = held(Machine())
    assert names(machine.judge(2 * HOUR_S)) == ["rollout.resumed", "rollout.advanced", "route.changed"]
    silent = held(Machine())
    aborted, _ = silent.tell(timed_out(silent, "silence"))
    assert (aborted.harmful, aborted.cause) == (False, "silence")


def test_harm_after_the_promotion_rolls_back_while_the_window_lasts() -> None:
    machine = Machine().promoted()
    rolled, moved, changed = machine.judge(5 * HOUR_S, labels=FAIL)
    assert isinstance(rolled, RolledBack)
    assert (rolled.version, rolled.to, rolled.by, rolled.evidence[0].metric) == (2, 1, "monitor", "a_label")
    assert (moved.alias, moved.version, moved.was) == ("champion", 1, 2)
    assert changed.route.shares == {1: 1.0}
    assert machine.entry.aliases == {"champion": 1}
    assert machine.entry.stages[2] == "rejected"


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
    machine.tell(RollBack("d", 3, "r", "me"))
    assert machine.entry.aliases == {"champion": 2, "previous": 1}
    assert (machine.route.shares, machine.route.previous, machine.route.warm) == ({2: 1.0}, 1, (2, 1))
    machine.tell(RollBack("d", 2, "r", "me"))
    assert machine.entry.aliases == {"champion": 1}
    (refused,) = machine.tell(RollBack("d", 1, "r", "me"))
    assert "no version before 1" in refused.reason


def test_what_was_previous_and_does_harm_on_its_way_back_is_previous_no_more() -> None:
    machine = Machine(plan=BLUE_GREEN)
    machine.serve(2)
    machine.start(1)
    machine.tell(Unloadable(1, "pickle"))
    assert (machine.entry.aliases, machine.route.previous, machine.route.shadows) == ({"champion": 2}, None, ())


def test_of_promote_and_rollback_at_once_one_wins_and_the_other_is_told_why() -> None:
    for promote_first in (True, False):
        machine = Machine(versions=4, plan=BLUE_GREEN)
        machine.serve(2)
        machine.plan = CANARY
        machine.canary(3)
        race = [PromoteRollout("d", 3, "r", "a"), RollBack("d", 2, "r", "b")]
        won, lost = (machine.tell(command) for command in (race if promote_first else race[::-1]))
        refused = [fact for fact in [*won, *lost] if isinstance(fact, CommandRefused)]
        assert [fact.command for fact in refused] == ["roll.back"]
        assert ("champion is 3, not 2" if promote_first else "is under way") in refused[0].reason
        assert machine.entry.aliases == {"champion": 3, "previous": 2}


def test_a_trained_version_waits_for_the_running_rollout_and_the_newest_replaces_the_one_that_waited() -> None:
    machine = Machine(versions=4).canary()
    assert names(machine.start(3, "trainer")) == ["rollout.queued"]
    assert names(machine.start(4, "trainer")) == ["rollout.queued"]
    facts = machine.tell(AbortRollout("d", "r", "me"))
    assert names(facts) == [*BACK, *BEGUN]
    assert (machine.entry.rollout.version, machine.entry.rollout.plan, machine.entry.queued) == (4, CANARY, None)


def test_a_trained_version_waits_for_its_approval() -> None:
    machine = Machine(plan=replace(CANARY, approval=True))
    (refused,) = machine.start(2)
    assert "headrace model approve d 2" in refused.reason
    assert names(machine.start(2, "trainer")) == ["rollout.queued"]
    assert machine.tell(Approved()) == []
    machine.state = apply(machine.state, VersionApproved("d", 2, "r", "ann"))
    assert names(machine.tell(Approved())) == BEGUN


def test_what_was_aborted_without_harm_can_be_tried_again_by_the_same_plan() -> None:
    machine = Machine().canary()
    machine.tell(AbortRollout("d", "r", "me"))
    machine.plan = BLUE_GREEN
    started, _ = machine.tell(RetryRollout("d", "again", "me"))
    assert (started.version, started.plan) == (2, CANARY)
    machine.tell(Unloadable(2, "pickle"))
    assert "did harm" in machine.tell(RetryRollout("d", "again", "me"))[0].reason


def test_another_policy_may_be_chosen_for_one_rollout() -> None:
    machine = Machine(plan=BLUE_GREEN)
    started, _ = machine.tell(StartRollout("d", 2, "r", "me", "canary"))
    assert (started.policy, started.plan.shares) == ("canary", (0.01, 0.05, 0.25, 1.0))
    (refused,) = Machine().tell(StartRollout("d", 2, "r", "me", "big_bang"))
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


def test_a_test_decided_by_hand_waits_for_its_operator() -> None:
    machine = shadowing(Machine(plan=replace(AB_TEST, winner="hand")))
    machine.judge(0.0)
    assert machine.judge(99 * HOUR_S, evidence=(Evidence("superiority", "label", PASS),)) == []
    machine.tell(PromoteRollout("d", 2, "r", "me"))
    assert machine.entry.aliases["champion"] == 2


def test_a_shadow_ends_without_effect_and_with_its_evidence() -> None:
    machine = Machine(plan=SHADOW)
    shadowing(machine).judge(0.0)
    completed, _ = machine.judge(HOUR_S, evidence=(Evidence("brier", "label", PASS, 0.1),))
    assert (completed.promoted, completed.evidence[0].metric) == (False, "brier")
    assert (machine.route.shares, machine.route.shadows) == ({1: 1.0}, ())
    assert machine.entry.stages[2] == "registered"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(1, 4), st.sampled_from(["me", "trainer"])),
        st.tuples(st.just("serve"), st.integers(1, 4), st.none()),
        st.tuples(st.sampled_from(["abort", "pause", "resume", "retry", "archive"]), st.integers(1, 4), st.none()),
        st.tuples(st.sampled_from(["promote", "roll back", "unloadable"]), st.integers(1, 4), st.none()),
        st.tuples(
            st.sampled_from(["warmed", "warmed", "silent", "silent for long", "not warm", "not loaded"]),
            st.just(0),
            st.none(),
        ),
        st.tuples(st.just("verdict"), st.sampled_from([PASS, PASS, PASS, FAIL, INCONCLUSIVE]), st.floats(0, 2)),
    ),
    max_size=40,
)
plans = st.sampled_from([CANARY, AB_TEST, SHADOW, BLUE_GREEN, replace(CANARY, approval=True)])


def played(history: list, plan: RolloutDefinition) -> Machine:
    """A history told to a fresh machine, checked after every message."""
    machine, clock_s = Machine(versions=4, plan=plan), 0.0
    for place, (kind, value, more) in enumerate(history):
        match kind:
            case "start":
                machine.start(value, more)
            case "serve":
                machine.start(value)
                machine.tell(Warmed())
                machine.tell(PromoteRollout("d", value, "r", "me"))
            case "archive":
                facts = versions.on_archive(machine.state, ArchiveVersion("d", value, "r", "me"), f"a{place}")
                machine.state, machine.said = folded(machine.state, facts), machine.said + facts
            case "promote":
                machine.tell(PromoteRollout("d", value, "r", "me"))
            case "roll back":
                machine.tell(RollBack("d", value, "r", "me"))
            case "unloadable":
                machine.tell(Unloadable(value, "r"))
            case "verdict":
                clock_s += more * HOUR_S
                if machine.entry.rollout or machine.entry.last:
                    machine.judge(clock_s, labels=value, guardrails=PASS if value == INCONCLUSIVE else value)
            case _:
                message = MESSAGES[kind](machine)
                machine.tell(message)
        check(machine)
    return machine


def check(machine: Machine) -> None:
    entry, route = machine.entry, machine.route
    assert list(entry.stages.values()).count("champion") == 1
    assert entry.stages[entry.aliases["champion"]] == "champion"
    assert abs(sum(route.shares.values()) - 1) < 1e-9
    assert route.champion == entry.aliases["champion"]
    assert entry.aliases.get("previous") != entry.aliases["champion"]
    named = {*route.shares, *route.shadows, *route.warm, route.previous, route.champion, *entry.aliases.values()} - {
        None
    }
    assert [v for v in named if entry.stages[v] in ("rejected", "archived", "deleted")] == []
    if entry.rollout is None:
        assert route.shares == {entry.aliases["champion"]: 1.0}


@given(steps, plans)
@settings(max_examples=300, deadline=None)
def test_no_history_revives_an_ended_rollout_or_skips_a_step(history: list, plan: RolloutDefinition) -> None:
    machine = played(history, plan)
    started: list[str] = []
    numbers: dict[str, int] = {}
    over: set[str] = set()
    for fact in machine.said:
        ident = getattr(fact, "rollout", None)
        if isinstance(fact, RolloutStarted):
            assert ident not in started
            assert not started or started[-1] in over
            started.append(ident)
        elif ident is not None:
            assert ident == started[-1]
            assert ident not in over
        if isinstance(fact, RolloutAdvanced) and fact.step == "canary":
            assert fact.number - numbers.get(ident, 0) in (0, 1)
            numbers[ident] = fact.number
        if isinstance(fact, RolloutCompleted | RolloutAborted):
            over.add(ident)


@given(steps, plans, st.data())
@settings(max_examples=100, deadline=None)
def test_facts_told_twice_and_facts_of_deployments_in_any_order_fold_to_the_same_state(
    history: list, plan: RolloutDefinition, data: st.DataObject
) -> None:
    said = [*[version_of(n) for n in range(1, 5)], *played(history, plan).said]
    once, again = Fold(), Fold()
    told = list(enumerate(said))
    for place, fact in told:
        once.take(fact, f"f{place}")
    for extra in data.draw(st.lists(st.integers(0, len(said) - 1), max_size=10)):
        where = data.draw(st.integers(extra + 1, len(said)))
        told.insert(told.index((extra, said[extra])) + 1 + max(where - extra - 1, 0), (extra, said[extra]))
    others = [version_of(n, deployment="e") for n in range(1, 3)]
    for place, fact in told:
        if others and data.draw(st.booleans()):
            other = others.pop(0)
            again.take(other, f"e{other.version}")
        again.take(fact, f"f{place}")
    for other in others:
        again.take(other, f"e{other.version}")
    assert again.state.entry("d") == once.state.entry("d")
    assert sorted(again.state.entry("e").versions) == [1, 2]


def test_of_a_fact_told_twice_at_once_the_second_changes_nothing() -> None:
    machine = Machine().promoted()
    machine.judge(4 * HOUR_S, labels=FAIL)
    facts = [*[version_of(n) for n in range(1, 4)], *machine.said]
    state = Registry()
    for fact in facts:
        state = apply(state, fact)
        twice = apply(state, fact)
        assert uncounted(twice) == uncounted(state)


def uncounted(state: Registry) -> Any:
    return replaced(state.entry("d"), facts=0)
