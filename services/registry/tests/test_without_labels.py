"""How a canary ends that no label can judge: by its guardrails and a person, or by its guardrails alone."""

from typing import Any

import pytest
from msgspec.structs import replace
from services.registry.tests.rollout_machine import SWITCHED, Machine, names

from headrace.events.registry import (
    ApprovalAwaited,
    ApproveVersion,
    PauseRollout,
    ResumeRollout,
    RolloutCompleted,
    TimedOut,
    VersionApproved,
)
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.registry.state import Registry
from headrace.testing.registry import CANARY, HOUR_S, folded, version_of
from headrace_registry.core.machine import Approved
from headrace_registry.core.rollout import on_message
from headrace_registry.core.versions import on_approve

PROMOTE = replace(CANARY, without_labels="promote")
PASSED = "it passed its guardrails, and no label can judge it"


def at_last_share(plan: Any = CANARY) -> Machine:
    """Version 2 at the last share below 1, since hour 2."""
    machine = Machine(plan=plan).canary()
    machine.judge(2 * HOUR_S, labels=UNMEASURED, unlabelled=True)
    assert (machine.entry.rollout.share, machine.entry.rollout.since_s) == (0.25, 2 * HOUR_S)
    return machine


def unlabelled(machine: Machine, hour: float, **changes: Any) -> list[Any]:
    return machine.judge(hour * HOUR_S, **{"labels": UNMEASURED, "unlabelled": True} | changes)


def approve(machine: Machine, version: int = 2) -> None:
    step = on_approve(machine.state, ApproveVersion("d", version, "looks good", "ann"), "c1")
    machine.state = step.state
    assert step.facts == (VersionApproved("d", version, "looks good", "ann"),)


def test_by_promote_it_switches_as_soon_as_its_guardrails_have_passed() -> None:
    machine = at_last_share(PROMOTE)
    facts = unlabelled(machine, 3)
    assert names(facts) == SWITCHED
    assert facts[-1].reason == f"{PASSED} (without_labels='promote')"
    assert (machine.entry.aliases["champion"], machine.route.shares) == (2, {2: 1.0})


@pytest.mark.parametrize("plan", [CANARY, PROMOTE], ids=["approval", "promote"])
@pytest.mark.parametrize(
    "changes",
    [
        {"guardrails": UNMEASURED},
        {"guardrails": INCONCLUSIVE},
        {"step_decisions": 9},
        {"hour": 2.99},
        {"waiting_for": "traffic"},
        {"has_clock": False},
    ],
    ids=str,
)
def test_neither_goes_on_before_its_guardrails_pass(plan: Any, changes: dict[str, Any]) -> None:
    machine = at_last_share(plan)
    assert unlabelled(machine, **{"hour": 3} | changes) == []


@pytest.mark.parametrize("plan", [CANARY, PROMOTE], ids=["approval", "promote"])
def test_labels_that_may_yet_come_are_waited_for(plan: Any) -> None:
    machine = at_last_share(plan)
    assert machine.judge(3 * HOUR_S, labels=UNMEASURED) == []
    assert machine.judge(4 * HOUR_S, labels=INCONCLUSIVE) == []


def test_versions_that_cannot_differ_pass_without_any_label() -> None:
    facts = unlabelled(at_last_share(), 3, labels=PASS)
    assert (names(facts), facts[-1].reason) == (SWITCHED, "shown to be no worse than its control")


def test_by_approval_it_waits_for_a_person_reports_that_once_and_then_switches() -> None:
    machine = at_last_share()
    of = machine.entry.rollout.id
    why = f"{PASSED}: `headrace model approve d 2` gives it all traffic"
    assert unlabelled(machine, 3) == [ApprovalAwaited("d", of, 2, why, 3 * HOUR_S)]
    assert machine.entry.rollout.awaits_approval
    assert unlabelled(machine, 4) == []
    approve(machine, 3)
    assert unlabelled(machine, 5) == []
    approve(machine, 2)
    assert machine.take(Approved()) == []
    facts = unlabelled(machine, 6)
    assert names(facts) == SWITCHED
    assert facts[-1] == RolloutCompleted("d", of, 2, 6 * HOUR_S, True, f"approved by ann: {PASSED}")


def test_the_approval_counts_with_guardrails_that_pass_at_that_time() -> None:
    machine = at_last_share()
    unlabelled(machine, 3)
    approve(machine)
    assert unlabelled(machine, 4, guardrails=INCONCLUSIVE) == []
    aborted, _ = unlabelled(machine, 5, guardrails=FAIL)
    assert (aborted.harmful, aborted.cause) == (True, "harm")


def test_an_approval_that_was_given_before_counts() -> None:
    machine = Machine(plan=replace(CANARY, approval=True))
    approve(machine)
    machine.canary()
    unlabelled(machine, 2)
    facts = unlabelled(machine, 3)
    assert (names(facts), facts[-1].reason) == (SWITCHED, f"approved by ann: {PASSED}")


def test_while_an_operator_has_paused_it_an_approval_moves_nothing() -> None:
    machine = at_last_share()
    unlabelled(machine, 3)
    machine.take(PauseRollout("d", "lunch", "bob"))
    approve(machine)
    assert unlabelled(machine, 4) == []
    machine.take(ResumeRollout("d", "back", "bob"))
    assert names(unlabelled(machine, 5)) == SWITCHED


def test_without_verdicts_an_approval_moves_nothing_until_the_next_one() -> None:
    machine = at_last_share()
    machine.take(TimedOut("d", machine.entry.rollout.id, "pause", 300.0, "no verdict"))
    assert names(unlabelled(machine, 3)) == ["rollout.resumed", "approval.awaited"]
    machine.take(TimedOut("d", machine.entry.rollout.id, "pause", 300.0, "no verdict"))
    approve(machine)
    assert names(unlabelled(machine, 4)) == ["rollout.resumed", *SWITCHED]


def test_after_a_restart_it_still_waits_and_reports_nothing_twice() -> None:
    machine = at_last_share()
    unlabelled(machine, 3)
    again = folded(Registry(), [*(version_of(n) for n in (1, 2, 3)), *machine.facts])
    assert again.entry("d").rollout == machine.entry.rollout
    machine.state = again
    assert unlabelled(machine, 4) == []
    late = on_message(again, "d", ApprovalAwaited("d", "another", 2, "r"), "x", CANARY)
    assert late.state.entry("d").rollout == machine.entry.rollout
