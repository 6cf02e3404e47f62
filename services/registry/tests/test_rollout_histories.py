"""What no history of a rollout may lead to."""

from dataclasses import replace as replaced
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from services.registry.tests.rollout_machine import AB_TEST, BLUE_GREEN, MESSAGES, SHADOW, Machine

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    ApproveVersion,
    ArchiveVersion,
    PromoteRollout,
    RollBack,
    RollbackWindowBegun,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
)
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.registry.state import Fold, Registry, apply
from headrace.testing.registry import CANARY, HOUR_S, version_of
from headrace_registry.core import versions
from headrace_registry.core.machine import Approved, Unloadable, Warmed

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
        st.tuples(
            st.sampled_from(["verdict", "verdict", "unlabelled"]),
            st.sampled_from([PASS, PASS, PASS, FAIL, INCONCLUSIVE, UNMEASURED]),
            st.floats(0, 2),
        ),
        st.tuples(st.just("approve"), st.integers(1, 4), st.none()),
    ),
    max_size=40,
)
plans = st.sampled_from(
    [
        CANARY,
        AB_TEST,
        SHADOW,
        BLUE_GREEN,
        replace(CANARY, approval=True),
        replace(CANARY, without_labels="promote", give_up_s=4 * HOUR_S),
        replace(AB_TEST, winner="hand", give_up_s=2 * HOUR_S),
    ]
)


def played(history: list, plan: RolloutDefinition) -> Machine:
    """A history that a fresh machine takes, checked after every message."""
    machine, clock_s = Machine(versions=4, plan=plan), 0.0
    for place, (kind, value, more) in enumerate(history):
        match kind:
            case "start":
                machine.start(value, more)
            case "serve":
                machine.start(value)
                machine.take(Warmed())
                machine.take(PromoteRollout("d", value, "r", "me"))
            case "archive":
                step = versions.on_archive(machine.state, ArchiveVersion("d", value, "r", "me"), f"a{place}")
                machine.state, machine.facts = step.state, [*machine.facts, *step.facts]
            case "promote":
                machine.take(PromoteRollout("d", value, "r", "me"))
            case "roll back":
                machine.take(RollBack("d", value, "r", "me"))
            case "unloadable":
                machine.take(Unloadable(value, "r"))
            case "approve":
                step = versions.on_approve(machine.state, ApproveVersion("d", value, "r", "me"), f"a{place}")
                machine.state, machine.facts = step.state, [*machine.facts, *step.facts]
                machine.take(Approved())
            case "verdict" | "unlabelled":
                clock_s += more * HOUR_S
                if machine.entry.rollout or machine.entry.last:
                    rails, is_unlabelled = FAIL if value == FAIL else PASS, kind == "unlabelled"
                    machine.judge(clock_s, labels=value, guardrails=rails, unlabelled=is_unlabelled)
            case _:
                message = MESSAGES[kind](machine)
                machine.take(message)
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
    for fact in machine.facts:
        ident = getattr(fact, "rollout", None)
        if isinstance(fact, RolloutStarted):
            assert ident not in started
            assert not started or started[-1] in over
            started.append(ident)
        elif isinstance(fact, RollbackWindowBegun):
            assert (ident, ident in over) == (started[-1], True)
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
def test_facts_read_twice_and_facts_of_deployments_in_any_order_fold_to_the_same_state(
    history: list, plan: RolloutDefinition, data: st.DataObject
) -> None:
    facts = [*[version_of(n) for n in range(1, 5)], *played(history, plan).facts]
    once, again = Fold(), Fold()
    sent = list(enumerate(facts))
    for place, fact in sent:
        once.take(fact, f"f{place}")
    for extra in data.draw(st.lists(st.integers(0, len(facts) - 1), max_size=10)):
        where = data.draw(st.integers(extra + 1, len(facts)))
        sent.insert(sent.index((extra, facts[extra])) + 1 + max(where - extra - 1, 0), (extra, facts[extra]))
    others = [version_of(n, deployment="e") for n in range(1, 3)]
    for place, fact in sent:
        if others and data.draw(st.booleans()):
            other = others.pop(0)
            again.take(other, f"e{other.version}")
        again.take(fact, f"f{place}")
    for other in others:
        again.take(other, f"e{other.version}")
    assert again.state.entry("d") == once.state.entry("d")
    assert sorted(again.state.entry("e").versions) == [1, 2]


def test_of_a_fact_read_twice_at_once_the_second_changes_nothing() -> None:
    machine = Machine().promoted()
    machine.judge(4 * HOUR_S, labels=FAIL)
    facts = [*[version_of(n) for n in range(1, 4)], *machine.facts]
    state = Registry()
    for fact in facts:
        state = apply(state, fact)
        twice = apply(state, fact)
        assert uncounted(twice) == uncounted(state)


def uncounted(state: Registry) -> Any:
    return replaced(state.entry("d"), facts=0)


@given(steps, plans)
@settings(max_examples=100, deadline=None)
def test_a_rollout_is_given_up_or_superseded_without_harm_and_only_the_newer_one_follows(
    history: list, plan: RolloutDefinition
) -> None:
    facts = played(history, plan).facts
    for place, fact in enumerate(facts):
        if isinstance(fact, RolloutAborted) and fact.cause in ("undecided", "superseded"):
            assert not fact.harmful
            assert plan.policy in ("canary", "ab_test")
        if isinstance(fact, RolloutAborted) and fact.cause == "superseded":
            following = facts[place + 2]
            assert isinstance(following, RolloutStarted)
            assert (following.version > fact.version, following.by) == (True, "trainer")
