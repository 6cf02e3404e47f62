"""Who may approve a version where the project demands another person than its authors."""

import pytest
from msgspec.structs import replace
from services.registry.tests.rollout_machine import CANARY, Machine, names

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import ApproveVersion, CommandRefused, VersionApproved, VersionRegistered, Waiver
from headrace.registry.approvals import authors_of, may_approve
from headrace.registry.state import Registry
from headrace.testing.registry import command, folded, version_of
from headrace_registry.core.intake import Known, is_command, on_message
from headrace_registry.core.machine import Approved
from headrace_registry.core.registration import on_register
from headrace_registry.core.versions import on_approve

ANOTHER = replace(CANARY, approval=True, approval_by_another=True)
ANYBODY = replace(CANARY, approval=True)


def state_of(**changes: object) -> Registry:
    return folded(Registry(), [version_of(1, **changes)])


def approved(state: Registry, by: str, plan: RolloutDefinition = ANOTHER) -> object:
    (fact,) = on_approve(state, ApproveVersion("d", 1, "r", by), "c1", plan).facts
    return fact


@pytest.mark.parametrize(
    ("changes", "authors"),
    [
        ({}, ()),
        ({"by": "ann"}, ("ann",)),
        ({"asked_by": "ann"}, ("ann",)),
        ({"waivers": (Waiver("prior", "ann", "r"), Waiver("champion", "bob", "r"))}, ("ann", "bob")),
        ({"by": "ann", "asked_by": "ann"}, ("ann",)),
    ],
)
def test_an_author_registered_it_asked_for_its_training_or_waived_a_gate(
    changes: dict[str, object], authors: tuple[str, ...]
) -> None:
    version = version_of(1, **changes)
    assert authors_of(version) == authors
    assert [may_approve(ANOTHER, version, name) for name in (*authors, "eve")] == [False] * len(authors) + [True]
    assert all(may_approve(ANYBODY, version, name) for name in authors)


def test_an_author_is_refused_with_one_sentence_and_another_is_not() -> None:
    state = state_of(by="ann")
    reason = "ann is an author of version 1: d demands that another person approves it"
    assert approved(state, "ann") == CommandRefused("d", "approve.version", "c1", reason)
    assert approved(state, "bob") == VersionApproved("d", 1, "r", "bob")
    assert approved(state, "ann", ANYBODY) == VersionApproved("d", 1, "r", "ann")


@pytest.mark.parametrize("name", ["ANN", " ann ", "Ann"])
def test_the_same_name_in_other_letters_is_the_same_person(name: str) -> None:
    assert isinstance(approved(state_of(asked_by="ann"), name), CommandRefused)


def test_nobody_is_not_another_person() -> None:
    refused = approved(state_of(by="ann"), " ")
    assert isinstance(refused, CommandRefused)
    assert refused.reason == "an approval needs a name"


def test_an_approval_of_an_author_from_before_counts_no_more_and_another_may_approve() -> None:
    state = folded(state_of(by="ann"), [VersionApproved("d", 1, "r", "ann")])
    assert approved(state, "bob") == VersionApproved("d", 1, "r", "bob")
    again = approved(folded(state, [VersionApproved("d", 1, "r", "bob")]), "eve")
    assert isinstance(again, CommandRefused)
    assert "approved by bob already" in again.reason


def test_a_version_waits_until_another_than_its_author_has_approved_it() -> None:
    machine = Machine(plan=ANOTHER)
    machine.state = folded(machine.state, [version_of(4, asked_by="ann"), VersionApproved("d", 4, "r", "ann")])
    (refused,) = machine.start(4)
    assert refused.reason == (
        "version 4 is approved by its author ann only, and another person must: `headrace model approve d 4`"
    )
    assert names(machine.start(4, "trainer")) == ["rollout.queued"]
    assert machine.take(Approved()) == []
    machine.state = folded(machine.state, [VersionApproved("d", 4, "r", "bob")])
    assert "rollout.started" in names(machine.take(Approved()))


def test_the_deployments_policy_as_it_is_applied_now_decides() -> None:
    class Definition:
        rollout = ANOTHER

    asked = ApproveVersion("d", 1, "r", "ann")
    assert is_command(asked)
    (refused,) = on_message(state_of(by="ann"), "d", asked, "c1", Known(Definition())).facts  # type: ignore[arg-type]
    assert isinstance(refused, CommandRefused)
    assert isinstance(on_message(state_of(by="ann"), "d", asked, "c1", Known()).facts[0], VersionApproved)


def test_who_asked_is_kept_when_a_version_is_registered() -> None:
    step = on_register(
        Registry(), command(asked_by="ann"), "c1", is_declared=True, has_artifact=True, now_s=1.0, label=None
    )
    (fact,) = step.facts
    assert isinstance(fact, VersionRegistered)
    assert fact.asked_by == "ann"
