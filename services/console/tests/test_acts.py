"""What a person may do now: offers with their sentences, refusals, and the command that an act becomes."""

from typing import Any

import pytest
from services.console.tests.known import NOW_S, Known

from headrace.events.alerts import SilenceEnded, SilenceSet
from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    AbortRollout,
    ApprovalAwaited,
    ApproveVersion,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutPaused,
    RolloutStarted,
    VersionApproved,
)
from headrace.testing.registry import version_of
from headrace_console.core.acts import Refused, command_of, deployment_offers, refuse, rollout_offers, silence_of
from headrace_console.core.documents import Act
from headrace_edge.rules.people import Person
from headrace_edge.rules.roles import Role

VIEWER, OPERATOR, APPROVER = (Person(f"the {role}", role) for role in Role)
CANARY = RolloutDefinition("canary", shares=(0.05, 1.0))
FOUR_EYES = RolloutDefinition("canary", shares=(0.05, 1.0), approval_by_another=True)
STARTED = RolloutStarted("d", "r1", 2, "canary", "better", CANARY, 1, "anna")
STEP = RolloutAdvanced("d", "r1", 2, "canary", 0.05, 0, 5.0)
PAUSED = RolloutPaused("d", "r1", 2, "wait")
AWAITED = ApprovalAwaited("d", "r1", 2, "no label")
STATES: dict[str, tuple[tuple[Any, ...], list[str]]] = {
    "nothing": ((), []),
    "warming": ((STARTED,), ["pause", "abort"]),
    "a canary": ((STARTED, STEP), ["pause", "promote", "abort"]),
    "a paused canary": ((STARTED, STEP, PAUSED), ["resume", "promote", "abort"]),
    "a canary that waits": ((STARTED, STEP, AWAITED), ["approve", "pause", "promote", "abort"]),
    "an approved canary": (
        (STARTED, STEP, AWAITED, VersionApproved("d", 2, "ok", "bob")),
        ["pause", "promote", "abort"],
    ),
    "an abort without harm": ((STARTED, STEP, RolloutAborted("d", "r1", 2, "no verdict")), ["retry"]),
    "an abort with harm": ((STARTED, STEP, RolloutAborted("d", "r1", 2, "errors", harmful=True)), []),
}


def state(*facts: Any, **version: Any) -> Known:
    return Known().champion().facts(version_of(2, **version), *facts)


@pytest.mark.parametrize("name", STATES)
def test_what_is_offered_follows_from_the_state(name: str) -> None:
    facts, acts = STATES[name]
    entry = state(*facts).world.releases.entry("d")
    offers = [*rollout_offers("d", entry, None), *deployment_offers("d", entry)]
    assert [offer.act for offer in offers] == acts
    assert all(offer.sentence and ("v2" in offer.sentence or "v1" in offer.sentence) for offer in offers)


COMMANDS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "pause": ((STARTED, STEP), PauseRollout("d", "because", "an operator")),
    "resume": ((STARTED, STEP, PAUSED), ResumeRollout("d", "because", "an operator")),
    "abort": ((STARTED, STEP), AbortRollout("d", "because", "an operator")),
    "promote": ((STARTED, STEP), PromoteRollout("d", 2, "because", "an operator")),
    "retry": ((STARTED, RolloutAborted("d", "r1", 2, "r")), RetryRollout("d", "because", "an operator")),
    "approve": ((STARTED, STEP, AWAITED), ApproveVersion("d", 2, "because", "an operator")),
}


@pytest.mark.parametrize("act", COMMANDS)
def test_an_act_becomes_a_command_in_the_name_of_the_person_with_the_reason(act: Any) -> None:
    facts, command = COMMANDS[act]
    person = Person("an operator", Role.APPROVER)
    entry = state(*facts).world.releases.entry("d")
    assert command_of(Act(act, " because ", "d"), person, entry, None) == command


def test_a_roll_back_names_who_is_champion() -> None:
    entry = Known().champion(2).world.releases.entry("d")
    assert command_of(Act("roll_back", "because", "d", 2), OPERATOR, entry, None) == RollBack(
        "d", 2, "because", OPERATOR.name
    )


def test_an_act_that_is_not_offered_or_is_about_another_version_is_refused() -> None:
    entry = state(STARTED, STEP).world.releases.entry("d")
    for act in (Act("resume", "r", "d"), Act("pause", "r", "d", 7), Act("silence", "r", "d")):
        found = command_of(act, OPERATOR, entry, None)
        assert isinstance(found, Refused)
        assert found.status == 409


@pytest.mark.parametrize(
    ("person", "act", "status"),
    [
        (None, "pause", 401), (VIEWER, "pause", 403), (OPERATOR, "pause", None), (APPROVER, "pause", None),
        (None, "approve", 401), (VIEWER, "approve", 403), (OPERATOR, "approve", 403), (APPROVER, "approve", None),
    ],
)  # fmt: skip
def test_who_may_do_what(person: Person | None, act: Any, status: int | None) -> None:
    refusal = refuse(Act(act, "because", "d"), person)
    assert (refusal.status if refusal else None) == status


def test_a_key_of_one_deployment_is_not_for_another() -> None:
    anna = Person("anna", Role.APPROVER, ("e",))
    refusal = refuse(Act("pause", "because", "d"), anna)
    assert refusal is not None
    assert refusal.reason == "the key of anna is not for d"


@pytest.mark.parametrize("reason", ["", "   ", "\u200b\u200b", "\u3164 \u2800", "\u2060\ufeff\n", "\u00ad\u0301"])
def test_a_reason_that_can_be_seen_is_needed(reason: str) -> None:
    refused = Refused(400, "a reason of 1 to 500 characters is needed, got none that can be seen")
    assert refuse(Act("pause", reason, "d"), OPERATOR) == refused


def test_a_long_reason_is_refused_and_not_cut() -> None:
    assert refuse(Act("pause", "x" * 501, "d"), OPERATOR) == Refused(
        400, "a reason has 500 characters at most, got 501"
    )
    assert refuse(Act("pause", "ä\u200d" * 250, "d"), OPERATOR) is None


def test_four_eyes_the_author_does_not_approve() -> None:
    started = RolloutStarted("d", "r1", 2, "canary", "better", FOUR_EYES, 1, "anna")
    entry = state(started, STEP, AWAITED, by="anna").world.releases.entry("d")
    (offer, *_) = rollout_offers("d", entry, None)
    assert (offer.act, offer.needs_another) == ("approve", "anna")
    refused = command_of(Act("approve", "r", "d", 2), Person("Anna", Role.APPROVER), entry, None)
    assert refused == Refused(403, "version 2 of d must be approved by another than anna")
    bob = Person("bob", Role.APPROVER)
    assert command_of(Act("approve", "r", "d", 2), bob, entry, None) == ApproveVersion("d", 2, "r", "bob")


def test_a_silence_has_the_labels_of_its_alert_and_a_bounded_end() -> None:
    alarms = Known().alert("BreakerOpen", deployment="d", version="2").world.alarms
    (fingerprint,) = alarms.alerts
    found = silence_of(Act("silence", "known", target=fingerprint, for_s=600.0), OPERATOR, alarms, "c1", NOW_S)
    labels = {"alertname": "BreakerOpen", "deployment": "d", "version": "2"}
    assert found == SilenceSet("c1", labels, NOW_S, NOW_S + 600.0, OPERATOR.name, "known")
    for for_s in (0.0, -1.0, float("inf"), float("nan"), 91 * 86_400.0):
        refused = silence_of(Act("silence", "known", target=fingerprint, for_s=for_s), OPERATOR, alarms, "c1", NOW_S)
        assert isinstance(refused, Refused)
        assert refused.status == 400


def test_a_silence_is_ended_once() -> None:
    known = Known().take("alerts.silences", SilenceSet("s1", {"a": "b"}, NOW_S, NOW_S + 9, "anna", "r"), key="s1")
    act = Act("unsilence", "it is mended", target="s1")
    assert silence_of(act, OPERATOR, known.world.alarms, "", NOW_S) == SilenceEnded("s1", OPERATOR.name, "it is mended")
    assert isinstance(silence_of(act, OPERATOR, known.world.alarms, "", NOW_S + 10), Refused)
    assert isinstance(silence_of(Act("silence", "r", target="x"), OPERATOR, known.world.alarms, "", NOW_S), Refused)
