"""The rollout machine as a table: what follows from a message in a phase."""

import pytest
from services.registry.tests.rollout_machine import (
    BACK,
    BEGUN,
    MESSAGES,
    SWITCHED,
    Machine,
    in_test,
    names,
    paused,
    shadowing,
    unjudged,
    warming,
)

from headrace.events.registry import (
    CommandRefused,
)
from headrace_registry.core.machine import phase_of

PHASES = {
    "idle": lambda machine: machine,
    "warming": warming,
    "shadowing": shadowing,
    "canary": Machine.canary,
    "testing": in_test,
    "paused": paused,
    "unjudged": unjudged,
}
REFUSED = ["command.refused"]
ROWS: dict[str, dict[str, list[str]]] = {
    #             idle           warming         moving                   paused                unjudged
    "start":      {"idle": BEGUN, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "unjudged": REFUSED},
    "abort":      {"idle": REFUSED, "warming": BACK, "moving": BACK, "paused": BACK, "unjudged": BACK},
    "pause":      {"idle": REFUSED, "warming": ["rollout.paused"], "moving": ["rollout.paused"], "paused": REFUSED, "unjudged": ["rollout.paused"]},
    "resume":     {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": ["rollout.resumed"], "unjudged": ["rollout.resumed"]},
    "promote":    {"idle": REFUSED, "warming": REFUSED, "moving": SWITCHED, "paused": SWITCHED, "unjudged": SWITCHED},
    "retry":      {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "unjudged": REFUSED},
    "roll back":  {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "unjudged": REFUSED},
    "warmed":     {"idle": [], "warming": ["rollout.advanced", "route.changed"], "moving": [], "paused": [], "unjudged": []},
    "unloadable": {"idle": [], "warming": BACK, "moving": BACK, "paused": BACK, "unjudged": BACK},
    "silent":     {"idle": [], "warming": [], "moving": ["rollout.paused"], "paused": [], "unjudged": []},
    "silent for long": {"idle": [], "warming": [], "moving": [], "paused": [], "unjudged": BACK},
    "not warm":   {"idle": [], "warming": BACK, "moving": [], "paused": [], "unjudged": []},
    "not loaded": {"idle": [], "warming": BACK, "moving": BACK, "paused": BACK, "unjudged": BACK},
    "harm":       {"idle": [], "warming": [], "moving": BACK, "paused": BACK, "unjudged": ["rollout.resumed", *BACK]},
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("message", MESSAGES)
def test_what_follows_from_a_message_in_a_phase(message: str, phase: str) -> None:
    machine = PHASES[phase](Machine())
    assert phase_of(machine.entry) == phase
    row = ROWS[message]
    facts = machine.take(MESSAGES[message](machine))
    assert names(facts) == row.get(phase, row["moving"])
    for fact in facts:
        assert not isinstance(fact, CommandRefused) or len(fact.reason) > 15
