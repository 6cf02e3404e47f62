"""When a replay waits: from a retrain request to the first step of the rollout, in whatever order the facts come."""

import itertools
from typing import Any

import pytest

from headrace.events.registry import CommandRefused, RolloutAdvanced, RolloutQueued, RolloutStarted
from headrace.events.training import (
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.log.envelope import derived_id
from headrace.registry.under_way import Holding
from headrace.testing.registry import version_of

COMMAND = derived_id("register", "r1")
ASKED = ("q1", RetrainRequested("d", "drift", "why", "monitor"))
ACCEPTED = ("a1", RetrainAccepted("d", "r1", "q1", "drift", "why", 0.0))
FITTING = ("p1", TrainingProgressed("d", "r1", "fit", 0.5))
TRAINED = ("f1", TrainingFinished("d", "r1", "registered", ""))
REGISTERED = ("v2", version_of(2, command_id=COMMAND))
STARTED = ("s2", RolloutStarted("d", "o", 2, "blue_green", ""))
SWITCHED = ("w2", RolloutAdvanced("d", "o", 2, "switched", 1.0))

HISTORY = [
    (ASKED, "the trainer to answer a retrain request"),
    (ACCEPTED, "training run r1"),
    (FITTING, "training run r1 (fit)"),
    (TRAINED, "the registry to register a trained version"),
    (REGISTERED, ""),
    (STARTED, "version 2 to be warmed"),
    (SWITCHED, ""),
]


def after(*facts: tuple[str, Any]) -> str:
    holding = Holding("d")
    for ident, event in facts:
        holding.take(event, ident)
    return holding.waits_for


def test_a_replay_waits_for_a_retrain_until_the_first_step() -> None:
    facts = [fact for fact, _ in HISTORY]
    assert [after(*facts[: n + 1]) for n in range(len(facts))] == [waits for _, waits in HISTORY]


def test_topics_may_be_read_in_any_order() -> None:
    requests, training, registry = [ASKED], [ACCEPTED, FITTING, TRAINED], [REGISTERED, STARTED, SWITCHED]
    for order in itertools.permutations([requests, training, registry]):
        assert after(*itertools.chain(*order)) == ""


@pytest.mark.parametrize(
    "last",
    [
        (RetrainRefused("d", "q1", "cool-down"),),
        (RetrainCoalesced("d", "r0", "q1"),),
        (ACCEPTED[1], TrainingFinished("d", "r1", "rejected", "a gate")),
        (ACCEPTED[1], TrainingFinished("d", "r1", "failed", "memory")),
        (ACCEPTED[1], TRAINED[1], CommandRefused("d", "register.version", COMMAND, "no artifact")),
        (ACCEPTED[1], TRAINED[1], REGISTERED[1], RolloutQueued("d", 2, "another one runs", "trainer")),
        (ACCEPTED[1], TrainingFinished("d", "r1", "waiting", "for 300 rows", missing_rows=300)),
    ],
)
def test_a_replay_does_not_wait_for_what_will_not_come(last: tuple[Any, ...]) -> None:
    assert after(ASKED, *((f"i{n}", event) for n, event in enumerate(last))) == ""


def test_a_replay_does_not_wait_for_other_deployments() -> None:
    assert after(("q1", RetrainRequested("other", "drift", "why", "monitor"))) == ""
