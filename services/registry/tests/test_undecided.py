"""A rollout that nothing decides ends: by its declared limit, or for a newer version."""

from dataclasses import replace as replaced

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
    names,
    shadowing,
    unjudged,
)

from headrace.events.definition import GuardrailDefinition, RolloutDefinition
from headrace.events.registry import (
    ApproveVersion,
    ArchiveVersion,
    PauseRollout,
    ResumeRollout,
    RetryRollout,
    RolloutAborted,
    RolloutAdvanced,
    RolloutQueued,
    StartRollout,
)
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence
from headrace.registry.state import Registry
from headrace.testing.registry import CANARY, HOUR_S, folded, version_of
from headrace_registry.core.machine import Warmed
from headrace_registry.core.versions import on_approve, on_archive

DAY_S = 24 * HOUR_S
SHORT = replace(CANARY, give_up_s=10 * DAY_S)
BY_HAND = replace(AB_TEST, winner="hand", give_up_s=10 * DAY_S)
AGAIN = "`headrace rollout retry d` tries again"


def at_last_share(plan: RolloutDefinition = SHORT) -> Machine:
    """Version 2, whose first step began at 0, at the last share below 1 since hour 2."""
    machine = Machine(versions=4, plan=plan).canary()
    machine.judge(2 * HOUR_S, labels=UNMEASURED)
    assert machine.entry.rollout.number == 1
    return machine


# given up


def test_the_instant_of_the_first_step_is_kept_and_never_moves() -> None:
    machine = shadowing(Machine())
    assert machine.entry.rollout.begun_s is None
    machine.judge(7.0)
    assert machine.entry.rollout.begun_s == 7.0
    machine.judge(7.0 + HOUR_S)
    assert (machine.entry.rollout.since_s, machine.entry.rollout.begun_s) == (7.0 + HOUR_S, 7.0)
    again = RolloutAdvanced("d", machine.entry.rollout.id, 2, "shadowing", 0.0, 0, 9.0)
    assert folded(machine.state, [again]).entry("d").rollout == machine.entry.rollout


def test_a_canary_ends_undecided_at_its_limit_and_not_a_second_before() -> None:
    machine = at_last_share()
    of = machine.entry.rollout.id
    assert machine.judge(10 * DAY_S - 1, labels=UNMEASURED) == []
    aborted, changed = machine.judge(10 * DAY_S, labels=UNMEASURED)
    why = f"nothing decided it within 10d: no label came; {AGAIN}, then `headrace rollout promote d` needs no labels"
    assert aborted == RolloutAborted("d", of, 2, why, False, (), 10 * DAY_S, "undecided")
    assert (changed.route.shares, changed.route.shadows, changed.route.warm) == ({1: 1.0}, (), (1,))
    assert (machine.entry.stages[2], machine.entry.last.is_harmful) == ("registered", False)
    assert names(machine.take(RetryRollout("d", "again", "ann"))) == BEGUN


def test_a_decision_at_the_limit_counts() -> None:
    assert names(at_last_share().judge(10 * DAY_S)) == SWITCHED
    assert at_last_share().judge(10 * DAY_S, labels=FAIL)[0].cause == "harm"


OPEN = Evidence("latency", "guardrail", UNMEASURED, detail="3 of 20 requests")
MUTE = Evidence("latency", "guardrail", INCONCLUSIVE)
DRY = Evidence("degraded", "guardrail", INCONCLUSIVE)
LABELS = Evidence("level", "label", UNMEASURED, detail="9 of 14 cycles")
PROMOTE = f"{AGAIN}, then `headrace rollout promote d` needs no labels"
MISSING = {
    "labels": ({"labels": UNMEASURED}, f"no label came; {PROMOTE}"),
    "cycles": (
        {"labels": UNMEASURED, "label_count": 1_200, "cycles": 9, "evidence": (LABELS, OPEN)},
        f"1,200 labels came, in 9 of the 14 cycles that it takes (level: 9 of 14 cycles); {PROMOTE}",
    ),
    "evidence": (
        {"labels": INCONCLUSIVE, "label_count": 1_200, "cycles": 20},
        f"1,200 labels came in 20 cycles, and show neither harm nor that version 2 is no worse; {PROMOTE}",
    ),
    "approval": (
        {"labels": UNMEASURED, "unlabelled": True},
        f"no label can judge version 2, and nobody approved it; `headrace model approve d 2` approves it, then {AGAIN}",
    ),
    "decisions": ({"step_decisions": 3}, f"it made 3 of 10 decisions in its step; {AGAIN}"),
    "guardrails": (
        {"guardrails": UNMEASURED, "evidence": (OPEN, DRY, LABELS)},
        f"its guardrails did not pass (latency: 3 of 20 requests); {AGAIN}",
    ),
    "mute guardrails": (
        {"guardrails": INCONCLUSIVE, "evidence": (MUTE,)},
        f"its guardrails did not pass (latency: INCONCLUSIVE); {AGAIN}",
    ),
    "unknown guardrails": ({"guardrails": UNMEASURED}, f"its guardrails did not pass (UNMEASURED); {AGAIN}"),
}


@pytest.mark.parametrize("case", MISSING)
def test_the_reason_names_what_was_missing_and_the_way_out(case: str) -> None:
    changes, missing = MISSING[case]
    rails = (GuardrailDefinition("latency", 3.0), GuardrailDefinition("degraded", 0.05, dry_run=True))
    machine = at_last_share(replace(SHORT, guardrails=rails))
    aborted, *_ = machine.judge(10 * DAY_S, **changes)
    assert (aborted.cause, aborted.reason) == ("undecided", f"nothing decided it within 10d: {missing}")


def test_steps_that_are_longer_than_the_limit_are_named() -> None:
    machine = Machine(plan=replace(SHORT, step_s=30 * DAY_S)).canary()
    aborted, *_ = machine.judge(11 * DAY_S)
    assert aborted.reason == f"nothing decided it within 10d: its steps were not over; {AGAIN}"
    machine = shadowing(Machine(plan=replace(SHORT, shadow_first_s=30 * DAY_S)))
    machine.judge(0.0)
    aborted, *_ = machine.judge(11 * DAY_S)
    assert aborted.reason == f"nothing decided it within 10d: its 30d of scoring along were not over; {AGAIN}"


def test_a_wait_for_traffic_or_for_a_clock_has_no_end() -> None:
    machine = at_last_share()
    assert machine.judge(90 * DAY_S, labels=UNMEASURED, waiting_for="traffic") == []
    assert machine.judge(90 * DAY_S, labels=UNMEASURED, has_clock=False) == []


def test_what_an_operator_has_paused_ends_when_it_goes_on() -> None:
    machine = at_last_share()
    machine.take(PauseRollout("d", "lunch", "ann"))
    assert machine.judge(90 * DAY_S, labels=UNMEASURED) == []
    machine.take(ResumeRollout("d", "back", "ann"))
    assert names(machine.judge(90 * DAY_S, labels=UNMEASURED)) == BACK


def test_a_test_that_nobody_decides_ends_and_one_with_a_rule_ends_at_its_duration() -> None:
    machine = shadowing(Machine(plan=BY_HAND))
    machine.judge(0.0)
    assert machine.judge(10 * DAY_S - 1) == []
    aborted, _ = machine.judge(10 * DAY_S)
    ends = f"{AGAIN}, and `headrace rollout promote d` ends it"
    assert (aborted.cause, aborted.harmful) == ("undecided", False)
    assert aborted.reason == f"nothing decided it within 10d: nobody ended the test; {ends}"
    ruled = shadowing(Machine(plan=replace(AB_TEST, duration_s=20 * DAY_S, give_up_s=10 * DAY_S)))
    ruled.judge(0.0)
    assert ruled.judge(20 * DAY_S - 1) == []
    assert ruled.judge(20 * DAY_S, labels=INCONCLUSIVE)[0].promoted is False


@pytest.mark.parametrize("plan", [replace(SHADOW, give_up_s=60.0), replace(BLUE_GREEN, give_up_s=60.0)])
def test_other_policies_are_never_given_up(plan: RolloutDefinition) -> None:
    machine = Machine(plan=plan)
    machine.start(2)
    machine.take(Warmed())
    for hour in (0.0, 0.5, 1.0):
        machine.judge(hour * HOUR_S, labels=UNMEASURED)
    assert machine.entry.last.outcome == ("promoted" if plan.policy == "blue_green" else "completed")


# superseded


def waiting(machine: Machine, version: int = 3) -> Machine:
    assert names(machine.start(version, "trainer")) == ["rollout.queued"]
    return machine


def test_a_newer_version_takes_the_place_of_one_that_is_inconclusive() -> None:
    machine = waiting(at_last_share())
    of = machine.entry.rollout.id
    aborted, changed, started, _ = machine.judge(5 * DAY_S, labels=INCONCLUSIVE, label_count=1_200, cycles=15)
    why = (
        "superseded by version 3, which is newer: 1,200 labels in 15 cycles did not decide it;"
        " `headrace rollout start d 2` releases it all the same"
    )
    assert aborted == RolloutAborted("d", of, 2, why, False, (), 5 * DAY_S, "superseded")
    assert (changed.route.shares, machine.entry.stages[2]) == ({1: 1.0}, "registered")
    assert (started.version, started.by, started.plan, machine.entry.queued) == (3, "trainer", SHORT, None)
    machine.take(Warmed())
    machine.take(StartRollout("d", 2, "r", "ann"))
    assert machine.entry.rollout.version == 3


@pytest.mark.parametrize("labels", [UNMEASURED, PASS, FAIL])
def test_only_what_is_inconclusive_gives_way(labels: str) -> None:
    machine = waiting(at_last_share())
    facts = machine.judge(5 * DAY_S, labels=labels)
    expected = {UNMEASURED: [], PASS: [*SWITCHED, *BEGUN], FAIL: [*BACK, *BEGUN]}
    assert names(facts) == expected[labels]


def test_it_gives_way_when_the_newer_one_comes_later() -> None:
    machine = at_last_share()
    assert machine.judge(5 * DAY_S, labels=INCONCLUSIVE) == []
    assert names(waiting(machine).judge(6 * DAY_S, labels=INCONCLUSIVE)) == [*BACK, *BEGUN]


def test_it_gives_way_instead_of_taking_more_traffic() -> None:
    machine = waiting(Machine(plan=SHORT).canary())
    assert names(machine.judge(2 * HOUR_S, labels=INCONCLUSIVE)) == [*BACK, *BEGUN]


def test_without_verdicts_it_gives_way_with_the_next_one() -> None:
    machine = waiting(unjudged(Machine()))
    assert names(machine.judge(5 * DAY_S, labels=INCONCLUSIVE)) == ["rollout.resumed", *BACK, *BEGUN]


def test_what_an_operator_has_paused_does_not_give_way() -> None:
    machine = waiting(at_last_share())
    machine.take(PauseRollout("d", "lunch", "ann"))
    assert machine.judge(5 * DAY_S, labels=INCONCLUSIVE) == []
    machine.take(ResumeRollout("d", "back", "ann"))
    assert names(machine.judge(6 * DAY_S, labels=INCONCLUSIVE)) == [*BACK, *BEGUN]


def test_it_does_not_give_way_to_what_may_not_begin() -> None:
    unapproved = waiting(at_last_share())
    unapproved.plan = replace(SHORT, approval=True)
    assert unapproved.judge(5 * DAY_S, labels=INCONCLUSIVE) == []
    unapproved.state = on_approve(unapproved.state, ApproveVersion("d", 3, "r", "ann"), "c").state
    assert names(unapproved.judge(6 * DAY_S, labels=INCONCLUSIVE)) == [*BACK, *BEGUN]
    archived = waiting(at_last_share())
    archived.state = on_archive(archived.state, ArchiveVersion("d", 3, "r", "ann"), "c").state
    assert archived.judge(5 * DAY_S, labels=INCONCLUSIVE) == []
    other = at_last_share()
    queued = RolloutQueued("d", 5, "r", "trainer")
    other.state = folded(other.state, [version_of(5, output="number"), queued])
    assert other.judge(5 * DAY_S, labels=INCONCLUSIVE) == []


def test_it_does_not_give_way_to_an_older_version() -> None:
    machine = Machine(versions=4, plan=SHORT).canary(4)
    waiting(machine, 3)
    machine.judge(2 * HOUR_S, labels=UNMEASURED)
    assert machine.judge(5 * DAY_S, labels=INCONCLUSIVE) == []


def test_what_waits_for_a_person_gives_way() -> None:
    machine = at_last_share()
    assert names(machine.judge(3 * HOUR_S, labels=UNMEASURED, unlabelled=True)) == ["approval.awaited"]
    facts = waiting(machine).judge(4 * HOUR_S, labels=UNMEASURED, unlabelled=True)
    assert names(facts) == [*BACK, *BEGUN]
    assert "version 3, which is newer: no label can judge it, and nobody approved it;" in facts[0].reason
    at_once = waiting(at_last_share())
    assert names(at_once.judge(3 * HOUR_S, labels=UNMEASURED, unlabelled=True)) == [*BACK, *BEGUN]


def test_what_no_label_can_judge_goes_through_its_steps_first() -> None:
    machine = waiting(Machine(plan=SHORT).canary())
    assert names(machine.judge(2 * HOUR_S, labels=UNMEASURED, unlabelled=True)) == ["rollout.advanced", "route.changed"]
    assert machine.judge(2.5 * HOUR_S, labels=UNMEASURED, unlabelled=True) == []


def test_a_test_has_its_duration_before_it_gives_way() -> None:
    machine = waiting(shadowing(Machine(plan=BY_HAND)))
    machine.judge(0.0)
    assert machine.judge(HOUR_S - 1, labels=INCONCLUSIVE) == []
    assert names(machine.judge(HOUR_S, labels=INCONCLUSIVE)) == [*BACK, *BEGUN]
    shadow = waiting(shadowing(Machine(plan=SHADOW)))
    shadow.judge(0.0)
    assert shadow.judge(HOUR_S - 1, labels=INCONCLUSIVE) == []
    assert names(shadow.judge(HOUR_S, labels=INCONCLUSIVE)) == ["rollout.completed", "route.changed", *BEGUN]


def test_the_log_alone_leads_to_the_same_state() -> None:
    machine = waiting(at_last_share())
    machine.judge(5 * DAY_S, labels=INCONCLUSIVE)
    again = folded(Registry(), [*(version_of(n) for n in range(1, 5)), *machine.facts])
    assert replaced(again.entry("d"), facts=0) == replaced(machine.entry, facts=0)
